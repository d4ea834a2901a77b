"""The journal on disk: what was written is there, what was not is not, and damage is found where it was planted."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messages import Script
from scopeline.errors import ConfigError, JournalError
from scopeline.journal import Journal
from scopeline.journal_files import file_name, numbered_files, session_folders
from scopeline.journal_index import EVERY, JournalIndex, Place
from scopeline.journal_reader import JournalReader
from scopeline.wire import TOPICS, Encoder, Message, topic_of


def whole_run(frames: int, script: Script | None = None) -> list[Message]:
    script = script or Script()
    messages: list[Message] = [script.status("started"), script.field()]
    for number in range(frames):
        messages.append(script.frame())
        if number % 10 == 9:
            messages.append(script.segment(number // 10))
    return [*messages, script.status("ended")]


def written(folder: Path, messages: Sequence[Message], *, close: bool = True, **options: int) -> Path:
    """Write a journal; the session's folder."""
    journal, encoder = Journal(folder, version="1.2.3", **options), Encoder()
    for message in messages:
        topic, payload = encoder.encode(message)
        journal.append(message.session, topic.decode(), message.seq, payload)
    if close:
        journal.close()
    return folder / messages[0].session


def change(path: Path, alter: Callable[[bytes], bytes]) -> None:
    path.write_bytes(alter(path.read_bytes()))


def without_line(number: int) -> Callable[[bytes], bytes]:
    def alter(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        return b"".join(lines[:number] + lines[number + 1 :])

    return alter


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    messages = whole_run(30)
    reader = JournalReader(written(tmp_path, messages))
    assert list(reader.messages()) == messages
    verdict = reader.verify()
    assert verdict.intact
    assert (verdict.session, verdict.version, verdict.ended) == ("5e55101", "1.2.3", "ended")
    assert (verdict.messages, verdict.torn_bytes, verdict.unwritten) == (len(messages), 0, 0)


def test_a_line_can_be_checked_with_a_checksum_and_a_hash_and_nothing_of_ours(tmp_path: Path) -> None:
    """The format as docs/journal.md gives it, worked out here a second time."""
    folder = written(tmp_path, whole_run(3))
    before = "0" * 64
    for line in (folder / "000001.journal").read_text().splitlines():
        checksum, link, kind, payload = line.split(" ", 3)
        assert int(checksum, 16) == zlib.crc32(f"{link} {kind} {payload}".encode())
        assert link == hashlib.sha256(f"{before} {kind} {payload}".encode()).hexdigest()
        assert kind in {"header", *TOPICS}
        assert json.loads(payload)["notice"] == "research use only"
        before = link


def test_payloads_are_the_bytes_that_were_published(tmp_path: Path) -> None:
    messages = whole_run(5)
    reader = JournalReader(written(tmp_path, messages))
    kept = [(record.kind, record.payload) for record in reader.records() if record.kind != b"header"]
    assert kept == [Encoder().encode(message) for message in messages]


def test_a_journal_goes_on_in_the_next_file_and_the_chain_with_it(tmp_path: Path) -> None:
    messages = whole_run(100)
    folder = written(tmp_path, messages, segment_bytes=20_000)
    sizes = [path.stat().st_size for path in numbered_files(folder).values()]
    assert len(sizes) > 5
    assert max(sizes) <= 20_000
    reader = JournalReader(folder)
    assert list(reader.messages()) == messages
    assert reader.verify().intact


def test_the_header_of_each_file_names_what_it_goes_on_from(tmp_path: Path) -> None:
    folder = written(tmp_path, whole_run(50), segment_bytes=20_000)
    files = [path.read_text().splitlines() for path in numbered_files(folder).values()]
    for number, (lines, after) in enumerate(pairwise(files), start=2):
        header = json.loads(after[0].split(" ", 3)[3])
        assert header["goes_on_from"] == lines[-1].split(" ")[1]
        assert (header["file"], header["session"], header["version"]) == (number, "5e55101", "1.2.3")


def test_a_journal_that_was_never_closed_opens(tmp_path: Path) -> None:
    messages = whole_run(20)[:-1]
    reader = JournalReader(written(tmp_path, messages, close=False))
    assert list(reader.messages()) == messages
    assert reader.verify().ended is None


@pytest.mark.parametrize("left", [1, 40, 90])
def test_a_torn_last_record_is_told_and_is_no_fault(tmp_path: Path, left: int) -> None:
    messages = whole_run(20)
    folder = written(tmp_path, messages)
    last = (folder / file_name(1)).read_bytes().splitlines(keepends=True)[-1]
    change(folder / file_name(1), lambda content: content[: len(content) - len(last) + left])
    reader = JournalReader(folder)
    assert list(reader.messages()) == messages[:-1]
    verdict = reader.verify()
    assert verdict.intact
    assert verdict.torn_bytes == left


def test_a_process_that_is_killed_leaves_every_record_it_had_written(tmp_path: Path) -> None:
    """Without close, sync or flush: SIGKILL directly after the last `append` returned."""
    program = (
        "import os, signal, sys; from pathlib import Path; from test_journal import whole_run, written;"
        f"written(Path({str(tmp_path)!r}), whole_run(50)[:-1], close=False); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=False
    )
    assert done.returncode == -9
    assert list(JournalReader(tmp_path / "5e55101").messages()) == whole_run(50)[:-1]


def test_an_altered_record_is_found_where_it_is(tmp_path: Path) -> None:
    """Altered with care: its own checksum is right again."""
    folder = written(tmp_path, whole_run(20))

    def forge(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        body = (
            lines[7][9:-1]
            .replace(b'"mes_dominant":2', b'"mes_dominant":0')
            .replace(b'"quality":0.94', b'"quality":0.14')
        )
        assert body != lines[7][9:-1]
        lines[7] = b"%08x %b\n" % (zlib.crc32(body), body)
        return b"".join(lines)

    change(folder / file_name(1), forge)
    offset = sum(len(line) for line in (folder / file_name(1)).read_bytes().splitlines(keepends=True)[:7])
    verdict = JournalReader(folder).verify()
    assert [(fault.kind, fault.file, fault.offset) for fault in verdict.faults] == [
        ("does not follow", 1, offset)
    ]


def test_a_removed_record_is_found_and_costs_one_neighbour(tmp_path: Path) -> None:
    messages = whole_run(20)
    folder = written(tmp_path, messages)
    change(folder / file_name(1), without_line(8))
    reader = JournalReader(folder)
    assert [fault.kind for fault in reader.verify().faults] == ["does not follow"]
    assert list(reader.messages()) == messages[:7] + messages[9:]


def test_a_removed_file_is_found(tmp_path: Path) -> None:
    folder = written(tmp_path, whole_run(100), segment_bytes=20_000)
    (folder / file_name(3)).unlink()
    verdict = JournalReader(folder).verify()
    assert [(fault.kind, fault.file) for fault in verdict.faults] == [("file missing", 3)]


def test_a_file_that_was_cut_short_between_records_is_found(tmp_path: Path) -> None:
    folder = written(tmp_path, whole_run(100), segment_bytes=20_000)
    change(folder / file_name(2), lambda content: b"".join(content.splitlines(keepends=True)[:-1]))
    verdict = JournalReader(folder).verify()
    assert [(fault.kind, fault.file, fault.offset) for fault in verdict.faults] == [("does not follow", 3, 0)]


def test_the_first_files_are_missed_when_no_record_says_why(tmp_path: Path) -> None:
    folder = written(tmp_path, whole_run(100), segment_bytes=20_000)
    (folder / file_name(1)).unlink()
    verdict = JournalReader(folder).verify()
    assert [(fault.kind, fault.file) for fault in verdict.faults] == [("file missing", 1)]


def test_a_link_that_was_noted_shows_that_the_end_was_cut_off(tmp_path: Path) -> None:
    """Removing whole records at the end leaves a valid chain; only what was noted elsewhere tells."""
    folder = written(tmp_path, whole_run(20))
    head = JournalReader(folder).verify().head
    assert JournalReader(folder).verify(head).intact
    change(folder / file_name(1), lambda content: b"".join(content.splitlines(keepends=True)[:-2]))
    assert JournalReader(folder).verify().intact
    assert [fault.kind for fault in JournalReader(folder).verify(head).faults] == ["not there"]


def test_the_oldest_files_go_when_the_bound_is_reached_and_the_journal_says_so(tmp_path: Path) -> None:
    journal, encoder, script = (
        Journal(tmp_path, version="0", segment_bytes=20_000, keep_bytes=60_000),
        Encoder(),
        Script(),
    )
    for _ in range(200):
        message = script.frame()
        topic, payload = encoder.encode(message)
        journal.append(message.session, topic.decode(), message.seq, payload)
        journal.make_room()
        folder = tmp_path / script.session
        assert sum(path.stat().st_size for path in numbered_files(folder).values()) <= 65_000
    journal.close()
    reader = JournalReader(folder)
    first = min(reader.files)
    assert first > 5
    verdict = reader.verify()
    assert verdict.intact
    assert verdict.dropped == first - 1
    kept = [message.seq for message in reader.messages()]
    assert kept == list(range(kept[0], 200))


def test_an_earlier_session_makes_room_before_the_present_one(tmp_path: Path) -> None:
    written(tmp_path, whole_run(100, Script("earlier")), segment_bytes=20_000, keep_bytes=10**6)
    journal, encoder, script = (
        Journal(tmp_path, version="0", segment_bytes=20_000, keep_bytes=60_000),
        Encoder(),
        Script("now"),
    )
    for message in whole_run(10, script):
        topic, payload = encoder.encode(message)
        journal.append(message.session, topic.decode(), message.seq, payload)
    journal.make_room()
    assert len(numbered_files(tmp_path / "earlier")) > 2  # not before a record says so
    journal.append("now", "frame", 10, b"{}")
    journal.make_room()
    journal.close()
    assert JournalReader(tmp_path / "now").verify().messages == 15
    earlier = [each for each in session_folders(tmp_path) if each.session == "earlier"]
    assert sum(each.bytes for each in earlier) <= 40_000
    assert JournalReader(tmp_path / "now").verify().records["dropped"] > 0


def test_sessions_are_listed_with_the_newest_last(tmp_path: Path) -> None:
    for name in ("b", "a"):
        written(tmp_path, whole_run(3, Script(name)))
    (tmp_path / "not a session").mkdir()
    found = session_folders(tmp_path)
    assert {each.session for each in found} == {"a", "b"}
    assert found[-1].changed_ns >= found[0].changed_ns


def test_a_bound_without_room_for_two_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least two files"):
        Journal(tmp_path, version="0", segment_bytes=100, keep_bytes=150)


def test_a_folder_without_a_journal_is_refused_with_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"000001\.journal.*journal list"):
        JournalReader(tmp_path)
    with pytest.raises(JournalError, match="cannot be read"):
        JournalReader(tmp_path / "nowhere")


def test_a_second_session_in_one_journal_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path, version="0")
    journal.append("a", "frame", 0, b"{}")
    with pytest.raises(ValueError, match="one session"):
        journal.append("b", "frame", 0, b"{}")
    journal.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], list[bytes]]:
    """The files of a journal, and all lines in them."""
    folder = written(tmp_path_factory.mktemp("template"), whole_run(60), segment_bytes=20_000)
    files = [path.read_bytes() for path in numbered_files(folder).values()]
    return files, [line for content in files for line in content.splitlines()]


_Damage = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "fill"]), st.integers(0, 100), st.floats(0, 1), st.integers(1, 255)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=_Damage)
def test_whatever_is_damaged_nothing_is_believed_that_was_not_written(
    template: tuple[list[bytes], list[bytes]], damage: list[tuple[str, int, float, int]], tmp_path: Path
) -> None:
    """Random bytes changed, files cut short, stretches of zeros as a power cut leaves them."""
    files, lines = template
    genuine = {tuple(line.split(b" ", 3)[1:]) for line in lines}
    changed = [bytearray(content) for content in files]
    for kind, number, where, value in damage:
        content = changed[number % len(changed)]
        place = int(where * (len(content) - 1)) if content else 0
        if kind == "cut":
            del content[place:]
        elif kind == "fill":
            content[place : place + 64 * value] = bytes(len(content[place : place + 64 * value]))
        elif content:
            content[place] ^= value
    for number, content in enumerate(changed, start=1):
        (tmp_path / file_name(number)).write_bytes(content)
    reader = JournalReader(tmp_path)
    believed = [(record.link, record.kind, record.payload) for record in reader.records()]
    assert set(believed) <= genuine
    assert len(set(believed)) == len(believed)
    verdict = reader.verify()
    assert sum(verdict.records.values()) == len(believed)
    if len(believed) < len(lines) - 1:  # more is gone than whole records at the very end could be
        cut_at_the_end = bytes(b"".join(changed)) == b"".join(files)[: sum(map(len, changed))]
        assert verdict.faults_found or verdict.torn_bytes or cut_at_the_end


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=2000))
def test_any_bytes_at_all_can_be_read_as_a_journal(tmp_path: Path, content: bytes) -> None:
    (tmp_path / file_name(1)).write_bytes(content)
    assert JournalReader(tmp_path).verify().messages == 0


def test_one_bad_byte_costs_two_records_at_most_and_three_where_it_ends_a_line(
    template: tuple[list[bytes], list[bytes]], tmp_path: Path
) -> None:
    files, lines = template
    for place in range(0, len(files[0]), 97):
        content = bytearray(files[0])
        content[place] ^= 0x15
        for number, each in enumerate([bytes(content), *files[1:]], start=1):
            (tmp_path / file_name(number)).write_bytes(each)
        # An end of line that is lost makes two records one, which is wrong, and the next follows from neither.
        most = 3 if files[0][place : place + 1] == b"\n" else 2
        assert len(list(JournalReader(tmp_path).records())) >= len(lines) - most


@given(st.lists(st.sampled_from(["frame", "frame", "frame", "segment", "FILE", "FORGET"]), max_size=3000))
@settings(max_examples=30, deadline=None)
def test_the_index_leads_to_a_place_shortly_before_any_record(steps: list[str]) -> None:
    """Against a full list of what was written where."""
    index = JournalIndex()
    truth: dict[tuple[str, int], int] = {}
    places: list[Place] = []
    file, forgotten, sent = 1, 0, {"frame": 0, "segment": 0}
    for step in steps * 3:
        if step == "FILE":
            file += 1
            index.begin_file()
        elif step == "FORGET":
            forgotten = file - 1
            index.forget(forgotten)
        else:
            place = Place(file, len(places))
            index.note(step, sent[step], place)
            truth[step, sent[step]] = len(places)
            places.append(place)
            sent[step] += 1
    for (topic, seq), count in truth.items():
        if places[count].file <= forgotten:
            continue
        found = index.find(topic, seq)
        assert found is not None
        assert found <= places[count]
        between = [place for place in places[found.offset : count] if place.file == found.file]
        assert len(between) <= EVERY + len(steps) if topic == "segment" else len(between) <= EVERY


def test_topics_are_told_apart_by_their_names(tmp_path: Path) -> None:
    messages = whole_run(20)
    kinds = JournalReader(written(tmp_path, messages)).verify().records
    assert {topic: kinds[topic] for topic in ("frame", "segment")} == {"frame": 20, "segment": 2}
    assert sum(kinds.values()) == len(messages) + 1
    assert set(map(topic_of, messages)) == kinds.keys() - {"header"}

"""Whatever the disk does, publishing goes on, the trouble is told once, and the journal says what it misses."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from messages import PATIENCE_S, Script, publishing
from scopeline.crew import Crew
from scopeline.journal import Journal
from scopeline.journal_files import file_name
from scopeline.journal_keeper import JournalKeeper
from scopeline.journal_reader import JournalReader
from scopeline.journal_record import GAP, Gap
from scopeline.notices import Notices, Trouble
from scopeline.sinks.journal import RETRY_NS, JournalSink
from scopeline.subscriber import Subscriber
from scopeline.wire import Message


class Run:
    """An engine's concluding thread as far as a journal sees it."""

    def __init__(self, folder: Path, **options: int) -> None:
        self.script = Script()
        self.folder = folder / self.script.session
        self.notices = Notices()
        self.journal = Journal(folder, version="0", **options)
        self.sink = JournalSink(self.journal, self.notices)
        self.published: list[Message] = []

    def frames(self, count: int) -> None:
        for _ in range(count):
            message = self.script.frame()
            self.sink.publish(message)
            self.published.append(message)

    def until_retry(self) -> None:
        """The next message comes when the sink is to try again."""
        self.script.now_ns += RETRY_NS

    def troubles(self) -> list[str]:
        return [notice.what.value for notice in self.notices.take()]

    def kept(self) -> Sequence[Message]:
        return list(JournalReader(self.folder).messages())

    def gaps(self) -> list[Gap]:
        records = JournalReader(self.folder).records()
        return [msgspec.json.decode(each.payload, type=Gap) for each in records if each.kind == GAP]


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """A disk that takes a part of a record and then nothing: what `ENOSPC` looks like, from the kernel itself."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A file system of its own, where the system lets us have one."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={kilobytes}k".encode()):
        pytest.skip(f"needs the right to mount a file system ({os.strerror(ctypes.get_errno())})")
    try:
        yield
    finally:
        assert libc.umount(str(folder).encode()) == 0


def test_everything_published_is_in_the_journal(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with closing(run.sink):
        run.frames(50)
    assert run.kept() == run.published
    assert run.troubles() == []


def test_a_disk_that_fills_up_is_told_once_and_leaves_no_torn_record(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with closing(run.sink):
        run.frames(5)
        size = (run.folder / file_name(1)).stat().st_size
        with files_no_longer_than(size + 700):  # half a record
            run.frames(3)
            run.until_retry()
            run.frames(2)
            assert run.troubles() == ["journal_failed"]
            assert (run.folder / file_name(1)).stat().st_size == size
        run.until_retry()
        run.frames(4)
        assert run.troubles() == ["journal_works_again"]
    assert run.kept() == run.published[:5] + run.published[10:]
    assert [(gap.records, gap.topics) for gap in run.gaps()] == [(5, {"frame": (5, 9)})]
    verdict = JournalReader(run.folder).verify()
    assert verdict.intact
    assert (verdict.unwritten, verdict.torn_bytes) == (5, 0)


def test_a_full_file_system_does_not_stop_publishing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100):
        run = Run(tmp_path / "disk")
        with closing(run.sink):
            run.frames(200)
            assert run.troubles() == ["journal_failed"]
            kept = len(run.kept())
            assert 30 < kept < 100
            (tmp_path / "disk" / "somebody else's").write_bytes(b"")
            run.until_retry()
            run.frames(1)
            assert run.troubles() == []
        verdict = JournalReader(run.folder).verify()
        assert verdict.intact
        assert (verdict.messages, verdict.torn_bytes) == (kept, 0)


def test_the_journal_goes_on_when_room_was_made(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200):
        hog = tmp_path / "disk" / "hog"
        hog.write_bytes(bytes(100_000))
        run = Run(tmp_path / "disk")
        with closing(run.sink):
            run.frames(100)
            assert run.troubles() == ["journal_failed"]
            hog.unlink()
            run.until_retry()
            run.frames(20)
            assert run.troubles() == ["journal_works_again"]
        verdict = JournalReader(run.folder).verify()
        assert verdict.intact
        assert verdict.messages + verdict.unwritten == 120


def test_between_two_attempts_the_disk_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "journals").write_text("a file where the folder should be")
    run = Run(tmp_path / "journals")
    run.frames(3)
    (tmp_path / "journals").unlink()
    run.frames(3)
    assert not (tmp_path / "journals").exists()
    run.until_retry()
    run.frames(1)
    run.sink.close()
    assert run.kept() == run.published[6:]
    assert run.troubles() == ["journal_failed", "journal_works_again"]


def test_a_file_in_place_of_the_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "journals").write_text("")
    run = Run(tmp_path / "journals")
    with closing(run.sink):
        run.frames(1)
        (notice,) = run.notices.take()
        assert notice.what is Trouble.JOURNAL_FAILED
        assert notice.at_ns == run.published[0].published_ns
        for part in ("'journals'", "move that, or name another folder", "publishing goes on"):
            assert part in notice.text
        assert str(tmp_path) not in notice.text  # paths name people


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    run = Run(tmp_path)
    with closing(run.sink):
        run.frames(1)
        (notice,) = run.notices.take()
        assert "let this user write there" in notice.text
    tmp_path.chmod(0o700)


def test_a_folder_that_is_removed_is_noticed_and_made_again(tmp_path: Path) -> None:
    run = Run(tmp_path / "journals")
    with closing(run.sink):
        run.frames(5)
        shutil.rmtree(tmp_path / "journals")
        run.frames(5)
        assert run.troubles() == ["journal_failed"]
        run.until_retry()
        run.frames(5)
        assert run.troubles() == ["journal_works_again"]
    assert run.kept() == run.published[10:]
    verdict = JournalReader(run.folder).verify()
    assert verdict.unwritten == 5
    assert [(fault.kind, fault.file) for fault in verdict.faults] == [("file missing", 1)]


def test_a_device_that_takes_nothing_does_not_stop_publishing(tmp_path: Path) -> None:
    """Every write fails and nothing can be taken back: the next attempt is in the next file."""
    run = Run(tmp_path)
    with closing(run.sink):
        run.folder.mkdir()
        (run.folder / file_name(1)).symlink_to("/dev/full")
        run.frames(3)
        assert run.troubles() == ["journal_failed"]
        (run.folder / file_name(1)).unlink()
        run.until_retry()
        run.frames(3)
        assert run.troubles() == ["journal_works_again"]
    assert run.kept() == run.published[3:]


def test_a_run_that_ends_while_the_disk_is_full_says_so_in_the_journal_when_it_can(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.frames(5)
    with files_no_longer_than(1000):
        run.frames(5)
    run.sink.close()
    assert [(gap.records, gap.topics) for gap in run.gaps()] == [(5, {"frame": (5, 9)})]


def test_a_journal_that_cannot_even_be_closed_does_not_stop_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.frames(5)
    with files_no_longer_than(1000):
        run.frames(5)
        run.sink.close()
        run.sink.close()
    assert run.kept() == run.published[:5]


def test_a_subscriber_never_has_what_the_journal_has_not(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with publishing() as bus, closing(run.sink), Subscriber(bus.address) as subscriber:
        assert bus.wait_for_subscriber(PATIENCE_S)
        for _ in range(20):
            run.frames(1)
            bus.publish(run.published[-1])
            assert subscriber.take(PATIENCE_S) in run.kept()


def test_messagepack_pipelines_are_kept_as_json(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with publishing(encoding="msgpack") as bus, closing(run.sink):
        run.frames(1)
        bus.publish(run.published[0])
    assert (
        (run.folder / file_name(1)).read_bytes().splitlines()[1].endswith(b'"config":"sha256:ba9876543210"}')
    )


def test_the_keeper_syncs_and_drops_while_another_thread_writes(tmp_path: Path) -> None:
    run = Run(tmp_path, segment_bytes=20_000, keep_bytes=100_000)
    keeper = JournalKeeper(run.journal, run.notices)
    done = threading.Event()

    def tend() -> None:
        while not done.is_set():
            keeper.tend()

    with Crew(on_failure=done.set) as crew:
        crew.start("keeper", tend)
        run.frames(1000)
        run.sink.close()
        done.set()
    keeper.tend()  # on a busy machine the keeper may hardly have had its turn
    assert run.troubles() == []
    reader = JournalReader(run.folder)
    assert min(reader.files) > 1
    assert reader.verify().intact
    assert run.kept() == run.published[-len(run.kept()) :]


def test_the_keeper_ends_when_it_is_told_to(tmp_path: Path) -> None:
    run = Run(tmp_path)
    keeper = JournalKeeper(run.journal, run.notices)
    with Crew(on_failure=keeper.stop) as crew:
        crew.start("keeper", keeper.work)
        keeper.stop()
        keeper.stop()
    run.sink.close()


def test_a_disk_that_cannot_be_tended_is_told_once_and_so_is_that_it_can_again(tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    run = Run(journals)
    keeper = JournalKeeper(run.journal, run.notices)
    with closing(run.sink):
        run.frames(1)
        journals.rename(tmp_path / "away")
        journals.write_text("a file where the folder should be")
        keeper.tend()
        keeper.tend()
        assert run.troubles() == ["journal_failed"]
        journals.unlink()
        (tmp_path / "away").rename(journals)
        keeper.tend()
        keeper.tend()
        assert run.troubles() == ["journal_works_again"]


def test_a_journal_that_was_never_written_is_not_said_to_be_unsafe_as_well(tmp_path: Path) -> None:
    (tmp_path / "journals").write_text("a file where the folder should be")
    run = Run(tmp_path / "journals")
    keeper = JournalKeeper(run.journal, run.notices)
    with closing(run.sink):
        run.frames(1)
        assert run.troubles() == ["journal_failed"]
        keeper.tend()
        assert run.troubles() == []


def test_what_was_written_and_is_not_safe_is_told_also_when_the_newest_message_was_missed(
    tmp_path: Path,
) -> None:
    journals = tmp_path / "journals"
    run = Run(journals)
    keeper = JournalKeeper(run.journal, run.notices)
    with closing(run.sink):
        run.frames(5)
        run.journal.skip("frame", 5, "disk full")
        journals.rename(tmp_path / "away")
        journals.write_text("a file where the folder should be")
        keeper.tend()
        (notice,) = run.notices.take()
        assert notice.what is Trouble.JOURNAL_FAILED
        assert "what is published is not written either" in notice.text
        journals.unlink()
        (tmp_path / "away").rename(journals)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    run = Run(tmp_path, segment_bytes=20_000, keep_bytes=10**6)
    run.frames(200)
    run.sink.close()
    assert len(os.listdir("/proc/self/fd")) == before

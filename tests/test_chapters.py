"""Chapters, read back by FFmpeg's WebVTT reader and by the grammar of the W3C text."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import av
from hypothesis import given
from hypothesis import strategies as some

from messages import Script
from scopeline.chapters import chapter_title, chapters_webvtt
from scopeline.wire import SegmentMessage

_CUE = re.compile(
    r"\A[^\n]+\n(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})\n([^\n]+)\Z"
)


def _cues(text: str) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds and the text of each cue, by the grammar; fails on what is no WebVTT."""
    header, *blocks = text.rstrip("\n").split("\n\n")
    assert re.fullmatch(r"WEBVTT([ \t][^\n]*)?", header)
    assert "-->" not in header
    cues = []
    for block in blocks:
        found = _CUE.match(block)
        assert found is not None, block
        h, m, s, ms, h2, m2, s2, ms2 = (int(part) for part in found.groups()[:8])
        start, end = ((h * 60 + m) * 60 + s) * 1000 + ms, ((h2 * 60 + m2) * 60 + s2) * 1000 + ms2
        cues.append((start, end, found.group(9)))
    return cues


def _segment(number: int, start_s: float, end_s: float, location: str | None = "sigmoid") -> SegmentMessage:
    return Script().segment(number, location, start_s=start_s, end_s=end_s)


def test_ffmpeg_reads_the_chapters(tmp_path: Path) -> None:
    path = tmp_path / "chapters.vtt"
    path.write_text(chapters_webvtt([_segment(1, 0, 62.5), _segment(2, 62.5, 3723.25, "rectum & <anus>")]))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        times = [(packet.pts, packet.duration) for packet in packets]
        payloads = [bytes(packet).decode() for packet in packets]
    assert times == [(0, 62500), (62500, 3660750)]
    assert payloads == ["sigmoid, MES 2, worst 3", "rectum &amp; &lt;anus&gt;, MES 2, worst 3"]


def test_times_beyond_an_hour_keep_their_hours() -> None:
    text = chapters_webvtt([_segment(1, 3599.9996, 363599.5)])
    assert "01:00:00.000 --> 100:59:59.500" in text


def test_markup_and_line_feeds_in_a_label_cannot_break_out_of_their_cue() -> None:
    text = chapters_webvtt([_segment(1, 0, 1, "a --> b\n\n2\n<v Eve> & co")])
    ((_, _, title),) = _cues(text)
    assert title == "a --&gt; b 2 &lt;v Eve&gt; &amp; co, MES 2, worst 3"


@given(
    some.lists(
        some.tuples(
            some.floats(0, 1e5, allow_nan=False), some.floats(0, 100), some.none() | some.text(min_size=1)
        ),
        max_size=12,
    )
)
def test_cues_grow_and_never_overlap_whatever_the_segments(
    spans: list[tuple[float, float, str | None]],
) -> None:
    segments = [
        _segment(number, start_s, start_s + length_s, place)
        for number, (start_s, length_s, place) in enumerate(spans, 1)
    ]
    cues = _cues(chapters_webvtt(segments))
    assert len(cues) == len(segments)
    assert all(start < end for start, end, _ in cues)
    assert all(before[1] <= after[0] for before, after in pairwise(cues))


def test_a_run_without_segments_has_a_valid_file() -> None:
    assert _cues(chapters_webvtt([])) == []


def test_titles_say_what_is_known_and_no_more() -> None:
    script = Script()
    assert chapter_title(script.segment(1, "rectum", mes_dominant=1, mes_worst=1)) == "rectum, MES 1"
    assert chapter_title(script.segment(1, "rectum", assessable=False)) == "rectum, not assessable"
    assert chapter_title(script.segment(1, "outside", assessable=False)) == "outside"
    assert chapter_title(script.segment(1, None, mes_dominant=None, mes_worst=None)) == "unknown location"

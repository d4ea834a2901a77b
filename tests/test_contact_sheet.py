"""The contact sheet and the key frames on it: the right pictures, and nothing that must not be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from media_clips import interlaced, number_in, numbered_pixels, write_clip
from messages import Script, mask_result, shares
from scopeline.contact_sheet import (
    MOST_SEGMENTS,
    Caption,
    Cutout,
    cut_to_field,
    draw_contact_sheet,
    length_text,
)
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.overlay import Overlay, OverlayKind
from scopeline.picture import Pixels, picture_from_file, rgb_pixels
from scopeline.pictures import wanted_frames, write_pictures
from scopeline.simulation import barcode
from scopeline.sources.key_frames import KeptFrames, key_frames
from scopeline.sources.media import MediaSource
from scopeline.summary import summarize
from scopeline.tally import Tally
from scopeline.wire import FrameMessage, HeadResult, SegmentMessage, SmoothedHead

_CAPTION = Caption("procedure.mp4", "3 segments", "Scopeline", 300.0)
_RIM_X = (80.0, 240.0, 300.0, 300.0, 240.0, 80.0, 20.0, 20.0)
_RIM_Y = (10.0, 10.0, 70.0, 170.0, 230.0, 230.0, 170.0, 70.0)
_OCTAGON = tuple(zip(_RIM_X, _RIM_Y, strict=True))
_MAGENTA, _MUCOSA = (255, 0, 255), (180, 110, 90)


def _field(*overlays: Overlay) -> FieldOfView:
    return FieldOfView(1, Shape.OCTAGON, 20, 10, 280, 220, 320, 240, overlays, None, _OCTAGON)


def _screen(field: FieldOfView, beyond: tuple[int, int, int] = _MAGENTA) -> Pixels:
    """Mucosa in the field; what no one may see is magenta."""
    inside = field.mask(320, 240)[..., None]
    return np.where(inside, np.array(_MUCOSA, np.uint8), np.array(beyond, np.uint8))


def _magenta(pixels: Pixels) -> int:
    """Pixels with more than a hint of it: the palette has none, and JPEG smears."""
    red, green, blue = (pixels[..., channel].astype(int) for channel in range(3))
    return int(((red - green > 70) & (blue - green > 70)).sum())


def _message_fields(field: FieldOfView) -> dict[str, Any]:
    return {
        "shape": field.shape.value,
        "box": field.box,
        "signal": (field.signal_width, field.signal_height),
        "outline": list(field.outline),
        "overlays": {overlay.kind.value: list(overlay.box) for overlay in field.overlays},
    }


def _tally(script: Script, *segments: SegmentMessage, frames: int = 20) -> Tally:
    tally = Tally()
    tally.add(script.field(**_message_fields(_field())))
    for _ in range(frames):
        tally.add(script.frame())
    for segment in segments:
        tally.add(segment)
    return tally


def _written(folder: Path, tally: Tally, frames: dict[int, Pixels]) -> dict[str, Pixels]:
    """The picture files, by name, decoded by FFmpeg, which did not write them."""
    write_pictures(folder, tally, summarize(tally), frames, None)
    return {file.name: rgb_pixels(picture_from_file(file)) for file in sorted(folder.glob("*.jpg"))}


def test_what_lies_beyond_the_field_is_on_no_picture(tmp_path: Path) -> None:
    script = Script()
    tally = _tally(script, script.segment(1, key_frame=5, key_frame_s=0.1))
    screen = _screen(_field())
    assert _magenta(screen) > 10_000
    pictures = _written(tmp_path, tally, dict.fromkeys(range(20), screen))
    assert set(pictures) == {"contact_sheet.jpg", "field.jpg"}
    assert {name: _magenta(pixels) for name, pixels in pictures.items()} == {
        "contact_sheet.jpg": 0,
        "field.jpg": 0,
    }
    brown = np.abs(pictures["contact_sheet.jpg"].astype(int) - _MUCOSA).max(axis=2) < 12
    assert brown.sum() > 20_000  # and the mucosa is there


def test_text_within_the_field_is_masked() -> None:
    field = _field(
        Overlay(OverlayKind.TEXT, 100, 100, 60, 20), Overlay(OverlayKind.SCOPE_GUIDE, 30, 90, 50, 50)
    )
    screen = _screen(field)
    screen[100:120, 100:160] = _MAGENTA
    cutout = cut_to_field(screen, field)
    assert _magenta(cutout.pixels) == 0
    assert not cutout.mask[95:105, 100:110].any()


def test_what_a_mask_head_marks_is_outlined_on_the_contact_sheet_and_nowhere_beyond_the_field(
    tmp_path: Path,
) -> None:
    script, field = Script(), _field()
    tally = _tally(script, script.segment(1, key_frame=5, key_frame_s=0.1))
    x, y, width, height = field.box
    left, top, right, bottom = x - 10.0, y + height / 4, x + width / 2, y + height * 3 / 4
    mask = msgspec.structs.replace(
        mask_result(), contours=[[(left, top), (right, top), (right, bottom), (left, bottom)]]
    )
    screen = np.full((240, 320, 3), _MUCOSA, np.uint8)
    folders = {name: tmp_path / name for name in ("plain", "marked")}
    for name, folder in folders.items():
        folder.mkdir()
        marked = {5: [mask]} if name == "marked" else {}
        write_pictures(folder, tally, summarize(tally), dict.fromkeys(range(20), screen), None, marked=marked)
    plain, outlined = (
        rgb_pixels(picture_from_file(folder / "contact_sheet.jpg")).astype(int) for folder in folders.values()
    )
    changed = np.abs(plain - outlined).max(axis=2) > 60
    assert changed.sum() > 200
    beside = np.abs(plain - np.array((17, 20, 24))).max(axis=2) < 12  # the panel around the field
    assert not (changed & beside).any()
    assert (outlined[changed][:, 2] > outlined[changed][:, 0]).mean() > 0.8  # bluer than red


def test_a_frame_of_another_size_than_its_field_is_refused() -> None:
    with pytest.raises(ValueError, match="320x240"):
        cut_to_field(np.zeros((480, 640, 3), np.uint8), _field())


def test_a_frame_of_another_size_than_its_field_is_left_out(tmp_path: Path) -> None:
    script = Script()
    tally = _tally(script, script.segment(1, key_frame=5, key_frame_s=0.1))
    large = np.full((480, 640, 3), _MAGENTA, np.uint8)
    pictures = _written(tmp_path, tally, dict.fromkeys(range(20), large))
    assert set(pictures) == {"contact_sheet.jpg", "field.jpg"}  # the latter with the geometry on black
    assert _magenta(pictures["contact_sheet.jpg"]) == _magenta(pictures["field.jpg"]) == 0


def _outside_head(script: Script) -> FrameMessage:
    labels = ("rectum", "outside")
    head = HeadResult(probabilities=shares(labels, 1), entropy=0.6, abstain=False)
    return script.frame(heads={"organ": head})


def _outside_state(script: Script) -> FrameMessage:
    held = SmoothedHead(posterior=shares(("rectum", "outside"), 1), tag="outside", since_s=0.0)
    return script.frame(smoothed={"organ": held})


@pytest.mark.parametrize("say", [_outside_head, _outside_state])
def test_a_frame_that_was_taken_for_outside_is_never_fetched(say: object) -> None:
    script = Script()
    tally = _tally(script, frames=0)
    for _ in range(9):
        tally.add(say(script))  # type: ignore[operator]
    tally.add(script.segment(1, "rectum", key_frame=4, key_frame_s=0.08))
    assert wanted_frames(tally) == {}


def test_segments_outside_of_the_body_have_no_picture(tmp_path: Path) -> None:
    """Also when the operator said so, and the networks took it for the inside."""
    script = Script()
    marked = script.segment(1, "outside", start_s=0.0, end_s=0.5, key_frame=5, key_frame_s=0.1, marked=True)
    tally = _tally(script, marked)
    assert wanted_frames(tally) == {}
    everywhere = np.full((240, 320, 3), _MAGENTA, np.uint8)
    pictures = _written(tmp_path, tally, dict.fromkeys(range(20), everywhere))
    assert set(pictures) == {"contact_sheet.jpg", "field.jpg"}  # the latter with the geometry on black
    assert _magenta(pictures["contact_sheet.jpg"]) == _magenta(pictures["field.jpg"]) == 0


def test_a_frame_without_a_field_has_no_picture() -> None:
    script = Script()
    tally = Tally()
    for _ in range(10):
        tally.add(script.frame(field=None))
    tally.add(script.segment(1, key_frame=5, key_frame_s=0.1))
    assert wanted_frames(tally) == {}


def test_a_key_frame_is_cut_to_the_field_of_its_own_time() -> None:
    script = Script()
    tally = Tally()
    for number, box in ((1, (0, 0, 100, 100)), (2, (50, 60, 200, 150))):
        tally.add(script.field(field=number, shape="rectangle", box=box, signal=(320, 240), overlays=[]))
        for _ in range(10):
            tally.add(script.frame(field=number))
    boxes = []
    for key_frame in (9, 10):
        shot = tally.shot_of(script.segment(1, key_frame=key_frame, key_frame_s=0.0))
        boxes.append(shot.field.box if shot else None)
    assert boxes == [(0, 0, 100, 100), (50, 60, 200, 150)]


def test_the_field_is_shown_on_the_judged_frame_closest_to_the_middle() -> None:
    script = Script()
    tally = _tally(script, frames=0)
    for number in range(100):
        tally.add(script.unusable() if 40 <= number < 59 else script.frame())
    shot = tally.middle_shot()
    assert shot is not None
    assert shot.frame == 59


def test_the_sheet_has_a_tile_for_every_segment_in_the_colour_of_its_grade() -> None:
    script = Script()
    colours = {0: (47, 143, 104), 1: (201, 150, 20), 2: (222, 104, 42), 3: (183, 40, 58)}
    for grade, colour in colours.items():
        segment = script.segment(1, mes_dominant=grade, mes_worst=grade)
        tile = draw_contact_sheet([segment], {}, _CAPTION)[258:]  # below time line and legend
        assert (tile == colour).all(axis=2).sum() > 500, grade
        others = [other for other in colours.values() if other != colour]
        assert not any((tile == other).all(axis=2).any() for other in others)


def test_a_segment_that_is_not_assessable_shows_no_grade() -> None:
    segment = Script().segment(1, assessable=False, mes_dominant=3, mes_worst=3)
    tile = draw_contact_sheet([segment], {}, _CAPTION)[258:]
    saturation = tile.max(axis=2).astype(int) - tile.min(axis=2)
    assert saturation.max() < 60


@pytest.mark.parametrize(("segments", "rows"), [(0, 1), (1, 1), (4, 1), (5, 2), (41, 10)])
def test_the_sheet_grows_by_rows_of_four_and_stays_legible(segments: int, rows: int) -> None:
    script = Script()
    many = [script.segment(number, start_s=number, end_s=number + 1) for number in range(1, segments + 1)]
    one = draw_contact_sheet([], {}, _CAPTION).shape[0]
    two = draw_contact_sheet([script.segment(n) for n in range(1, 9)], {}, _CAPTION).shape[0]
    assert draw_contact_sheet(many, {}, _CAPTION).shape[0] == one + (rows - 1) * (two - one)


def test_a_picture_of_any_shape_keeps_its_aspect() -> None:
    for width, height in ((400, 100), (60, 300)):
        cutout = Cutout(
            np.full((height, width, 3), _MUCOSA, np.uint8), np.full((height, width), 255, np.uint8)
        )
        sheet = draw_contact_sheet([Script().segment(1)], {1: cutout}, _CAPTION)
        brown = (np.abs(sheet.astype(int) - _MUCOSA).max(axis=2) < 4).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(brown)
        largest = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
        # The outline takes a pixel or two on each side.
        got = (largest[cv2.CC_STAT_WIDTH] + 3) / (largest[cv2.CC_STAT_HEIGHT] + 3)
        assert got == pytest.approx(width / height, rel=0.03)


def test_long_titles_and_foreign_letters_do_not_leave_the_sheet() -> None:
    caption = Caption("ä–漢字<>&%" * 60, "x" * 900, "y" * 900, 10.0)
    sheet = draw_contact_sheet([Script().segment(1, "z" * 300)], {}, caption)
    assert (sheet[:, -50:] == sheet[0, 0]).all()


@pytest.mark.parametrize(("seconds", "text"), [(3.25, "3.2 s"), (59.4, "59 s"), (90, "1 min 30 s")])
def test_lengths_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert length_text(seconds) == text


# Key frames: the number that is burnt into every picture is the truth.


def _times(path: Path) -> dict[int, float]:
    source = MediaSource(path)
    times = {frame.seq: round(frame.time_s, 3) for frame in source.frames()}
    source.close()
    return times


def _fetched(path: Path, numbers: tuple[int, ...]) -> dict[int, int | None]:
    times = _times(path)
    found = key_frames(path, {n: times[n] for n in numbers}, stream_s=times[len(times) - 1])
    return {number: barcode.read(pixels) for number, pixels in found.items()}


_WANTED = (0, 7, 24, 25, 43, 59)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {"options": {"g": "12", "bf": "2"}}),
        ("late.mkv", {"options": {"g": "25"}, "first_stamp": 777}),
        ("one_group.mp4", {"options": {"g": "600"}}),
        ("stills.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ("variable.mkv", {"stamps_ms": [40 * n + (n % 7) * 5 + (400 if n > 30 else 0) for n in range(60)]}),
        (
            "jump.mkv",
            {"stamps_ms": [40 * n + (60_000 if n > 30 else 0) for n in range(60)], "options": {"g": "6"}},
        ),
        ("transport.ts", {"options": {"g": "10"}}),
    ],
)
def test_key_frames_are_the_frames_that_were_judged(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    path = write_clip(tmp_path / name, frames=60, **options)  # type: ignore[arg-type]
    assert _fetched(path, _WANTED) == {number: number for number in _WANTED}


def test_key_frames_of_a_damaged_recording_keep_their_numbers(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "damaged.ts", frames=60, options={"g": "10"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 188 * 188
    content[middle : middle + 188 * 8] = bytes(188 * 8)
    path.write_bytes(content)
    source = MediaSource(path)
    truth = {frame.seq: number_in(frame.picture) for frame in source.frames()}
    source.close()
    assert len(truth) < 60
    last = max(truth)
    wanted = (3, last // 2, last - 1)
    assert _fetched(path, wanted) == {number: truth[number] for number in wanted}


def test_key_frames_come_from_a_recording_whose_tags_are_latin_1(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "tagged.mkv", frames=30)
    path.write_bytes(path.read_bytes().replace(b"Lavf", "Mül ".encode("latin-1")))
    assert _fetched(path, (3, 20)) == {3: 3, 20: 20}


def test_key_frames_are_deinterlaced_and_upright_like_the_judged_ones(tmp_path: Path) -> None:
    woven = write_clip(tmp_path / "woven.mpg", frames=30, codec="mpeg2video", prepare=interlaced)
    turned = write_clip(tmp_path / "turned.mp4", frames=30, rotation=90)
    for path in (woven, turned):
        source = MediaSource(path)
        judged = {frame.seq: rgb_pixels(frame.picture) for frame in source.frames() if frame.seq in (9, 20)}
        source.close()
        times = _times(path)
        found = key_frames(path, {n: times[n] for n in judged}, stream_s=times[29])
        assert {n: p.shape for n, p in found.items()} == {n: p.shape for n, p in judged.items()}
        for number, pixels in found.items():
            assert np.abs(pixels.astype(int) - judged[number]).mean() < 1.0, path.name


def test_frames_are_kept_in_a_file_without_a_name_and_come_back_to_the_last_bit(tmp_path: Path) -> None:
    smooth = numbered_pixels(7)
    noise = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    kept = KeptFrames(tmp_path)
    kept.keep(7, smooth)
    kept.keep(3, noise)
    assert list(kept) == [7, 3]
    assert np.array_equal(kept[7], smooth)
    assert np.array_equal(kept[3], noise)
    assert 5 not in kept
    assert list(tmp_path.iterdir()) == []


def test_of_many_segments_only_the_longest_cost_a_picture() -> None:
    script = Script()
    tally = _tally(script, frames=2 * MOST_SEGMENTS)
    for number in range(2 * MOST_SEGMENTS):
        seen = script.segment(
            number + 1, "rectum", start_s=0.0, end_s=1.0 + number, key_frame=number, key_frame_s=0.02 * number
        )
        tally.add(seen)
    longest = range(MOST_SEGMENTS, 2 * MOST_SEGMENTS)
    assert set(wanted_frames(tally)) - {tally.middle_shot().frame} <= set(longest)  # type: ignore[union-attr]
    assert len(set(wanted_frames(tally)) & set(longest)) == MOST_SEGMENTS


def test_no_frame_wanted_opens_nothing(tmp_path: Path) -> None:
    assert key_frames(tmp_path / "is not there.mp4", {}, stream_s=1.0) == {}


def test_the_clips_carry_the_number_they_are_made_of() -> None:
    assert barcode.read(numbered_pixels(41)) == 41

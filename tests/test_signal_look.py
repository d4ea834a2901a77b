"""What pictures say of the feed: planted weather in every pixel format, and everything that only resembles it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from scopeline.field_of_view import FieldOfView, Shape
from scopeline.notices import Signal
from scopeline.picture import Picture, Pixels, picture_as_from_card, picture_from_rgb
from scopeline.samples import Sampler
from scopeline.signal_look import SignalLook
from scopeline.simulation.procedure import KINDS, Disturbance, simulate_procedure
from scopeline.simulation.renderer import Renderer
from scopeline.sources.media import MediaSource

WIDTH, HEIGHT, FPS = 320, 256, 30
FORMATS = [
    "yuv420p", "yuvj422p", "yuv444p", "nv12", "nv21", "yuyv422", "uyvy422", "rgb24", "bgr24", "bgra",
    "gbrp", "yuv420p10le", "yuv422p10le", "p010le", "rgb48le",
]  # fmt: skip


@cache
def lively(count: int, *, seed: int = 0) -> list[Pixels]:
    """Moving reddish pictures with sensor noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 90, (14, 18, 3)).astype(np.uint8)
    ground = cv2.resize(small, (WIDTH + 200, HEIGHT), interpolation=cv2.INTER_CUBIC)
    pictures = []
    for index in range(count):
        moved = ground[:, 2 * index % 200 :][:, :WIDTH] + np.array([90, 50, 30])
        pictures.append(np.clip(moved + rng.normal(0, 2, moved.shape), 0, 255).astype(np.uint8))
    return pictures


def flat(colour: tuple[int, int, int]) -> Pixels:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def card_screen(colour: tuple[int, int, int], at: tuple[int, int] = (100, 130)) -> Pixels:
    pixels = flat(colour)
    cv2.putText(pixels, "NO SIGNAL", at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
    return pixels


def bars(*, smpte: bool = True) -> Pixels:
    colours = [
        (180, 180, 180),
        (180, 180, 16),
        (16, 180, 180),
        (16, 180, 16),
        (180, 16, 180),
        (180, 16, 16),
        (16, 16, 180),
    ]
    edges = np.linspace(0, WIDTH, len(colours) + 1).astype(int)
    pixels = flat((16, 16, 16))
    for colour, left, right in zip(colours, edges, edges[1:], strict=False):
        pixels[:, left:right] = colour
    if smpte:
        pixels[HEIGHT * 3 // 4 :] = cv2.resize(pixels[:1, ::-1], (WIDTH, HEIGHT - HEIGHT * 3 // 4))
        pixels[HEIGHT * 7 // 8 :] = 20
    return pixels


def seen(
    pictures: Iterable[Picture], field: FieldOfView | None = None, fps: float = FPS
) -> list[Signal | None]:
    look = SignalLook()
    return [look.look(picture, index / fps, field) for index, picture in enumerate(pictures)]


def as_card(pixels: Iterable[Pixels]) -> list[Picture]:
    return [picture_as_from_card(each) for each in pixels]


def converted(pixels: Iterable[Pixels], pixel_format: str) -> list[Picture]:
    return [picture_from_rgb(each).reformat(format=pixel_format) for each in pixels]


WEATHER: list[tuple[Signal, Callable[[], Pixels]]] = [
    (Signal.BLACK, lambda: flat((0, 0, 0))),
    (Signal.BLACK, lambda: flat((14, 14, 14))),
    (Signal.COLOUR_BARS, bars),
    (Signal.COLOUR_BARS, lambda: bars(smpte=False)),
    (Signal.NO_SIGNAL, lambda: flat((0, 0, 255))),
    (Signal.NO_SIGNAL, lambda: flat((0, 0, 130))),
    (Signal.NO_SIGNAL, lambda: card_screen((0, 0, 190))),
    (Signal.NO_SIGNAL, lambda: card_screen((0, 140, 0))),
    (Signal.NO_SIGNAL, lambda: card_screen((120, 120, 120))),
    (Signal.FROZEN, lambda: lively(1, seed=7)[0]),
]


@pytest.mark.parametrize(("weather", "shown"), WEATHER)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_weather_is_named_within_a_third_of_a_second_and_left_with_the_first_live_picture(
    weather: Signal, shown: Callable[[], Pixels], pixel_format: str
) -> None:
    before, there, after = (
        converted(each, pixel_format) for each in (lively(10), [shown()], lively(10, seed=1))
    )
    named = seen([*before, *there * 15, *after])
    assert named[:10] == [None] * 10
    assert set(named[10:25]) <= {None, weather}
    assert named[19] is weather  # 10 pictures of it: 0.3 s from the first to the last
    assert named[26:] == [None] * 9


@pytest.mark.parametrize(("weather", "shown"), WEATHER[:4] + WEATHER[-1:])
def test_weather_has_the_same_name_in_grey(weather: Signal, shown: Callable[[], Pixels]) -> None:
    pixels = [*lively(10), *[shown()] * 15, *lively(10, seed=1)]
    named = seen(converted(pixels, "gray"))
    grey = Signal.FROZEN if weather is Signal.COLOUR_BARS else weather  # bars need colours
    assert named[19] is grey
    assert named[26:] == [None] * 9


def test_one_black_picture_at_a_cut_is_no_weather() -> None:
    pixels = [*lively(10), flat((0, 0, 0)), *lively(10, seed=1)]
    assert seen(as_card(pixels)) == [None] * 21
    assert seen(as_card(pixels), fps=5) == [None] * 21


def test_a_slow_feed_is_named_at_the_second_or_third_picture() -> None:
    assert seen(as_card([*lively(5), *[flat((0, 0, 0))] * 3]), fps=5)[-2:] == [Signal.BLACK] * 2
    assert seen(as_card([*lively(5), *lively(1) * 3]), fps=5)[-1] is Signal.FROZEN


def test_a_text_that_jumps_about_does_not_make_a_card_screen_live() -> None:
    places = [(40 + 13 * index % 100, 40 + 29 * index % 180) for index in range(20)]
    named = seen(as_card([*lively(3), *[card_screen((20, 20, 150), at) for at in places]]))
    assert named[12:] == [Signal.NO_SIGNAL] * 11


def with_clock(pixels: Pixels, index: int) -> Pixels:
    ticking = pixels.copy()
    cv2.putText(ticking, f"{index:04d}", (4, 248), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return ticking


@pytest.mark.parametrize("field", [None, FieldOfView(1, Shape.RECTANGLE, 60, 8, 240, 220, WIDTH, HEIGHT)])
def test_a_clock_that_ticks_on_does_not_hide_a_freeze(field: FieldOfView | None) -> None:
    pixels = [*lively(10), *lively(1, seed=5) * 15]
    named = seen(as_card(with_clock(each, index) for index, each in enumerate(pixels)), field)
    assert named[:11] == [None] * 11
    assert named[19:] == [Signal.FROZEN] * 6


def test_a_moving_guide_beside_a_frozen_field_does_not_hide_the_freeze() -> None:
    moving, still = lively(25), lively(1, seed=5)[0]
    pixels = [each.copy() for each in moving]
    for each in pixels[10:]:
        each[:, 80:] = still[:, 80:]
    field = FieldOfView(1, Shape.RECTANGLE, 80, 0, 240, HEIGHT, WIDTH, HEIGHT)
    assert seen(as_card(pixels), field)[20:] == [Signal.FROZEN] * 5
    assert seen(as_card(pixels))[20:] == [None] * 5


def test_black_inside_the_field_is_black_whatever_is_written_around_it() -> None:
    pixels = flat((0, 0, 0))
    pixels[:, :70] = 90
    field = FieldOfView(1, Shape.RECTANGLE, 80, 8, 230, 240, WIDTH, HEIGHT)
    assert seen(as_card([pixels] * 10), field)[-1] is Signal.BLACK


@pytest.mark.parametrize("shown", [2, 3, 5])
def test_pictures_that_come_two_to_five_times_each_are_not_frozen(shown: int) -> None:
    pixels = [each for each in lively(20) for _ in range(shown)]
    assert set(seen(as_card(pixels), fps=30)) == {None}


def test_a_dark_picture_with_a_little_light_in_it_is_no_weather() -> None:
    dark = [np.asarray(each // 8, np.uint8) for each in lively(40)]
    for each in dark:
        cv2.circle(each, (150, 120), 40, (90, 60, 50), -1)
    rng = np.random.default_rng(4)
    noisy = [np.clip(each + rng.normal(2, 2, each.shape), 0, 255).astype(np.uint8) for each in dark]
    assert set(seen(as_card(noisy))) == {None}


@pytest.mark.parametrize(
    "colour", [(255, 255, 255), (245, 245, 245), (220, 20, 10), (160, 60, 40), (230, 150, 120)]
)
def test_white_and_the_reds_of_a_wall_are_no_weather(colour: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(4)
    noisy = [
        np.clip(flat(colour) + rng.normal(0, 1.5, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        for _ in range(30)
    ]
    assert set(seen(as_card(noisy))) == {None}
    assert Signal.NO_SIGNAL not in seen(as_card([flat(colour)] * 30))


def test_a_picture_burnt_out_to_the_last_pixel_repeats_and_is_not_frozen() -> None:
    assert set(seen([picture_from_rgb(flat((255, 255, 255)))] * 30)) == {None}


def encoded(pixels: Iterable[Pixels], *, crf: int, preset: str, tune: str | None = None) -> list[Picture]:
    """Through H.264 and back."""
    options: dict[str, object] = {"preset": preset, "crf": str(crf), "threads": "1"}
    if tune is not None:
        options["tune"] = tune
    box = io.BytesIO()
    with closing(av.open(box, "w", format="mpegts")) as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = options
        for each in pixels:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(each, format="rgb24")))
        out.mux(stream.encode())
    box.seek(0)
    with closing(av.open(box, "r")) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize(("preset", "tune"), [("ultrafast", "zerolatency"), ("medium", None)])
def test_a_freeze_before_an_encoder_is_named_once_the_encoder_has_settled(
    preset: str, tune: str | None
) -> None:
    pixels = [*lively(20), *lively(1, seed=5) * 60]
    named = seen(encoded(pixels, crf=23, preset=preset, tune=tune))
    assert named[:21] == [None] * 21
    assert named[-1] is Signal.FROZEN


@cache
def still_scope() -> list[Pixels]:
    procedure = replace(
        simulate_procedure(seed=3, fps=FPS, width=WIDTH, height=HEIGHT, duration_s=60), disturbances=()
    )
    first = int(procedure.static_stretches[0][0] * FPS)
    renderer = Renderer(procedure)
    return [renderer.render(first + index).copy() for index in range(90)]


def test_a_scope_held_still_is_not_frozen() -> None:
    assert set(seen(as_card(still_scope()))) == {None}


@pytest.mark.parametrize("crf", [18, 23, 28])
def test_a_scope_held_still_is_not_frozen_behind_an_encoder(crf: int) -> None:
    assert set(seen(encoded(still_scope(), crf=crf, preset="ultrafast", tune="zerolatency"))) == {None}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("freeze", "black")])
def test_what_spoils_a_picture_is_for_the_quality_head_and_no_weather(kind: str) -> None:
    procedure = simulate_procedure(seed=5, fps=FPS, width=WIDTH, height=HEIGHT, duration_s=60)
    spoilt = replace(procedure, disturbances=(Disturbance(kind, 20.2, 21.8),))
    renderer = Renderer(spoilt)
    assert set(seen(as_card(renderer.render(index).copy() for index in range(600, 660)))) == {None}


CLIPS = [
    "laparoscopy_round_border.mp4",
    "sinus_1080p_mjpeg.avi",
    "bagls_005.mp4",
    "larynx_hsv_1.gif",
    "polypgen_seq16.mp4",
]


@pytest.mark.parametrize("clip", CLIPS)
def test_no_picture_of_a_real_clip_is_weather(data_dir: Path, clip: str) -> None:
    look, source = SignalLook(), MediaSource(data_dir / "videos" / clip)
    try:
        assert {look.look(frame.picture, frame.time_s) for frame in source.frames()} == {None}
    finally:
        source.close()


def test_samples_of_every_format_show_the_same_colours() -> None:
    pixels = cv2.resize(lively(1)[0][::64, ::64], (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    picture = picture_from_rgb(np.asarray(pixels, np.uint8))
    wanted = Sampler().sample(picture).rgb().astype(int)
    for pixel_format in FORMATS:
        got = Sampler().sample(picture.reformat(format=pixel_format)).rgb().astype(int)
        rows, columns = min(len(wanted), len(got)), min(wanted.shape[1], got.shape[1])
        if pixel_format != "rgb48le":  # scaled, its points lie elsewhere
            assert np.median(np.abs(got[:rows, :columns] - wanted[:rows, :columns])) <= 3, pixel_format

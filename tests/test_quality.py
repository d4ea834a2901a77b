"""Quality, stage A: planted signal faults are refused, real video never is, and faults get their names."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from scopeline.degrade import degrade
from scopeline.picture import Pixels, Resizer, picture_from_file
from scopeline.prediction import Reason
from scopeline.quality import HardGate, QualityFeatures, name_fault


def reasons(pictures: Sequence[Pixels], fps: float = 25.0) -> list[Reason | None]:
    gate = HardGate()
    return [gate.check(pixels, index / fps) for index, pixels in enumerate(pictures)]


def noise(mean: float, spread: float, count: int = 3, size: int = 128) -> list[Pixels]:
    rng = np.random.default_rng(1)
    pictures = rng.normal(mean, spread, (count, size, size, 3))
    return list(np.clip(pictures, 0, 255).astype(np.uint8))


def texture(size: int = 128, seed: int = 0) -> Pixels:
    """A reddish still of slow shade and fine grain."""
    rng = np.random.default_rng(seed)
    shade = cv2.resize(rng.random((7, 7)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    picture = np.array([185.0, 100.0, 75.0]) * (0.6 + 0.5 * shade[..., None]) + rng.normal(
        0, 6, (size, size, 3)
    )
    pixels: Pixels = np.clip(picture, 0, 255).astype(np.uint8)
    return pixels


def moving(count: int, size: int = 128) -> list[Pixels]:
    """A slow pan of one pixel per frame."""
    wide = texture(size + count)
    return [np.ascontiguousarray(wide[:size, shift : shift + size]) for shift in range(count)]


def bars(colours: Sequence[tuple[int, int, int]], size: int = 128) -> Pixels:
    picture = np.zeros((size, size, 3), np.uint8)
    edges = np.linspace(0, size, len(colours) + 1).round().astype(int)
    for colour, left, right in zip(colours, edges, edges[1:], strict=False):
        picture[:, left:right] = colour
    return picture


EBU = [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191)]


def smpte(size: int = 128) -> Pixels:
    """SMPTE EG 1: seven bars over two thirds, a reversed strip, and the black-and-white strip below."""
    picture = bars(EBU, size)
    picture[size * 2 // 3 :] = bars([(0, 0, 191), (19, 19, 19), (191, 0, 191), (19, 19, 19)], size)[0]
    picture[size * 3 // 4 :] = bars([(0, 33, 76), (255, 255, 255), (50, 0, 106), (19, 19, 19)], size)[0]
    return picture


def through_h264(pictures: Sequence[Pixels], **options: str) -> list[Pixels]:
    """The pictures after a trip through an H.264 encoder and decoder, cropped as the engine crops."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = pictures[0].shape[0]
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "x264-params": "threads=1", **options}
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    memory.seek(0)
    resizer = Resizer(128, 128)
    with av.open(memory, "r") as container:
        return [resizer(frame) for frame in container.decode(video=0)]


def frames_of(clip: Path) -> Iterator[tuple[float, Pixels]]:
    resizer = Resizer(128, 128)
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            yield float(frame.time or 0.0), resizer(frame)


def test_a_black_picture_is_refused_with_and_without_noise() -> None:
    assert reasons(noise(0, 0)) == [Reason.BLACK] * 3
    assert reasons(noise(12, 4)) == [Reason.BLACK] * 3


def test_a_white_picture_is_refused() -> None:
    assert reasons(noise(250, 3)) == [Reason.WHITE] * 3


def test_a_dark_picture_with_a_lit_spot_is_not_black() -> None:
    picture = np.full((128, 128, 3), 6, np.uint8)
    picture[40:70, 40:70] = 90
    assert reasons([picture]) == [None]


@pytest.mark.parametrize("picture", [bars(EBU), smpte(), bars(EBU[1:6]), bars(EBU, 224)])
def test_colour_bars_are_refused(picture: Pixels) -> None:
    assert reasons([picture]) == [Reason.COLOUR_BARS]


def test_colour_bars_are_refused_after_h264() -> None:
    large = np.asarray(cv2.resize(smpte(512), (512, 512)), np.uint8)
    assert reasons(through_h264([large] * 4, crf="28"))[0] is Reason.COLOUR_BARS


def test_grey_stripes_are_no_colour_bars() -> None:
    assert reasons([bars([(level, level, level) for level in (20, 80, 140, 200, 240)])]) == [None]


def test_a_smooth_wall_is_no_colour_bars() -> None:
    ramp = np.linspace(60, 200, 128)[None, :, None] * np.array([1.0, 0.5, 0.4])
    assert reasons([np.repeat(ramp, 128, axis=0).astype(np.uint8)]) == [None]


def test_a_freeze_is_refused_after_its_first_moments_and_forgotten_when_it_ends() -> None:
    said = reasons([*moving(20), *[texture(seed=9)] * 25, *moving(5)])
    assert said[:31] == [None] * 31  # 20 moving, then 0.4 s = 10 repeats after the first still frame
    assert said[31:45] == [Reason.FROZEN] * 14
    assert said[45:] == [None] * 5


@pytest.mark.parametrize(
    "options",
    [{"crf": "18"}, {"crf": "28"}, {"crf": "23", "preset": "ultrafast", "tune": "zerolatency", "g": "10"}],
    ids=["crf18", "crf28", "zerolatency"],
)
def test_a_freeze_is_refused_after_h264(options: dict[str, str]) -> None:
    said = reasons(through_h264([*moving(20, 256), *[texture(256, seed=9)] * 40], **options))
    assert said[:29] == [None] * 29
    assert sum(reason is Reason.FROZEN for reason in said[32:]) >= 24


@pytest.mark.parametrize("crf", ["20", "23"])
def test_a_scope_held_still_is_not_frozen_even_after_h264(crf: str) -> None:
    wide, held = texture(264, seed=9).astype(np.float32), []
    for index in range(60):  # a tremor of a third of a pixel, as a hand has it, and sensor noise
        shift = np.array([[1, 0, -4 + 0.33 * np.sin(index * 0.36)], [0, 1, -4 + 0.2 * np.cos(index * 0.29)]])
        view = cv2.warpAffine(wide, shift, (256, 256), flags=cv2.INTER_CUBIC)
        view = view + np.random.default_rng(index).normal(0, 2, view.shape)
        held.append(np.clip(view, 0, 255).astype(np.uint8))
    assert sum(reason is Reason.FROZEN for reason in reasons(through_h264(held, crf=crf), fps=30)) <= 2


def test_a_slow_movement_with_every_frame_doubled_is_not_frozen() -> None:
    wide = np.asarray(cv2.resize(texture(96), (384, 384), interpolation=cv2.INTER_CUBIC), np.uint8)
    views = [
        np.asarray(cv2.resize(wide[:, n : n + 320], (128, 128), interpolation=cv2.INTER_AREA), np.uint8)
        for n in range(30)
    ]
    assert reasons([view for view in views for _ in range(2)], fps=60) == [None] * 60


def test_the_repeated_frames_of_a_25_to_30_conversion_are_not_frozen() -> None:
    sixths = [[*group, group[-1]] for group in np.array(moving(50)).reshape(10, 5, 128, 128, 3)]
    assert reasons([frame for group in sixths for frame in group], fps=30) == [None] * 60


def test_one_repeated_frame_is_not_frozen_even_in_a_slow_stream() -> None:
    pictures = moving(6)
    assert reasons([pictures[0], pictures[1], pictures[1], pictures[2]], fps=1.0) == [None] * 4


def test_a_slow_pan_is_not_frozen() -> None:
    assert reasons(moving(60), fps=60) == [None] * 60


def test_a_change_of_the_crop_size_starts_the_watch_anew() -> None:
    said = reasons([*[texture(128)] * 20, *[texture(224)] * 5])
    assert said[19] is Reason.FROZEN
    assert said[20:] == [None] * 5


def test_the_gate_never_writes_into_the_frame_nor_keeps_it() -> None:
    picture = texture()
    before = picture.copy()
    gate = HardGate()
    gate.check(picture, 0.0)
    np.testing.assert_array_equal(picture, before)
    picture[:] = moving(1)[0]  # the engine may reuse its buffer
    assert [gate.check(picture, 0.04 * (index + 1)) for index in range(3)] == [None] * 3


def test_no_frame_of_the_real_clips_is_refused(data_dir: Path) -> None:
    clips = sorted(
        each for each in (data_dir / "videos").iterdir() if each.suffix in (".mp4", ".avi", ".gif")
    )
    assert len(clips) >= 20
    for clip in clips:
        gate = HardGate()
        said = {gate.check(pixels, time_s) for time_s, pixels in frames_of(clip)}
        assert said == {None}, clip.name


def test_features_of_a_plain_grey_picture_are_known() -> None:
    features = QualityFeatures(np.full((112, 112, 3), 100, np.uint8))
    assert (features.grey_p50, features.grey_p99, features.specular_share) == (100, 100, 0)
    assert features.red_share == pytest.approx(1 / 3, abs=1e-3)


def test_the_shiny_share_counts_what_was_planted() -> None:
    picture = np.full((112, 112, 3), 100, np.uint8)
    picture[-14:] = 252  # an eighth
    features = QualityFeatures(picture)
    assert features.specular_share == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("value", "least", "share"), [(221, 170, 1), (221, 169, 0), (220, 219, 0), (255, 195, 0)]
)
def test_shiny_begins_where_saturation_and_value_say(value: int, least: int, share: int) -> None:
    assert (value > 220 and round(255 * (value - least) / value) < 60) is bool(share)  # by the formula
    assert QualityFeatures(np.full((112, 112, 3), (value, value, least), np.uint8)).specular_share == share


def test_sharpness_features_agree_with_numpy() -> None:
    grey = texture(112)[..., 1]
    picture = np.repeat(grey[..., None], 3, axis=2)
    padded = np.pad(grey.astype(float), 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4.0 * grey
    assert QualityFeatures(picture).log_laplacian == pytest.approx(np.log(laplacian.var()), abs=0.01)


def test_stripes_are_anisotropic_and_grain_is_not() -> None:
    stripes = np.zeros((112, 112, 3), np.uint8)
    stripes[:, ::8] = 200
    assert QualityFeatures(stripes).anisotropy > 0.95
    assert QualityFeatures(noise(120, 30, 1, 112)[0]).anisotropy < 0.1


def test_crops_of_any_size_are_measured_alike() -> None:
    small = QualityFeatures(texture(112))
    large = QualityFeatures(np.repeat(np.repeat(texture(112), 2, axis=0), 2, axis=1))
    for feature in (
        "log_laplacian", "log_tenengrad", "grey_p50", "grey_p99",
        "specular_share", "anisotropy", "reblur_ratio", "red_share",
    ):  # fmt: skip
        assert getattr(large, feature) == getattr(small, feature)


def named(pixels: Pixels) -> Reason:
    return name_fault(QualityFeatures(pixels))


def test_planted_faults_get_their_name() -> None:
    picture, rng = texture(), np.random.default_rng(2)
    assert named(np.asarray(picture * 0.2, np.uint8)) is Reason.DARK
    assert named(np.clip(picture * 2.9, 0, 255).astype(np.uint8)) is Reason.OVEREXPOSED
    assert named(degrade("glare", picture, rng, 0.5)) is Reason.GLARE
    assert named(degrade("red_out", picture, rng, 0.5)) is Reason.RED_OUT
    assert named(picture) is Reason.UNSCORABLE


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("gaussian_blur", Reason.BLURRED),
        ("motion_blur", Reason.BLURRED),
        ("defocus", Reason.BLURRED),
        ("glare", Reason.GLARE),
        ("red_out", Reason.RED_OUT),
    ],
)
def test_faults_planted_in_real_pictures_are_mostly_named_right(
    data_dir: Path, family: str, name: Reason
) -> None:
    rng = np.random.default_rng(6)
    right = 0
    for path in sorted((data_dir / "images" / "mes" / "2").iterdir())[:40]:
        picture = Resizer(128, 128, (43, 43, 170, 170))(picture_from_file(path))
        right += named(degrade(family, picture, rng, float(rng.uniform(0.2, 1.0)))) is name
    assert right >= 32

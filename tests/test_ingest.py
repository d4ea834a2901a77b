"""Ingest: frames in patient folders, a sheet that can be read back, nothing of what a screen says of the patient."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from generated_sets import scene
from media_clips import FPS, write_clip

pytest.importorskip("torch", reason="training needs scopeline[training]")

from scopeline.errors import ConfigError, SourceError
from scopeline.picture import Pixels, picture_from_file, rgb_pixels
from scopeline_training.catalogue import Catalogue
from scopeline_training.commands import ingest as ingest_command
from scopeline_training.data_sets import read_catalogue
from scopeline_training.ingest import COLUMNS, Ingested, IngestPlan, ingest
from scopeline_training.layouts.plans import Sheet

SECONDS = 4
DISC = (240, 132, 100)
"""Centre and radius of the round field on the 384x264 screen."""


def screens(seed: int) -> Iterator[Pixels]:
    """A round view that moves a little, with a patient's name beside it."""
    wall = cv2.resize(scene(seed, 64), (440, 320), interpolation=cv2.INTER_CUBIC)
    for number in range(SECONDS * FPS):
        screen = np.zeros((264, 384, 3), np.uint8)
        disc = np.zeros((264, 384), np.uint8)
        cv2.circle(disc, DISC[:2], DISC[2], 1, -1)
        left = number % 40
        screen[disc == 1] = np.asarray(wall, np.uint8)[20:284, left : left + 384][disc == 1]
        cv2.putText(screen, "DOE JANE", (4, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
        yield screen


def clip(folder: Path, seed: int) -> Path:
    return write_clip(folder / f"Doe_Jane_{seed}.mp4", pixels=screens(seed))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return [clip(folder, seed) for seed in (1, 2)]


def read_back(out: Path, sheet: str = "labels.csv") -> Catalogue:
    return read_catalogue(Sheet(root=str(out), head="organ", sheet=sheet))


def test_frames_lie_in_patient_folders_at_the_asked_times(recordings: list[Path], tmp_path: Path) -> None:
    done = list(ingest(recordings, tmp_path, IngestPlan(every_s=0.5, organ="ear", camera="Storz", round=2)))
    assert done == [Ingested("Ear_p_1", 2 * SECONDS, 0), Ingested("Ear_p_2", 2 * SECONDS, 0)]
    catalogue = read_back(tmp_path)
    first = catalogue.samples[0]
    assert catalogue.names[:2] == ("Ear_p_1/Ear_p_1_000001.jpg", "Ear_p_1/Ear_p_1_000002.jpg")
    assert (first.labels["organ"], first.camera, first.round, first.group) == ("ear", "Storz", 2, "Ear_p_1")
    assert {sample.group for sample in catalogue.samples} == {"Ear_p_1", "Ear_p_2"}


@pytest.mark.parametrize("sheet", ["labels.csv", "labels.xlsx"])
def test_the_sheet_has_the_six_columns_of_study_5_first(
    recordings: list[Path], tmp_path: Path, sheet: str
) -> None:
    list(ingest(recordings[:1], tmp_path, IngestPlan(organ="nose"), sheet=sheet))
    assert COLUMNS[:6] == ("path", "camera", "quality", "organ", "round", "split")
    assert len(read_back(tmp_path, sheet)) == SECONDS


def test_the_name_on_the_screen_and_in_the_file_name_stays_behind(
    recordings: list[Path], tmp_path: Path
) -> None:
    list(ingest(recordings[:1], tmp_path, IngestPlan(organ="ear")))
    y, x = np.mgrid[0:264, 0:384]
    beyond = np.hypot(x - DISC[0], y - DISC[1]) > DISC[2] + 6
    for path in tmp_path.rglob("*.jpg"):
        pixels = rgb_pixels(picture_from_file(path))
        assert pixels[beyond].max() < 24, "JPEG's own ringing at the rim is darker"
        assert pixels[~beyond].mean() > 60
    everything = "".join(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert "Doe" not in everything + (tmp_path / "labels.csv").read_text()


def test_a_dark_recording_without_a_field_is_refused_frame_by_frame(tmp_path: Path) -> None:
    dark = write_clip(
        tmp_path / "dark.mp4", pixels=(np.zeros((264, 384, 3), np.uint8) for _ in range(2 * FPS))
    )
    (done,) = ingest([dark], tmp_path / "out", IngestPlan(every_s=0.5))
    assert (done.written, done.refused) == (0, 4)
    assert not list((tmp_path / "out").rglob("*.jpg"))


def test_a_sheet_is_continued_and_a_persons_labels_stay(recordings: list[Path], tmp_path: Path) -> None:
    plan = IngestPlan(organ="ear")
    list(ingest(recordings[:1], tmp_path, plan))
    sheet = tmp_path / "labels.csv"
    sheet.write_text(sheet.read_text().replace(",,ear", ",good,ear", 1))
    (done,) = ingest(recordings[1:], tmp_path, plan)
    assert done.patient == "Ear_p_2"
    catalogue = read_back(tmp_path)
    assert [sample.quality for sample in catalogue.samples] == ["good", *[None] * (2 * SECONDS - 1)]
    with pytest.raises(ConfigError, match="leave it out, or choose another folder"):
        list(ingest(recordings[:1], tmp_path, plan))


def test_wrong_wishes_are_refused_before_anything_is_written(recordings: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one word"):
        IngestPlan(organ="../ear")
    with pytest.raises(ConfigError, match="seconds between frames"):
        IngestPlan(every_s=-1)
    with pytest.raises(ConfigError, match=r"ends in .csv or .xlsx"):
        list(ingest(recordings, tmp_path / "out", IngestPlan(), sheet="labels.ods"))
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(SourceError):
        list(ingest([text], tmp_path / "out", IngestPlan()))


def test_the_command_says_what_it_wrote(
    recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest_command(
        recordings[:1], tmp_path, every_s=2.0, organ="ear", camera="", collection=1, sheet="labels.csv"
    )
    told = capsys.readouterr().out
    assert "Ear_p_1: 2 frames" in told
    assert "labels.csv" in told

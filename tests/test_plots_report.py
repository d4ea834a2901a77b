"""Plots and report: written without a screen, complete, self-contained, and stamped where the data was refused."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from openpyxl import load_workbook
from sklearn.metrics import roc_auc_score

from scopeline.errors import SinkError
from scopeline.picture import Pixels
from scopeline_training import plots
from scopeline_training.answers import Answers
from scopeline_training.figures import Figure
from scopeline_training.mask_scores import MaskAnswers
from scopeline_training.picture_grids import mask_grid, outlined, prediction_grid
from scopeline_training.plot_style import png
from scopeline_training.report import USE, write_report
from scopeline_training.report_table import Table, write_csv, write_workbook
from scopeline_training.run_record import RunRecord, split_rows
from scopeline_training.shortcut_probes import ProbeVerdict
from test_answers_scores import some_answers, some_masks

HISTORY = {
    "train_loss": [0.9, 0.6, 0.5, 0.4],
    "val_loss": [1.0, 0.7, 0.6, 0.65],
    "val_accuracy of class": [0.5, float("nan"), 0.7, 0.8],
}
REASON = "The border alone tells a label with AUROC 1.000 (limit 0.65)."
REFUSED = ProbeVerdict(True, (REASON,), {"border": 1.0, "thumbnail": 0.712}, "class", "none")
PASSED = ProbeVerdict(False, (), {"border": 0.5, "thumbnail": 0.712}, "class", "inscribed")


def a_picture(name: str) -> Pixels:
    rng = np.random.default_rng(int(name.split(".")[0]))
    return np.full((24, 24, 3), rng.integers(0, 255, 3), np.uint8)


def a_run(answers: Answers, *probes: ProbeVerdict) -> RunRecord:
    parts = {"train": np.arange(50), "test": np.arange(50, len(answers))}
    return RunRecord(
        title="four labels <b>",
        command="scopeline train four.toml",
        seed=11,
        data="240 numbers drawn for a test",
        data_sha256="d" * 64,
        recipe='name = "four"\n',
        probes=probes,
        split=split_rows(parts, answers.truth, answers.groups, answers.labels),
        notes=("The licence is CC0.",),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one whole report."""
    folder = tmp_path_factory.mktemp("report") / "new"
    answers = some_answers(120)
    write_report(
        folder, a_run(answers, REFUSED), [answers], masks=[some_masks()], history=HISTORY, picture_of=a_picture
    )  # fmt: skip
    return folder


def lines_of(plot: object) -> list[str]:
    """The legend's lines: one per curve."""
    legends = plot.legends  # type: ignore[attr-defined]
    return [text.get_text() for text in legends[0].get_texts()]


def test_four_labels_give_four_curves_against_the_rest_and_six_against_one() -> None:
    answers = some_answers(labels=4)
    rest, one = plots.roc_one_vs_rest(answers), plots.roc_one_vs_one(answers)
    assert len(lines_of(rest)) == 4 + 1  # and the line of no skill
    assert len(lines_of(one)) == 6 + 1


def test_the_area_of_a_pair_is_told_on_the_pictures_of_that_pair() -> None:
    answers = some_answers(labels=3)
    either = answers.truth != 2
    share = answers.probabilities[either, 0] / answers.probabilities[either][:, :2].sum(axis=1)
    wanted = roc_auc_score(answers.truth[either] == 0, share)
    assert f"a - b  {wanted:.3f}" in lines_of(plots.roc_one_vs_one(answers))


def test_of_many_pairs_the_worst_are_shown_and_the_rest_is_counted() -> None:
    plot = plots.roc_one_vs_one(some_answers(400, 8))
    assert len(lines_of(plot)) == plots.MOST_PAIRS + 1
    assert "13 better" in plot.legends[0].get_title().get_text()


def test_two_labels_have_one_curve() -> None:
    assert len(lines_of(plots.roc_one_vs_rest(some_answers(labels=2)))) == 1 + 1


def test_precision_and_recall_come_with_the_line_of_no_skill() -> None:
    answers = some_answers(labels=3)
    plot = plots.precision_recall(answers)
    flat = [float(line.get_ydata()[0]) for line in plot.axes[0].lines if len(set(line.get_ydata())) == 1]  # type: ignore[arg-type, index]
    assert flat == pytest.approx(answers.prevalence.tolist())
    assert all("no skill" in line for line in lines_of(plot))


def test_training_curves_put_train_and_val_into_one_panel() -> None:
    plot = plots.training_curves(HISTORY)
    assert [axes.get_title(loc="left") for axes in plot.axes] == ["loss", "accuracy of class"]
    loss = {str(line.get_label()): line for line in plot.axes[0].lines}
    assert np.allclose(loss["train"].get_ydata(), HISTORY["train_loss"])
    assert np.allclose(loss["lowest val loss (3)"].get_xdata(), 3)


def test_a_label_without_pictures_and_one_kind_alone_are_drawn_all_the_same() -> None:
    answers = some_answers(60, 3)
    rare = answers.take(answers.truth != 2)
    alone = answers.take(answers.truth == 0)
    for drawn in (rare, alone):
        for draw in (plots.confusion_matrix, plots.roc_one_vs_rest, plots.calibration):
            assert png(draw(drawn), 40).startswith(b"\x89PNG")


def test_a_plot_is_the_same_bytes_every_time() -> None:
    answers = some_answers(60, 2)
    assert png(plots.calibration(answers), 40) == png(plots.calibration(answers), 40)


def test_the_prediction_grid_shows_random_pictures_and_the_surest_mistakes() -> None:
    answers = some_answers(80, 2)
    plot = prediction_grid(answers, a_picture)
    titles = [text.get_text() for text in plot.texts]
    wrong = int((answers.said != answers.truth).sum())
    assert titles == [
        "class, test: 12 pictures drawn at random",
        f"class, test: the 12 surest of {wrong} mistakes",
    ]


def test_the_mask_grid_outlines_the_true_and_the_said_area() -> None:
    truth, said = np.zeros((24, 24), bool), np.zeros((24, 24), bool)
    truth[2:10, 2:10] = True
    said[14:20, 14:20] = True
    drawn = outlined(np.zeros((24, 24, 3), np.uint8), truth, said)
    assert tuple(drawn[2, 5]) == (0xF0, 0xE4, 0x42)
    assert tuple(drawn[14, 16]) == (0x56, 0xB4, 0xE9)
    assert not drawn[5, 5].any()
    masks = MaskAnswers(
        ("1", "2"), np.array([0, 1]), np.stack([truth] * 2), np.stack([said] * 2), "polyp", "val"
    )
    assert len(mask_grid(masks, a_picture).axes) == 2


def test_every_promised_file_is_written(written: Path) -> None:
    tables = {
        "overall_class-test", "labels_class-test", "confusion_class-test", "predictions_class-test",
        "masks_polyp-val", "mask_pictures_polyp-val", "history", "run", "split",
    }  # fmt: skip
    pictures = {
        "confusion_class-test", "roc_rest_class-test", "roc_one_class-test", "pr_class-test",
        "calibration_class-test", "grid_class-test", "grid_polyp-val", "curves",
    }  # fmt: skip
    wanted = {"report.html", "report.pdf", "run.json", "tables.xlsx"}
    wanted |= {f"{table}.csv" for table in tables} | {f"{picture}.png" for picture in pictures}
    assert {path.name for path in written.iterdir()} == wanted
    assert set(load_workbook(written / "tables.xlsx").sheetnames) == tables
    assert all(cv2.imread(str(written / f"{picture}.png")) is not None for picture in pictures)


def test_the_page_needs_nothing_but_itself(written: Path) -> None:
    page = (written / "report.html").read_text("utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{1,40})', page)
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#s")) for source in sources)
    assert "four labels &lt;b&gt;" in page


def test_the_page_says_what_was_run_and_what_it_is_for(written: Path) -> None:
    page = (written / "report.html").read_text("utf-8")
    answers = some_answers(120)
    commonest = f"{answers.prevalence.max():.1%}"
    for wanted in (
        USE, "scopeline train four.toml", "d" * 64, "torch 2", "looking at nothing", commonest, "AUROC 0.712",
        "The licence is CC0.", "name = &#34;four&#34;",
    ):  # fmt: skip
        assert wanted in page, wanted


def test_a_refused_set_is_stamped_on_the_page_and_in_the_document(written: Path) -> None:
    page = (written / "report.html").read_text("utf-8")
    assert page.count('<div class="stamp">') == 1
    assert REASON in page
    assert (written / "report.pdf").read_bytes().startswith(b"%PDF")


def test_a_set_that_passed_bears_no_stamp(tmp_path: Path) -> None:
    answers = some_answers(60, 2)
    page = write_report(tmp_path, a_run(answers, PASSED), [answers]).read_text("utf-8")
    assert '<div class="stamp">' not in page
    assert "passed" in page


def test_the_split_table_counts_pictures_and_groups(written: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((written / "split.csv").read_text("utf-8"))))
    answers = some_answers(120)
    first = answers.truth[:50] == 0
    assert rows[0] == {
        "part": "train", "label": "a", "pictures": str(first.sum()),
        "groups": str(len(np.unique(answers.groups[:50][first]))),
    }  # fmt: skip
    assert sum(int(row["pictures"]) for row in rows) == 120


def test_the_record_can_be_read_back(written: Path) -> None:
    record = msgspec.json.decode((written / "run.json").read_bytes(), type=RunRecord)
    answers = some_answers(120)
    assert record == replace_versions(a_run(answers, REFUSED), record)


def replace_versions(run: RunRecord, like: RunRecord) -> RunRecord:
    """The code may have been saved in between: its hash is not what is tested."""
    return msgspec.structs.replace(run, code_sha256=like.code_sha256)


def test_a_figure_is_three_cells_to_a_machine_and_no_number_is_an_empty_one(tmp_path: Path) -> None:
    table = Table(
        "t", "T", ("name", "F1"), (("a", Figure("F1", 0.5, 0.25, 0.75)), ("b", None), ("c", float("nan")))
    )
    rows = list(csv.reader(io.StringIO(write_csv(table, tmp_path).read_text("utf-8"))))
    assert rows == [
        ["name", "F1", "F1 low", "F1 high"], ["a", "0.5", "0.25", "0.75"], ["b", "", "", ""], ["c", "", "", ""],
    ]  # fmt: skip


def test_a_name_that_looks_like_a_formula_stays_a_name(tmp_path: Path) -> None:
    write_workbook([Table("t", "T", ("name",), (("=1+1",),))], tmp_path / "t.xlsx")
    cell = load_workbook(tmp_path / "t.xlsx")["t"]["A2"]
    assert (cell.value, cell.data_type) == ("=1+1", "s")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answers = replace(some_answers(60, 2), split="x")
    with pytest.raises(SinkError, match="cannot write the report"):
        write_report(tmp_path / "file" / "below", a_run(answers), [answers])

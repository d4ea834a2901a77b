"""Colon: openly licensed real images, and the run that turns them into the `colon` bundle.

Only files whose licence the recipe names are read. What the labels rest on is told in the bundle's card.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from scopeline.degrade import FAMILIES, degrade
from scopeline.errors import ConfigError
from scopeline.picture import Pixels, picture_from_file
from scopeline.prediction import Reason
from scopeline.quality import QualityFeatures, name_fault
from scopeline.sources.media import MediaSource
from scopeline_training.bundle_writer import Provenance, save_network
from scopeline_training.card import figures_table, write_card
from scopeline_training.evaluation import fit_temperatures, report_heads
from scopeline_training.examples import UNKNOWN, Examples, join
from scopeline_training.figures import auroc_figure, table_figures
from scopeline_training.fit import fit, predict
from scopeline_training.fold_answers import write_fold_answers
from scopeline_training.folds import grouped_folds, part_off
from scopeline_training.look_alikes import group_look_alikes, perceptual_hash
from scopeline_training.outside import outside_picture
from scopeline_training.probes import border_ring, probe, thumbnail
from scopeline_training.recipe import ColonData, InputPlan, Recipe
from scopeline_training.seeing import see_clip, see_still

DATA_VARIABLE = "SCOPELINE_DATA"
HYPERKVASIR_ASPECT = 1.25
"""The images come squashed to a square; their screens were mostly 5:4 (720x576 and 1280x1024)."""
RECORDING_OF_GRADE_0 = "one recording"
FOLDERS = ("mes", "gi_disease/polyps", "gi_disease/hemorrhoids")
GRADES = ("0", "1", "2", "3")
HEADS = {"quality": 2, "organ": 2, "mes": 4}
"""Labels of each question that the data answer."""
SHARP_ENOUGH = 4.0
"""Log variance of the Laplacian that a clip's frame needs to count as good; the stills' median is 4.8."""
KEPT_APART = 1 / 6
"""Share of the groups that the shipped network never sees: temperatures and the quality suite use it."""


def data_folder() -> Path:
    """The folder of images and clips, from the environment variable SCOPELINE_DATA.

    Raises:
        ConfigError: the variable is not set or the folder has no manifest.csv.
    """
    folder = Path(os.environ.get(DATA_VARIABLE, ""))
    if not os.environ.get(DATA_VARIABLE) or not (folder / "manifest.csv").is_file():
        raise ConfigError(
            f"wanted a data folder with manifest.csv (see training/README.md), got {str(folder)!r}; "
            f"set {DATA_VARIABLE}"
        )
    return folder


def colon_examples(root: Path, recipe: Recipe) -> Examples:
    """Every usable image and clip, and synthetic pictures of the outside. The same call gives the same examples.

    Targets are numbered as in the recipe: quality bad, good; organ outside, colon; mes 0..3. Groups are
    look-alike clusters, clips and recordings.
    """
    data, plan = _colon_data(recipe), recipe.input
    rows = _manifest(root, data.licences)
    stills = [row for row in rows if _is_used_still(row)]
    clips = [row for row in rows if row["task"] == "video" and row["dataset"] == "PolypGen"]
    pixels = [_see_hyperkvasir(root / row["path"], plan) for row in stills]
    keys = [RECORDING_OF_GRADE_0 if row["label"] == "0" else Path(row["path"]).stem for row in stills]
    quality, mes = [1] * len(stills), [_grade(row) for row in stills]
    names = [row["path"] for row in stills]
    for row in clips:
        with_clip = _see_clip(root / row["path"], plan)[:: data.every_nth_frame]
        pixels += list(with_clip)
        keys += [row["path"]] * len(with_clip)
        mes += [UNKNOWN] * len(with_clip)
        quality += [1 if _looks_good(each) else UNKNOWN for each in with_clip]
        names += [f"{row['path']} frame {number * data.every_nth_frame}" for number in range(len(with_clip))]
    inside = Examples(
        np.stack(pixels),
        {
            "quality": np.array(quality, np.int64),
            "organ": np.ones(len(pixels), np.int64),
            "mes": np.array(mes, np.int64),
        },
        group_look_alikes(map(perceptual_hash, pixels), keys),
        tuple(names),
    )
    return join([inside, _outside(data.outside_pictures, plan, recipe.seed)])


def data_hash(root: Path, data: ColonData) -> str:
    """Hash over the sorted (path, sha256) of every file that is read."""
    rows = _manifest(root, data.licences)
    used = sorted(
        (row["path"], row["sha256"])
        for row in rows
        if _is_used_still(row) or (row["task"] == "video" and row["dataset"] == "PolypGen")
    )
    return hashlib.sha256(msgspec.json.encode(used)).hexdigest()


def strata(examples: Examples) -> NDArray[np.int64]:
    """(N,) what folds are balanced by: 0-3 the grade, 4 ungraded colon, 5 outside."""
    mes, organ = examples.targets["mes"], examples.targets["organ"]
    return np.where(organ == 0, 5, np.where(mes == UNKNOWN, 4, mes)).astype(np.int64)


def split_apart(examples: Examples, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(train, apart) numbers for the shipped network. Grade 0 is one recording and can only be trained on."""
    free = np.flatnonzero(strata(examples) != 0)
    rest, apart = part_off(strata(examples)[free], examples.groups[free], share=KEPT_APART, seed=seed)
    train = np.concatenate([free[rest], np.flatnonzero(strata(examples) == 0)])
    return np.sort(train), np.sort(free[apart])


def train_colon(
    path: Path, recipe: Recipe, data: ColonData, out: Path, words: Sequence[str], progress: Progress
) -> None:  # fmt: skip
    """The whole run: read, cross-validate, fit the network that ships, write the bundle."""
    root = data_folder()
    reading = progress.add_task("reading images", total=None, note="")
    examples = colon_examples(root, recipe)
    progress.update(reading, total=1, completed=1, note=f"{len(examples)} pictures")
    logits, tested = _cross_validate(examples, recipe, data, progress)
    train, apart = split_apart(examples, recipe.seed)
    bar = progress.add_task("fitting what ships", total=recipe.fit.epochs, note="")
    network = fit(
        examples.take(train), recipe.heads, recipe.fit, seed=recipe.seed,
        report=lambda epoch, loss: progress.update(bar, completed=epoch, note=f"loss {loss:.3f}"),
    )  # fmt: skip
    shown = with_spoilt_copies(examples.take(apart), recipe.seed)
    apart_logits = predict(network, shown.pixels)
    # The kept-apart part holds only some seventy graded pictures: the grade's temperature uses the folds, and
    # `scopeline calibrate probabilities --answers` adds a bias found on them.
    temperatures = fit_temperatures(apart_logits, shown)
    temperatures["mes"] = fit_temperatures({"mes": logits["mes"]}, tested)["mes"]
    provenance = Provenance(
        recipe=str(path), data=_describe(examples), data_sha256=data_hash(root, data), words=tuple(words)
    )
    sections = {
        f"Figures: {data.folds}-fold cross-validation, grouped": report_heads(
            recipe.heads, logits, tested, temperatures
        ),
        "Trivial baselines in the same folds": _baselines(tested, data, recipe.seed),
        "The shipped weights on the part that was kept apart": report_heads(
            recipe.heads, apart_logits, shown, temperatures
        ),
    }
    card = write_card(path.with_suffix(".card.md"), recipe, network, provenance, sections)
    save_network(out, network, recipe, temperatures=temperatures, provenance=provenance, card=card)
    mes = next(head for head in recipe.heads if head.name == "mes")
    write_fold_answers(out.with_name(f"{out.name}-mes-folds.csv"), mes, logits["mes"], tested)


def with_spoilt_copies(examples: Examples, seed: int, copies: int = 1) -> Examples:
    """The examples, and per good one `copies` spoilt copies by any family, which count as bad."""
    rng = np.random.default_rng((seed, 99))
    good = np.repeat(np.flatnonzero(examples.targets["quality"] == 1), copies)
    spoilt = [
        degrade(str(rng.choice(FAMILIES)), examples.pixels[number], rng, float(rng.uniform()))
        for number in good
    ]
    unknown = np.full(len(good), UNKNOWN, np.int64)
    return Examples(
        np.concatenate([examples.pixels, np.stack(spoilt)]),
        {
            head: np.concatenate([each, np.zeros_like(unknown) if head == "quality" else unknown])
            for head, each in examples.targets.items()
        },
        np.concatenate([examples.groups, examples.groups[good]]),
        examples.names + tuple(f"{examples.names[number]} (spoilt)" for number in good),
    )


def _cross_validate(
    examples: Examples, recipe: Recipe, data: ColonData, progress: Progress
) -> tuple[dict[str, NDArray[np.float32]], Examples]:
    """Out-of-fold logits, and what they belong to: all but grade 0, with spoilt copies.

    Grade 0 is a single recording. It is trained on in every fold and tested in none: as a test picture it would
    measure whether the network recognises that recording.
    """
    free = np.flatnonzero(strata(examples) != 0)
    always = np.flatnonzero(strata(examples) == 0)
    plan = msgspec.structs.replace(recipe.fit, epochs=data.fold_epochs)
    bar = progress.add_task("cross-validating", total=data.folds * data.fold_epochs, note="")
    parts: list[Examples] = []
    logits: list[dict[str, NDArray[np.float32]]] = []
    folds = grouped_folds(strata(examples)[free], examples.groups[free], folds=data.folds, seed=recipe.seed)
    for number, (train, test) in enumerate(folds):
        network = fit(
            examples.take(np.concatenate([free[train], always])), recipe.heads, plan, seed=recipe.seed + number,
            report=lambda epoch, loss: progress.update(bar, advance=1, note=f"loss {loss:.3f}"),
        )  # fmt: skip
        parts.append(with_spoilt_copies(examples.take(free[test]), recipe.seed + number))
        logits.append(predict(network, parts[-1].pixels))
    tested = Examples(
        np.concatenate([part.pixels for part in parts]),
        {head: np.concatenate([part.targets[head] for part in parts]) for head in parts[0].targets},
        np.concatenate([part.groups for part in parts]),
        tuple(name for part in parts for name in part.names),
    )
    return {head: np.concatenate([each[head] for each in logits]) for head in logits[0]}, tested


def _baselines(tested: Examples, data: ColonData, seed: int) -> str:
    graded = tested.take(tested.targets["mes"] > 0)
    grades = graded.targets["mes"] - 1
    rows = {}
    for title, see in (("border ring", border_ring), ("grey thumbnail", thumbnail)):
        said = probe(see(graded.pixels), grades, graded.groups, folds=data.folds, seed=seed)
        figures = table_figures(grades, said.argmax(axis=1), graded.groups, labels=3)
        severe = auroc_figure("AUROC of 3 against 1-2", grades == 2, said[:, 2], graded.groups)
        rows[f"mes 1-3, {title}"] = [*figures, severe]
    return (
        figures_table(rows) + "\n\nStandardised logistic regressions that see only the outer ring, or only a "
        "16x16 grey thumbnail. The network must beat the thumbnail; a ring as good as it would be a warning."
    )


def _describe(examples: Examples) -> str:
    counts = np.bincount(strata(examples), minlength=6)
    grades = ", ".join(f"{count} MES {grade}" for grade, count in zip(GRADES, counts, strict=False))
    return (
        f"HyperKvasir and PolypGen (CC BY 4.0): {grades}, {counts[4]} ungraded colon; "
        f"{counts[5]} synthetic pictures of the outside"
    )


def _colon_data(recipe: Recipe) -> ColonData:
    if not isinstance(recipe.data, ColonData):
        raise ConfigError(
            f"recipe {recipe.name!r}: wanted data of kind 'colon', got {type(recipe.data).__name__}"
        )
    return recipe.data


def _manifest(root: Path, licences: Sequence[str]) -> list[dict[str, str]]:
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["licence"] in licences]


def _is_used_still(row: dict[str, str]) -> bool:
    return any(row["path"].startswith(f"images/{folder}/") for folder in FOLDERS)


def _grade(row: dict[str, str]) -> int:
    """In-between grades such as "1-2" teach no grade."""
    return GRADES.index(row["label"]) if row["task"] == "mes" and row["label"] in GRADES else UNKNOWN


def _see_hyperkvasir(path: Path, plan: InputPlan) -> Pixels:
    return see_still(picture_from_file(path), plan, aspect=HYPERKVASIR_ASPECT)


def _see_clip(path: Path, plan: InputPlan) -> Pixels:
    source = MediaSource(str(path), threads=1)
    try:
        return see_clip([frame.picture for frame in source.frames()], plan)
    finally:
        source.close()


def _looks_good(pixels: Pixels) -> bool:
    """Nobody labelled the clips' frames and many are bad: good are those where stage A has nothing to name."""
    features = QualityFeatures(pixels)
    return name_fault(features) is Reason.UNSCORABLE and features.log_laplacian > SHARP_ENOUGH


def _outside(count: int, plan: InputPlan, seed: int) -> Examples:
    rng = np.random.default_rng((seed, 5))
    pixels = np.stack([outside_picture(rng, plan.size) for _ in range(count)])
    return Examples(
        pixels,
        {
            "quality": np.ones(count, np.int64),
            "organ": np.zeros(count, np.int64),
            "mes": np.full(count, UNKNOWN, np.int64),
        },
        np.arange(count),
        tuple(f"outside {number}" for number in range(count)),
    )

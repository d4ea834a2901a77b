"""Labelled pictures for calibration: class folders, a sheet, or simulated procedures whose truth is planted.

All go through the engine's own field finder and crop. Groups come from the sheet; pictures of unknown patients are
grouped with their look-alikes, which is less than a patient and more than nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Bundle, Head
from scopeline.crop import View
from scopeline.degrade import FAMILIES, degrade
from scopeline.errors import ConfigError
from scopeline.look_alikes import group_look_alikes, perceptual_hash
from scopeline.picture import Pixels, picture_from_file, picture_from_rgb
from scopeline.seeing import field_of_clip, see_still
from scopeline.simulation.procedure import simulate_procedure
from scopeline.simulation.renderer import Renderer
from scopeline_calibration.real_frames import STILLS

UNKNOWN = -1
SIMULATED_FROM = 900_000
"""First seed of simulated procedures for calibration; training starts at 1000 and never comes this far."""
SIMULATED_FRAMES = 60
"""Frames of each procedure."""

Report = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures in a network's size, with what is known of them."""

    pixels: Pixels
    """(N, H, W, 3) uint8 RGB."""
    truths: Mapping[str, NDArray[np.int64]]
    """(N,) label numbers per head; `UNKNOWN` where nothing is known."""
    groups: NDArray[np.int64]
    """(N,) what must not lie on both sides of a split."""
    paths: tuple[Path, ...]
    """Files that were read; none of simulated ones."""
    told: str
    """Where they come from, in words."""


def from_folders(
    folder: Path, head: Head, bundle: Bundle, *, aspect: float | None = None, report: Report
) -> Labelled:
    """Every image below sub-folders that are called like the head's labels.

    Args:
        aspect: Width over height before the files were squashed to another, if they were.

    Raises:
        ConfigError: no sub-folder is called like a label.
        SourceError: an image cannot be decoded.
    """
    found = [
        (path, label)
        for label, name in enumerate(head.labels)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in STILLS
    ]
    if not found:
        there = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
        raise ConfigError(
            f"{folder}: wanted sub-folders with images, called like the labels of head {head.name!r} "
            f"({', '.join(head.labels)}), found {there or 'none'}; name the head with --head, or give a --sheet"
        )
    truth = np.array([label for _, label in found], np.int64)
    paths = [path for path, _ in found]
    return _read(
        paths, [None] * len(paths), [aspect] * len(paths), {head.name: truth}, bundle, folder.name, report
    )


def from_sheet(
    sheet: Path, heads: Sequence[Head], bundle: Bundle, *, below: Path | None = None, report: Report
) -> Labelled:
    """A CSV with the columns path, group and aspect (both may be missing), and one per head.

    Args:
        below: Folder that the paths are relative to; the sheet's own when None.

    Raises:
        ConfigError: a column is missing or nobody knows it, a file is not there, or a label is none of the head's.
        SourceError: an image cannot be decoded.
    """
    rows = sheet_rows(sheet, heads)
    truths = {
        head.name: np.array([_label(sheet, line, row, head) for line, row in rows], np.int64)
        for head in heads
        if head.name in rows[0][1]
    }
    paths = [(below or sheet.parent) / row["path"] for _, row in rows]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(f"{sheet}: {len(missing)} files are not there, the first is {missing[0]}")
    groups = [row.get("group") or None for _, row in rows]
    aspects = [float(row["aspect"]) if row.get("aspect") else None for _, row in rows]
    return _read(paths, groups, aspects, truths, bundle, sheet.name, report)


def from_simulation(procedures: int, heads: Sequence[Head], bundle: Bundle, *, report: Report) -> Labelled:
    """Frames of simulated procedures that no recipe trains on; one group per procedure.

    Labels that the simulation does not know (another set of organs) stay unknown.
    """
    view = View(bundle.input.crop, bundle.input.width, bundle.input.height)
    pixels: list[Pixels] = []
    said: dict[str, list[int]] = {head.name: [] for head in heads}
    groups: list[int] = []
    for number in range(procedures):
        procedure = simulate_procedure(seed=SIMULATED_FROM + number)
        renderer = Renderer(procedure)
        chosen = np.linspace(0, procedure.frame_count - 1, SIMULATED_FRAMES).round().astype(int).tolist()
        truths = [procedure.truth_at(each) for each in chosen]
        pictures = [picture_from_rgb(renderer.render(each)) for each in chosen]
        clear = [picture for picture, truth in zip(pictures, truths, strict=True) if truth.usable]
        field = field_of_clip(clear[:: max(1, len(clear) // 12)])
        for picture, truth in zip(pictures, truths, strict=True):
            if truth.disturbance == "freeze":
                continue  # a frozen picture looks fine
            pixels.append(view(picture, field))
            groups.append(number)
            names = {"quality": "good" if truth.usable else "bad"}
            if truth.usable:
                names |= {"location": truth.organ, "grade": "" if truth.mes is None else str(truth.mes)}
            for head in heads:
                name = names.get(head.role, "")
                said[head.name].append(head.labels.index(name) if name in head.labels else UNKNOWN)
        report(number + 1, procedures)
    told = f"{procedures} simulated procedures (seeds {SIMULATED_FROM} on)"
    return Labelled(
        np.stack(pixels),
        {name: np.array(each, np.int64) for name, each in said.items()},
        np.array(groups, np.int64),
        (),
        told,
    )


def with_spoilt_copies(labelled: Labelled, heads: Sequence[Head], seed: int = 0) -> Labelled:
    """The pictures, which count as good for the quality head, and one spoilt copy of each, which counts as bad."""
    quality = next((head for head in heads if head.role == "quality"), None)
    if quality is None:
        raise ConfigError("--spoil wants a quality head, the bundle has none; leave it out")
    rng = np.random.default_rng((seed, 99))
    spoilt = [degrade(str(rng.choice(FAMILIES)), each, rng, float(rng.uniform())) for each in labelled.pixels]
    count = len(labelled.pixels)
    unknown = np.full(count, UNKNOWN, np.int64)
    truths = {name: np.concatenate([each, unknown]) for name, each in labelled.truths.items()}
    good, bad = (
        quality.labels.index("good"),
        next(n for n, each in enumerate(quality.labels) if each != "good"),
    )
    truths[quality.name] = np.repeat(np.array([good, bad], np.int64), count)
    return Labelled(
        np.concatenate([labelled.pixels, np.stack(spoilt)]),
        truths,
        np.concatenate([labelled.groups, labelled.groups]),
        labelled.paths,
        f"{labelled.told}, each with a spoilt copy",
    )


def seen_in_training(labelled: Labelled, bundle: Bundle) -> str | None:
    """A warning when the bundle says that it was trained on what these pictures come from; None otherwise.

    Looks for a manifest.csv above the files, with the columns path and dataset, and for the data set's name in what the
    bundle says of its training. That a part was kept apart there is not known here.
    """
    above = labelled.paths[0].resolve().parents if labelled.paths else ()
    manifest = next((each / "manifest.csv" for each in above if (each / "manifest.csv").is_file()), None)
    if manifest is None:
        return None
    with manifest.open(newline="", encoding="utf-8") as file:
        sets = {row["path"]: row.get("dataset", "") for row in csv.DictReader(file) if "path" in row}
    here = manifest.parent
    used = {sets.get(str(path.resolve().relative_to(here)), "") for path in labelled.paths} - {""}
    known = sorted(each for each in used if each.split(" ")[0].lower() in bundle.training.data.lower())
    if not known:
        return None
    return (
        f"{bundle.name} was trained on {', '.join(known)}, and these pictures are of it: the figures are not held out "
        "unless every one of them was kept apart from training (then say so with --held-out)"
    )


def _read(
    paths: Sequence[Path],
    groups: Sequence[str | None],
    aspects: Sequence[float | None],
    truths: Mapping[str, NDArray[np.int64]],
    bundle: Bundle,
    told: str,
    report: Report,
) -> Labelled:
    view = View(bundle.input.crop, bundle.input.width, bundle.input.height)
    pixels = []
    for number, (path, aspect) in enumerate(zip(paths, aspects, strict=True), 1):
        pixels.append(see_still(picture_from_file(path), view, aspect=aspect))
        report(number, len(paths))
    keys = [group or f"picture {number}" for number, group in enumerate(groups)]
    # Named groups are believed; only pictures of unknown origin are joined with those that look alike.
    near = group_look_alikes(map(perceptual_hash, pixels), keys)
    if all(groups):
        near = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    return Labelled(np.stack(pixels), truths, near, tuple(paths), f"{len(paths)} pictures of {told}")


def sheet_rows(sheet: Path, heads: Sequence[Head]) -> list[tuple[int, dict[str, str]]]:
    """Lines of a sheet with their numbers.

    Raises:
        ConfigError: it cannot be read, or has other columns than path, group, aspect and heads.
    """
    try:
        with sheet.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]  # blank lines are passed over, and count
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{sheet}: wanted a CSV sheet, could not read it ({error})") from error
    columns = list(rows[0][1]) if rows else []
    known = {"path", "group", "aspect", *(head.name for head in heads)}
    if (
        "path" not in columns
        or len({head.name for head in heads} & set(columns)) == 0
        or set(columns) - known
    ):
        raise ConfigError(
            f"{sheet}: wanted rows with the columns path, one or more of {sorted(head.name for head in heads)}, and "
            f"group and aspect where known; got {columns or 'no rows'}"
        )
    return rows


def _label(sheet: Path, line: int, row: Mapping[str, str], head: Head) -> int:
    name = row[head.name] or ""
    if name and name not in head.labels:
        raise ConfigError(
            f"{sheet}, line {line}: {head.name} is {name!r}; its labels are {', '.join(head.labels)}, or leave it empty"
        )
    return head.labels.index(name) if name else UNKNOWN

"""External evaluation: a finished bundle on a data set that it has never seen, through the runtime that ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scopeline.backends.onnx_runtime import OnnxRuntimeBackend
from scopeline.bundle import Bundle, Head, load_bundle
from scopeline.crop import View
from scopeline.errors import ConfigError
from scopeline.field_estimator import field_of_still
from scopeline.picture import Pixels, picture_from_file, rgb_pixels
from scopeline_training.answers import Answers
from scopeline_training.catalogue import Catalogue
from scopeline_training.grouping import group_numbers
from scopeline_training.layouts import class_folders, hyperkvasir
from scopeline_training.layouts.plans import ClassFolders, HyperKvasir
from scopeline_training.report import write_report
from scopeline_training.run_record import RunRecord, split_rows
from scopeline_training.seeing import whole_field
from scopeline_training.shortcut_probes import need_pass, probe

HEAD = "label"
"""What the labels of an external set are called until the bundle's head is known."""
SPLIT = "external"


def read_sheet(sheet: Path, images: Path | None = None) -> Catalogue:
    """The pictures of a CSV `ID,label` (or the publishers' own of HyperKvasir), below its folder or below `images`.

    Raises:
        ConfigError: unknown columns, or a picture that is not there.
    """
    return hyperkvasir.read(images or sheet.parent, HyperKvasir(head=HEAD, sheet=str(sheet.absolute())))


def read_folder(folder: Path) -> Catalogue:
    """The pictures of `folder/LABEL/**`.

    Raises:
        ConfigError: fewer than two labels.
    """
    return class_folders.read(folder, ClassFolders(head=HEAD))


def evaluate_external(
    bundle_folder: Path,
    external: Catalogue,
    out: Path,
    *,
    head: str | None = None,
    rename: Mapping[str, str] | None = None,
    force: bool = False,
    command: str = "",
) -> Path:
    """Runs a bundle on an external set and writes the report; the page's path.

    Args:
        head: Which head the labels belong to; found by its labels if None.
        rename: Label of the set -> label of the head; a label that is renamed to nothing is left out.
        force: Also a set that can be told by a shortcut; the report is then stamped.

    Raises:
        ConfigError: no head has these labels, or the shortcut probes refuse the set.
    """
    bundle = load_bundle(bundle_folder)
    kept = _renamed(external, rename or {})
    chosen = _head_of(bundle, kept, head)
    kept = _as_head(kept, chosen)
    verdict = probe(kept, bundle.input.crop.value, head=chosen.name)
    need_pass(verdict, force=force)
    groups = group_numbers(kept)
    answers, good = _answer(bundle, chosen, kept, groups)
    parts = [answers]
    if good is not None and 0 < good.sum() < len(good):
        parts.append(replace(answers.take(good), split=f"{SPLIT}, judged good"))
    paths = {name: sample.path for name, sample in zip(kept.names, kept.samples, strict=True)}
    run = RunRecord(
        title=f"{bundle.name} {bundle.version} on {external.description}",
        command=command,
        seed=0,
        data=external.description,
        data_sha256=kept.sha256,
        split=split_rows({SPLIT: np.arange(len(kept))}, answers.truth, groups, chosen.labels),
        probes=(verdict,),
        notes=_notes(bundle, external, kept, good),
    )
    return write_report(out, run, parts, picture_of=lambda name: _seen(bundle, paths[name]))


def _renamed(external: Catalogue, rename: Mapping[str, str]) -> Catalogue:
    """The samples under their new labels, without those that are left out."""
    (old,) = external.classes
    unknown = sorted(set(rename) - set(external.classes[old]))
    if unknown:
        raise ConfigError(
            f"rename: wanted labels of the set, {', '.join(external.classes[old])}; got {', '.join(unknown)}"
        )
    samples = tuple(
        replace(sample, labels={old: new})
        for sample in external.samples
        if (new := rename.get(sample.labels[old], sample.labels[old]))
    )
    labels = tuple(sorted({sample.labels[old] for sample in samples}))
    return replace(external, samples=samples, classes={old: labels})


def _head_of(bundle: Bundle, external: Catalogue, name: str | None) -> Head:
    (labels,) = external.classes.values()
    heads = [head for head in bundle.heads if name in (None, head.name)]
    fitting = [head for head in heads if set(labels) <= set(head.labels)]
    if len(fitting) != 1:
        known = "; ".join(f"{head.name}: {', '.join(head.labels)}" for head in bundle.heads)
        raise ConfigError(
            f"{bundle.folder}: wanted one head with the labels {', '.join(labels)}, got {len(fitting)} "
            f"(heads are {known}); name it with --head, or rename the set's labels with --rename OLD=NEW"
        )
    if len(labels) < 2:
        raise ConfigError(f"{external.description}: wanted two or more labels to tell apart, got {labels[0]}")
    return fitting[0]


def _as_head(external: Catalogue, head: Head) -> Catalogue:
    """The same samples under the head's name, labels in the head's order; only labels that occur."""
    (old,) = external.classes
    samples = tuple(replace(sample, labels={head.name: sample.labels[old]}) for sample in external.samples)
    occurring = tuple(label for label in head.labels if label in external.classes[old])
    return replace(external, samples=samples, classes={head.name: occurring})


def _answer(
    bundle: Bundle, head: Head, external: Catalogue, groups: NDArray[np.int64]
) -> tuple[Answers, NDArray[np.bool_] | None]:
    """The head's answers, and which pictures the bundle's quality head calls good, if it has one."""
    backend = OnnxRuntimeBackend(bundle, threads=1, precision="fp32")
    quality = bundle.head("quality")
    said, good = [], []
    try:
        for sample in external.samples:
            logits = backend.infer(_seen(bundle, sample.path)[None])
            said.append(head.probabilities(logits[head.name][0]).astype(np.float64))
            if quality is not None:
                judged = quality.probabilities(logits[quality.name][0])
                good.append(quality.labels[int(judged.argmax())] == "good")
    finally:
        backend.close()
    number = {label: n for n, label in enumerate(head.labels)}
    truth = np.array([number[sample.labels[head.name]] for sample in external.samples], np.int64)
    answers = Answers(external.names, groups, truth, np.stack(said), head.labels, head.name, SPLIT)
    return answers, np.array(good) if good and quality is not head else None


def _seen(bundle: Bundle, path: Path) -> Pixels:
    """What the engine would show the network of this still, (H, W, 3) uint8 RGB."""
    picture = picture_from_file(path)
    field = field_of_still(rgb_pixels(picture)) or whole_field(picture.width, picture.height)
    return View(bundle.input.crop, bundle.input.width, bundle.input.height)(picture, field)


def _notes(
    bundle: Bundle, external: Catalogue, kept: Catalogue, good: NDArray[np.bool_] | None
) -> tuple[str, ...]:
    training = bundle.training
    notes = [
        f"Model: {bundle.name} {bundle.version}, network sha256 {bundle.network.sha256}, made with "
        f"`{training.command}` from {training.data} (sha256 {training.data_sha256}).",
        "Groups are patients where the set names them, else look-alike clusters; two clusters may share a patient.",
    ]
    if len(kept) < len(external):
        notes.append(f"{len(external) - len(kept)} of {len(external)} pictures were left out by their label.")
    if good is not None:
        notes.append(f"The quality head calls {int(good.sum())} of {len(good)} pictures good.")
    if kept.sha256 == training.data_sha256:
        notes.append("This is the very set that the model was trained on: nothing here is external.")
    return tuple(notes)

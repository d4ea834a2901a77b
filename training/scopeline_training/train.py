"""Train: from a recipe to a bundle. Reads top to bottom."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import msgspec
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import scopeline.simulation
from scopeline.errors import ConfigError
from scopeline.simulation.procedure import ORGANS
from scopeline_training import synthetic
from scopeline_training.bundle_writer import Provenance, save_network
from scopeline_training.card import write_card
from scopeline_training.colon import HEADS, train_colon
from scopeline_training.evaluation import fit_temperatures, report_heads
from scopeline_training.examples import Examples
from scopeline_training.fit import fit, predict
from scopeline_training.network import Network
from scopeline_training.recipe import ColonData, Recipe, SyntheticData


def run(recipe: Recipe, path: Path, out: Path, words: Sequence[str] = ()) -> None:
    """Trains what a recipe describes and writes the bundle folder `out`.

    Runs on one core: small networks gain little from more, and the machine may be shared.

    Args:
        recipe: What is trained.
        path: The file it was read from; the prose of its card lies beside it.
        out: The bundle's folder.
        words: Options that changed the recipe, for the record.

    Raises:
        ConfigError: its data is not there, cannot answer its questions, or has the demo's own procedure in it.
    """
    _check(recipe)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with _progress() as progress:
        match recipe.data:
            case SyntheticData():
                _train_synthetic(path, recipe, recipe.data, out, words, progress)
            case ColonData():
                train_colon(path, recipe, recipe.data, out, words, progress)
    Console().print(f"wrote the bundle [bold]{out}[/]")


def _check(recipe: Recipe) -> None:
    """Before minutes of work: the data answer just these questions."""
    data = recipe.data
    answered = HEADS if isinstance(data, ColonData) else {**HEADS, "organ": len(ORGANS)}
    asked = {head.name: len(head.labels) for head in recipe.heads}
    if asked != answered:
        wanted, got = (
            ", ".join(f"{name} ({count} labels)" for name, count in sorted(each.items()))
            for each in (answered, asked)
        )
        raise ConfigError(f"recipe {recipe.name!r}: its data answer {wanted}; got the heads {got}")
    if isinstance(data, SyntheticData):
        seeds = range(data.first_seed, data.first_seed + data.procedures + data.held_out_procedures)
        if synthetic.DEMO_SEED in seeds:
            raise ConfigError(
                f"recipe {recipe.name!r}: seed {synthetic.DEMO_SEED} is the demo's own and is never trained on, got "
                f"seeds {seeds[0]} to {seeds[-1]}; choose another data.first_seed"
            )


def _train_synthetic(
    path: Path, recipe: Recipe, data: SyntheticData, out: Path, words: Sequence[str], progress: Progress
) -> None:  # fmt: skip
    total = data.procedures + data.scenes + data.held_out_procedures
    painting = progress.add_task("painting procedures", total=total, note="")
    examples = synthetic.training_examples(
        data, recipe.input, recipe.seed, lambda: progress.advance(painting)
    )
    held_out = synthetic.held_out_examples(data, recipe.input, lambda: progress.advance(painting))
    network = _fit(examples, recipe, progress)
    logits = predict(network, held_out.pixels)
    halves = held_out.groups % 2 == 0  # procedures alternate
    temperatures = fit_temperatures(
        {head: each[halves] for head, each in logits.items()}, held_out.take(halves)
    )
    tested = report_heads(
        recipe.heads,
        {head: each[~halves] for head, each in logits.items()},
        held_out.take(~halves),
        temperatures,
    )
    provenance = Provenance(
        recipe=str(path),
        data=f"{len(examples)} frames of {data.procedures} simulated procedures (seeds {data.first_seed} on) and "
        f"{data.scenes} scenes; no patient data",
        data_sha256=_generator_hash(data),
        words=tuple(words),
    )
    sections = {"Figures on procedures that were not trained on": tested}
    card = write_card(path.with_suffix(".card.md"), recipe, network, provenance, sections)
    save_network(out, network, recipe, temperatures=temperatures, provenance=provenance, card=card)


def _fit(examples: Examples, recipe: Recipe, progress: Progress) -> Network:
    task = progress.add_task("fitting", total=recipe.fit.epochs, note="")
    return fit(
        examples, recipe.heads, recipe.fit, seed=recipe.seed,
        report=lambda epoch, loss: progress.update(task, completed=epoch, note=f"loss {loss:.3f}"),
    )  # fmt: skip


def _generator_hash(data: SyntheticData) -> str:
    """Hash of everything the synthetic data follows from: the generator's source and the recipe's settings."""
    folder = Path(scopeline.simulation.__file__).parent
    sources = [*sorted(folder.glob("*.py")), Path(synthetic.__file__)]
    digest = hashlib.sha256(msgspec.json.encode(data))
    for source in sources:
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip

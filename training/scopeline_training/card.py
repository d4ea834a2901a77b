"""Model card: what a model is, what it saw, what it cannot do, and its figures with their intervals.

The prose is written by a person and lies beside the recipe (`<recipe>.card.md`); figures and provenance are filled in
by the training run, so that they cannot be out of date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scopeline_training.bundle_writer import Provenance
from scopeline_training.figures import Figure
from scopeline_training.network import Network
from scopeline_training.recipe import Recipe


def write_card(
    prose: Path, recipe: Recipe, network: Network, provenance: Provenance, sections: Mapping[str, str]
) -> str:
    """The card as Markdown: the prose, then one section per entry, then provenance.

    Args:
        prose: The hand-written part; where there is none the card says that nobody wrote it.
        recipe: What was run.
        network: For its size.
        provenance: Where data and weights came from.
        sections: Title -> Markdown.
    """
    parts = [*_warning(provenance, has_prose=prose.is_file()), _opening(prose, recipe)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    parts.append(
        "## Provenance\n\n"
        f"- made with `{provenance.command}`, seed {recipe.seed}, {recipe.fit.epochs} epochs\n"
        f"- data: {provenance.data}\n"
        f"- data hash: `{provenance.data_sha256}`\n"
        f"- {network.parameter_count:,} parameters, input {recipe.input.size}x{recipe.input.size} RGB "
        f"(crop `{recipe.input.crop}`), ONNX opset 17\n"
        f"- licence of the weights: {recipe.licence}\n\n"
        f"{recipe.notice}"
    )
    return "\n\n".join(parts) + "\n"


def _opening(prose: Path, recipe: Recipe) -> str:
    if prose.is_file():
        return prose.read_text("utf-8").strip()
    return (
        f"# Model card: {recipe.name}\n\nNobody wrote what this model cannot do ({prose.name} beside the recipe); this "
        "card was made by the run that made the model."
    )


def _warning(provenance: Provenance, *, has_prose: bool) -> list[str]:
    """The prose was written for the recipe as it stands; a changed one says so before anything else."""
    if not provenance.words:
        return []
    trial = " A trial: its figures mean nothing." if "--trial" in provenance.words else ""
    made = f"made with `{provenance.command}`.{trial}"
    if not has_prose:
        return [f"> **A changed recipe:** {made}"]
    return [
        f"> **Not the model that this card was written for:** {made} Figures and provenance below are this run's; the "
        "prose is that of the recipe as it stands."
    ]


def figures_table(rows: Mapping[str, Sequence[Figure]]) -> str:
    """Figures side by side: one row per entry, one column per figure's name."""
    names = list(dict.fromkeys(figure.name for figures in rows.values() for figure in figures))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for title, figures in rows.items():
        by_name = {figure.name: str(figure) for figure in figures}
        lines.append(f"| {title} | " + " | ".join(by_name.get(name, "") for name in names) + " |")
    return "\n".join(lines)


def confusion_table(table: Sequence[Sequence[float]], labels: Sequence[str]) -> str:
    """Counts, true class in rows."""
    lines = ["| true \\ said | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    lines += [
        f"| **{label}** | " + " | ".join(f"{count:.0f}" for count in row) + " |"
        for label, row in zip(labels, table, strict=True)
    ]
    return "\n".join(lines)

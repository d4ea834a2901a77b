"""Run card: the model card of a run of the general path, written from the run itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scopeline_training.answers import Answers
from scopeline_training.card import confusion_table, figures_table
from scopeline_training.experiment import Experiment
from scopeline_training.learner import AnyNetwork
from scopeline_training.mask_scores import MaskAnswers, mask_scores, trivial_mask_scores
from scopeline_training.network_plan import HeadPlan
from scopeline_training.run_bundle import crop_of
from scopeline_training.run_record import RunRecord
from scopeline_training.scores import confusion_counts, label_scores, overall_scores, trivial_scores


def run_card(
    experiment: Experiment, heads: Sequence[HeadPlan], network: AnyNetwork, record: RunRecord,
    answers: Sequence[Answers], masks: Sequence[MaskAnswers], *,
    temperatures: Mapping[str, float], prose: Path | None,
) -> str:  # fmt: skip
    """The card as Markdown: what a person wrote of the model if there is such a file, and everything the run knows."""
    parts = [_opening(experiment, heads, prose)]
    if record.refused:
        stamps = "\n\n".join(f"> **{verdict}**" for verdict in record.refused)
        parts.append(f"## The shortcut probes refuse this data set\n\n{stamps}")
    if answers:
        parts.append(f"## Figures\n\n{_figures(answers)}")
    parts += [_of_labels(each) for each in answers]
    parts += [_of_masks(each) for each in masks]
    parts.append(_limits(record))
    parts.append(_provenance(experiment, network, record, temperatures))
    return "\n\n".join(parts) + "\n"


def _opening(experiment: Experiment, heads: Sequence[HeadPlan], prose: Path | None) -> str:
    if prose is not None and prose.is_file():
        return prose.read_text("utf-8").strip()
    asked = "\n".join(f"- **{head.name}** ({head.role}): {', '.join(head.labels)}" for head in heads)
    return (
        f"# {experiment.name}\n\n{experiment.notice}\n\nA network (`{experiment.network.backbone}`) that answers of "
        f"one picture:\n\n{asked}\n\nNobody wrote more about it: this card was made by the run that made the model."
    )


def _figures(answers: Sequence[Answers]) -> str:
    rows = {f"{each.head}, {each.split}": overall_scores(each) for each in answers}
    return (
        figures_table(rows)
        + "\n\n95 % intervals from resampling groups (patients, clips or look-alike clusters)."
    )


def _of_labels(answers: Answers) -> str:
    rows = {row.label: row.figures for row in label_scores(answers)}
    shares = ", ".join(
        f"{label} {share:.1%}" for label, share in zip(answers.labels, answers.prevalence, strict=True)
    )
    blind = trivial_scores(answers)
    scored = ", ".join(f"{name} {value:.3f}" for name, value in blind.items())
    return (
        f"### {answers.head}, {answers.split}\n\n{len(answers)} pictures in "
        f"{len(set(answers.groups.tolist()))} groups; prevalence {shares}. Someone who looks at nothing would score: "
        f"{scored}.\n\n{figures_table(rows)}\n\n"
        f"{confusion_table(confusion_counts(answers).tolist(), answers.labels)}"
    )


def _of_masks(answers: MaskAnswers) -> str:
    figures = figures_table({f"{answers.head}, {answers.split}": mask_scores(answers)})
    blind = ", ".join(f"{name} {value:.3f}" for name, value in trivial_mask_scores(answers).items())
    return (
        f"## Areas of {answers.head}, {answers.split}\n\n{len(answers)} pictures in "
        f"{len(set(answers.groups.tolist()))} groups. Marking all or nothing would score {blind}.\n\n{figures}"
    )


def _limits(record: RunRecord) -> str:
    lines = [*(str(verdict) for verdict in record.probes if not verdict.refused), *record.notes]
    return "## What to know\n\n" + "\n".join(f"- {line}" for line in lines)


def _provenance(
    experiment: Experiment, network: AnyNetwork, record: RunRecord, temperatures: Mapping[str, float]
) -> str:
    count = sum(each.numel() for each in network.parameters())
    heat = ", ".join(f"{name} {value:.2f}" for name, value in temperatures.items())
    crop = crop_of(experiment)
    said_crop = f"`{crop}`" if crop == experiment.input.crop else f"`{crop}`; in training the whole file"
    return (
        "## Provenance\n\n"
        f"- made with `{record.command}`, seed {record.seed}\n"
        f"- data: {record.data}\n"
        f"- data hash: `{record.data_sha256}`\n"
        f"- recipe hash: `{record.recipe_sha256}`\n"
        f"- code hash: `{record.code_sha256}`\n"
        f"- {count:,} parameters, input {experiment.input.size}x{experiment.input.size} RGB (crop {said_crop}), "
        "ONNX opset 17\n"
        + (f"- temperatures, fitted on the validation part: {heat}\n" if heat else "")
        + f"- start of the weights: {experiment.network.weights}\n"
        f"- licence of the weights: {experiment.licence}"
    )

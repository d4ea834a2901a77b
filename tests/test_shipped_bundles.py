"""Shipped bundles: each loads, answers, is small, and has a card with figures, intervals and limits."""

import re
import tomllib
from pathlib import Path

import pytest

from scopeline.bundle import load_bundle
from scopeline.commands.model import check_model
from scopeline.config import load_pipeline
from scopeline.shipped import shipped_pipelines

BUNDLES = sorted((shipped_pipelines() / "bundles").iterdir())
RECIPES = Path(__file__).parents[1] / "training" / "recipes"
TOGETHER_BYTES = 15_000_000

each = pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)


def card_of(folder: Path) -> str:
    return (folder / "card.md").read_text("utf-8")


@each
def test_it_loads_and_answers_hostile_frames(folder: Path) -> None:
    assert load_bundle(folder).name == folder.name
    check_model(folder, backend="onnxruntime", precision="fp32")  # raises if it does not


@each
def test_its_card_states_a_figure_with_an_interval_for_every_head(folder: Path) -> None:
    figures = [
        line for line in card_of(folder).splitlines() if re.search(r"\d \(-?\d\.\d+ to \d\.\d+\)", line)
    ]
    for head in load_bundle(folder).heads:
        assert any(line.startswith(f"| {head.name}") for line in figures), head.name


@each
def test_its_card_says_data_licence_provenance_and_what_it_cannot_do(folder: Path) -> None:
    card = card_of(folder)
    bundle = load_bundle(folder)
    assert "## What it cannot do" in card
    assert "## What it saw" in card
    assert f"licence of the weights: {bundle.licence}" in card
    assert bundle.training.data_sha256 in card


def test_where_the_shortcut_probes_refused_the_data_the_card_is_stamped() -> None:
    for recipe in map(tomllib.loads, (path.read_text("utf-8") for path in RECIPES.glob("*.toml"))):
        folder = shipped_pipelines() / "bundles" / recipe["name"]
        if recipe.get("probe", {}).get("force") and folder.is_dir():
            assert re.search(r"> \*\*Shortcut probes of .*REFUSED", card_of(folder)), folder.name


def test_all_bundles_together_stay_small() -> None:
    sizes = [file.stat().st_size for folder in BUNDLES for file in folder.iterdir()]
    assert sum(sizes) < TOGETHER_BYTES


@each
def test_some_shipped_pipeline_runs_it(folder: Path) -> None:
    pipelines = [load_pipeline(file) for file in shipped_pipelines().glob("*.toml")]
    run = {choice.path for pipeline in pipelines for choice in pipeline.bundles}
    assert f"bundles/{folder.name}" in run

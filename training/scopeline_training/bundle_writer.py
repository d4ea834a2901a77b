"""Bundle writer: a fitted network becomes the folder that the engine loads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scopeline.bundle import Bundle, load_bundle
from scopeline_training.export import OPSET, export_onnx
from scopeline_training.network import Network
from scopeline_training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the weights came from."""

    recipe: str
    """Path of the recipe as it was given."""
    data: str
    """The data in one line."""
    data_sha256: str

    @property
    def command(self) -> str:
        return f"scopeline train {self.recipe}"


def write_bundle(
    folder: Path,
    network: Network,
    recipe: Recipe,
    *,
    temperatures: Mapping[str, float],
    provenance: Provenance,
    card: str,
) -> Bundle:
    """Writes model.onnx, bundle.toml and card.md, and reads them back as the engine does."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.onnx"
    export_onnx(network, model, size=recipe.input.size)
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    description = _description(recipe, temperatures, provenance, sha256)
    (folder / "bundle.toml").write_text(description, "utf-8")
    (folder / "card.md").write_text(card, "utf-8")
    return load_bundle(folder)


def _description(
    recipe: Recipe, temperatures: Mapping[str, float], provenance: Provenance, sha256: str
) -> str:
    sections = [
        _section("", {
            "schema": 1, "name": recipe.name, "version": recipe.version,
            "licence": recipe.licence, "notice": recipe.notice,
        }),
        _section("[input]", {
            "width": recipe.input.size, "height": recipe.input.size, "crop": str(recipe.input.crop),
        }),
        _section("[network]", {"file": "model.onnx", "sha256": sha256, "opset": OPSET}),
        _section("[training]", {
            "recipe": provenance.recipe, "command": provenance.command, "data": provenance.data,
            "data_sha256": provenance.data_sha256, "seed": recipe.seed,
        }),
    ]  # fmt: skip
    for head in recipe.heads:
        sections.append(_section("[[heads]]", {
            "name": head.name, "role": head.role, "labels": list(head.labels),
            "temperature": round(temperatures[head.name], 4),
        }))  # fmt: skip
    return "\n".join(sections)


def _section(title: str, values: Mapping[str, object]) -> str:
    # A JSON string, number or list of strings is written the same in TOML.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join([*([title] if title else []), *lines, ""])

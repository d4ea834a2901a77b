"""Bundle writer: a fitted network becomes the folder that the engine loads."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from scopeline.bundle import SCHEMA, Bundle, Description, Head, Input, Training, load_bundle, write_bundle
from scopeline.bundle import Network as NetworkFile
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
    words: tuple[str, ...] = ()
    """Options that changed the recipe."""

    @property
    def command(self) -> str:
        return shlex.join(["scopeline", "train", self.recipe, *self.words])


def save_network(
    folder: Path,
    network: Network,
    recipe: Recipe,
    *,
    temperatures: Mapping[str, float],
    provenance: Provenance,
    card: str,
) -> Bundle:
    """Writes model.onnx, bundle.toml and card.md, and reads them back as the engine does."""
    return save_described(folder, network, _description(recipe, temperatures, provenance), card=card)


def save_described(folder: Path, network: nn.Module, description: Description, *, card: str) -> Bundle:
    """Writes any network that sees one picture as a bundle that is described already, and reads it back.

    Raises:
        BundleError: ONNX Runtime's answers differ from torch's, or the description makes no sense; a bundle that was in
            the folder before is still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        beside = Path(name)
        model = beside / description.network.file
        export_onnx(network, model, size=(description.input.height, description.input.width))
        write_bundle(beside, description, network=model.read_bytes(), card=card)
        for file in beside.iterdir():
            file.replace(folder / file.name)
    return load_bundle(folder)


def _description(recipe: Recipe, temperatures: Mapping[str, float], provenance: Provenance) -> Description:
    size = recipe.input.size
    return Description(
        schema=SCHEMA,
        name=recipe.name,
        version=recipe.version,
        licence=recipe.licence,
        notice=recipe.notice,
        input=Input(width=size, height=size, crop=recipe.input.crop),
        network=NetworkFile(file="model.onnx", sha256="", opset=OPSET),
        training=Training(
            recipe=provenance.recipe,
            command=provenance.command,
            data=provenance.data,
            data_sha256=provenance.data_sha256,
            seed=recipe.seed,
        ),
        heads=tuple(
            Head(
                name=head.name,
                role=head.role,
                labels=tuple(head.labels),
                temperature=round(temperatures[head.name], 4),
            )
            for head in recipe.heads
        ),
    )

"""Run bundle: a network of the general path becomes a folder that the engine loads, or a pair of graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from torch import Tensor, nn

from scopeline.bundle import SCHEMA, Bundle, Description, Head, Input, Training
from scopeline.bundle import Network as NetworkFile
from scopeline.crop import CropKind
from scopeline_training.bundle_writer import save_described
from scopeline_training.dual_network import DualNetwork
from scopeline_training.experiment import Experiment
from scopeline_training.export import OPSET, export_onnx
from scopeline_training.learner import AnyNetwork
from scopeline_training.network_plan import HeadPlan
from scopeline_training.presets import oct_size

MASK_THRESHOLD = 0.5
"""Probability from which a pixel counts as marked, in the figures of a run and in the engine."""
FILES = ("bundle.toml", "model.onnx", "card.md")


class ForEngine(nn.Module):
    """A network as the engine sees it: one picture in, one answer per head; the middle is cut out where training did.

    Args:
        network: In evaluation mode.
        size: Width and height in pixels of what comes in.
        middle: Of what the network takes; cut from the middle.
        place: Of the pictures whose answer counts, of a dual network.
    """

    def __init__(self, network: AnyNetwork, size: int, middle: int, place: str | None = None) -> None:
        super().__init__()
        self.network, self.place = network, place
        self.start, self.middle = (size - middle) // 2, middle

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        cut = slice(self.start, self.start + self.middle)
        shown = pixels[:, cut, cut]
        if isinstance(self.network, DualNetwork):
            assert self.place is not None
            answer = self.network.forward_alone(shown, self.place)
            return {self.network.head: answer[self.place]}
        logits: dict[str, Tensor] = self.network(shown)
        return logits


def save_bundle(
    folder: Path, network: AnyNetwork, experiment: Experiment, heads: Sequence[HeadPlan], *,
    temperatures: Mapping[str, float], training: Training, card: str,
) -> Bundle:  # fmt: skip
    """Writes the bundle, and `pair.onnx` beside it for a network that sees two pictures.

    The engine shows one picture at a time: of a dual network its bundle holds the answer to one picture alone, that of
    the first place, which is a loss of its own in training. The answer to both is in `pair.onnx`.

    Raises:
        BundleError: ONNX Runtime's answers differ from torch's.
    """
    size = experiment.input.size
    middle = oct_size(size) if experiment.augment.preset == "oct" else size
    place = network.places[0] if isinstance(network, DualNetwork) else None
    description = Description(
        schema=SCHEMA,
        name=experiment.name,
        version=experiment.version,
        licence=experiment.licence,
        notice=experiment.notice,
        input=Input(width=size, height=size, crop=crop_of(experiment)),
        network=NetworkFile(file="model.onnx", sha256="", opset=OPSET),
        training=training,
        heads=tuple(_head(head, temperatures.get(place or head.name, 1.0)) for head in heads),
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        pair = Path(beside) / "pair.onnx"
        if isinstance(network, DualNetwork):
            export_onnx(network, pair, size=middle, inputs=network.input_names)
        bundle = save_described(
            folder, ForEngine(network.eval(), size, middle, place), description, card=card
        )
        if pair.is_file():
            pair.replace(folder / pair.name)
    return bundle


def crop_of(experiment: Experiment) -> CropKind:
    """The engine's name of the recipe's crop. `none` becomes `box`: the engine always knows a field of view, and of a
    picture without a border it is the whole picture."""
    crop = experiment.input.crop
    return CropKind.BOX if crop == "none" else CropKind(crop)


def bundle_sha256(folder: Path) -> str:
    """Hash of a bundle's three files: description, network, card."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(name.encode() + hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def _head(head: HeadPlan, temperature: float) -> Head:
    # By way of plain values: which roles there are is the engine's to say, and it refuses one that it does not know.
    plain: dict[str, object] = {
        "name": head.name,
        "role": head.role,
        "labels": head.labels,
        "temperature": round(temperature, 4),
    }
    if head.role == "mask":  # a recipe names the background too, a bundle only what is marked
        plain |= {"labels": head.labels[-1:], "threshold": MASK_THRESHOLD}
    return msgspec.convert(plain, Head)

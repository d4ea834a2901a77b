"""Bundle: a model folder: the network, what goes in, what comes out, where it came from.

A bundle is `bundle.toml` + `model.onnx` + `card.md`. The network takes (N, H, W, 3) uint8 RGB with its normalisation
inside the graph, and gives one output of logits per head, named like the head: (N, K), or (N, 1, H, W) of a mask.
A compiled plan of any runtime is a cache of the bundle, never the artefact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.crop import CropKind
from scopeline.errors import BundleError
from scopeline.prediction import MaskProbabilities, Probabilities
from scopeline.replace_file import replace_file

SCHEMA = 1
DESCRIPTION = "bundle.toml"

Role = Literal["quality", "location", "grade", "finding", "mask"]


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the network is shown."""

    width: int
    height: int
    crop: CropKind


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: str
    sha256: str
    opset: int
    fp32: tuple[str, ...] = ()
    """Parts of names of nodes that stay in FP32 where the rest computes in FP16 (TensorRT)."""


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the weights came from."""

    recipe: str
    command: str
    data: str
    data_sha256: str
    seed: int


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer of the network."""

    name: str
    role: Role
    """`quality`: can this frame be judged. `location`: where is the scope. `grade`: ordinal, labels from mild to
    severe. `finding`: anything else. `mask`: which pixels show what its one label names."""
    labels: tuple[str, ...]
    temperature: float = 1.0
    """Logits are divided by it before the softmax (Guo et al. 2017, "On calibration of modern neural networks")."""
    bias: tuple[float, ...] = ()
    """Added to the divided logits, one number per label; nothing when empty. Never of a mask."""
    abstain_below: float = 0.0
    """The head abstains when its highest probability lies below this."""
    threshold: float | None = None
    """Masks, and no others: a pixel is marked when its probability is at least this."""

    def probabilities(self, logits: NDArray[np.float32]) -> Probabilities:
        """Calibrated probabilities of one frame from its (K,) logits, or of several from (N, K), row by row; computed
        in float32 for every backend."""
        scaled = (logits - logits.max(axis=-1, keepdims=True)) / np.float32(self.temperature)
        if self.bias:
            scaled = scaled + np.array(self.bias, np.float32)
            scaled = scaled - scaled.max(axis=-1, keepdims=True)
        exponentials = np.exp(scaled)
        result: Probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return result

    def mask(self, logits: NDArray[np.float32]) -> MaskProbabilities:
        """Probability of every pixel of one frame, (H, W) float32: the logistic function of its (1, H, W) logits."""
        # By the hyperbolic tangent, which no logit is too large for.
        half = np.tanh(logits[0] * np.float32(0.5 / self.temperature))
        result: MaskProbabilities = half * np.float32(0.5) + np.float32(0.5)
        return result


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What bundle.toml says."""

    schema: int
    name: str
    version: str
    licence: str
    """Of the weights."""
    notice: str
    input: Input
    network: Network
    training: Training
    heads: tuple[Head, ...]


class Bundle(Description, frozen=True, kw_only=True):
    """A model folder that was checked."""

    folder: Path

    @property
    def onnx_path(self) -> Path:
        return self.folder / self.network.file

    def head(self, role: Role) -> Head | None:
        """The first head of a role, if there is one."""
        return next((head for head in self.heads if head.role == role), None)


def write_bundle(folder: Path, description: Description, *, network: bytes, card: str) -> Bundle:
    """Write a bundle's three files and read them back; the network's hash is filled in.

    Raises:
        BundleError: the description makes no sense.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashed = msgspec.structs.replace(description.network, sha256=hashlib.sha256(network).hexdigest())
    described = msgspec.structs.replace(description, network=hashed)
    (folder / described.network.file).write_bytes(network)
    (folder / DESCRIPTION).write_text(_toml(described), "utf-8")
    (folder / "card.md").write_text(card, "utf-8")
    return load_bundle(folder)


def write_heads(bundle: Bundle, heads: tuple[Head, ...]) -> Bundle:
    """Write other temperatures, biases and bounds of the same heads into bundle.toml; the network stays as it is.

    Raises:
        BundleError: they make no sense; the file is as before.
        SinkError: the file cannot be written.
    """
    path = bundle.folder / DESCRIPTION
    _check_heads(path, heads)
    plain = msgspec.structs.asdict(bundle) | {"heads": heads}
    plain.pop("folder")
    replace_file(path, _toml(Description(**plain)).encode())
    return load_bundle(bundle.folder)


def load_bundle(folder: Path) -> Bundle:
    """Read and check a bundle folder: the description, the network's hash, unique names.

    Whether the network's outputs are its heads is checked where the network is opened, see `check_outputs`.

    Raises:
        BundleError: says what was wanted, what came and what to do.
    """
    description = folder / DESCRIPTION
    try:
        content = msgspec.toml.decode(description.read_bytes(), type=Description)
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder}: wanted a model bundle (a folder with bundle.toml), found none there"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise BundleError(f"{description}: not a bundle description: {error}") from error
    if content.schema != SCHEMA:
        raise BundleError(
            f"{description}: this version reads bundles of schema {SCHEMA}, got {content.schema}; "
            "export the model again or use the matching version of Scopeline"
        )
    _check_heads(description, content.heads)
    _check_hash(folder / content.network.file, content.network.sha256)
    return Bundle(folder=folder, **msgspec.structs.asdict(content))


def check_outputs(bundle: Bundle, outputs: Mapping[str, Sequence[object]]) -> None:
    """Refuse a network whose outputs are not the bundle's heads.

    Args:
        outputs: Shape of each named output of the network without the batch axis; whatever is no number is a size that
            the network does not say.

    Raises:
        BundleError: a head has no output of its name and size: (K,), or (1, H, W) of a mask, which is as large as
            the bundle's input.
    """
    wanted = {
        head.name: (1, bundle.input.height, bundle.input.width)
        if head.role == "mask"
        else (len(head.labels),)
        for head in bundle.heads
    }
    wrong = [name for name, shape in wanted.items() if not _agree(outputs.get(name, ()), shape)]
    if wrong or set(outputs) != set(wanted):
        raise BundleError(
            f"{bundle.onnx_path}: the bundle's heads are {wanted}, the network's outputs are {dict(outputs)}; "
            "they must agree in name and size: export the bundle again"
        )


def _agree(found: Sequence[object], wanted: tuple[int, ...]) -> bool:
    return len(found) == len(wanted) and all(
        size == each for size, each in zip(found, wanted, strict=True) if isinstance(size, int)
    )


def _check_heads(description: Path, heads: tuple[Head, ...]) -> None:
    names = [head.name for head in heads]
    if not heads or len(set(names)) != len(names):
        raise BundleError(
            f"{description}: wanted at least one head, each with a name of its own, got {names}"
        )
    for head in heads:
        _check_mask(description, head)
        if len(head.labels) < (1 if head.role == "mask" else 2) or len(set(head.labels)) != len(head.labels):
            raise BundleError(
                f"{description}: head {head.name!r} needs two or more different labels, got {head.labels}"
            )
        if head.temperature <= 0:
            raise BundleError(
                f"{description}: head {head.name!r}: temperature must be positive, got {head.temperature}"
            )
        if head.bias and (head.role == "mask" or len(head.bias) != len(head.labels)):
            raise BundleError(
                f"{description}: head {head.name!r}: a bias has one number per label and masks have none, "
                f"got {len(head.bias)} for {len(head.labels)} labels"
            )
        if head.role == "quality" and "good" not in head.labels:
            raise BundleError(
                f"{description}: quality head {head.name!r} needs a label 'good', got {head.labels}"
            )


def _check_mask(description: Path, head: Head) -> None:
    if head.role != "mask":
        if head.threshold is not None:
            raise BundleError(
                f"{description}: head {head.name!r}: a threshold is for masks, its role is {head.role!r}; remove it"
            )
        return
    if len(head.labels) != 1:
        raise BundleError(
            f"{description}: mask head {head.name!r} needs one label, what it marks, got {head.labels}"
        )
    if head.threshold is None or not 0 < head.threshold < 1:
        raise BundleError(
            f"{description}: mask head {head.name!r} needs a threshold between 0 and 1, got {head.threshold}"
        )
    if head.abstain_below:
        raise BundleError(
            f"{description}: mask head {head.name!r}: a mask cannot abstain; remove abstain_below"
        )


def _check_hash(path: Path, wanted: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: the bundle's network cannot be read ({error})") from error
    if found != wanted:
        raise BundleError(
            f"{path}: its sha256 should be {wanted[:12]}..., is {found[:12]}...: "
            "the file is damaged or not the one that was described; fetch the bundle again"
        )


def _toml(description: Description) -> str:
    """The description as TOML. A string, a number and a list look the same in JSON; None and no bias are left out."""
    plain: dict[str, Any] = msgspec.to_builtins(description)
    heads = plain.pop("heads")
    tables = {f"[{key}]": value for key, value in plain.items() if isinstance(value, dict)}
    single = {key: value for key, value in plain.items() if not isinstance(value, dict)}
    sections = [("", single), *tables.items(), *(("[[heads]]", head) for head in heads)]
    return "\n".join(_section(title, values) for title, values in sections)


def _section(title: str, values: Mapping[str, object]) -> str:
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
        if value is not None and value != []
    ]
    return "\n".join([*([title] if title else []), *lines, ""])

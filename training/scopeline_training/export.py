"""Export: from a fitted network to ONNX, proven equal.

Opset 17 through the older TorchScript exporter: TensorRT 8.6 reads no newer opset, and the newer exporter never goes
below 18.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scopeline.errors import BundleError
from scopeline.picture import Pixels
from scopeline.replace_file import unfinished

OPSET = 17
PARITY = 1e-4
"""Largest difference between torch and ONNX Runtime, of any logit of a label, of any probability of a mask's pixel,
beyond `ROUNDING` of the largest logit."""
ROUNDING = 1e-6
"""Share of the largest logit that float32 may cost, about eight of its steps; of logits up to 10, as trained networks
have them, a tenth of `PARITY`. After a few batches batch norms lag far behind the weights and logits are large: a
trial of Inception v3 (12 batches) gives 205 to 295 and differs by up to 0.0001. No layer is at fault: on white noise,
with logits of 33,000, torch differed from the same network in float64 by 0.005 and ONNX Runtime by 0.004."""
SLOPE = 1.7
"""Amplitude of `scope_like_noise` falls as spatial frequency to minus this."""
PIXELS = ("pixels",)
"""Names of the inputs of a network that sees one picture."""


def export_onnx(
    network: nn.Module, path: Path, *, size: int | tuple[int, int], inputs: Sequence[str] = PIXELS
) -> None:
    """Writes the network to `path`: per input (batch, H, W, 3) uint8, one output per head, any batch.

    Args:
        network: Gives a dict of tensors in evaluation mode, which it is put into.
        path: Of the ONNX file.
        size: Height and width in pixels, one number if they are alike.
        inputs: Names of the pictures it sees, two of a dual-input network.

    Raises:
        BundleError: ONNX Runtime's answers differ from torch's; what was at `path` before is still there.
    """
    network, beside = network.eval(), unfinished(path)
    try:
        _export(network, beside, size, inputs)
        difference = parity(network, beside, size=size, inputs=inputs)
        if difference > PARITY:
            raise BundleError(
                f"{path}: wanted answers within {PARITY} of torch's, they differ by {difference:.2g}: a layer does not "
                "translate, or the network makes rounding errors larger, as one does that was hardly taught; train "
                "longer, or take another backbone"
            )
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _export(network: nn.Module, path: Path, size: int | tuple[int, int], inputs: Sequence[str]) -> None:
    samples = _pictures(1, size, inputs)
    with torch.inference_mode():
        names = list(network(*samples))
    with warnings.catch_warnings():
        # The older exporter is used on purpose and announces its retirement.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Answers(network).eval(), samples, str(path), dynamo=False, opset_version=OPSET,
            input_names=list(inputs), output_names=names,
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *names)},
        )  # fmt: skip
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)


def parity(
    network: nn.Module, path: Path, *, size: int | tuple[int, int], inputs: Sequence[str] = PIXELS
) -> float:
    """Largest difference of any answer between torch and ONNX Runtime, over batches of 1, 3 and 8 pictures
    of `scope_like_noise`.

    Of a mask the probabilities are compared: its logits have no bound, and far from 0 they mean nothing. Of labels what
    counts is the difference beyond `ROUNDING`.
    """
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (1, 3, 8):
        pictures = _pictures(batch, size, inputs)
        with torch.inference_mode():
            wanted = network(*pictures)
        feed = {name: each.numpy() for name, each in zip(inputs, pictures, strict=True)}
        found = session.run(list(wanted), feed)
        for name, answer in zip(wanted, found, strict=True):
            worst = max(worst, beyond_rounding(wanted[name].numpy(), answer))
    return worst


def beyond_rounding(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Largest difference of two runtimes' answers, less `ROUNDING` of the largest logit.

    Args:
        wanted: (N, K) logits, or (N, 1, H, W) of a mask, which are compared as probabilities.
        found: Of the same shape.
    """
    one, other = _comparable(wanted), _comparable(found)
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("inf")
    return max(0.0, float(np.abs(one - other).max() - ROUNDING * np.abs(one).max()))


def scope_like_noise(rng: np.random.Generator, shape: tuple[int, int, int, int]) -> Pixels:
    """Random pictures as smooth as a scope's, (N, H, W, 3) uint8: amplitude falls as spatial frequency to minus 1.7.

    Photographs fall as 1 over the frequency (Field, J Opt Soc Am A 1987); 160 endoscopic stills at 224x224 fell by 1.4
    to 2.2, median 1.7. White noise would be simpler, but no network is taught anything of it: an EfficientNet-B0 taught
    from scratch on 400 pictures answered it with logits of 180, in which torch and ONNX Runtime differed by 0.34 and
    both from float64, because every layer made rounding errors larger; on stills they differed by 0.00001.
    """
    _, height, width, _ = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width)[None] * width)
    falling = np.maximum(frequency, 1.0) ** -SLOPE
    spectrum = np.fft.fft2(rng.normal(size=shape), axes=(1, 2)) * falling[None, :, :, None]
    spectrum[:, 0, 0] = 0.0
    waves = np.fft.ifft2(spectrum, axes=(1, 2)).real
    deviation = waves.std(axis=(1, 2, 3), keepdims=True)
    return np.asarray((128.0 + 60.0 * waves / deviation).clip(0, 255), np.uint8)


def _pictures(batch: int, size: int | tuple[int, int], inputs: Sequence[str]) -> tuple[Tensor, ...]:
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng(batch)
    return tuple(torch.from_numpy(scope_like_noise(rng, (batch, height, width, 3))) for _ in inputs)


def _comparable(answer: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = answer.astype(np.float64)
    return 1 / (1 + np.exp(-wide)) if answer.ndim == 4 else wide


class _Answers(nn.Module):
    """The network with its heads as a tuple, which the exporter names in order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *pictures: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(*pictures).values())

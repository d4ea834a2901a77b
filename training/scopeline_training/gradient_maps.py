"""Gradient maps: Grad-CAM, guided backpropagation and guided Grad-CAM of a network in torch, by captum.

captum guides the gradient at `nn.ReLU` modules and nowhere else: through SiLU (EfficientNet), ReLU6 (MobileNet v1 and
v2), Hardswish (MobileNet v3) or a ReLU called as a function it would pass the plain gradient and still be called
guided. What the picture really goes through is therefore looked up in the autograd graph; such networks are refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import GuidedBackprop, GuidedGradCam, LayerGradCam
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scopeline.bundle import Head, Input
from scopeline.errors import ConfigError
from scopeline.picture import Pixels
from scopeline.prediction import Probabilities
from scopeline_training.dual_network import DualNetwork
from scopeline_training.explanation import LookMap, MapValues, Method, Question
from scopeline_training.run_bundle import ForEngine
from scopeline_training.trainable_network import TrainableNetwork

_UNGUIDED = {
    "SiluBackward0": "SiLU",
    "HardtanhBackward0": "ReLU6",
    "HardswishBackward0": "Hardswish",
    "GeluBackward0": "GELU",
    "EluBackward0": "ELU",
    "LeakyReluBackward0": "leaky ReLU",
    "MishBackward0": "Mish",
    "PreluKernelBackward0": "PReLU",
}
_RELU = "ReluBackward0"


@dataclass(frozen=True, slots=True)
class TorchNetwork:
    """A network of the zoo with what is needed to explain it."""

    network: TrainableNetwork | DualNetwork
    """In evaluation mode."""
    heads: tuple[Head, ...]
    input: Input
    middle: int = 0
    """Side of what is cut from the middle of the input before the network sees it; all of it if 0."""
    place: str | None = None
    """Of a dual network: as which of the two pictures it is shown."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be looked at, from shallow to deep."""
        return self.network.cam_layers

    def layer(self, name: str) -> nn.Module:
        """A layer whose maps are looked at.

        Raises:
            ConfigError: there is none of that name.
        """
        try:
            return self.network.get_submodule(name)
        except AttributeError:
            raise ConfigError(
                f"wanted to look at layer {name!r}; the network has {', '.join(self.layers)}"
            ) from None

    def answers(self, pixels: Pixels) -> dict[str, Probabilities]:
        """Probabilities by head with labels, of (H, W, 3) uint8 RGB pixels."""
        with torch.inference_mode():
            logits = self.for_engine()(torch.from_numpy(pixels[None].copy()))
        return {
            head.name: head.probabilities(logits[head.name][0].numpy())
            for head in self.heads
            if head.role != "mask"
        }

    def for_engine(self) -> ForEngine:
        """The network as its bundle would hold it."""
        size = self.input.width
        return ForEngine(self.network, size, self.middle or size, self.place)


class _Score(nn.Module):
    """(1, 3, H, W) float32 of 0..255 -> (1,): the number whose gradient explains the answer.

    Of a label its logit, as in the papers. Of a mask the mean logit over the pixels that it marks, or over all if it
    marks none (Vinogradova et al. 2020, "Towards Interpretable Semantic Segmentation via Gradient-weighted Class
    Activation Mapping").
    """

    def __init__(self, network: ForEngine, question: Question) -> None:
        super().__init__()
        self.network, self.question = network, question

    def forward(self, pixels: Tensor) -> Tensor:
        logits = self.network(pixels.permute(0, 2, 3, 1))[self.question.head.name]
        if self.question.head.role != "mask":
            score: Tensor = logits[:, self.question.label]
            return score
        marked = (logits.detach() > 0).float()
        marked = marked if marked.any() else torch.ones_like(marked)
        whole: Tensor = (logits * marked).sum(dim=(1, 2, 3)) / marked.sum(dim=(1, 2, 3))
        return whole


def gradient_maps(
    of: TorchNetwork, pixels: Pixels, question: Question, methods: Sequence[Method], layers: Sequence[str]
) -> tuple[LookMap, ...]:
    """Maps by several methods, those that look at a layer once for each of the layers.

    Raises:
        ConfigError: a layer is not there, or the network cannot be guided.
    """
    maps: list[LookMap] = []
    for method in methods:
        if method is Method.GRAD_CAM:
            maps += [LookMap(method, name, grad_cam(of, pixels, question, name)) for name in layers]
        elif method is Method.GUIDED_BACKPROPAGATION:
            maps.append(LookMap(method, None, guided_backpropagation(of, pixels, question)))
        elif method is Method.GUIDED_GRAD_CAM:
            maps += [LookMap(method, name, guided_grad_cam(of, pixels, question, name)) for name in layers]
        else:
            raise ValueError(f"{method} is no method of gradients")
    return tuple(maps)


def grad_cam(of: TorchNetwork, pixels: Pixels, question: Question, layer: str) -> MapValues:
    """Grad-CAM at a layer, (H, W) float32, scaled to a maximum of 1; 0 where nothing speaks for the label.

    Args:
        of: The network.
        pixels: (H, W, 3) uint8 RGB: what it is shown.
        question: Head and label.
        layer: Name of the layer, for instance one of `of.layers`.

    Raises:
        ConfigError: there is no such layer.
    """
    target = of.layer(layer)
    with _evaluating(of.network):
        found = LayerGradCam(_score(of, question), target).attribute(
            _tensor(pixels), relu_attributions=True
        )  # (1, 1, h, w)
    middle = of.middle or pixels.shape[0]
    upscaled = interpolate(found.detach(), (middle, middle), mode="bilinear", align_corners=False)[0, 0]
    cam = np.zeros(pixels.shape[:2], np.float32)
    start = (pixels.shape[0] - middle) // 2
    cam[start : start + middle, start : start + middle] = upscaled.numpy()
    highest = float(cam.max())
    return cam / highest if highest > 0 else cam


def guided_backpropagation(of: TorchNetwork, pixels: Pixels, question: Question) -> MapValues:
    """Guided backpropagation, (H, W, 3) float32: gradient of the score by each value, guided at every ReLU.

    Raises:
        ConfigError: the network has activations that captum does not guide.
    """
    score = _score(of, question)
    with _evaluating(of.network), _said_already():
        _check_guidable(score, pixels)
        return _channels_last(GuidedBackprop(score).attribute(_tensor(pixels)))


def guided_grad_cam(of: TorchNetwork, pixels: Pixels, question: Question, layer: str) -> MapValues:
    """Guided Grad-CAM at a layer, (H, W, 3) float32: guided gradients where Grad-CAM is positive.

    Raises:
        ConfigError: there is no such layer, or the network has activations that captum does not guide.
    """
    score, target = _score(of, question), of.layer(layer)
    if of.middle and of.middle != pixels.shape[0]:
        # captum would stretch the map of the middle over the whole picture.
        return guided_backpropagation(of, pixels, question) * grad_cam(of, pixels, question, layer)[..., None]
    with _evaluating(of.network), _said_already():
        _check_guidable(score, pixels)
        return _channels_last(
            GuidedGradCam(score, target).attribute(_tensor(pixels), interpolate_mode="bilinear")
        )


def unguided_activations(of: TorchNetwork, pixels: Pixels, question: Question) -> tuple[str, ...]:
    """Names of the activations on the way to an answer that captum would not guide; none if it can be guided."""
    with _evaluating(of.network):
        return _unguided(_score(of, question), pixels)


def _check_guidable(score: _Score, pixels: Pixels) -> None:
    unguided = _unguided(score, pixels)
    if unguided:
        raise ConfigError(
            "guided backpropagation needs a network whose activations are all nn.ReLU modules, which captum guides; "
            f"this one has {', '.join(unguided)}, and the result would be the plain gradient under a wrong name; "
            "ask for grad-cam, or train vgg16, resnet50, densenet121 or inception_v3"
        )


def _unguided(score: _Score, pixels: Pixels) -> tuple[str, ...]:
    guided: list[Any] = []  # holds the nodes, so that they are the same objects when met again
    hooks = [
        each.register_forward_hook(lambda _module, _given, answer: guided.append(answer.grad_fn))
        for each in score.modules()
        if isinstance(each, nn.ReLU)
    ]
    try:
        with torch.enable_grad():
            answer = score(_tensor(pixels))
    finally:
        for hook in hooks:
            hook.remove()
    names = [
        "ReLU called as a function" if node.name() == _RELU else _UNGUIDED[node.name()]
        for node in _nodes(answer.grad_fn)
        if node.name() in _UNGUIDED or (node.name() == _RELU and node not in guided)
    ]
    return tuple(sorted(set(names)))


def _nodes(root: Any) -> Iterator[Any]:
    """Every node of an autograd graph, once."""
    seen, waiting = {root}, [root]
    while waiting:
        node = waiting.pop()
        yield node
        new = {each for each, _ in node.next_functions if each is not None} - seen
        seen |= new
        waiting += new


def _score(of: TorchNetwork, question: Question) -> _Score:
    return _Score(of.for_engine(), question)


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None].requires_grad_()


def _channels_last(attribution: Tensor) -> MapValues:
    values: MapValues = attribution.detach()[0].permute(1, 2, 0).numpy()
    return values


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode for a while: dropout and batch statistics are no part of an explanation."""
    was = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was)


@contextmanager
def _said_already() -> Iterator[None]:
    """captum warns on every call that it sets hooks; a test shows that it takes them away."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
        yield

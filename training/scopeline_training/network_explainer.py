"""Network explainer: a network in torch, in memory or from a run, explained by its gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scopeline.errors import ConfigError
from scopeline.picture import Pixels
from scopeline.prediction import Probabilities
from scopeline_training.explanation import LookMap, Method, Question
from scopeline_training.gradient_maps import TorchNetwork, gradient_maps, unguided_activations

_OFFERS = (Method.GRAD_CAM, Method.GUIDED_BACKPROPAGATION, Method.GUIDED_GRAD_CAM)


class NetworkExplainer:
    """Explains by Grad-CAM at every layer worth looking at, and by guided maps where the network can be guided.

    Args:
        network: What to explain.
    """

    def __init__(self, network: TorchNetwork) -> None:
        self.heads, self.input = network.heads, network.input
        self._network = network

    def answers(self, pixels: Pixels) -> Mapping[str, Probabilities]:
        """Probabilities by head with labels."""
        return self._network.answers(pixels)

    def maps(
        self, pixels: Pixels, question: Question, methods: Sequence[Method], layers: Sequence[str]
    ) -> tuple[tuple[LookMap, ...], str]:
        """The maps, and why guided ones that were not asked for by name are missing.

        Raises:
            ConfigError: a guided method was asked for and the network cannot be guided, or there is no such layer.
        """
        if Method.OCCLUSION in methods:
            raise ConfigError(
                "a network in torch is explained by its gradients; for occlusion explain the bundle"
            )
        looked_at = layers or self._network.layers
        if methods:
            return gradient_maps(self._network, pixels, question, methods, looked_at), ""
        unguided = unguided_activations(self._network, pixels, question)
        if unguided:
            maps = gradient_maps(self._network, pixels, question, (Method.GRAD_CAM,), looked_at)
            return (
                maps,
                f"No guided maps: captum guides nn.ReLU modules, this network has {', '.join(unguided)}.",
            )
        cams = gradient_maps(self._network, pixels, question, _OFFERS[:2], looked_at)
        deepest = gradient_maps(self._network, pixels, question, _OFFERS[2:], looked_at[-1:])
        return (*cams, *deepest), ""

    def close(self) -> None:
        """There is nothing to close."""

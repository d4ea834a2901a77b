"""Dual network: one question about a patient from two pictures of different places (source study S1).

Kim et al., Scientific Reports 13 (2023), doi 10.1038/s41598-023-38206-6: a shared encoder sees both pictures; one
answer, shared, judges each picture alone and is an auxiliary loss; a third judges both together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scopeline.errors import ConfigError
from scopeline_training.backbone import Backbone
from scopeline_training.freezing import Freezable
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.normalisation import normalisation
from scopeline_training.trainable_network import (
    DenseAnswer,
    Output,
    ParameterGroup,
    check_heads,
    check_size,
    parameter_groups,
)

FUSED = "fused"
"""Name of the output that rests on both pictures."""


class DualNetwork(Freezable):
    """Two pictures (N, H, W, 3) uint8 RGB -> three times (N, K) logits: of each alone, and `fused`.

    Args:
        plan: Its `inputs` name the two pictures, and with them the first two outputs.
        head: The question.
        backbone: What both pictures go through.

    Raises:
        ConfigError: the plan names no two pictures, or the question is a mask.
    """

    def __init__(self, plan: NetworkPlan, head: HeadPlan, backbone: Backbone) -> None:
        super().__init__()
        if plan.inputs is None or len({*plan.inputs, FUSED}) != 3 or head.role == "mask":
            raise ConfigError(
                "a dual-input network answers one question with labels about two pictures with names of their own "
                f"(other than {FUSED!r}), got inputs {plan.inputs} and a head of role {head.role!r}"
            )
        check_heads([head], backbone, plan.backbone)
        self.places = plan.inputs
        self.head = head.name
        self.normalise = normalisation(plan, mean=backbone.mean, std=backbone.std)
        self.backbone = backbone
        self.heads = nn.ModuleDict({
            "alone": DenseAnswer(backbone.features, plan, head),
            FUSED: DenseAnswer(2 * backbone.features, plan, head),
        })  # fmt: skip
        self.hidden_l2 = plan.hidden_l2

    @property
    def input_names(self) -> tuple[str, str]:
        """Names of the inputs of the exported graph."""
        return f"{self.places[0]}_pixels", f"{self.places[1]}_pixels"

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What `forward` returns, in order: three losses on the targets of one head."""
        return tuple(Output(name, self.head) for name in (*self.places, FUSED))

    @property
    def cam_layers(self) -> tuple[str, ...]:
        """As of a `TrainableNetwork`; each map is made twice, for the first picture and then for the second."""
        return tuple(f"backbone.{name}" for name in self.backbone.cam_layers)

    def forward(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Logits of both pictures alone and together.

        Raises:
            ValueError: a pair is the same picture twice. The original evaluated that way; a fused answer to it means
                nothing. `forward_alone` answers for one picture.
        """
        if not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            _refuse_same(first, second, self.places)
        before, behind = self._see(first), self._see(second)
        # Pooled maps side by side are the pool of the maps side by side, as in the original.
        both = torch.cat([before, behind], dim=1)
        alone, fused = self.heads["alone"], self.heads[FUSED]
        return {self.places[0]: alone(before), self.places[1]: alone(behind), FUSED: fused(both)}

    def forward_alone(self, pixels: Tensor, place: str) -> dict[str, Tensor]:
        """Logits of one picture where there is no other, under the name of its place; nothing is fused.

        Raises:
            ValueError: the network knows no such place.
        """
        if place not in self.places:
            raise ValueError(
                f"this network knows pictures of {self.places[0]} and {self.places[1]}, got {place!r}"
            )
        return {place: self.heads["alone"](self._see(pixels))}

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """For an optimiser: see `scopeline_training.trainable_network.parameter_groups`."""
        return parameter_groups(self, self.heads.values(), weight_decay, self.hidden_l2)

    def _see(self, pixels: Tensor) -> Tensor:
        check_size(pixels, self.backbone)
        pooled: Tensor = self.backbone(self.normalise(pixels)).pooled
        return pooled


def _refuse_same(first: Tensor, second: Tensor, places: tuple[str, str]) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"wanted as many pictures of {places[0]} as of {places[1]} and of one size, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    same = (first == second).flatten(1).all(dim=1)
    if bool(same.any()):
        rows = same.nonzero().flatten().tolist()
        raise ValueError(
            f"wanted a picture of {places[0]} and another of {places[1]}, got the same one twice in pairs {rows}; "
            "use forward_alone where there is only one"
        )

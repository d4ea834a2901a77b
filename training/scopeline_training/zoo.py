"""Zoo: the networks by name.

Classifiers: efficientnet_b0, mobilenetv1, mobilenetv2, mobilenetv3_small, mobilenetv3_small_050, vgg16, resnet50,
densenet121, inception_v3, small (our own). With a mask as well: unet (source study S4), unet_small and unet_light (our
own), unet_mobilenetv3_small_050, unet_mobilenetv3_small, unet_mobilenetv2, unet_efficientnet_b0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.backbone import Backbone
from scopeline_training.dual_network import DualNetwork
from scopeline_training.encoder_unet import EncoderUNet
from scopeline_training.imagenet import weights_file
from scopeline_training.inception import SIZE as INCEPTION_SIZE
from scopeline_training.inception import InceptionBackbone
from scopeline_training.light_unet import LightUNet
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.small_backbone import SmallBackbone, SmallUNet
from scopeline_training.timm_backbone import TimmBackbone
from scopeline_training.trainable_network import TrainableNetwork
from scopeline_training.unet import UNet


@dataclass(frozen=True, slots=True)
class Kind:
    """A backbone that can be asked for by name."""

    build: Callable[[Path | None], Backbone]
    """From a file of weights, or from scratch."""
    model: str | None = None
    """timm's name of what ImageNet weights fill; None where there are none."""
    size: int = 224
    """Width and height in pixels it is usually shown."""


def _timm(model: str, size: int = 224) -> Kind:
    return Kind(lambda weights: TimmBackbone(model, weights), model, size)


def _unet(model: str) -> Kind:
    return Kind(lambda weights: EncoderUNet(model, weights), model, 256)


KINDS = {
    "efficientnet_b0": _timm("efficientnet_b0"),
    "mobilenetv1": _timm("mobilenetv1_100"),
    "mobilenetv2": _timm("mobilenetv2_100"),
    "mobilenetv3_small": _timm("mobilenetv3_small_100"),
    "mobilenetv3_small_050": _timm("mobilenetv3_small_050"),
    "vgg16": _timm("vgg16", 256),
    "resnet50": _timm("resnet50"),
    "densenet121": _timm("densenet121"),
    "inception_v3": Kind(InceptionBackbone, "inception_v3", INCEPTION_SIZE),
    "small": Kind(lambda _: SmallBackbone(), size=128),
    "unet": Kind(lambda _: UNet(), size=256),
    "unet_small": Kind(lambda _: SmallUNet(), size=160),
    "unet_light": Kind(lambda _: LightUNet(), size=96),
    "unet_mobilenetv3_small_050": _unet("mobilenetv3_small_050"),
    "unet_mobilenetv3_small": _unet("mobilenetv3_small_100"),
    "unet_mobilenetv2": _unet("mobilenetv2_100"),
    "unet_efficientnet_b0": _unet("efficientnet_b0"),
}


def backbone_names() -> tuple[str, ...]:
    """What a plan may ask for."""
    return tuple(KINDS)


def usual_size(backbone: str) -> int:
    """Width and height in pixels a backbone is usually shown.

    Raises:
        ConfigError: there is no such backbone.
    """
    return _kind(backbone).size


def build(plan: NetworkPlan, heads: Sequence[HeadPlan]) -> TrainableNetwork:
    """A network for one picture at a time, in training mode; nothing is frozen.

    Raises:
        ConfigError: there is no such backbone or no such weights, the hub cannot be reached, or the heads do not suit.
    """
    if plan.inputs is not None:
        raise ConfigError(
            f"network: inputs = {plan.inputs} is a dual-input network; it is built by build_dual, for one head"
        )
    return TrainableNetwork(plan, heads, _backbone(plan))


def build_dual(plan: NetworkPlan, head: HeadPlan) -> DualNetwork:
    """A network for two pictures of a patient; see `DualNetwork`.

    Raises:
        ConfigError: as of `build`.
    """
    return DualNetwork(plan, head, _backbone(plan))


def _backbone(plan: NetworkPlan) -> Backbone:
    kind = _kind(plan.backbone)
    if kind.model is None:
        if plan.weights != "none":
            raise ConfigError(
                f"network: nobody has ImageNet weights of {plan.backbone!r}, it starts from scratch; "
                f"set weights = 'none', got {plan.weights!r}"
            )
        return kind.build(None)
    return kind.build(weights_file(kind.model, plan.weights))


def _kind(backbone: str) -> Kind:
    kind = KINDS.get(backbone)
    if kind is None:
        raise ConfigError(f"network: no backbone {backbone!r}; there are {', '.join(KINDS)}")
    return kind

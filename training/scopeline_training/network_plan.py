"""Network plan: which network of the zoo is built and which questions it answers. Parts of a recipe."""

from __future__ import annotations

from typing import Literal

import msgspec

Normalisation = Literal["imagenet", "unit", "sample_std", "data"]
"""What is done to pixels inside the graph, see `scopeline_training.normalisation`."""

HeadRole = Literal["quality", "location", "grade", "finding", "mask"]
"""As in a bundle: `mask` is one logit per pixel, every other role is one logit per label."""

Loss = Literal["cross_entropy", "cdw_ce", "corn", "regression", "bce", "bce_dice"]
"""`cdw_ce`, `corn` and `regression` are for ordered labels (`scopeline_training.ordinal`), `bce` and `bce_dice` for
masks (`scopeline_training.mask_losses`). It also decides the form of the head; whichever it is, the
head gives one logit per label."""


class NetworkPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network by its parts."""

    backbone: str = "efficientnet_b0"
    """A name of `scopeline_training.zoo.backbone_names()`."""
    weights: str = "none"
    """`none`: from scratch. `imagenet`: fetched by the library. Anything else: a file of them."""
    normalise: Normalisation = "imagenet"
    mean: tuple[float, float, float] | None = None
    """Of R, G and B in 0..1, for `data`."""
    std: tuple[float, float, float] | None = None
    """Of R, G and B in 0..1, for `data`."""
    hidden: int | None = None
    """Width of a dense ReLU layer before the answers; none if None. 256 in source study S3."""
    hidden_l2: float = 0.0
    """Factor of the squared weights of that layer in the loss. 1e-4 in source study S3."""
    dropout: float = 0.2
    """Share of features dropped before the answers while training."""
    mirrored: bool = False
    """A fitted network's masks are the mean of what it says of the picture and of its mirror images across, down and
    both. Takes four times as long."""
    inputs: tuple[str, str] | None = None
    """Names of the two pictures of a dual-input network, such as colon and rectum; one picture if None."""


class HeadPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question to the network."""

    name: str
    role: HeadRole = "finding"
    labels: tuple[str, ...] = ()
    """In their order; what the data set says if empty. A mask has `background` and what is marked."""
    weight: float = 1.0
    """Of this head's loss in the sum."""
    loss: Loss = "cross_entropy"
    distance_power: float = 5.0
    """Exponent of the distance between labels in `cdw_ce`."""
    balance: float = 0.5
    """Classes weigh by their count to minus this power: 0 as they come, 1 all alike."""

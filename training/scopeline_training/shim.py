"""Shim: torchvision can be imported beside a CPU-only torch.

The wheel of torchvision on the public index is a CUDA build. Beside a CPU-only torch its C++ library does not load, and
`import torchvision` fails while it describes operators that are not there; timm, segmentation-models-pytorch, lightning
and torchmetrics fail with it. Declaring the operators' schemas first lets the import succeed. Nothing here uses the
operators themselves (box suppression of detectors).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_library: torch.library.Library | None = None
"""The declared schemas live as long as this object."""


def make_torchvision_importable() -> None:
    """Declares torchvision's operators where its own library cannot; harmless otherwise and when called again.

    To be called before the first import of timm, segmentation_models_pytorch, lightning, torchmetrics or torchvision,
    and again in a process that was spawned (a forked one inherits it).
    """
    global _library
    if torch.version.cuda is not None or hasattr(torch.ops.torchvision, "nms"):
        return
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return
    if _own_library_loads(Path(found.submodule_search_locations[0])):
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]


def _own_library_loads(package: Path) -> bool:
    for library in package.glob("_C.*"):
        try:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except OSError:
            return False
        return True
    return False

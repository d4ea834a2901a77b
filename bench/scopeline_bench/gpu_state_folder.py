"""State folder of the GPU proof: what one call made and the next one needs, and what each stage found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from scopeline.bundle import (
    SCHEMA,
    Bundle,
    Description,
    Head,
    Input,
    Network,
    Training,
    load_bundle,
    write_bundle,
)
from scopeline.crop import CropKind
from scopeline.shipped import shipped_pipelines

SHIPPED = tuple(sorted(file.parent.name for file in shipped_pipelines().glob("bundles/*/bundle.toml")))
LARGE = {"efficientnet_b0": 224, "resnet50": 224, "unet": 256}
_FP32 = {"unet": ("/down.0/",)}
"""What stays in FP32: all in FP16, the U-Net's 99.9th percentile of differences is 0.013, so 0.004 (bar 0.005)."""


class StateFolder:
    """Under `root`: `plans/` (the engine's cache), `networks/` (ONNX from PyTorch), `bundles/`, `found/` (results)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.networks = root / "networks"
        self._bundles, self._found = root / "bundles", root / "found"

    def keep(self, stage: str, figures: Any) -> None:
        """What a stage found, over what an earlier run of it did."""
        self._found.mkdir(parents=True, exist_ok=True)
        content = msgspec.json.format(msgspec.json.encode(figures), indent=1)
        (self._found / f"{stage}.json").write_bytes(content + b"\n")

    def found(self) -> dict[str, Any]:
        """By stage, everything found so far."""
        files = sorted(self._found.glob("*.json"))
        return {file.stem: msgspec.json.decode(file.read_bytes()) for file in files}

    def bundles(self) -> dict[str, Bundle]:
        """Those that ship, and those whose network is there."""
        shipped = {name: load_bundle(shipped_pipelines() / "bundles" / name) for name in SHIPPED}
        large = {name: self._large(name) for name in LARGE if (self.networks / f"{name}.onnx").is_file()}
        return shipped | large

    def _large(self, name: str, alias: str | None = None) -> Bundle:
        network = (self.networks / f"{name}.onnx").read_bytes()
        return write_bundle(
            self._bundles / (alias or name),
            _description(alias or name, LARGE[name]),
            network=network,
            card="Random weights; only for measuring.\n",
        )

    def fours(self) -> list[Path]:
        """EfficientNet-B0 four times under names of their own: four heads of one large network each."""
        if not (self.networks / "efficientnet_b0.onnx").is_file():
            return []
        return [self._renamed("efficientnet_b0", number).folder for number in range(4)]

    def _renamed(self, name: str, number: int) -> Bundle:
        """The output of the network, too, has to be called like its head."""
        import onnx

        model = onnx.load(self.networks / f"{name}.onnx")
        head = f"answer{number}"
        for node in model.graph.node:
            node.output[:] = [head if each == "answer" else each for each in node.output]
        model.graph.output[0].name = head
        alias = f"{name}_{number}"
        return write_bundle(
            self._bundles / alias,
            _description(alias, LARGE[name], head=head),
            network=model.SerializeToString(),
            card="Random weights; only for measuring.\n",
        )


def _description(name: str, side_px: int, *, head: str = "answer") -> Description:
    answer = (
        Head(name=head, role="mask", labels=("marked",), threshold=0.5)
        if name == "unet"
        else Head(name=head, role="finding", labels=("a", "b", "c", "d"))
    )
    return Description(
        schema=SCHEMA,
        name=name,
        version="0",
        licence="Apache-2.0",
        notice="Random weights; only for measuring.",
        input=Input(width=side_px, height=side_px, crop=CropKind.INSCRIBED),
        network=Network(file="model.onnx", sha256="", opset=17, fp32=_FP32.get(name, ())),
        training=Training(recipe="", command="", data="none", data_sha256="", seed=0),
        heads=(answer,),
    )

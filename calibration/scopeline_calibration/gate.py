"""Gate: one build of a bundle's network against the FP32 reference, and the layers to blame when it is refused."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.backends import open_backend
from scopeline.backends.onnx_runtime import OnnxRuntimeBackend
from scopeline.bundle import Bundle
from scopeline.culprits import find_culprits
from scopeline.parity import ParityVerdict, Stretch, bars_of, check_parity, hostile_frames
from scopeline.ports import Backend
from scopeline.proof import Proof, heads_hash, processor_name, runtime_version
from scopeline_calibration.labelled_parity import KnownTruth, changes
from scopeline_calibration.onnx_layers import (
    first_without_number,
    have_the_same_layers,
    layers_of,
    load_network,
    with_layers_of,
)
from scopeline_calibration.real_frames import RealFrames
from scopeline_calibration.reference import ReferenceBackend

TRIAL_FRAMES = 200
"""Real frames of each trial of a search for layers; all hostile ones are shown as well."""

Trial = Callable[[], object]
"""Called before each trial of a search."""


@dataclass(frozen=True, slots=True)
class Build:
    """What is to be trusted: a runtime, a precision, and the network file that it runs."""

    backend: str
    precision: str
    network: Path
    kept_in_fp32: tuple[str, ...] = ()

    def open(self, bundle: Bundle) -> Backend:
        """The build in its runtime, proven or not.

        Raises:
            BackendError: the runtime refuses it.
        """
        if self.backend == OnnxRuntimeBackend.name:
            return OnnxRuntimeBackend(bundle, threads=1, precision=self.precision, network=self.network)
        return open_backend(self.backend, bundle, threads=1, precision=self.precision)


@dataclass(frozen=True, slots=True)
class Gate:
    """The frames that a build has to answer as the reference does."""

    bundle: Bundle
    reference: ReferenceBackend
    frames: NDArray[np.uint8]
    stretches: tuple[Stretch, ...]
    shown: str
    hostile: int
    known: KnownTruth | None = None
    """Pictures whose truth is known, for the change of scores."""

    def check(self, build: Build, *, batches: Sequence[int]) -> Proof:
        """The verdict on a build, with everything that it holds for."""
        with closing(build.open(self.bundle)) as candidate:
            verdict = check_parity(
                self.bundle,
                self.reference,
                candidate,
                self.frames,
                batches=batches,
                stretches=self.stretches,
            )
            if self.known is not None:
                scored = changes(
                    self.bundle,
                    self.reference,
                    candidate,
                    self.known,
                    batches=batches,
                    bars=bars_of(candidate.precision),
                )
                verdict = msgspec.structs.replace(verdict, rows=(*verdict.rows, *scored))
        return Proof(
            verdict=verdict,
            heads=heads_hash(self.bundle),
            candidate_sha256=hashlib.sha256(build.network.read_bytes()).hexdigest(),
            processor=processor_name(),
            runtime=runtime_version(build.backend),
            shown=self.shown if self.known is None else f"{self.shown}; scored on {self.known.told}",
            kept_in_fp32=build.kept_in_fp32,
        )

    def passes(self, build: Build) -> bool:
        """A quick verdict on fewer frames and no stretches, at one batch size."""
        real = len(self.frames) - self.hostile
        chosen = np.concatenate(
            [np.arange(0, real, max(1, real // TRIAL_FRAMES)), np.arange(real, len(self.frames))]
        )
        with closing(build.open(self.bundle)) as candidate:
            verdict = check_parity(self.bundle, self.reference, candidate, self.frames[chosen], batches=[4])
        return verdict.passed


def make_gate(bundle: Bundle, real: RealFrames, *, known: KnownTruth | None = None, seed: int = 0) -> Gate:
    """The gate of a bundle: real frames, then hostile ones, and pictures with a known truth where there are any."""
    hostile = hostile_frames((bundle.input.width, bundle.input.height), seed)
    return Gate(
        bundle=bundle,
        reference=ReferenceBackend(bundle),
        frames=np.concatenate([real.pixels, hostile]),
        stretches=real.stretches,
        shown=f"{real.told} and {len(hostile)} hostile ones",
        hostile=len(hostile),
        known=known,
    )


def blame(gate: Gate, build: Build, verdict: ParityVerdict, before_trial: Trial) -> str:
    """Which layers of a refused build are to blame, in words.

    A network of its own is mixed with the bundle's, layer by layer. Layers that give no numbers are found by looking
    into the network. A runtime that is handed the bundle's own network offers nothing to exchange.
    """
    if any(row.check == "not_a_number" for row in verdict.failures):
        network = load_network(build.network)
        found = first_without_number(network, gate.frames[_without_numbers(gate, build)])
        if found is not None:
            return f"the first layer that gives NaN or Inf is {found}"
    if build.network == gate.bundle.onnx_path:
        return (
            f"{build.backend} runs the bundle's own network, so there are no layers to exchange: "
            "the difference is its arithmetic"
        )
    right, wrong = load_network(gate.bundle.onnx_path), load_network(build.network)
    if not have_the_same_layers(right, wrong):
        return "the network has other layers than the bundle's, so they cannot be exchanged one by one"
    with tempfile.TemporaryDirectory() as folder:
        mixed = Path(folder) / "mixed.onnx"

        def passes(kept: frozenset[str]) -> bool:
            before_trial()
            mixed.write_bytes(with_layers_of(wrong, right, kept).SerializeToString())
            return gate.passes(Build(build.backend, build.precision, mixed))

        layers = find_culprits(list(layers_of(right)), passes)
    if layers is None:
        return (
            "exchanging every layer's weights for the bundle's does not help: the networks differ elsewhere"
        )
    if not layers:
        return "no layer: it fails only on frames that the search for layers does not look at"
    return f"with the bundle's weights in {', '.join(layers)} it passes"


def _without_numbers(gate: Gate, build: Build) -> NDArray[np.int64]:
    """Up to four frames to which the build gives something that is no number."""
    with closing(build.open(gate.bundle)) as candidate:
        found = [
            number
            for number, frame in enumerate(gate.frames)
            if any(not np.isfinite(rows).all() for rows in candidate.infer(frame[None]).values())
        ]
    return np.array(found[:4] or [0], np.int64)

"""Proof: the verdict of the parity gate on one bundle in one runtime and precision, on this very machine.

Proofs lie in the user's cache folder and not in the bundle: how low precision is added up differs between processors
and versions of a runtime, so a proof of another machine proves nothing here; and bundles may lie where nobody can
write.
"""

from __future__ import annotations

import hashlib
import platform
from functools import lru_cache
from pathlib import Path

import msgspec

from scopeline.bundle import Bundle
from scopeline.cache_folder import cache_folder
from scopeline.parity import ParityVerdict
from scopeline.replace_file import cannot_write, replace_file

SCHEMA = 1
REFERENCE = ("onnxruntime", "fp32")
"""What the others are held against; needs no proof."""


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A verdict and everything it holds for."""

    schema: int = SCHEMA
    verdict: ParityVerdict
    heads: str
    """Of the bundle's heads, see `heads_hash`: other temperatures make other probabilities."""
    candidate_sha256: str
    """Of the network file that the candidate ran."""
    processor: str
    runtime: str
    """Package and version."""
    shown: str
    """Which frames, in words."""
    kept_in_fp32: tuple[str, ...] = ()
    """Layers that are not in the candidate's precision."""

    @property
    def hash(self) -> str:
        """Eight digits that name this proof in results."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:8]


def heads_hash(bundle: Bundle) -> str:
    """Eight digits of what turns logits into answers: labels, temperatures, biases, thresholds."""
    return hashlib.sha256(msgspec.json.encode(bundle.heads, order="deterministic")).hexdigest()[:8]


def keep_proof(bundle: Bundle, proof: Proof, *, backend: str, precision: str) -> Path:
    """Write a proof, passed or not, over the one that was there; returns where.

    Raises:
        SinkError: it cannot be written.
    """
    path = _path(bundle, backend, precision)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    replace_file(path, msgspec.json.format(msgspec.json.encode(proof), indent=1))
    return path


def find_proof(bundle: Bundle, *, backend: str, precision: str) -> Proof | None:
    """The proof that holds here and now: same weights, same heads, same processor, same runtime.

    One that cannot be read, or is of another version of Scopeline, is none.
    """
    try:
        proof = msgspec.json.decode(_path(bundle, backend, precision).read_bytes(), type=Proof)
    except (OSError, msgspec.DecodeError):
        return None
    holds = (
        proof.schema == SCHEMA
        and proof.verdict.network_sha256 == bundle.network.sha256
        and proof.heads == heads_hash(bundle)
        and proof.processor == processor_name()
        and proof.runtime == runtime_version(backend)
    )
    return proof if holds else None


def proof_word(bundle: Bundle, *, backend: str, precision: str) -> str | None:
    """What results say of the proof: `proven:<8 digits>`, `refused:<8 digits>`, `unproven`; None for the reference."""
    if (backend, precision) == REFERENCE:
        return None
    proof = find_proof(bundle, backend=backend, precision=precision)
    if proof is None:
        return "unproven"
    return f"{'proven' if proof.verdict.passed else 'refused'}:{proof.hash}"


def runtime_version(backend: str) -> str:
    """Package and version of a runtime, `openvino 2026.1.0`; its bare name for one that is not ours."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{backend} {version(backend)}"
    except PackageNotFoundError:
        return backend


@lru_cache(maxsize=1)
def processor_name() -> str:
    """The processor's name, and which arithmetic for short integers it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = told.get("flags", told.get("Features", "")).split()
    short = [
        flag for flag in ("avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "avx512_bf16") if flag in flags
    ]
    return " ".join([told.get("model name", platform.machine()), *short])


def _path(bundle: Bundle, backend: str, precision: str) -> Path:
    place = cache_folder("parity") / bundle.network.sha256[:12]
    return place / f"{backend.replace(':', '.')}-{precision}.json"

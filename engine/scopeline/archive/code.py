"""Code: which Scopeline made a result, down to its source text; the same version number may stand for many."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import scopeline


@cache
def code_hash() -> str:
    """`sha256:<12 digits>` of the engine's own source files and its kernel for GPUs, read once per process."""
    root = Path(scopeline.__file__).parent
    digest = hashlib.sha256()
    for file in sorted([*root.rglob("*.py"), *root.rglob("*.ptx")]):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return f"sha256:{digest.hexdigest()[:12]}"

"""Scope profile files: a fitted profile as TOML that a person can read and correct."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from scopeline.scope_profile import ScopeProfile


def profile_text(profile: ScopeProfile, remarks: Iterable[str]) -> str:
    """The profile as TOML: remarks as comments first, then the keys of `calibration/scopes/README.md`."""
    lines = [f"# {remark}" for remark in remarks]
    lines += [
        f"name = {json.dumps(profile.name)}",
        f"signal = {_numbers(profile.signal)}",
        f'shape = "{profile.shape.value}"',
        f"box = {_numbers(profile.box)}",
    ]
    if profile.circle is not None:
        lines.append(f"circle = {_numbers(profile.circle)}")
    if profile.outline:
        lines.append(f"outline = [{', '.join(_numbers(point) for point in profile.outline)}]")
    for overlay in profile.overlays:
        lines += ["", "[[overlays]]", f'kind = "{overlay.kind.value}"', f"box = {_numbers(overlay.box)}"]
    return "\n".join(lines) + "\n"


def _numbers(values: Sequence[float]) -> str:
    # An int is a float to TOML's readers here only where it is written as one.
    return f"[{', '.join(str(value) for value in values)}]"

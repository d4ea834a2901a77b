"""The cache folder: what this machine worked out for itself and can work out again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder below `$SCOPELINE_CACHE`, `$XDG_CACHE_HOME/scopeline` or `~/.cache/scopeline`; not made yet."""
    own = os.environ.get("SCOPELINE_CACHE")
    if own:
        return Path(own) / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scopeline" / name

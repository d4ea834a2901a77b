"""Where the files that ship with Scopeline lie: beside the code in a wheel, in the checkout otherwise."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_IN_WHEEL = _PACKAGE / "data"
_CHECKOUT = _PACKAGE.parent.parent


def shipped_pipelines() -> Path:
    """The folder of pipeline files, with `bundles/` in it."""
    return _IN_WHEEL / "pipelines" if _IN_WHEEL.is_dir() else _CHECKOUT / "pipelines"


def shipped_scopes() -> Path:
    """The folder of scope profiles."""
    return _IN_WHEEL / "scopes" if _IN_WHEEL.is_dir() else _CHECKOUT / "calibration" / "scopes"

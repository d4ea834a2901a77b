"""Quiet Lightning: no notices that nobody can act on while a fit runs; and whoever ends it is heard."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()
from lightning.pytorch.utilities.exceptions import SIGTERMException  # noqa: E402


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning says on every fit what devices there are and how many workers would be faster; no user can use that.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C. Lightning makes `exit(1)` of it, which says that something failed.
        SystemExit: with 143, at SIGTERM. Lightning leaves with 0 then, which says that all is done.
    """
    loggers = [
        logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning")
    ]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            yield
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)

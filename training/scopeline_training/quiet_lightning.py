"""Quiet Lightning: its notices, which no user of a fit can act on, left out while a fit runs; Ctrl-C stays Ctrl-C."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning says on every fit what devices there are and how many workers would be faster; no user can use that.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C. Lightning makes `exit(1)` of it, which says that something failed.
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
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)

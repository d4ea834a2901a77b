"""A measurement in a process of its own: nothing that ran before it is warm, counted or in its way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def measured(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What `work` returns, worked in a fresh interpreter; its exceptions come out here."""
    with beside(work, *args, **kwargs) as answer:
        return answer.result()


@contextmanager
def beside(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Iterator[Future[_T]]:
    """`work` running in a fresh interpreter while the block does something else. Leaving waits for its end."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool.submit(work, *args, **kwargs)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Processes begun in the block stay on one core, the last one that this process may use.

    Processor seconds are only comparable where the work is done alike: a thread that moves between cores, or two that
    share one physical core, need more of them for the same work, by 5 to 10 % on the machines measured.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)

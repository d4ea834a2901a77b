"""A measurement in a process of its own: nothing that ran before it is warm, counted or in its way."""

from __future__ import annotations

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

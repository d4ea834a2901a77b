"""Groups: items of a stream, so many at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def in_groups(
    items: Iterable[Item], size: int, *, left_over: Callable[[int], None] = lambda count: None
) -> Generator[list[Item], None, None]:
    """Lists of exactly `size` items, the last one of what is left.

    Args:
        left_over: Told how many items had come for a group that was never whole, because the stream failed or nobody
            wanted more.
    """
    held: list[Item] = []
    try:
        for item in items:
            held.append(item)
            if len(held) == size:
                group, held = held, []
                yield group
        if held:
            group, held = held, []
            yield group
    finally:
        if held:
            left_over(len(held))

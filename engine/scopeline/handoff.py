"""Handoff: the bounded, closable place where one stage hands work to the next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")


class Closed(Exception):
    """The other side will never take or give again."""


class Handoff(Generic[Item]):
    """A queue of at most `capacity` items between two threads.

    Args:
        capacity: Items that may wait.
        when_full: `wait` blocks the giver; `drop_oldest` makes room by giving up what has waited longest,
            so that the newest item always wins.
    """

    def __init__(self, capacity: int, *, when_full: Literal["wait", "drop_oldest"] = "wait") -> None:
        if capacity < 1:
            raise ValueError(f"wanted room for at least one item, got a capacity of {capacity}")
        self._items: deque[Item] = deque()
        self._capacity = capacity
        self._drop_oldest = when_full == "drop_oldest"
        self._lock = threading.Lock()
        self._can_take = threading.Condition(self._lock)
        self._can_put = threading.Condition(self._lock)
        self._closed = False

    def put(self, item: Item) -> Item | None:
        """Hand over `item`; the item that was given up for it, if any.

        Raises:
            Closed: nobody will take it.
        """
        with self._lock:
            dropped = None
            if self._drop_oldest and len(self._items) >= self._capacity and not self._closed:
                dropped = self._items.popleft()
            while len(self._items) >= self._capacity and not self._closed:
                self._can_put.wait()
            if self._closed:
                raise Closed
            self._items.append(item)
            self._can_take.notify()
            return dropped

    def take(self) -> Item:
        """The next item; waits for one.

        Raises:
            Closed: the giver has finished and everything was taken.
        """
        with self._lock:
            while not self._items and not self._closed:
                self._can_take.wait()
            if not self._items:
                raise Closed
            item = self._items.popleft()
            self._can_put.notify()
            return item

    def take_within(self, timeout_s: float) -> Item | None:
        """The next item, or None if none came in time.

        Raises:
            Closed: the giver has finished and everything was taken.
        """
        with self._lock:
            self._can_take.wait_for(lambda: self._items or self._closed, timeout_s)
            if self._items:
                item = self._items.popleft()
                self._can_put.notify()
                return item
            if self._closed:
                raise Closed
            return None

    def __iter__(self) -> Iterator[Item]:
        """Items until the giver has finished and everything was taken."""
        while True:
            try:
                yield self.take()
            except Closed:
                return

    def close(self, *, discard: bool = False) -> list[Item]:
        """No more items will come. Waiting ones can still be taken unless `discard`, which returns them."""
        with self._lock:
            self._closed = True
            left = list(self._items) if discard else []
            if discard:
                self._items.clear()
            self._can_take.notify_all()
            self._can_put.notify_all()
            return left

    def __len__(self) -> int:
        with self._lock:
            return len(self._items)

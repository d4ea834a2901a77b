"""GPU state: how far a bundle has come on its way to the GPU. Pure; who moves it tells what happens.

    absent --> building --> verifying --> serving
       |          |            |            |
       '----------+---> failed <------------'     failed --> serving: memory was given back
       '----------+------------'---> refused                  (the gate's verdict is final for the run)

`absent` goes straight to `serving` where a proven plan is at hand. In every state but `serving` the CPU judges.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Final


class GpuState(StrEnum):
    """Where a bundle is."""

    ABSENT = "absent"
    BUILDING = "building"
    VERIFYING = "verifying"
    SERVING = "serving"
    REFUSED = "refused"
    FAILED = "failed"


_NEXT: Final[dict[GpuState, frozenset[GpuState]]] = {
    GpuState.ABSENT: frozenset({GpuState.BUILDING, GpuState.SERVING, GpuState.REFUSED, GpuState.FAILED}),
    GpuState.BUILDING: frozenset(
        {GpuState.VERIFYING, GpuState.SERVING, GpuState.REFUSED, GpuState.FAILED}
    ),  # straight to serving or refused where another process built and verified meanwhile
    GpuState.VERIFYING: frozenset({GpuState.SERVING, GpuState.REFUSED, GpuState.FAILED}),
    GpuState.SERVING: frozenset({GpuState.FAILED}),
    GpuState.REFUSED: frozenset(),
    GpuState.FAILED: frozenset({GpuState.SERVING}),
}


class GpuProgress:
    """The state of one bundle, moved from any thread.

    Args:
        on_change: Called with every new state and its text, in the thread that brought it about.
    """

    def __init__(self, on_change: Callable[[GpuState, str], None]) -> None:
        self._lock = threading.Lock()
        self._state = GpuState.ABSENT
        self._on_change = on_change

    @property
    def state(self) -> GpuState:
        return self._state

    def move(self, state: GpuState, text: str) -> None:
        """Go on; staying where it is says nothing twice.

        Raises:
            ValueError: there is no such way: a defect of ours.
        """
        with self._lock:
            if state is self._state:
                return
            if state not in _NEXT[self._state]:
                raise ValueError(f"a bundle cannot go from {self._state} to {state}")
            self._state = state
        self._on_change(state, text)

"""StreamState: all that the stages before the concluding one remember of a recording, between two of its frames.

A chunk that begins in the right state gives what one pass over the whole recording gives. States are compared by
digest, so "the right state" is a fact and not a hope.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np

from scopeline.prepare import PreparerState
from scopeline.quality import GateState
from scopeline.sources.timeline import State

FRESH: Final = "fresh"
"""Stands for the state before the first frame."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """Between two frames, after the preparing and the judging of the first."""

    timeline: State
    preparer: PreparerState
    last_asked: dict[str, float]
    """By head; only of heads that are not asked on every frame."""

    def encoded(self) -> bytes:
        """As MessagePack; about 1 MB, most of it the field tracker's last looks."""
        return _ENCODER.encode(_DECODER.decode(_ENCODER.encode(self)))

    @property
    def era(self) -> str:
        """Names what a warm-up cannot bring about by itself: the geometry that is locked, and its number."""
        tracker = self.preparer.tracker
        lasting = (tracker.size, tracker.locked, tracker.last_id, tracker.field)
        return digest(_ENCODER.encode(lasting))

    def due_at(self, due_s: float) -> StreamState:
        """The same, with the field tracker's next look at another time."""
        tracker = replace(self.preparer.tracker, due_s=due_s)
        return replace(self, preparer=replace(self.preparer, tracker=tracker))

    def at_gate(self, gate: GateState) -> StreamState:
        """The same, with another gate."""
        return replace(self, preparer=replace(self.preparer, gate=gate))

    def at_time(self, timeline: State) -> StreamState:
        """The same, with another timeline."""
        return replace(self, timeline=timeline)


def decode_state(encoded: bytes) -> StreamState:
    """What `encoded` gave.

    Raises:
        msgspec.DecodeError: it is something else.
    """
    return _DECODER.decode(encoded)


def digest(encoded: bytes) -> str:
    """`sha256:<16 digits>`."""
    return f"sha256:{hashlib.sha256(encoded).hexdigest()[:16]}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes()
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"no {type(value)} belongs to a state")


def _array(kind: type, value: Any) -> Any:
    dtype, shape, content = value
    return np.frombuffer(content, dtype).reshape(shape).copy()


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_plain, order="deterministic")
_DECODER: Final = msgspec.msgpack.Decoder(StreamState, dec_hook=_array)

"""Garbage: what strangers send to sockets. Drawn from a seed; nothing in it is a request that means something."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

LIMIT_BYTES: Final = 4096
"""Longest part that the engine's request sockets read; one byte more and the peer is cut off."""

_SIGNATURE: Final = b"\xff" + b"\0" * 8 + b"\x7f"
_READY: Final = b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"
_READY_SUB: Final = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB"
PLAIN_HANDSHAKE: Final = _SIGNATURE + b"\3\1" + b"NULL".ljust(20, b"\0") + b"\0" * 32 + _READY
"""All that a DEALER without a key says before its first message."""
_WRONG_VALUES: Final[Sequence[Any]] = (
    None, True, 0, -1, 1e308, "", " ", "\x1b[2J", "stomach", "x" * 500, [], {}, [[]], {"do": "mark"}, "\ud800",
)  # fmt: skip
_MARKS: Final[Sequence[dict[str, Any]]] = (
    {"do": "mark", "kind": "segment", "label": "rectum"},
    {"do": "mark", "kind": "biopsy", "label": "two, at 30 cm"},
    {"do": "mark", "kind": "freeze", "age_ms": 900},
    {"do": "mark", "kind": "end"},
    {"do": "status"},
)
_REPLAY: Final[dict[str, Any]] = {"session": "9f2c61d07ab34e58", "topic": "frame", "from_seq": 0, "to_seq": 9}


class Garbage:
    """A stranger with a seed.

    Args:
        seed: The same seed sends the same.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def request(self) -> list[bytes]:
        """Parts for the control socket; never a mark or a question that is one."""
        draw = self._chance.choices(
            (self._noise, self._mutated_mark, self._wrong_object, self._nested), weights=(3, 4, 3, 1)
        )[0]
        if self._chance.random() < 0.15:
            return [draw() for _ in range(self._chance.choice((2, 3, 5, 40)))]
        return [draw()]

    def replay_request(self) -> list[bytes]:
        """Parts for the replay socket."""
        draw = self._chance.choice((self._noise, self._nested, lambda: self._mutated(_REPLAY)))
        if self._chance.random() < 0.15:
            return [draw() for _ in range(self._chance.choice((2, 3, 5, 40)))]
        return [draw()]

    def subscription(self) -> list[bytes]:
        """Parts for the publishing socket: wishes for what is not there, and no wishes at all."""
        topic = self._chance.randbytes(self._chance.randrange(60))
        wish: bytes = self._chance.choice((b"\1", b"\1", b"\0", b"\2", b"")) + topic
        return [wish] if self._chance.random() < 0.9 else [wish, topic, b""]

    def too_long(self) -> bytes:
        """A part beyond every limit."""
        return self._chance.randbytes(self._chance.choice((LIMIT_BYTES + 1, 10_000, 1_000_000)))

    def raw(self) -> bytes:
        """Bytes for a TCP connection, from noise to a ZeroMQ handshake that goes wrong late."""
        chance = self._chance
        version = bytes([chance.choice((3, 3, 3, 0, 255)), chance.choice((0, 1))])
        mechanism = chance.choice((b"NULL", b"CURVE", b"PLAIN", chance.randbytes(20))).ljust(20, b"\0")
        greeting = _SIGNATURE + version + mechanism + b"\0" * 32
        huge = b"\x02" + b"\x7f" + b"\xff" * 7  # a long frame of 2**63 - 1 bytes
        # A topic of half a million letters; libzmq keeps topics as a tree with a node per letter.
        deep = b"\x02" + (500_000).to_bytes(8, "big") + b"\1" + b"x" * 499_999
        endless = b"\x01\x01x" * chance.randrange(200)  # parts of a message that never ends
        kinds: Sequence[Callable[[], bytes]] = (
            lambda: chance.randbytes(chance.randrange(1, 300)),
            lambda: b"GET / HTTP/1.1\r\nHost: engine\r\n\r\n",
            lambda: greeting[: chance.randrange(64)],
            lambda: greeting + chance.randbytes(100),
            lambda: greeting + _READY + chance.randbytes(200),
            lambda: greeting + _READY + huge,
            lambda: greeting + _READY + endless,
            lambda: greeting + _READY_SUB + deep,
            lambda: greeting + _READY[: chance.randrange(len(_READY))],
        )
        return chance.choice(kinds)()

    def _noise(self) -> bytes:
        longest = self._chance.choice((0, 1, 20, 200, 1024, 1025, LIMIT_BYTES))
        return self._chance.randbytes(self._chance.randint(0, longest))

    def _mutated_mark(self) -> bytes:
        while True:
            draft = self._mutated(self._chance.choice(_MARKS))
            if not _may_mean_something(draft):
                return draft

    def _mutated(self, valid: dict[str, Any]) -> bytes:
        draft = bytearray(json.dumps(valid).encode())
        for _ in range(self._chance.choice((1, 1, 2, 5, 20))):
            place = self._chance.randrange(len(draft) + 1)
            change = self._chance.randrange(4)
            if change == 0:
                draft[place:place] = self._chance.randbytes(1)
            elif change == 1:
                del draft[place : place + self._chance.randrange(1, 8)]
            elif change == 2 and place < len(draft):
                draft[place] ^= 1 << self._chance.randrange(8)
            else:
                draft += draft[: min(place, 200)]
        return bytes(draft[:LIMIT_BYTES])

    def _wrong_object(self) -> bytes:
        """A mark with one field that is wrong, or that should not be there."""
        request = dict(self._chance.choice(_MARKS))
        field = self._chance.choice(("do", "kind", "label", "age_ms", "patient"))
        request[field] = self._chance.choice(_WRONG_VALUES)
        draft = json.dumps(request).encode()
        return draft if not _may_mean_something(draft) else b'{"do": "stop"}'

    def _nested(self) -> bytes:
        depth = self._chance.randint(1, 1000)
        return (self._chance.choice((b"[", b'{"do":', b'[{"a":')) * depth)[:LIMIT_BYTES]


def _may_mean_something(draft: bytes) -> bool:
    """Whether a lenient reader could take it for a request: then it is no garbage. Written without the engine's own
    reader, which is what is tested."""
    try:
        found = json.loads(draft)
    except ValueError:
        return False
    if not isinstance(found, dict) or found.get("do") not in ("mark", "status"):
        return False
    if found["do"] == "status":
        return set(found) == {"do"}
    label, kind, age_ms = found.get("label"), found.get("kind", "segment"), found.get("age_ms", 0)
    wrong = (
        not set(found) <= {"do", "kind", "label", "age_ms"}
        or kind not in ("segment", "biopsy", "freeze", "ignore", "end")
        or (kind == "segment" and label != "rectum")
        or (kind in ("ignore", "end") and label is not None)
        or not (label is None or (isinstance(label, str) and 0 < len(label.strip()) <= len(label) <= 80))
        or isinstance(age_ms, bool)
        or not isinstance(age_ms, int | float)
        or not 0 <= age_ms <= 10_000
    )
    return not wrong

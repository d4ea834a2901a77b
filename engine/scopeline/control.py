"""Control: what an operator may tell a running engine, and what it answers. Knows no socket.

A request is one JSON object, an answer too:

{"do": "mark", "kind": "segment", "label": "rectum"}  ->  {"ok": true, "do": "mark", ...}
{"do": "mark", "kind": "freeze", "age_ms": 900}       ->  the same; it was made 0.9 s ago
{"do": "status"}                                      ->  {"ok": true, "do": "status", "session": ...}
anything else                                         ->  {"ok": false, "error": "..."}

There is no request that stops the engine: a foot must not be able to do that by accident.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from scopeline.live_marks import LiveMarks
from scopeline.marks import MarkKind
from scopeline.notices import Notices, Trouble

MOST_BYTES: Final = 1024
"""Longest request; a mark needs 60."""
MOST_LABEL: Final = 80
"""Longest label or note, in characters."""
MOST_AGE_MS: Final = 10_000.0

_MOST_ERROR: Final = 300
_TELL_EVERY_NS: Final = 1_000_000_000


class MarkRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="mark"
):
    """Something happened."""

    kind: MarkKind = "segment"
    label: str | None = None
    """The location for `segment`, a note for `freeze` and `biopsy`, nothing for `ignore` and `end`."""
    age_ms: Annotated[float, msgspec.Meta(ge=0, le=MOST_AGE_MS)] = 0.0
    """How long ago it happened: a program that is started by the key takes a second to start."""


class StatusRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="status"
):
    """Who is there?"""


Request: TypeAlias = MarkRequest | StatusRequest


class MarkAnswer(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="mark"):
    """The mark was taken. It is published with the next frame, or without one if none comes."""

    ok: Literal[True] = True
    session: str
    kind: MarkKind
    label: str | None
    at_ns: int
    """When the mark counts from, in `time.monotonic_ns()` of the engine."""


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="status"):
    """Who is there."""

    ok: Literal[True] = True
    session: str
    version: str
    uptime_s: float
    locations: list[str]
    """Labels that a segment mark may have; empty when any short text will do."""
    marks: int
    """Marks taken so far."""
    refused: int
    """Messages refused so far."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing happened, and why."""

    ok: Literal[False] = False
    error: str


Answer: TypeAlias = MarkAnswer | StatusAnswer | Refusal


class Control:
    """Answers requests. Belongs to one thread.

    Args:
        marks: Where marks go.
        notices: Where it is told, once a second at most, that messages were refused.
        session: Of the run.
        version: Of Scopeline.
        locations: Labels that a segment mark may have; any short printable text when there are none.
    """

    def __init__(
        self,
        marks: LiveMarks,
        notices: Notices,
        *,
        session: str,
        version: str,
        locations: Sequence[str] = (),
    ) -> None:
        self._marks = marks
        self._notices = notices
        self._session, self._version = session, version
        self._locations = list(locations)
        self._started_ns = time.monotonic_ns()
        self._decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
        self._encoder = msgspec.json.Encoder()
        self._tell_from_ns = 0
        self.taken = 0
        """Marks taken."""
        self.refused = 0
        """Messages that were answered with an error."""

    def answer(self, request: bytes, heard_ns: int) -> bytes:
        """The answer to one request that was heard at `heard_ns` (`time.monotonic_ns()`)."""
        try:
            return self._encoder.encode(self._act_on(self._read(request), heard_ns))
        except (ValueError, msgspec.DecodeError) as error:
            return self.refuse(str(error), heard_ns)

    def refuse(self, why: str, heard_ns: int) -> bytes:
        """Count a message that is refused, and say why."""
        why = _printable(why)
        self.refused += 1
        if heard_ns >= self._tell_from_ns:
            self._tell_from_ns = heard_ns + _TELL_EVERY_NS
            text = f"{self.refused} messages refused on the control socket so far, the last because: {why}"
            self._notices.post(Trouble.CONTROL_REFUSED, text, at_ns=heard_ns)
        return self._encoder.encode(Refusal(error=why))

    def _read(self, request: bytes) -> Request:
        if len(request) > MOST_BYTES:
            raise ValueError(f"a request has at most {MOST_BYTES} bytes, got {len(request)}")
        return self._decoder.decode(request)

    def _act_on(self, request: Request, heard_ns: int) -> Answer:
        if isinstance(request, StatusRequest):
            return StatusAnswer(
                session=self._session,
                version=self._version,
                uptime_s=round((heard_ns - self._started_ns) / 1e9, 3),
                locations=self._locations,
                marks=self.taken,
                refused=self.refused,
            )
        self._check_label(request)
        at_ns = heard_ns - round(request.age_ms * 1e6)
        if not self._marks.add(request.kind, request.label, at_ns):
            raise ValueError("too many marks wait for a frame already; this one was not taken")
        self.taken += 1
        return MarkAnswer(session=self._session, kind=request.kind, label=request.label, at_ns=at_ns)

    def _check_label(self, request: MarkRequest) -> None:
        label = request.label
        if label is not None and not (label.isprintable() and label.strip() and len(label) <= MOST_LABEL):
            raise ValueError(f"label must be 1 to {MOST_LABEL} printable characters")
        if request.kind == "segment" and self._locations and label not in self._locations:
            raise ValueError(f"label of a segment must be one of {', '.join(self._locations)}; got {label!r}")


def _printable(text: str) -> str:
    """What a stranger wrote may be quoted in it, and is read in terminals and logs."""
    return "".join(each if each.isprintable() else "?" for each in text[:_MOST_ERROR])

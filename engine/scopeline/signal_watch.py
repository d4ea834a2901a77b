"""Signal watch: one name for what the feed is like now, from the source's word, the pictures' looks and the clock."""

from __future__ import annotations

from dataclasses import dataclass

from scopeline.notices import Notice, Signal
from scopeline.wire import STALE_AFTER_NS

_TEXT: dict[Signal, str] = {
    Signal.CONNECTING: "waiting for the first frame",
    Signal.NO_SIGNAL: "the card has no signal; check the cable and that the processor is on",
    Signal.COLOUR_BARS: "the sender shows a test card; choose the scope's picture on the processor",
    Signal.BLACK: "the picture is black; check the light source, the scope's plug and the chosen output",
    Signal.FROZEN: "the picture repeats; unfreeze it on the processor, or check the sender",
    Signal.STALLED: "no frames arrive; check the cable, the network and the sender",
    Signal.RECONNECTING: "the connection was lost and is being made again",
    Signal.RUNNING: "the picture is live",
}

_OF_SOURCE = (Signal.CONNECTING, Signal.RECONNECTING, Signal.NO_SIGNAL)
"""What only a source can know; how pictures look is for `SignalLook` to say."""


@dataclass(frozen=True, slots=True)
class SignalChange:
    """The feed became another."""

    signal: Signal
    at_ns: int
    """`time.monotonic_ns()` of when it was known to be so."""
    text: str
    """For people: the cause, and what to do."""


class SignalWatch:
    """Holds the one state that the feed is in. Reads no clock; belongs to the concluding thread.

    What the source says of its connection comes first, then silence, then the look of the pictures. A frame that was
    captured after the source's word ends `connecting` and `reconnecting`; `no_signal` is ended by one that looks like a
    picture. Starts `connecting`: no frame has come yet.
    """

    def __init__(self) -> None:
        self._word: Signal | None = Signal.CONNECTING
        self._word_ns = -1
        self._look: Signal | None = None
        self._look_ns = -1
        self._is_silent = False
        self._silent_from_ns = self._silent_to_ns = -1
        """The last silence that was told: from its last frame to the first one after it."""
        self._signal = Signal.CONNECTING

    @property
    def signal(self) -> Signal:
        """What the feed is like now."""
        return self._signal

    def notice(self, notice: Notice) -> list[SignalChange]:
        """Take the source's word, or that of `Arrivals`, which has seen a silence end. Incidents change nothing."""
        what = notice.what
        if what is Signal.STALLED:
            return self._was_silent(notice)
        if what is Signal.RUNNING:
            if notice.at_ns > self._word_ns:
                self._word = None
            self._end_silence(notice.at_ns)
        elif isinstance(what, Signal) and what in _OF_SOURCE:
            self._word, self._word_ns = what, notice.at_ns
            self._is_silent = False
        return self._changed(notice.at_ns, notice)

    def frame(self, look: Signal | None, captured_ns: int) -> list[SignalChange]:
        """A frame was seen.

        Args:
            look: What `SignalLook` said of its picture.
            captured_ns: Its time of arrival.
        """
        if captured_ns > self._look_ns:
            self._look, self._look_ns = look, captured_ns
        if captured_ns > self._word_ns and (look is None or self._word is not Signal.NO_SIGNAL):
            self._word = None
        self._end_silence(captured_ns)
        return self._changed(captured_ns)

    def tick(self, now_ns: int, newest_ns: int | None, silence_limit_ns: int) -> list[SignalChange]:
        """Look at the clock; worth it every 100 ms.

        Args:
            now_ns: `time.monotonic_ns()`.
            newest_ns: Arrival of the newest frame, of those too that were given up for a newer one.
            silence_limit_ns: Longest time without a frame that is still normal.
        """
        if newest_ns is None:
            return []
        if now_ns - newest_ns <= silence_limit_ns:
            self._end_silence(newest_ns)
        elif self._word is None and not self._is_silent:
            self._is_silent, self._silent_from_ns = True, newest_ns
        return self._changed(now_ns)

    def stale(self, now_ns: int, newest_ns: int | None) -> bool:
        """Whether the newest frame is older than 500 ms; False before the first, of which nothing was published."""
        return newest_ns is not None and now_ns - newest_ns > STALE_AFTER_NS

    def _was_silent(self, notice: Notice) -> list[SignalChange]:
        """A silence that is over by now; told only if no tick saw it."""
        known = self._silent_from_ns < notice.at_ns and (
            self._is_silent or notice.at_ns <= self._silent_to_ns
        )
        if known or self._word is not None:
            return []
        self._is_silent, self._silent_from_ns = True, notice.at_ns
        return self._changed(notice.at_ns, notice)

    def _end_silence(self, frame_ns: int) -> None:
        if self._is_silent and frame_ns > self._silent_from_ns:
            self._is_silent, self._silent_to_ns = False, frame_ns

    def _changed(self, at_ns: int, notice: Notice | None = None) -> list[SignalChange]:
        if self._word is not None:
            signal = self._word
        elif self._is_silent:
            signal = Signal.STALLED
        else:
            signal = self._look or Signal.RUNNING
        if signal is self._signal:
            return []
        self._signal = signal
        own_text = notice.text if notice is not None and notice.what is signal else ""
        return [SignalChange(signal, at_ns, own_text or _TEXT[signal])]

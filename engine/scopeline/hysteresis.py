"""Hysteresis: holds a tag until another one has gathered enough evidence against it.

A waiting time that is right for a weak head is far too long for a strong one. So the challenger does not
wait, it collects: for every label a Page CUSUM (Page, Biometrika 1954) adds up by how much it beats the held
label, frame by frame, and falls back to zero when it does not. A head that is sure confirms within a second
or two, a head that wavers takes ten. Accumulated-evidence transitions of this kind are used for online
surgical phases too.
"""

from __future__ import annotations

from math import exp, log

FLOOR = 1e-3
"""Smallest probability that evidence is taken from: one saturated frame says at most 6.9 nats."""

YOUNG_S = 20.0
"""How fast a tag outgrows being young: places last for a minute or so, a change soon after a change is rare."""


class Hysteresis:
    """One head's held tag. Time is an argument; nothing here reads a clock."""

    def __init__(
        self,
        label_count: int,
        *,
        enter: float,
        leave: float,
        confirm_s: float,
        young: float,
        allowance: float,
        fade_per_s: float,
        first_s: float,
        dwell_s: float,
    ) -> None:
        self._enter, self._leave = enter, leave
        self._confirm_s, self._young, self._first_s = confirm_s, young, first_s
        self._allowance, self._fade_per_s = allowance, fade_per_s
        self._dwell_s = dwell_s
        self._count = label_count
        self._no_tag = log(1 / label_count)
        self.release()

    @property
    def tag(self) -> int | None:
        """Index of the label held now, None before the first decision."""
        return self._tag

    @property
    def since_s(self) -> float | None:
        """Stream time at which it was taken up."""
        return self._since_s

    def release(self) -> None:
        """Hold nothing, as at the start."""
        self._tag: int | None = None
        self._since_s: float | None = None
        self._lead_s = [0.0] * self._count

    def update(
        self, time_s: float, *, posterior: list[float], probabilities: list[float], informative_s: float
    ) -> None:
        """Take one frame: the smoothed posterior, the frame's own probabilities, and its quality times
        duration."""
        scores = [log(p) if p > FLOOR else _LOG_FLOOR for p in probabilities]
        rival = self._no_tag if self._tag is None else scores[self._tag] + self._allowance
        kept = 1.0 - self._fade_per_s * informative_s
        lead_s = [
            lead if (lead := kept * held + informative_s * (score - rival)) > 0.0 else 0.0
            for held, score in zip(self._lead_s, scores, strict=True)
        ]
        self._lead_s = lead_s
        best = max(lead_s)
        challenger = lead_s.index(best)
        if best > 0.0 and self._may_take(challenger, best, time_s, posterior):
            self._tag, self._since_s = challenger, time_s
            self._lead_s = [0.0] * self._count

    def _may_take(self, challenger: int, lead_s: float, time_s: float, posterior: list[float]) -> bool:
        if posterior[challenger] < self._enter:
            return False
        if self._tag is None or self._since_s is None:
            return lead_s >= self._first_s
        age_s = time_s - self._since_s
        return (
            age_s >= self._dwell_s
            and posterior[self._tag] <= self._leave
            and lead_s >= self._confirm_s * (1.0 + self._young * exp(-age_s / YOUNG_S))
        )


_LOG_FLOOR = log(FLOOR)

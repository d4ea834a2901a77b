"""Smoothing: from one head's frame-by-frame probabilities to a tag that a person can read.

Two methods behind one protocol, chosen by `SmoothingSettings.method`: a quality-weighted exponential mean ("ema",
the default) and a tempered hidden-Markov filter ("hmm"); both end in the same evidence hysteresis. Time comes from
the frames' own stamps, so a dropped frame is a longer step, and recorded and live runs with equal stamps give equal
tags.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import exp
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.fixed_lag import FixedLag, Revision
from scopeline.hidden_markov import ForwardFilter, rate_matrix
from scopeline.hysteresis import Hysteresis

LONGEST_STEP_S = 1.0
"""A frame speaks for at most this long, however many before it were lost."""


class SmoothingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one head is smoothed. The defaults are for a location head; see `GRADE_SMOOTHING` for grades.

    They were chosen on simulated procedures (`scopeline_calibration.smoothing_suite.TUNING_SEEDS`), for whole
    sequences and not for frames, so that one set serves a weak head (66 % of good frames right) and a strong
    one (87 %).
    """

    method: Literal["ema", "hmm"] = "ema"
    tau_s: float = 1.5
    """Time constant of the exponential mean. Short, because the hysteresis does the steadying."""
    sharpen: float = 4.0
    """Quality q counts as q^n / (q^n + (1-q)^n): 1 takes it as it is, more trusts good frames and ignores
    bad ones."""
    enter: float = 0.5
    """A label is taken up only at this posterior or more, 0..1."""
    leave: float = 0.5
    """The held label is left only at this posterior or less, 0..1."""
    confirm_s: float = 4.0
    """Evidence a challenger needs: seconds of good frames with a lead of one nat over the allowance. Twice
    the lead needs half the time."""
    young: float = 2.0
    """How much more a challenger needs right after a change, as a share of `confirm_s`; wears off within a minute."""
    allowance: float = 0.7
    """Lead in nats that does not count: what slow errors of the head produce by themselves."""
    fade_per_s: float = 0.1
    """Share of the gathered evidence that is lost per second of good frames, 0..1."""
    first_s: float = 3.0
    """Evidence for the first tag, against "no tag" (all labels alike)."""
    dwell_s: float = 3.0
    """A tag stays for at least this long."""
    forget_s: float = 10.0
    """After this long without an informative frame there is no tag."""
    informative: float = 0.5
    """A frame is informative from this quality on, 0..1."""
    lag_s: float = 0.0
    """Fixed lag of the revisions; 0 makes none."""
    evidence_per_s: float = 0.5
    """hmm: the tempering g per second of frames; at 10 fps 0.5 is an exponent of 0.05 per frame."""
    stay_s: float = 80.0
    """hmm: mean stay in a label."""
    forward: float = 0.8
    """hmm: share of changes to the next label in order."""
    back: float = 0.15
    """hmm: share of changes to the label before."""
    jump: float = 0.05
    """hmm: share of changes to any other label."""

    def __post_init__(self) -> None:
        for name in ("tau_s", "sharpen", "stay_s", "forget_s"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("enter", "leave", "informative", "fade_per_s"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for name in ("confirm_s", "young", "allowance", "first_s", "dwell_s", "lag_s", "evidence_per_s"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


LOCATION_SMOOTHING = SmoothingSettings()
GRADE_SMOOTHING = SmoothingSettings(confirm_s=2.0, young=0.0, dwell_s=5.0)
"""For an ordinal head: a grade stays for at least 5 s. Grades come in patches of seconds, so that a change soon after a
change is not rare, as it is for places, and needs no more evidence."""


@dataclass(frozen=True, slots=True)
class Smoothed:
    """What a head says once steadied."""

    posterior: NDArray[np.float64]
    """(K,) float64, sums to 1."""
    tag: int | None
    """Index of the label held now; None before the first decision, or when evidence ran out."""
    since_s: float | None
    """Stream time at which the tag was taken up."""


class Smoother(Protocol):
    """One head's smoother. Times must not fall."""

    def update(self, time_s: float, probabilities: NDArray[np.float32], weight: float) -> Smoothed:
        """Take one frame: (K,) probabilities and the probability 0..1 that it can be judged."""
        ...

    def hold(self, time_s: float) -> Smoothed:
        """Take one frame without evidence."""
        ...

    def revisions(self) -> list[Revision]:
        """Final tags of the times that have left the lag since the last call, oldest first."""
        ...

    def finish(self) -> list[Revision]:
        """The stream has ended: the remaining final tags."""
        ...


class _Mean(Protocol):
    """The part in which the methods differ: how a posterior follows the frames."""

    def values(self) -> list[float]: ...

    def pass_time(self, step_s: float) -> None: ...

    def take(
        self, probabilities: list[float], passed_s: float, stands_for_s: float, trust: float
    ) -> None: ...

    def reset(self) -> None: ...


class _ExponentialMean:
    """m <- (1 - a q) m + a q p with a = 1 - exp(-dt / tau)."""

    def __init__(self, label_count: int, tau_s: float) -> None:
        self._count, self._tau_s = label_count, tau_s
        self.reset()

    def values(self) -> list[float]:
        return self._mean

    def reset(self) -> None:
        self._mean = [1 / self._count] * self._count

    def pass_time(self, step_s: float) -> None:
        """A mean does not age by itself."""

    def take(self, probabilities: list[float], passed_s: float, stands_for_s: float, trust: float) -> None:
        gain = (1.0 - exp(-stands_for_s / self._tau_s)) * trust
        self._mean = [old + gain * (new - old) for old, new in zip(self._mean, probabilities, strict=True)]


class _MarkovMean:
    """The forward filter's posterior, tempered per second so that it does not depend on the frame rate."""

    def __init__(self, label_count: int, settings: SmoothingSettings) -> None:
        rates = rate_matrix(
            label_count,
            stay_s=settings.stay_s,
            forward=settings.forward,
            back=settings.back,
            jump=settings.jump,
        )
        self._filter = ForwardFilter(rates)
        self._evidence_per_s = settings.evidence_per_s

    def values(self) -> list[float]:
        values: list[float] = self._filter.posterior.tolist()
        return values

    def reset(self) -> None:
        self._filter.reset()

    def pass_time(self, step_s: float) -> None:
        self._filter.predict(step_s)

    def take(self, probabilities: list[float], passed_s: float, stands_for_s: float, trust: float) -> None:
        self._filter.predict(passed_s)
        self._filter.correct(probabilities, self._evidence_per_s * min(stands_for_s, LONGEST_STEP_S) * trust)


class SteadySmoother:
    """A mean, a hysteresis over it, and optionally a fixed lag behind it."""

    def __init__(self, settings: SmoothingSettings, label_count: int) -> None:
        self._settings, self._count = settings, label_count
        self._mean: _Mean = (
            _MarkovMean(label_count, settings)
            if settings.method == "hmm"
            else _ExponentialMean(label_count, settings.tau_s)
        )
        self._hysteresis = Hysteresis(
            label_count,
            enter=settings.enter,
            leave=settings.leave,
            confirm_s=settings.confirm_s,
            young=settings.young,
            allowance=settings.allowance,
            fade_per_s=settings.fade_per_s,
            first_s=settings.first_s,
            dwell_s=settings.dwell_s,
        )
        self._lag = FixedLag(settings.lag_s) if settings.lag_s > 0.0 else None
        self._last_s: float | None = None
        self._judged_s: float | None = None
        self._strides_s: deque[float] = deque(maxlen=8)
        self._informed_s = 0.0

    def update(self, time_s: float, probabilities: NDArray[np.float32], weight: float) -> Smoothed:
        shares: list[float] = probabilities.tolist()
        if len(shares) != self._count:
            raise ValueError(f"probabilities must be ({self._count},), got ({len(shares)},)")
        passed_s = self._step(time_s)
        stands_for_s = self._stands_for(time_s, passed_s)
        trust = _sharpened(weight, self._settings.sharpen)
        informative_s = min(stands_for_s, LONGEST_STEP_S) * trust
        self._forget(time_s, informed=weight >= self._settings.informative)
        self._mean.take(shares, passed_s, stands_for_s, trust)
        self._hysteresis.update(
            time_s, posterior=self._mean.values(), probabilities=shares, informative_s=informative_s
        )
        if self._lag is not None:
            self._lag.push(time_s, self._hysteresis.tag, probabilities=shares, informative_s=informative_s)
        return self._now()

    def hold(self, time_s: float) -> Smoothed:
        self._mean.pass_time(self._step(time_s))
        self._forget(time_s, informed=False)
        if self._lag is not None:
            self._lag.push(time_s, self._hysteresis.tag, probabilities=None, informative_s=0.0)
        return self._now()

    def revisions(self) -> list[Revision]:
        return [] if self._lag is None else self._lag.take()

    def finish(self) -> list[Revision]:
        return [] if self._lag is None else self._lag.finish()

    def _step(self, time_s: float) -> float:
        """Seconds since the last frame; 0 for the first, which has no duration yet."""
        last_s, self._last_s = self._last_s, time_s
        if last_s is None:
            self._informed_s = time_s
            return 0.0
        if time_s < last_s:
            raise ValueError(f"time_s must not fall, got {time_s} after {last_s}")
        return time_s - last_s

    def _stands_for(self, time_s: float, passed_s: float) -> float:
        """Seconds that a judged frame speaks for.

        The time since the last frame, lost ones included. A head that runs on every n-th frame speaks for its usual
        stride; but the first frame after a bad burst does not speak for the burst.
        """
        last_s, self._judged_s = self._judged_s, time_s
        if last_s is None:
            return 0.0
        since_s = time_s - last_s
        self._strides_s.append(since_s)
        return min(since_s, max(passed_s, min(self._strides_s)))

    def _forget(self, time_s: float, *, informed: bool) -> None:
        if time_s - self._informed_s > self._settings.forget_s:
            self._hysteresis.release()
            self._mean.reset()
            self._informed_s = time_s
        elif informed:
            self._informed_s = time_s

    def _now(self) -> Smoothed:
        return Smoothed(np.array(self._mean.values()), self._hysteresis.tag, self._hysteresis.since_s)


def make_smoother(settings: SmoothingSettings, label_count: int) -> Smoother:
    """The smoother that `settings` describe, for a head with `label_count` labels."""
    if label_count < 2:
        raise ValueError(f"a head to be smoothed has at least 2 labels, got {label_count}")
    return SteadySmoother(settings, label_count)


def _sharpened(weight: float, power: float) -> float:
    for_it, against = weight**power, max(0.0, 1.0 - weight) ** power
    return float(for_it / (for_it + against))

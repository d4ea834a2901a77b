"""Build words: what a build child is told, and what it says, a line of JSON each."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from scopeline.parity import ParityVerdict

Step = Literal["waiting", "building", "verifying", "kept"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How far a forge has come."""

    step: Step
    share: float | None = None
    """Of the step, where TensorRT tells (from 10 on)."""
    expected_s: float | None = None
    """Of the whole, by earlier builds on this machine."""
    text: str = ""


class BuildOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told to make."""

    bundle: str
    device: int
    cache: str
    """Folder of the store."""
    again: bool = False
    frames: str = ""
    """A .npy file of frames to judge the plan on, beside the simulated and the hostile ones."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The plan is in the store, with this verdict."""

    verdict: ParityVerdict
    build_s: float
    verify_s: float
    plan_bytes: int


class Broken(msgspec.Struct, frozen=True, kw_only=True, tag="broken"):
    """It could not be made."""

    why: str


class Told(msgspec.Struct, frozen=True, kw_only=True, tag="told"):
    """A step of the forge."""

    report: Report


Word: TypeAlias = Done | Broken | Told

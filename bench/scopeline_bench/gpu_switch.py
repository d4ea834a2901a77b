"""GPU switch: a live run that starts without a plan: what the change to the GPU costs the frames around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from scopeline.assemble import assemble
from scopeline.config import BundleChoice, GpuRule, Pipeline
from scopeline.picture import Picture
from scopeline.ports import Sink
from scopeline.wire import FrameMessage, Message, StatusMessage
from scopeline_bench.paced_pictures import PacedPictures


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one run."""

    frames: int
    by_runtime: dict[str, int]
    told: list[str]
    """Notices of the GPU, in order."""
    first_gpu_s: float | None
    """Stream time of the first frame that the GPU judged."""
    lost: dict[str, int]
    worst_ms_around: float | None
    """Capture to publish of the slowest frame within a second of the change."""
    worst_ms_else: float | None


def run_change(bundle: Path, pictures: list[Picture], *, cache: Path, fps: float, seconds: float) -> Change:
    """A live run on an empty cache of plans; ends soon after the GPU has taken over, or after `seconds`."""
    choice = BundleChoice(path=str(bundle.resolve()), backend="tensorrt", precision="fp16")
    pipeline = Pipeline(name="switch", bundles=(choice,), gpu=GpuRule(cache=str(cache)))
    frames: list[FrameMessage] = []
    told: list[str] = []
    served_at: list[float] = []

    def hear(message: Message) -> None:
        if isinstance(message, StatusMessage) and (message.incident or "").startswith("gpu_"):
            told.append(f"{message.incident}: {message.text}")
        if isinstance(message, FrameMessage):
            frames.append(message)
            if not served_at and any("/tensorrt/" in said for said in message.models.values()):
                served_at.append(message.time_s)
            if (served_at and message.time_s > served_at[0] + 3) or _is_over(told):
                source.close()

    source = PacedPictures(pictures, fps=fps, seconds=seconds)
    sinks: list[Callable[[], Sink]] = []
    report = assemble(pipeline, source, sinks, live=True, on_message=hear).run()
    by_runtime: dict[str, int] = {}
    for message in frames:
        for said in message.models.values():
            runtime = said.split("/")[1]
            by_runtime[runtime] = by_runtime.get(runtime, 0) + 1
    around, rest = _worst(frames, served_at[0] if served_at else None)
    return Change(
        frames=len(frames),
        by_runtime=by_runtime,
        told=told,
        first_gpu_s=served_at[0] if served_at else None,
        lost=dict(report.ledger.lost),
        worst_ms_around=around,
        worst_ms_else=rest,
    )


def _is_over(told: list[str]) -> bool:
    """The GPU will not come: what is left of the run would show nothing."""
    return bool(told) and told[-1].startswith(("gpu_failed", "gpu_refused"))


def _worst(frames: list[FrameMessage], change_s: float | None) -> tuple[float | None, float | None]:
    late = [((message.published_ns - message.captured_ns) / 1e6, message.time_s) for message in frames]
    if change_s is None:
        return None, max((ms for ms, _ in late), default=None)
    near = [ms for ms, at_s in late if abs(at_s - change_s) <= 1]
    else_ = [ms for ms, at_s in late if abs(at_s - change_s) > 1 and at_s > 2]
    return max(near, default=None), max(else_, default=None)

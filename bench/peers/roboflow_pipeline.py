"""Peer: Roboflow's InferencePipeline with its own threads and buffers and our network as custom logic."""

from __future__ import annotations

from kit import Judge, told, work

from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()  # beside the CPU-only torch that is lent
from inference import InferencePipeline  # noqa: E402

order = told()
judge = Judge(order)


def infer(frames: list) -> list:
    for frame in frames:
        judge.judge(frame.image)
    return [{} for _ in frames]


def pictures() -> None:
    pipeline = InferencePipeline.init_with_custom_logic(
        video_reference=order.source, on_video_frame=infer, on_prediction=lambda predictions, frames: None
    )
    pipeline.start()
    pipeline.join()


work(order, judge, pictures)

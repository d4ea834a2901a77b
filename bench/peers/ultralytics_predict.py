"""Peer: ultralytics' own stream of predictions, with its own preparation of pictures. Recordings only."""

from __future__ import annotations

from kit import Judge, told, work

from scopeline.simulation.barcode import read
from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()  # beside the CPU-only torch that is lent
from ultralytics import YOLO  # noqa: E402

order = told()
judge = Judge(order)


def pictures() -> None:
    model = YOLO(order.floats, task="classify")
    for result in model.predict(source=order.source, stream=True, imgsz=128, verbose=False, device="cpu"):
        judge.say(read(result.orig_img), result.probs.data.tolist())


work(order, judge, pictures)

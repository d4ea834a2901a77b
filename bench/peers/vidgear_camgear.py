"""Peer: VidGear's CamGear, a threaded reader with a queue."""

from __future__ import annotations

import cv2
from kit import Judge, told, work
from vidgear.gears import CamGear

order = told()
judge = Judge(order)


def pictures() -> None:
    stream = CamGear(source=order.source, backend=cv2.CAP_FFMPEG).start()
    while True:
        picture = stream.read()
        if picture is None:
            return
        judge.judge(picture)


work(order, judge, pictures)

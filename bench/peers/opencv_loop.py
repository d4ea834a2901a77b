"""Peer: the loop that everybody writes first, `cv2.VideoCapture.read` and infer."""

from __future__ import annotations

import cv2
from kit import Judge, told, work

order = told()
judge = Judge(order)


def pictures() -> None:
    options = [] if order.live else [cv2.CAP_PROP_N_THREADS, 1]
    capture = cv2.VideoCapture(order.source, cv2.CAP_FFMPEG, options)
    while True:
        got, picture = capture.read()
        if not got:
            return
        judge.judge(picture)


work(order, judge, pictures)

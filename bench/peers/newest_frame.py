"""Peer: a thread reads with OpenCV and keeps the newest picture; the main thread judges it. Live only."""

from __future__ import annotations

import threading

import cv2
from kit import Judge, told, work

order = told()
judge = Judge(order)


def pictures() -> None:
    capture = cv2.VideoCapture(order.source, cv2.CAP_FFMPEG)
    there = threading.Condition()
    newest: list[object] = []
    ended = False

    def read() -> None:
        nonlocal ended
        while True:
            got, picture = capture.read()
            with there:
                ended = not got
                newest[:] = [picture]
                there.notify()
            if not got:
                return

    threading.Thread(target=read).start()
    while True:
        with there:
            while not newest:
                there.wait()
            picture = newest.pop()
            if ended:
                return
        judge.judge(picture)


work(order, judge, pictures)

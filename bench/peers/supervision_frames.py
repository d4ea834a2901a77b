"""Peer: supervision's frame generator. Recordings only."""

from __future__ import annotations

import supervision
from kit import Judge, told, work

order = told()
judge = Judge(order)


def pictures() -> None:
    for picture in supervision.get_video_frames_generator(order.source):
        judge.judge(picture)


work(order, judge, pictures)

"""Peer: a plain PyAV loop: decode, to RGB, infer."""

from __future__ import annotations

import av
from kit import Judge, told, work

order = told()
judge = Judge(order)


def pictures() -> None:
    size = f"{order.size_px[0]}x{order.size_px[1]}"
    raw = {"video_size": size, "pixel_format": "yuyv422", "framerate": str(order.fps)}
    container = av.open(order.source, format="rawvideo", options=raw) if order.live else av.open(order.source)
    with container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 1
        for picture in container.decode(stream):
            judge.judge(picture.to_ndarray(format="rgb24"), is_rgb=True)


work(order, judge, pictures)

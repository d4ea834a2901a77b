"""Kit: what the scripts of all peers share: what they are told, the network, the bar code, the way out.

A peer's own code gets pictures as it always does and hands each to `Judge`; nothing of it is touched. What a script
is told comes as JSON in its first argument (`scopeline_bench.peer_order.Order`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import cv2
import msgspec
import numpy as np
import onnxruntime as ort
import zmq
from numpy.typing import NDArray

from scopeline.simulation.barcode import read
from scopeline_bench.peer_order import Counted, Order
from scopeline_bench.spent import Meter

Pixels = NDArray[np.uint8]


def told() -> Order:
    """What this script is told; OpenCV's FFmpeg learns how to read the raw pipe."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    cv2.setNumThreads(1)
    if order.live:
        size = f"{order.size_px[0]}x{order.size_px[1]}"
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
            f"input_format;rawvideo|video_size;{size}|pixel_format;yuyv422|framerate;{order.fps}"
        )
    return order


class Judge:
    """Cuts, shrinks by area as the network was trained, infers; live, publishes what came out."""

    def __init__(self, order: Order) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(order.network, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self._names = [output.name for output in self._session.get_outputs()]
        self._box, self._height_width = order.box, self._input.shape[1:3]
        self.numbers: list[int] = []
        self._socket: zmq.Socket[bytes] | None = None
        if order.live:
            self._socket = zmq.Context.instance().socket(zmq.PUB)
            self._socket.bind(order.publish)
        height, width = self._height_width
        self._session.run(None, {self._input.name: np.zeros((1, height, width, 3), np.uint8)})

    def judge(self, picture: Pixels, *, is_rgb: bool = False) -> None:
        """One picture, (H, W, 3) uint8, BGR unless told otherwise."""
        number = read(picture)
        x, y, w, h = self._box
        height, width = self._height_width
        small = cv2.resize(picture[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_AREA)
        if not is_rgb:
            small = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
        found = self._session.run(None, {self._input.name: small[None]})
        self.say(number, {name: logits[0].tolist() for name, logits in zip(self._names, found, strict=True)})

    def say(self, number: int | None, heads: object) -> None:
        """Count one result; live, publish it."""
        self.numbers.append(-1 if number is None else number)
        if self._socket is not None:
            self._socket.send_multipart([b"frame", msgspec.json.encode({"number": number, "heads": heads})])


def work(order: Order, judge: Judge, pictures: Callable[[], None]) -> None:
    """Measure what a peer's whole way through a recording takes, and print it; live, go on until killed."""
    meter, began_ns = Meter(), time.monotonic_ns()
    pictures()
    if not order.live:
        spent = meter.spent(len(judge.numbers), len(judge.numbers))
        counted = Counted(
            spent=spent,
            numbers=judge.numbers,
            seconds=(time.monotonic_ns() - began_ns) / 1e9,
            version=order.version,
        )
        sys.stdout.buffer.write(msgspec.json.encode(counted) + b"\n")
    sys.stdout.flush()
    os._exit(0)  # a peer's threads that do not end are none of ours

"""Peer of `bench bus`: imagezmq's PUB/SUB as its own examples use it, 640x480 pictures at 30 per second.

python imagezmq_bus.py send ADDRESS SECONDS
python imagezmq_bus.py hear ADDRESS SECONDS PAUSE
"""

from __future__ import annotations

import json
import sys
import time

import imagezmq
import numpy as np

_RATE_HZ = 30.0


def send(address: str, seconds: float) -> None:
    sender = imagezmq.ImageSender(connect_to=address, REQ_REP=False)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    time.sleep(2.0)  # a subscriber connects; PUB/SUB has nothing to tell of it
    start_ns = time.monotonic_ns()
    for number in range(round((seconds + 1) * _RATE_HZ)):
        time.sleep(max(0.0, (start_ns + number * 1e9 / _RATE_HZ - time.monotonic_ns()) / 1e9))
        sender.send_image(f"{number} {time.monotonic_ns()}", picture)
    time.sleep(1.0)
    sender.close()


def hear(address: str, seconds: float, pause_s: float) -> None:
    hub = imagezmq.ImageHub(open_port=address, REQ_REP=False)
    rows: list[tuple[int, int, int]] = []
    end_s = float("inf")
    while time.monotonic() < end_s:
        text, _ = hub.recv_image()
        now_ns = time.monotonic_ns()
        number, published_ns = map(int, text.split())
        if not rows:
            end_s = time.monotonic() + seconds
        rows.append((number, published_ns, now_ns))
        time.sleep(pause_s)
    print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    what, address, *numbers = sys.argv[1:]
    {"send": send, "hear": hear}[what](address, *map(float, numbers))

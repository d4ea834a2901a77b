"""Prints what a running Scopeline sees, and says when it missed messages. Needs pyzmq alone."""

import json
import sys

import zmq

socket = zmq.Context().socket(zmq.SUB)
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5557")
socket.subscribe("")
expected: dict[tuple[str, str], int] = {}
while True:
    topic, message = socket.recv_string(), json.loads(socket.recv())
    key, seq = (message["session"], topic), message["seq"]
    if seq > expected.setdefault(key, seq):
        print(f"missed {seq - expected[key]} of {topic}", flush=True)
    expected[key] = seq + 1
    if topic == "frame":
        print(message["time_s"], {head: now["tag"] for head, now in message["smoothed"].items()}, flush=True)

"""Sets a mark in a running Scopeline: python pedal.py segment rectum. Needs pyzmq alone."""

import json
import sys

import zmq

request = {"do": "mark", "kind": sys.argv[1], "label": sys.argv[2] if len(sys.argv) > 2 else None}
with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
    socket.linger = 0  # a mark that cannot be delivered now must not come later
    socket.connect(sys.argv[3] if len(sys.argv) > 3 else "tcp://127.0.0.1:5559")
    socket.send(json.dumps(request).encode())
    answer = json.loads(socket.recv()) if socket.poll(2000) else {"ok": False, "error": "nobody answers"}
sys.exit(0 if answer["ok"] else answer["error"])

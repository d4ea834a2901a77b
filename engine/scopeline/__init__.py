"""Scopeline: real-time video inference for endoscopy. Research use only; not a medical device."""

import os

# ONNX Runtime reads this while it is imported; from 1.31 on it otherwise keeps a device identifier and a database of
# usage events in the user's cache folder, to be sent to its vendor. Nothing leaves a procedure room unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

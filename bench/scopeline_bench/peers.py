"""Peers: what else one could use, each in an environment and a process of its own, worked like one of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from scopeline.errors import SourceError
from scopeline_bench.ages import distribution
from scopeline_bench.journeys import Times, times
from scopeline_bench.peer_order import Counted, Order
from scopeline_bench.sender import Sender, transmission_of
from scopeline_bench.stamps import Rows64

_SCRIPTS: Final = Path(__file__).parents[1] / "peers"
_ROOTS: Final = tuple(Path(__file__).parents[2] / each for each in ("engine", "bench", "training"))
_PATIENCE_S: Final = 240.0
"""For a first result: one of them imports for half a minute on a free machine."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One program to be compared with."""

    name: str
    script: str
    environment: str | None
    """Folder among the environments; None: it needs nothing that this interpreter has not."""
    package: str
    """Whose version is told."""
    live: bool = True
    recording: bool = True
    note: str = ""

    @property
    def path(self) -> Path:
        return _SCRIPTS / f"{self.script}.py"


OPENCV, PYAV, NEWEST, ROBOFLOW = (
    "OpenCV loop",
    "PyAV loop",
    "newest-frame thread",
    "Roboflow InferencePipeline",
)
PEERS: Final = (
    Peer(OPENCV, "opencv_loop", None, "opencv-python-headless"),
    Peer(PYAV, "pyav_loop", None, "av"),
    Peer(NEWEST, "newest_frame", None, "opencv-python-headless", recording=False, note="leaves frames out"),
    Peer(ROBOFLOW, "roboflow_pipeline", "roboflow", "inference-cpu"),
    Peer("VidGear CamGear", "vidgear_camgear", "vidgear", "vidgear"),
    Peer(
        "supervision frames",
        "supervision_frames",
        "supervision",
        "supervision",
        live=False,
        note="reads files",
    ),
    Peer(
        "ultralytics predict",
        "ultralytics_predict",
        "ultralytics",
        "ultralytics",
        live=False,
        note="reads files and addresses, no raw pipe; prepares pictures in its own way",
    ),
)


class PeerLive(msgspec.Struct, frozen=True, kw_only=True):
    """One live run of a peer, or of Scopeline in the same figures."""

    made_to_received: Times
    results_s: float
    made: int
    """Pictures made in the measured time."""
    without_result: int
    """Of these."""
    curve: list[tuple[float, float]]
    """Points (ms, share that took no longer)."""


def python_of(environments: Path | None, peer_environment: str | None) -> Path | None:
    """A peer's interpreter, None where it is not installed whole."""
    if peer_environment is None:
        return Path(sys.executable)
    if environments is None or not (environments / peer_environment / "made").is_file():
        return None
    return environments / peer_environment / "bin" / "python"


def version_of(python: Path, package: str) -> str:
    """What is installed there."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not installed"


def run_recording(python: Path, peer: Peer, order: Order) -> Counted:
    """A peer's way through a recording.

    Raises:
        SourceError: it failed; with its last words.
    """
    words = [str(python), str(peer.path), msgspec.json.encode(order).decode()]
    done = subprocess.run(words, capture_output=True, env=_environment(), check=False, timeout=900)
    lines = [line for line in done.stdout.splitlines() if line.startswith(b'{"spent"')]
    if not lines:
        raise SourceError(f"{peer.name}: {_last_words(done.stderr)}")
    return msgspec.json.decode(lines[-1], type=Counted)


def run_live(python: Path, peer: Peer, order: Order, *, seconds: float, warm_up_s: float) -> PeerLive:
    """A peer at a raw pipe, heard by this process.

    Raises:
        SourceError: no result came.
    """
    with tempfile.TemporaryDirectory(prefix="scopeline-") as place:
        folder = Path(place)
        width_px, height_px = order.size_px
        card = transmission_of("raw", folder, width_px=width_px, height_px=height_px, fps=order.fps)
        told = msgspec.structs.replace(order, source=card.pipe, publish=f"ipc://{folder}/bus")
        with Sender(card, folder) as sender, _process(python, peer, told, folder) as child:
            sender.start()
            heard, began_ns = _listen(child, told.publish, seconds + warm_up_s, folder, peer.name)
            made = sender.made()
    from_ns = began_ns + round(warm_up_s * 1e9)
    return live_figures(made, heard, (from_ns, from_ns + round(seconds * 1e9)))


def live_figures(made: Rows64, heard: Rows64, window: tuple[int, int]) -> PeerLive:
    """From when pictures were made and results received.

    Args:
        made: (N, 2) number and moment.
        heard: (N, 2) number and moment.
        window: What is measured; pictures made within it.
    """
    chosen = made[(made[:, 1] >= window[0]) & (made[:, 1] < window[1])]
    first = {
        int(number): int(at_ns) for number, at_ns in heard[::-1]
    }  # a result that came twice: the first one
    ages: NDArray[np.float64] = np.array(
        [(first[number] - at_ns) / 1e6 for number, at_ns in chosen.tolist() if number in first]
    )
    return PeerLive(
        made_to_received=times(ages),
        results_s=round(len(ages) / ((window[1] - window[0]) / 1e9), 2),
        made=len(chosen),
        without_result=len(chosen) - len(ages),
        curve=distribution(ages),
    )


def _listen(
    child: subprocess.Popen[bytes], address: str, seconds: float, folder: Path, name: str
) -> tuple[Rows64, int]:
    """Number and moment of every result for so long after the first, and a little more for the last pictures."""
    heard: list[tuple[int, int]] = []
    with zmq.Context() as context, context.socket(zmq.SUB) as reader:
        reader.subscribe(b"frame")
        reader.connect(address)
        give_up_ns = time.monotonic_ns() + round(_PATIENCE_S * 1e9)
        end_ns = give_up_ns
        while (left_ms := (end_ns - time.monotonic_ns()) / 1e6) > 0 and child.poll() is None:
            if not reader.poll(min(round(left_ms) + 1, 500)):
                continue
            _, payload = reader.recv_multipart()
            now_ns = time.monotonic_ns()
            number = msgspec.json.decode(payload)["number"]
            if not heard:
                end_ns = now_ns + round((seconds + 1) * 1e9)
            heard.append((-1 if number is None else number, now_ns))
    if not heard:
        raise SourceError(f"{name}: no result; {_last_words((folder / 'peer.log').read_bytes())}")
    return np.array(heard, np.int64).reshape(-1, 2), heard[0][1]


@contextmanager
def _process(python: Path, peer: Peer, order: Order, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [str(python), str(peer.path), msgspec.json.encode(order).decode()]
    with (
        (folder / "peer.log").open("wb") as log,
        subprocess.Popen(words, stdout=log, stderr=log, env=_environment()) as child,
    ):
        try:
            yield child
        finally:
            child.kill()


def _environment() -> dict[str, str]:
    """One thread for whatever multiplies matrices, as everywhere in this comparison; nothing asked of the network."""
    paths = os.pathsep.join(map(str, _ROOTS))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "YOLO_OFFLINE": "true"}


def _last_words(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"

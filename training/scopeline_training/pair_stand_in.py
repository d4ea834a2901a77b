"""Pair stand-in: a generated set with the form of study S1's: two pictures per patient, one of the colon and one of the
rectum, and a Mayo grade of 0 or 1 for both. Synthetic, and to be called so: its figures say nothing of patients."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np

from scopeline.errors import SinkError
from scopeline.simulation.view import Look, Pose, Tunnel, random_look
from scopeline_training.catalogue import Catalogue
from scopeline_training.layouts import sheet
from scopeline_training.layouts.plans import Layout, Sheet
from scopeline_training.stand_ins import only_in_the_middle

PLACES = {"colon": "sigmoid", "rectum": "rectum"}
"""What a picture is called -> the part of the simulated colon that it shows."""
_COMPLETE = ".complete"


class PairStandIn(Layout, frozen=True, kw_only=True, tag="pair_stand_in"):
    """A generated set of pairs in the form of study S1."""

    head: str = "mes"
    labels: tuple[str, ...] = ("0", "1")
    patients: int = 60
    size: int = 160
    """Pixels."""
    seed: int = 7


def make_pairs(plan: PairStandIn, folder: Path) -> Catalogue:
    """The generated pairs as files and a sheet below a folder; written once per plan.

    Raises:
        SinkError: the folder cannot be written.
    """
    key = hashlib.sha256(msgspec.json.encode(plan) + Path(__file__).read_bytes()).hexdigest()[:12]
    root = folder / f"synthetic-pairs-{key}"
    if not (root / _COMPLETE).is_file():
        try:
            shutil.rmtree(root, ignore_errors=True)  # what an interrupted run left
            _write(root, plan)
            (root / _COMPLETE).touch()
        except OSError as error:
            raise SinkError(f"{root}: cannot write the generated set ({error.strerror})") from error
    about = f"SYNTHETIC stand-in for the pairs of study S1, seed {plan.seed}"
    return sheet.read(root, Sheet(head=plan.head, labels=plan.labels, description=about))


def _write(root: Path, plan: PairStandIn) -> None:
    root.mkdir(parents=True)
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "second", "patient", plan.head])
        for patient in range(plan.patients):
            rng = np.random.default_rng((plan.seed, patient))
            grade, look = patient % 2, random_look(rng)
            names = []
            for place, organ in PLACES.items():
                names.append(f"{patient:04d}_{place}.jpg")
                _draw(root / names[-1], organ, grade, look, rng, plan.size)
            rows.writerow([*names, f"patient {patient}", plan.labels[grade]])


def _draw(path: Path, organ: str, grade: int, look: Look, rng: np.random.Generator, size: int) -> None:
    seed = int(rng.integers(2**31))
    # Towards the rim both grades look alike: else it would tell them, and the shortcut probes refuse the set.
    wall, rim = (Tunnel(organ, each, seed, look, size, size) for each in (grade, int(rng.integers(0, 2))))
    pose = Pose(travel=float(rng.uniform(0, 60)), roll=float(rng.uniform(0.1, 1.1)))
    view = only_in_the_middle(np.asarray(wall.view(pose), np.float32), np.asarray(rim.view(pose), np.float32))
    shown = cv2.cvtColor(np.clip(view + 0.5, 0, 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 96))])
    path.write_bytes(code.tobytes())

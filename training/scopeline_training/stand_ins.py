"""Stand-ins: generated sets with the form of data sets that cannot be at hand. Synthetic, and to be called so.

They prove that a recipe runs from files to report; their figures say nothing of patients. What tells the labels
apart is drawn with the shape that the disease has in the real pictures, at strengths from plain to barely there,
under patient-wise light, colour and tilt that all labels share: a network learns it, a thumbnail does not. Towards
the rim all labels look alike, and files are written in qualities drawn by chance: the shortcut probes must pass a set
in which there is nothing to take a shortcut by.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.errors import SinkError
from scopeline.picture import Pixels
from scopeline.simulation.view import Pose, Tunnel, random_look
from scopeline_training.catalogue import Catalogue
from scopeline_training.layouts import class_folders, file_prefix
from scopeline_training.layouts.plans import ClassFolders, FilePrefix, StandIn

Image = NDArray[np.float32]
Rng = np.random.Generator

OCT_LABELS = ("NORMAL", "CNV", "DME", "DRUSEN")
KVASIR_LABELS = ("esophagitis", "polyps", "ulcerative-colitis")
_SPLITS = (("train", 0.7), ("val", 0.15), ("test", 0.15))
_COMPLETE = ".complete"
_PROFILE = (
    (-0.02, 0.0), (0.0, 0.8), (0.12, 0.75), (0.2, 0.45), (0.4, 0.5), (0.6, 0.4), (0.65, 0.2), (0.85, 0.2),
    (0.92, 0.6), (1.0, 1.0), (1.08, 0.5),
)  # fmt: skip
"""Depth in the retina, 0 its inner surface and 1 the pigment epithelium -> brightness of the layer there."""


def make_stand_in(plan: StandIn, folder: Path) -> Catalogue:
    """The generated set as files below a folder, in the real set's layout; written once per plan.

    Raises:
        SinkError: the folder cannot be written.
    """
    drawn_by = Path(__file__).read_bytes()  # other drawings are another set
    key = hashlib.sha256(msgspec.json.encode(plan) + drawn_by).hexdigest()[:12]
    root = folder / f"synthetic-{plan.set}-{key}"
    if not (root / _COMPLETE).is_file():
        try:
            shutil.rmtree(root, ignore_errors=True)  # what an interrupted run left
            (_write_oct if plan.set == "oct" else _write_kvasir)(root, plan)
            (root / _COMPLETE).touch()
        except OSError as error:
            raise SinkError(f"{root}: cannot write the generated set ({error.strerror})") from error
    about = f"SYNTHETIC stand-in for {'Kermany OCT' if plan.set == 'oct' else 'Kvasir'}, seed {plan.seed}"
    if plan.set == "oct":
        return file_prefix.read(root, FilePrefix(head=plan.head, labels=OCT_LABELS, description=about))
    return class_folders.read(root, ClassFolders(head=plan.head, labels=KVASIR_LABELS, description=about))


def oct_picture(label: str, rng: Rng, size: int) -> Pixels:
    """A retinal B-scan with one of `OCT_LABELS`, (size, size) uint8 grey."""
    columns = np.linspace(0.0, 1.0, size, dtype=np.float32)
    tilt, bend = rng.uniform(-0.12, 0.12), rng.uniform(-0.15, 0.15)
    base = rng.uniform(0.55, 0.68) + tilt * (columns - 0.5) + bend * (columns - 0.5) ** 2
    pit = 0.07 * np.exp(-(((columns - rng.uniform(0.35, 0.65)) / 0.12) ** 2))
    thickness = rng.uniform(0.2, 0.27) - pit
    strength = float(rng.uniform(0.35, 1.0))
    lift = np.zeros(size, np.float32)
    if label == "DRUSEN":
        for _ in range(int(rng.integers(3, 8))):
            lift += _bump(columns, rng, strength * rng.uniform(0.015, 0.04), rng.uniform(0.015, 0.035))
    elif label == "CNV":
        lift += _bump(columns, rng, strength * rng.uniform(0.06, 0.12), rng.uniform(0.07, 0.14))
    elif label == "DME":
        thickness = thickness + _bump(columns, rng, strength * 0.08, rng.uniform(0.12, 0.25)) + 0.5 * pit
    top = base - thickness - 0.6 * lift
    image = _layers(size, top, base - lift, base)
    if label == "DME":
        _add_cysts(image, top, base, rng, strength)
    if label == "CNV":
        _add_fluid(image, base - lift, rng, strength)
    speckle = rng.gamma(4.0, 0.25, image.shape).astype(np.float32)
    noisy = image * (0.55 + 0.45 * speckle) * rng.uniform(0.7, 1.2) + rng.normal(0.06, 0.03, image.shape)
    soft = cv2.GaussianBlur(noisy.astype(np.float32), (0, 0), float(rng.uniform(0.5, 1.0)))
    return _to_uint8(200.0 * soft)


def only_in_the_middle(sick: Image, well: Image) -> Image:
    """What the disease does to a picture, (H, W, 3), faded out towards the rim of the other one of the same wall."""
    height, width = sick.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    from_centre = np.hypot((x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5) * 2
    weight = np.clip((0.8 - from_centre) / 0.15, 0.0, 1.0)[..., None]
    return np.asarray(well + (sick - well) * weight, np.float32)


def kvasir_picture(label: str, scene: Tunnel, rim: Tunnel, rng: Rng) -> Pixels:
    """A view into a tunnel of mucosa with one of `KVASIR_LABELS`, (H, W, 3) uint8 RGB.

    Args:
        scene: The wall.
        rim: The same wall as it looks towards the rim of the picture.
    """
    pose = Pose(
        travel=float(rng.uniform(0, 60)),
        roll=float(rng.uniform(0.1, 1.1)),  # the renderer knows no more of the wall
        lumen=(float(rng.uniform(-0.4, 0.4)), float(rng.uniform(-0.4, 0.4))),
    )
    image, well = np.asarray(scene.view(pose), np.float32), np.asarray(rim.view(pose), np.float32)
    if label == "esophagitis":
        image = _with_breaks(image, rng)
    elif label == "polyps":
        image = _with_polyp(image, rng)
    return _to_uint8(only_in_the_middle(image, well) + rng.normal(0, rng.uniform(2.0, 6.0), image.shape))


def _write_oct(root: Path, plan: StandIn) -> None:
    for number, label in enumerate(OCT_LABELS):
        patients = np.arange(plan.patients_per_label)
        for split, chosen in _shared_out(patients):
            (root / split / label).mkdir(parents=True)
            for patient in chosen:
                rng = np.random.default_rng((plan.seed, number, int(patient)))
                for index in range(_per_patient(plan, int(patient))):
                    name = f"{label}-{1000 * (number + 1) + patient}-{index + 1}.jpeg"
                    _write(root / split / label / name, oct_picture(label, rng, plan.size))


def _write_kvasir(root: Path, plan: StandIn) -> None:
    for number, label in enumerate(KVASIR_LABELS):
        for patient in range(plan.patients_per_label):
            rng = np.random.default_rng((plan.seed, 100 + number, patient))
            # Inflamed walls also without ulcers, and reddish ones without colitis: colour alone does not tell.
            grade = int(rng.integers(1, 4)) if label == "ulcerative-colitis" else int(rng.integers(0, 2))
            organ, seed, look = (
                str(rng.choice(("sigmoid", "transverse"))), int(rng.integers(2**31)), random_look(rng)
            )  # fmt: skip
            wall, rim = (
                Tunnel(organ, each, seed, look, plan.size, plan.size)
                for each in (grade, int(rng.integers(0, 2)))
            )
            folder = root / label / f"patient_{number}{patient:03d}"
            folder.mkdir(parents=True)
            for index in range(_per_patient(plan, patient)):
                picture = kvasir_picture(label, wall, rim, rng)
                _write(folder / f"{index + 1}.jpg", picture, quality=int(rng.integers(70, 96)))


def _per_patient(plan: StandIn, patient: int) -> int:
    whole, rest = divmod(plan.per_label, plan.patients_per_label)
    return whole + (patient < rest)


def _shared_out(patients: NDArray[np.int64]) -> list[tuple[str, NDArray[np.int64]]]:
    ends = np.cumsum([round(share * len(patients)) for _, share in _SPLITS])[:-1]
    return [
        (split, part) for (split, _), part in zip(_SPLITS, np.split(patients, ends), strict=True) if len(part)
    ]


def _write(path: Path, pixels: Pixels, quality: int = 92) -> None:
    shown = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, quality])
    path.write_bytes(code.tobytes())


def _to_uint8(image: NDArray[np.floating]) -> Pixels:
    pixels: Pixels = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return pixels


def _bump(columns: Image, rng: Rng, height: float, width: float) -> Image:
    return np.asarray(height * np.exp(-(((columns - rng.uniform(0.15, 0.85)) / width) ** 2)), np.float32)


def _layers(size: int, top: Image, epithelium: Image, membrane: Image) -> Image:
    """Brightness 0..1 of the retina between its inner surface and the lifted pigment epithelium, and below it."""
    rows = np.linspace(0.0, 1.0, size, dtype=np.float32)[:, None]
    depth = (rows - top) / np.maximum(epithelium - top, 0.02)
    profile = np.interp(depth, *np.array(_PROFILE).T)
    below = np.where(rows < membrane, 0.55, 0.5 * np.exp(-(rows - membrane) / 0.12))
    return np.where(depth > 1.08, below, profile).astype(np.float32)


def _add_cysts(image: Image, top: Image, base: Image, rng: Rng, strength: float) -> None:
    size = len(image)
    for _ in range(int(rng.integers(2, 7))):
        column = int(rng.integers(size // 6, size - size // 6))
        row = round(size * float(top[column] + (base[column] - top[column]) * rng.uniform(0.35, 0.7)))
        axes = (
            max(2, round(size * strength * rng.uniform(0.015, 0.05))),
            max(2, round(size * strength * rng.uniform(0.012, 0.03))),
        )
        cv2.ellipse(image, (column, row), axes, 0, 0, 360, 0.05, -1, cv2.LINE_AA)


def _add_fluid(image: Image, epithelium: Image, rng: Rng, strength: float) -> None:
    """A dark wedge above the lifted epithelium."""
    size = len(image)
    column = int(np.argmin(epithelium)) + round(size * rng.uniform(-0.08, 0.08))
    column = min(max(column, 0), size - 1)
    row = round(size * float(epithelium[column] - 0.03))
    axes = (max(3, round(size * strength * 0.09)), max(2, round(size * strength * 0.02)))
    cv2.ellipse(image, (column, row), axes, 0, 0, 360, 0.08, -1, cv2.LINE_AA)


def _with_breaks(image: Image, rng: Rng) -> Image:
    """Red streaks with a pale middle that run towards the lumen, on a paler wall."""
    size = image.shape[0]
    pale = image * np.array([0.98, 1.06, 1.06], np.float32)
    mask = np.zeros(image.shape[:2], np.float32)
    for _ in range(int(rng.integers(2, 6))):
        angle, near, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.18, 0.28), rng.uniform(0.35, 0.5)
        reach = np.linspace(near, far, 8) * size
        turn = angle + np.cumsum(rng.normal(0, 0.05, 8))
        line = np.stack([size / 2 + reach * np.cos(turn), size / 2 + reach * np.sin(turn)], axis=1)
        cv2.polylines(mask, [line.round().astype(np.int32)], False, 1.0, max(2, size // 28), cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), size / 80)[..., None] * float(rng.uniform(0.4, 0.9))
    return np.asarray(pale + (pale * np.array([1.0, 0.5, 0.5], np.float32) - pale) * soft, np.float32)


def _with_polyp(image: Image, rng: Rng) -> Image:
    """A shaded dome of the wall's own colour with a highlight and a shadow under its rim."""
    size = image.shape[0]
    centre, radius = rng.uniform(0.35, 0.65, 2) * size, rng.uniform(0.09, 0.22) * size
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    across = (x - centre[0]) / radius
    down = (y - centre[1]) / (radius * rng.uniform(0.7, 1.0))
    distance = np.hypot(across, down)
    dome = np.clip(1.0 - distance**2, 0.0, 1.0)
    shade = 0.7 + 0.6 * np.sqrt(dome) - 0.25 * across * (distance < 1)
    colour = cv2.GaussianBlur(image, (0, 0), size / 12).mean(axis=(0, 1)) * rng.uniform(0.9, 1.35)
    inside = np.clip((1.0 - distance) * 10, 0.0, 1.0)[..., None] * float(rng.uniform(0.6, 0.95))
    shadow = 1.0 - 0.35 * np.exp(-(((distance - 1.1) / 0.15) ** 2))[..., None]
    lump = colour * shade[..., None] * np.array([1.05, 0.92, 0.92], np.float32)
    glint = 120.0 * np.exp(-(((across + 0.3) ** 2 + (down + 0.35) ** 2) / 0.02))[..., None]
    return np.asarray((image * shadow) * (1 - inside) + (lump + glint) * inside, np.float32)

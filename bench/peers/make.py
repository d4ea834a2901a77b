"""Makes the environments of the peers that `scopeline bench compare` runs beside Scopeline, each in its own folder.

    python bench/peers/make.py ENVIRONMENTS [NAME ...]

Without names the light ones are made: `plain`, `supervision`, `vidgear`, `imagezmq`. `ultralytics` and `roboflow` bring
torch and want gigabytes; name them. One that cannot be installed is named with pip's last words, and the others go on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from venv import EnvBuilder

_CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
_KIT = ("numpy", "opencv-python-headless", "onnxruntime", "av", "msgspec", "pyzmq")
"""What every peer's script needs itself: to read bar codes, to infer, to publish."""

PEERS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "supervision": ("supervision==0.31.2",),
    "vidgear": ("vidgear==0.3.6", "requests", "tqdm", "colorlog", "cython"),
    "imagezmq": ("imagezmq==1.2.0",),
    "ultralytics": ("ultralytics==8.4.190", "torch==2.13.0", "torchvision"),
    "roboflow": ("inference-cpu==1.8.3", "torch==2.13.0"),
}
LIGHT = ("plain", "supervision", "vidgear", "imagezmq")
_OWN_VERSIONS = ("roboflow",)
"""Peers that fix versions of the kit's packages themselves; ours would clash with theirs."""


def make(name: str, folder: Path) -> bool:
    """Make one environment; whether it could be made."""
    place = folder / name
    if not (place / "bin" / "python").is_file():
        EnvBuilder(with_pip=True).create(place)
    kit = ("msgspec", "pyzmq", "av") if name in _OWN_VERSIONS else _KIT
    pinned = () if name in _OWN_VERSIONS else ("-c", str(_CONSTRAINTS))
    words = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*words, *pinned, *kit, *PEERS[name]], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        (place / "made").touch()
    says = "made" if done.returncode == 0 else f"FAILED: {done.stderr.strip().splitlines()[-1:]}"
    print(f"{name}: {says}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    where, *wanted = sys.argv[1:]
    unknown = sorted(set(wanted) - set(PEERS))
    if unknown:
        sys.exit(f"peers are {', '.join(PEERS)}; got {', '.join(unknown)}")
    made = [make(name, Path(where)) for name in wanted or LIGHT]
    sys.exit(0 if all(made) else 1)

"""Makes the environments of the peers that `scopeline bench compare` runs beside Scopeline, each in its own folder.

    python bench/peers/make.py ENVIRONMENTS [NAME ...]

The interpreter that runs this lends its numpy, OpenCV, ONNX Runtime, PyAV and ZeroMQ to all of them, so that they use
the same; only a peer and what it alone needs is installed. Plain loops need nothing else and run in that interpreter.
`roboflow` fixes versions of its own and gets them. Without names the light ones are made: `supervision`, `vidgear`,
`imagezmq`. `ultralytics` and `roboflow` bring gigabytes; name them. One that cannot be installed is named with pip's
last words, and the others go on.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from venv import EnvBuilder

_KIT = ("msgspec", "pyzmq", "av")
"""What the scripts need beside what a peer that fixes its own versions brings."""

PEERS: dict[str, tuple[str, ...]] = {
    "supervision": ("supervision==0.31.2",),
    "vidgear": ("vidgear==0.3.6",),
    "imagezmq": ("imagezmq==1.2.0",),
    "ultralytics": ("ultralytics==8.4.190", "ultralytics-thop"),
    "roboflow": ("inference-cpu==1.8.3", "torch==2.13.0"),
}
LIGHT = ("supervision", "vidgear", "imagezmq")


def make(name: str, folder: Path) -> bool:
    """Make one environment; whether it could be made."""
    place = folder / name
    if not (place / "bin" / "python").is_file():
        EnvBuilder(with_pip=True).create(place)
    words = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if name == "roboflow":
        words += [*_KIT, *PEERS[name]]
    else:
        lent = sysconfig.get_path("purelib")
        _packages(place).joinpath("lent.pth").write_text(f"{lent}\n", encoding="utf-8")
        words += ["--no-deps", *PEERS[name]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        (place / "made").touch()
    says = "made" if done.returncode == 0 else f"FAILED: {done.stderr.strip().splitlines()[-1:]}"
    print(f"{name}: {says}", flush=True)
    return done.returncode == 0


def _packages(place: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(place)}))


if __name__ == "__main__":
    where, *wanted = sys.argv[1:]
    unknown = sorted(set(wanted) - set(PEERS))
    if unknown:
        sys.exit(f"peers are {', '.join(PEERS)}; got {', '.join(unknown)}")
    made = [make(name, Path(where)) for name in wanted or LIGHT]
    sys.exit(0 if all(made) else 1)

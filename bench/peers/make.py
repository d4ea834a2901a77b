"""Makes the environments of the peers that `scopeline bench compare` runs beside Scopeline, each in its own folder.

    python bench/peers/make.py ENVIRONMENTS [NAME ...]

The interpreter that runs this lends its numpy, OpenCV, ONNX Runtime, PyAV, torch and ZeroMQ to all of them, so that
they use the same; a peer and what it alone needs is installed without its dependencies. Plain loops need nothing else
and run in that interpreter. Without names the light ones are made: `supervision`, `vidgear`, `imagezmq`. `ultralytics`
(10 MB) and `roboflow` (650 MB; its own choice of torch would bring 6 GB of CUDA) are made when they are named. One that
cannot be made is named with the last words of pip or of its import, and the others go on.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from venv import EnvBuilder

PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "supervision": ("import supervision", ("supervision==0.31.2", "pyDeprecate")),
    "vidgear": ("import vidgear.gears", ("vidgear==0.3.6", "colorlog")),
    "imagezmq": ("import imagezmq", ("imagezmq==1.2.0",)),
    "ultralytics": ("import ultralytics", ("ultralytics==8.4.190", "ultralytics-thop")),
    "roboflow": (
        "import inference",
        ("-r", str(Path(__file__).with_name("roboflow.txt"))),
    ),
}
"""By name: what must be importable then, and what is installed."""
LIGHT = ("supervision", "vidgear", "imagezmq")


def make(name: str, folder: Path) -> bool:
    """Make one environment; whether it could be made."""
    place = folder / name
    python = str(place / "bin" / "python")
    check, packages = PEERS[name]
    if not Path(python).is_file():
        EnvBuilder(with_pip=True).create(place)
    _packages(place).joinpath("lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        *packages,
    ]
    for words in (install, [python, "-c", check]):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}: FAILED: {done.stderr.strip().splitlines()[-1:]}", flush=True)
            return False
    (place / "made").touch()
    print(f"{name}: made", flush=True)
    return True


def _packages(place: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(place)}))


if __name__ == "__main__":
    where, *wanted = sys.argv[1:]
    unknown = sorted(set(wanted) - set(PEERS))
    if unknown:
        sys.exit(f"peers are {', '.join(PEERS)}; got {', '.join(unknown)}")
    made = [make(name, Path(where)) for name in wanted or LIGHT]
    sys.exit(0 if all(made) else 1)

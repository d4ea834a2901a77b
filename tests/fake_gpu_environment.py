"""An environment for `bench/gpu_proof.sh --env` in which both of NVIDIA's packages are fakes: every line of the proof
that a GPU machine will run is run, and none of its figures means anything.

    python tests/fake_gpu_environment.py DIR      then: bash bench/gpu_proof.sh --env DIR --out OUT --state STATE
"""

from __future__ import annotations

import sys
from pathlib import Path

_FAKES = "import sys\nfrom fakes_tensorrt import RUNTIME, fake_tensorrt\n"
PACKAGES = {
    "tensorrt.py": f"{_FAKES}sys.modules[__name__] = fake_tensorrt('8.6.0', RUNTIME)\n",
    "cuda/__init__.py": "",
    "cuda/bindings/__init__.py": "",
    "cuda/bindings/runtime.py": f"{_FAKES}sys.modules[__name__] = RUNTIME\n",
    "cuda/bindings/driver.py": "import sys, tempfile\nfrom pathlib import Path\n"
    "from fakes_cuda_driver import FakeCudaDriver\n"
    "sys.modules[__name__] = FakeCudaDriver(Path(tempfile.mkdtemp()))\n",
}
_PYTHON = """#!/usr/bin/env bash
export PYTHONPATH="{folder}/packages${{PYTHONPATH:+:$PYTHONPATH}}"
exec "{python}" "$@"
"""


def write_packages(folder: Path) -> None:
    """Modules `tensorrt`, `cuda.bindings.runtime` and `cuda.bindings.driver` that are fakes."""
    for name, text in PACKAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def write_environment(folder: Path) -> Path:
    """The environment; returns its `python310`, which is the Python that runs this."""
    write_packages(folder / "packages")
    program = folder / "python310"
    program.write_text(_PYTHON.format(folder=folder.resolve(), python=sys.executable))
    program.chmod(0o755)
    return program


if __name__ == "__main__":
    print(write_environment(Path(sys.argv[1])))

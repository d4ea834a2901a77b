from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fakes import MES, POLYP, QUALITY
from scopeline.backends import open_backend
from scopeline.bundle import Bundle, load_bundle
from scopeline.errors import BackendError, BundleError, ConfigError
from tiny_bundle import HEADS, SIZE, expected_logits, expected_mask_logits, write_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(write_tiny_bundle(tmp_path / "tiny"))


_PIXELS = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_backend_in_fp32_answers_what_the_formula_says(name: str, count: int, bundle: Bundle) -> None:
    backend = open_backend(name, bundle, threads=1, precision="fp32")
    logits = backend.infer(_PIXELS[:count])
    backend.close()
    for head in HEADS:
        assert logits[head.name].shape == (count, len(head.labels))
        assert logits[head.name].dtype == np.float32
        assert logits[head.name] == pytest.approx(expected_logits(_PIXELS[:count], head), abs=1e-4)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_mask_comes_in_the_pixels_of_the_picture(name: str, count: int, tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path / "tiny", (QUALITY, POLYP)))
    backend = open_backend(name, bundle, threads=1, precision="fp32")
    logits = backend.infer(_PIXELS[:count])
    backend.close()
    assert logits["quality"].shape == (count, 2)
    assert logits["polyp"].shape == (count, 1, SIZE, SIZE)
    assert logits["polyp"] == pytest.approx(expected_mask_logits(_PIXELS[:count]), abs=1e-4)


def test_a_network_whose_mask_has_another_size_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny", (POLYP,))
    description = folder / "bundle.toml"
    description.write_text(description.read_text().replace("width = 32", "width = 64"))
    with pytest.raises(BundleError, match="must agree in name and size"):
        open_backend("onnxruntime", load_bundle(folder), threads=1, precision="fp32")


def test_an_answer_stays_when_the_next_one_is_asked(bundle: Bundle) -> None:
    backend = open_backend("openvino", bundle, threads=1, precision="fp32")
    first = backend.infer(_PIXELS[:1])["mes"]
    kept = first.copy()
    backend.infer(_PIXELS[1:2])
    backend.close()
    assert np.array_equal(first, kept)


def test_a_precision_that_the_runtime_has_not_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match='set precision = "fp32"'):
        open_backend("onnxruntime", bundle, threads=1, precision="fp16")
    with pytest.raises(BackendError, match="offers the precisions"):
        open_backend("openvino", bundle, threads=1, precision="int3")


def test_an_unknown_backend_names_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"\['onnxruntime', 'openvino', 'tensorrt'\]"):
        open_backend("tensorflow", bundle, threads=1, precision="fp32")
    with pytest.raises(ConfigError, match="cannot be imported"):
        open_backend("no_such_module:Backend", bundle, threads=1, precision="fp32")


def test_a_backend_of_ones_own_is_named_by_its_module(bundle: Bundle) -> None:
    backend = open_backend(
        "scopeline.backends.onnx_runtime:OnnxRuntimeBackend", bundle, threads=1, precision="fp32"
    )
    assert backend.name == "onnxruntime"


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_network_whose_outputs_are_not_the_heads_is_refused(name: str, tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny", (QUALITY, MES))
    description = folder / "bundle.toml"
    description.write_text(description.read_text().replace('"0", "1", "2", "3"', '"0", "1", "2"'))
    with pytest.raises(BundleError, match="must agree in name and size"):
        open_backend(name, load_bundle(folder), threads=1, precision="fp32")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_file_that_is_no_network_is_refused_by_name(name: str, bundle: Bundle) -> None:
    bundle.onnx_path.write_bytes(b"not a network")
    with pytest.raises(BackendError, match=r"model\.onnx"):
        open_backend(name, bundle, threads=1, precision="fp32")


def test_a_run_leaves_no_telemetry_of_the_runtime_behind(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from scopeline.backends import open_backend; from scopeline.bundle import load_bundle\n"
        "open_backend('onnxruntime', load_bundle(Path(sys.argv[1])), threads=1, precision='fp32').close()\n"
    )
    bundle, home = write_tiny_bundle(tmp_path / "tiny"), tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}

    subprocess.run(
        [sys.executable, "-c", program, str(bundle)], check=True, env={**environment, "HOME": str(home)}
    )

    assert list(home.rglob("*")) == []

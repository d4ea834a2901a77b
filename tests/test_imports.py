"""Imports flow one way, and heavy packages are imported in the one place that stands for them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_PACKAGES = {
    "scopeline": _ROOT / "engine/scopeline",
    "scopeline_training": _ROOT / "training/scopeline_training",
    "scopeline_calibration": _ROOT / "calibration/scopeline_calibration",
    "scopeline_bench": _ROOT / "bench/scopeline_bench",
}
_NOUNS_KNOW_NOT = ("sources", "backends", "sinks", "commands", "engine", "assemble", "cli")
_CONCRETE = {"sources", "backends", "sinks"}


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _files(package: str) -> list[Path]:
    return sorted(_PACKAGES[package].rglob("*.py"))


def test_the_engine_imports_none_of_the_other_components() -> None:
    for file in _files("scopeline"):
        foreign = {name for name in _imports(file) if name.split(".")[0] in set(_PACKAGES) - {"scopeline"}}
        assert not foreign, f"{file.name} imports {foreign}"


@pytest.mark.parametrize("package", ["scopeline_training", "scopeline_calibration", "scopeline_bench"])
def test_components_import_the_engine_but_never_each_other(package: str) -> None:
    for file in _files(package):
        foreign = {
            name for name in _imports(file) if name.split(".")[0] in set(_PACKAGES) - {"scopeline", package}
        }
        assert not foreign, f"{file.name} imports {foreign}"


def test_nouns_know_no_concrete_part_and_no_command() -> None:
    engine = _PACKAGES["scopeline"]
    for file in sorted(engine.glob("*.py")):
        if file.stem in {"assemble", "station", "cli", "doctor", "batch", "engine", "contact_sheet"}:
            continue
        wrong = {
            name
            for name in _imports(file)
            if name.split(".")[:1] == ["scopeline"]
            and len(name.split(".")) > 1
            and name.split(".")[1] in _NOUNS_KNOW_NOT
        }
        assert not wrong, f"{file.name} imports {wrong}"


def test_the_engine_knows_no_concrete_source_backend_or_sink() -> None:
    wrong = {
        name for name in _imports(_PACKAGES["scopeline"] / "engine.py") if set(name.split(".")) & _CONCRETE
    }
    assert not wrong


def test_sources_backends_and_sinks_do_not_know_each_other() -> None:
    for kind in _CONCRETE:
        for file in sorted((_PACKAGES["scopeline"] / kind).glob("*.py")):
            others = {
                name
                for name in _imports(file)
                if name.startswith(tuple(f"scopeline.{other}" for other in _CONCRETE - {kind}))
            }
            assert not others, f"{kind}/{file.name} imports {others}"


@pytest.mark.parametrize(
    ("heavy", "homes"),
    [
        (
            "av",
            {
                "picture.py",
                "stream_reader.py",
                "capture_child.py",
                "picture_pool.py",
                "annotated_video.py",
                "film.py",
                "doctor.py",
                "contact_sheet.py",
                "key_frames.py",
                "nvdec.py",
            },
        ),
        (
            "zmq",
            {
                "endpoint.py",
                "station.py",
                "keys.py",
                "doorkeeper.py",
                "desk.py",
                "pedal.py",
                "zeromq.py",
                "subscriber.py",
                "healer.py",
                "doctor.py",
            },
        ),
        ("onnxruntime", {"onnx_runtime.py", "doctor.py"}),
        ("openvino", {"openvino_runtime.py", "doctor.py"}),
        ("torch", set()),
        ("tensorrt", set()),
    ],
)
def test_heavy_packages_have_one_home_in_the_engine(heavy: str, homes: set[str]) -> None:
    users = {
        file.name
        for file in _files("scopeline")
        if any(name == heavy or name.startswith(f"{heavy}.") for name in _imports(file))
    }
    assert users <= homes

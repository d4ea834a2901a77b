"""The doctor, on planted machines."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from scopeline import doctor
from scopeline.commands.doctor import doctor as command
from scopeline.devices import Machine
from scopeline.doctor import Finding, cpu_path_works, examine
from scopeline.probe import ASK_CUDA, Ask, ProbeError, ask_python

GIB = 2**30
AV = {
    "version": "18.1.0",
    "ffmpeg": "8.1.2",
    "inputs": {"v4l2": True, "rtsp": True, "srt": False, "rtmp": True},
}


def says(**answer: Any) -> Ask:
    """A library that is there."""
    return lambda code: answer


def fails(text: str, missing: str | None = None) -> Ask:
    def ask(code: str) -> Mapping[str, Any]:
        raise ProbeError(text, missing)

    return ask


def test_an_old_python_is_a_problem_with_its_remedy() -> None:
    finding = doctor.check_python((3, 10, 4))
    assert (finding.state, finding.found) == ("problem", "3.10.4")
    assert "install Python 3.11" in finding.remedy


def test_one_core_is_told_to_live_users(tmp_path: Path) -> None:
    assert doctor.check_cores(1, tmp_path).state == "optional"
    assert doctor.check_cores(2, tmp_path).state == "ok"


def test_the_share_of_a_container_counts_and_not_the_machine(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    finding = doctor.check_cores(16, tmp_path)
    assert finding.state == "optional"
    assert "limited to 1.5" in finding.found


def test_an_unlimited_container_is_the_machine(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert doctor.check_cores(16, tmp_path).state == "ok"


def test_the_memory_limit_of_a_container_counts(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(
        f"MemTotal: {64 * GIB // 1024} kB\nMemFree: 1 kB\nMemAvailable: {60 * GIB // 1024} kB\n"
    )
    assert doctor.check_memory(meminfo, tmp_path).found == "64.0 GiB, 60.0 GiB free"
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    finding = doctor.check_memory(meminfo, tmp_path)
    assert (finding.state, finding.found) == ("optional", "1.0 GiB, 1.0 GiB free")


def test_a_machine_without_proc_is_unknown_and_no_problem(tmp_path: Path) -> None:
    assert doctor.check_memory(tmp_path / "meminfo", tmp_path).state == "optional"
    assert doctor.check_instructions(tmp_path / "cpuinfo").found.startswith("unknown")


def test_the_instructions_that_matter_are_named(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse2 avx avx2 avx512f amx_int8 avx512_vnni\n")
    assert doctor.check_instructions(cpuinfo).found == "avx2, avx512f, avx512_vnni, amx_int8"
    cpuinfo.write_text("flags : fpu sse2\n")
    assert "AVX2" in doctor.check_instructions(cpuinfo).remedy


def test_a_full_disk_is_told() -> None:
    assert doctor.check_disk(Path("/"), free_bytes=GIB).state == "optional"
    assert doctor.check_disk(Path("/"), free_bytes=100 * GIB).state == "ok"


def test_a_broken_video_library_is_a_problem() -> None:
    finding = doctor.check_video(fails("ImportError: libavcodec.so.62: cannot open shared object file"))
    assert (finding.state, "libavcodec" in finding.found) == ("problem", True)


def test_inputs_of_the_video_library_are_named() -> None:
    assert doctor.check_video(says(**AV)).found == "PyAV 18.1.0, FFmpeg 8.1.2 inside; v4l2, rtsp, rtmp"


def ffmpeg_with(protocol: str, device: str) -> Callable[[Sequence[str]], str]:
    """A system ffmpeg that says what it was built with."""

    def run(words: Sequence[str]) -> str:
        if "-protocols" in words:
            return f"Supported file protocols:\nInput:\n  file\n  {protocol}\nOutput:\n  file\n"
        return f"Devices:\n D  {device}  a device\n"

    return run


def test_a_missing_input_needs_a_system_ffmpeg() -> None:
    finding = doctor.check_network_video(says(**AV), None)
    assert (finding.state, finding.found) == ("optional", "srt missing inside PyAV; no system ffmpeg")
    assert "apt-get install ffmpeg" in finding.remedy


def test_what_the_system_ffmpeg_opens_is_named_and_what_it_does_not() -> None:
    finding = doctor.check_network_video(says(**AV), "/usr/bin/ffmpeg", ffmpeg_with("srt", "decklink"))
    assert finding.state == "ok"
    assert finding.found.endswith("/usr/bin/ffmpeg opens srt, decklink, not rist, ndi")


def test_a_system_ffmpeg_without_srt_is_told() -> None:
    finding = doctor.check_network_video(says(**AV), "/opt/ffmpeg", ffmpeg_with("udp", "lavfi"))
    assert (finding.state, finding.found) == (
        "optional",
        "srt missing inside PyAV; /opt/ffmpeg opens none of them",
    )


def test_capture_devices_are_named(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "video0").touch()
    (tmp_path / "sys/class/video4linux/video0").mkdir(parents=True)
    (tmp_path / "sys/class/video4linux/video0/name").write_text("Pro Capture HDMI\n")
    modes = "Type: Video Capture\n[0]: 'NV12' (Y/UV 4:2:0)\n Size: Discrete 1920x1080\n"
    machine = Machine(lambda words: modes, lambda name: name, tmp_path)
    finding = doctor.check_capture("linux", machine)
    assert finding.state == "ok"
    assert finding.found.startswith("/dev/video0 (Pro Capture HDMI)")


def test_a_device_whose_offer_is_unknown_is_told_with_the_tool_that_knows(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "video0").touch()
    finding = doctor.check_capture("linux", Machine(lambda words: "", lambda name: None, tmp_path))
    assert finding.state == "optional"
    assert "v4l-utils" in finding.remedy


def test_no_capture_device_is_no_problem_and_has_its_reason(tmp_path: Path) -> None:
    finding = doctor.check_capture("linux", Machine(root=tmp_path))
    assert (finding.state, finding.found) == ("optional", "none")
    assert "--device /dev/video0" in finding.remedy


@pytest.mark.parametrize("check", [doctor.check_opencv, doctor.check_onnxruntime, doctor.check_zeromq])
def test_a_missing_library_of_the_cpu_path_is_a_problem(check: Callable[[Ask], Finding]) -> None:
    finding = check(fails("ModuleNotFoundError: No module named 'x'", missing="x"))
    assert (finding.state, finding.found) == ("problem", "not installed")
    assert finding.remedy.startswith("pip install")


@pytest.mark.parametrize("check", [doctor.check_openvino, doctor.check_tensorrt])
def test_a_missing_extra_is_optional(check: Callable[[Ask], Finding]) -> None:
    finding = check(fails("ModuleNotFoundError: No module named 'x'", missing="x"))
    assert (finding.state, finding.found) == ("optional", "not installed")
    assert "pip install" in finding.remedy


def test_onnxruntime_without_its_cpu_provider_is_a_problem() -> None:
    assert (
        doctor.check_onnxruntime(says(version="1.23.0", providers=["CUDAExecutionProvider"])).state
        == "problem"
    )
    assert doctor.check_onnxruntime(says(version="1.23.0", providers=["CPUExecutionProvider"])).state == "ok"


def test_torch_is_for_training_only() -> None:
    assert doctor.check_torch(lambda name: None).state == "optional"
    assert doctor.check_torch(lambda name: "2.13.0").found == "2.13.0"


def test_a_gpu_is_named_with_driver_memory_and_generation(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("580.65.06\n")
    gpu = {"name": "NVIDIA RTX A4000", "memory": 16 * GIB, "sm": "86"}
    finding = doctor.check_nvidia(
        says(library=True, error=0, cuda="13.0", devices=[gpu]), tmp_path / "version"
    )
    assert (finding.state, finding.found) == ("ok", "580.65.06, CUDA 13.0; NVIDIA RTX A4000 (16 GiB, sm_86)")


def test_a_driver_without_its_library_points_at_the_container(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("580.65.06\n")
    finding = doctor.check_nvidia(says(library=False, error=0, cuda="", devices=[]), tmp_path / "version")
    assert (finding.state, finding.remedy) == ("optional", "in a container: --gpus all")


@pytest.mark.parametrize(("error", "words"), [(803, "CUDA error 803"), (0, "sees no GPU")])
def test_a_driver_that_does_not_answer_is_optional(tmp_path: Path, error: int, words: str) -> None:
    finding = doctor.check_nvidia(says(library=True, error=error, cuda="13.0", devices=[]), tmp_path / "none")
    assert finding.state == "optional"
    assert words in finding.found


def test_a_driver_that_kills_its_process_does_not_kill_the_doctor() -> None:
    def ask(code: str) -> Mapping[str, Any]:
        return ask_python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")

    finding = doctor.check_nvidia(ask)
    assert (finding.state, finding.found) == ("optional", "killed the interpreter with signal 11")


def test_the_question_to_the_driver_is_answered_with_and_without_a_gpu() -> None:
    assert set(ask_python(ASK_CUDA)) == {"library", "error", "cuda", "devices"}


def test_a_missing_module_is_told_from_a_broken_one() -> None:
    with pytest.raises(ProbeError, match="No module named") as missing:
        ask_python("import no_such_module_at_all")
    assert missing.value.missing == "no_such_module_at_all"
    with pytest.raises(ProbeError, match="cannot import name") as broken:
        ask_python("from json import no_such_name")
    assert broken.value.missing is None


def test_a_port_in_use_is_told_and_no_problem() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        finding = doctor.check_port(port)
        assert (finding.state, finding.found) == ("optional", f"{port} is in use")
    assert doctor.check_port(port).state == "ok"


def test_no_bundle_is_a_problem(tmp_path: Path) -> None:
    assert doctor.check_bundles(tmp_path).state == "problem"


def test_a_damaged_bundle_is_a_problem_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "colon").mkdir()
    (tmp_path / "colon" / "bundle.toml").write_text("schema = 'one'\n")
    finding = doctor.check_bundles(tmp_path)
    assert finding.state == "problem"
    assert "colon/bundle.toml" in finding.found


def test_only_a_problem_stops_the_cpu_path() -> None:
    assert cpu_path_works([Finding("a", "ok", ""), Finding("b", "optional", "")])
    assert not cpu_path_works([Finding("a", "ok", ""), Finding("b", "problem", "")])


def test_everything_that_is_not_ok_says_what_to_do() -> None:
    """On this machine, and on one that has nothing at all."""
    for finding in [*examine(), *examine(fails("ModuleNotFoundError: No module named 'x'", missing="x"))]:
        assert finding.state == "ok" or finding.remedy, finding


def test_the_command_speaks_json_and_its_exit_code_agrees() -> None:
    app = Typer()
    app.command()(command)
    result = CliRunner().invoke(app, ["--json"])
    said = json.loads(result.output)
    states = {finding["name"]: finding["state"] for finding in said["findings"]}
    assert states["ONNX Runtime"] == states["video (PyAV)"] == states["ZeroMQ"] == "ok"
    assert said["cpu_path"] == ("problem" not in states.values())
    assert result.exit_code == (0 if said["cpu_path"] else 1)


def test_the_command_prints_every_finding_and_a_verdict() -> None:
    app = Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [], env={"COLUMNS": "100"})
    for name in ("Python", "cores", "further inputs", "model bundles", "TensorRT"):
        assert name in result.output
    assert ("can be judged on the CPU" in result.output) == (result.exit_code == 0)

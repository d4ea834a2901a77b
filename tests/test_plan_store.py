"""Plans on disk: found by exactly what they were built for, and never a danger to another."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from fake_gpu import FakeMachine, few_frames
from fakes_tensorrt import FakeDevice
from scopeline.backends.tensorrt_plan_key import PlanKey, driver_version
from scopeline.backends.tensorrt_plan_store import PlanStore, PlanStoreError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    made = FakeMachine(tmp_path)
    made.install(monkeypatch)
    return made


def _key(**changes: object) -> PlanKey:
    key = PlanKey(
        network_sha256="a" * 64,
        tensorrt="8.6.0",
        driver="580.159.03",
        gpu="NVIDIA H200",
        compute_capability="9.0",
        precision="fp16",
        width=128,
        height=128,
        most=8,
        recipe=1,
        fp32=(),
    )
    return msgspec.structs.replace(key, **changes)


_CHANGES: list[dict[str, object]] = [
    {"network_sha256": "b" * 64},
    {"tensorrt": "8.6.1"},
    {"driver": "580.159.04"},
    {"gpu": "NVIDIA H100"},
    {"compute_capability": "8.9"},
    {"precision": "int8"},
    {"width": 129},
    {"most": 4},
    {"recipe": 2},
    {"fp32": ("trunk.0/",)},
]


@pytest.mark.parametrize("change", _CHANGES, ids=lambda change: next(iter(change)))
def test_whatever_is_different_makes_another_plan(change: dict[str, object]) -> None:
    assert _key(**change).digest != _key().digest
    assert _key().digest == _key().digest


def test_timing_caches_are_shared_between_networks_and_not_between_machines() -> None:
    assert _key(network_sha256="b" * 64).machine == _key().machine
    assert _key(driver="1").machine != _key().machine


def test_the_drivers_own_version_counts_and_cudas_where_it_is_not_told(
    machine: FakeMachine, tmp_path: Path
) -> None:
    told = tmp_path / "version"
    told.write_text("580.159.03\n")
    assert driver_version(machine.cuda, told) == "580.159.03"
    assert driver_version(machine.cuda, tmp_path / "absent") == "cuda-13.0"


def test_a_plan_whose_bytes_changed_is_as_good_as_absent(machine: FakeMachine) -> None:
    key = machine.forge.make(machine.bundle, few_frames).key
    plan = machine.store.folder / f"{key.digest}.plan"
    plan.write_bytes(plan.read_bytes()[:-1])
    assert machine.store.find(key) is None
    assert machine.forge.make(machine.bundle, few_frames).verdict.passed
    assert len(machine.faults.builds) == 2


def test_a_manifest_that_makes_no_sense_is_as_good_as_absent(machine: FakeMachine) -> None:
    key = machine.forge.make(machine.bundle, few_frames).key
    (machine.store.folder / f"{key.digest}.json").write_text('{"schema": 1}')
    assert machine.store.find(key) is None


def test_a_plan_under_a_foreign_name_is_not_taken(machine: FakeMachine) -> None:
    key = machine.forge.make(machine.bundle, few_frames).key
    other = msgspec.structs.replace(key, driver="other")
    for kind in ("plan", "json"):
        content = (machine.store.folder / f"{key.digest}.{kind}").read_bytes()
        (machine.store.folder / f"{other.digest}.{kind}").write_bytes(content)
    assert machine.store.find(other) is None
    assert machine.store.find(key) is not None


def test_another_device_builds_its_own_and_leaves_the_first_alone(machine: FakeMachine) -> None:
    first = machine.forge.make(machine.bundle, few_frames).key
    machine.runtime.devices = (FakeDevice(name="Another GPU"),)
    second = machine.forge.make(machine.bundle, few_frames).key
    assert first.digest != second.digest
    assert machine.store.find(first) is not None
    assert machine.store.find(second) is not None


def test_a_full_disk_is_said_before_the_building_and_a_part_is_not_left(tmp_path: Path) -> None:
    store = PlanStore(tmp_path / "plans")
    with pytest.raises(PlanStoreError, match="make room, or set cache under"):
        store.check_room(1 << 60)


def test_a_folder_that_cannot_be_written_to_is_said_and_nothing_half_is_left(tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("a file is in the way")
    with pytest.raises(PlanStoreError, match="a plan cannot be kept"):
        PlanStore(tmp_path / "plans").keep_timing_cache(_key(), b"measured")
    assert [path.name for path in tmp_path.iterdir()] == ["plans"]


def test_an_estimate_comes_from_earlier_builds_on_this_machine_only(machine: FakeMachine) -> None:
    made = machine.forge.make(machine.bundle, few_frames)
    size = 2 * made.plan_bytes
    spent_s = made.build_s + made.verify_s
    assert machine.store.seconds_expected(made.key, size) == pytest.approx(spent_s)
    other = msgspec.structs.replace(made.key, driver="other")
    assert machine.store.seconds_expected(other, size) is None


_BUILDER = """
import sys
from pathlib import Path
from fake_gpu import FakeMachine, few_frames
machine = FakeMachine(Path(sys.argv[1]))
def note():
    with open(sys.argv[1] + "/builds.txt", "a") as file:
        file.write("one\\n")
machine.faults.on_build = note
machine.bundle = __import__("scopeline.bundle").bundle.load_bundle(Path(sys.argv[2]))
print(machine.forge.make(machine.bundle, few_frames).plan_sha256)
"""


def test_two_processes_that_want_the_same_plan_build_it_once(machine: FakeMachine) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    shared = machine.folder / "shared"
    for place in ("one", "two"):
        (machine.folder / place).mkdir()
    shared.mkdir()
    for place in ("one", "two"):
        (machine.folder / place / "plans").symlink_to(shared)
    words = [sys.executable, "-c", _BUILDER]
    processes = [
        subprocess.Popen(
            [*words, str(machine.folder / place), str(machine.bundle.folder)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        for place in ("one", "two")
    ]
    answers = {process.communicate()[0] for process in processes}
    notes = [machine.folder / place / "builds.txt" for place in ("one", "two")]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(answers) == 1
    assert sum(len(note.read_text().split()) for note in notes if note.exists()) == 1
    (plan,) = shared.glob("*.plan")
    assert hashlib.sha256(plan.read_bytes()).hexdigest().encode() == answers.pop().strip()

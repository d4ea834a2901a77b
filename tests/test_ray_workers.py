"""A batch on Ray: the same results as without it. Skipped where the extra `ray` is not installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from colour_bundle import coloured, write_pipeline
from inline_workers import InlineWorkers
from media_clips import write_clip
from scopeline.archive.archive import Archive
from scopeline.archive.ray_workers import RayWorkers
from scopeline.archive.task import RecordingTask, Setup
from scopeline.batch import Job, plan
from scopeline.config import BundleChoice, Pipeline, load_pipeline
from scopeline.errors import BackendError
from scopeline.run_stamps import digests
from scopeline.shipped import shipped_pipelines


def test_tasks_travel_with_whole_paths_and_find_what_ships_on_the_other_machine(tmp_path: Path) -> None:
    pipeline = Pipeline(name="p", bundles=(BundleChoice(path="b"),), folder=str(shipped_pipelines()))
    task = RecordingTask(Job(Path("a.mp4"), Path("out/a"), "place", None), Setup(pipeline, 300.0))
    there = task.travelling()
    assert str(shipped_pipelines()) not in there.setup.pipeline.folder
    assert there.job.video.is_absolute()
    assert there.job.folder.is_absolute()
    assert there.arrived().setup.pipeline.folder == str(shipped_pipelines())


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match=r"install .*\[ray\]"):
        RayWorkers("local")


def test_a_local_cluster_gives_what_this_process_gives(tmp_path: Path) -> None:
    """The command in a process of its own: Ray leaves open files and processes to the end of its interpreter."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the extra ray is not installed")
    path = write_pipeline(tmp_path / "pipelines")
    pipeline = load_pipeline(path)
    pixels = coloured("sigmoid", 24, width=64, height=48)
    video = write_clip(tmp_path / "clip.mp4", pixels=pixels, options={"preset": "ultrafast"})
    here, there = tmp_path / "here", tmp_path / "there"
    list(Archive(Setup(pipeline, 300.0), InlineWorkers(1), here).work(plan([video], here, pipeline)))
    program = "from scopeline.cli import main; main()"
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            "batch",
            str(video),
            "-p",
            str(path),
            "-o",
            str(there),
            "--ray",
            "local",
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout
    assert digests(here / "clip") == digests(there / "clip")

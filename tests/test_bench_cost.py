from __future__ import annotations

from pathlib import Path

import pytest

from scopeline_bench.clip import ClipPlan, clip
from scopeline_bench.contenders import (
    Job,
    bare_decode,
    bare_inference,
    bare_resize,
    find_box,
    plain_loop,
    scopeline,
)
from scopeline_bench.cost import Costs, cost_table, ratio_table
from scopeline_bench.networks import float_twin, write_reference_bundle
from scopeline_bench.spent import Spent

_FRAMES = 60


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("cost")
    path = clip(ClipPlan(320, 240, 25, frames=_FRAMES, mbit_s=1.0, screen="sd-octagon", loop=_FRAMES), folder)
    bundle = write_reference_bundle(folder / "tiny", rows=((1, 8, 1, 1),), size=32)
    return Job(clip=str(path), bundle=str(bundle), box=find_box(str(path), str(bundle)))


def test_the_crop_lies_within_the_picture(job: Job) -> None:
    x, y, width, height = job.box
    assert x >= 0
    assert y >= 0
    assert 0 < width <= 320 - x
    assert 0 < height <= 240 - y


def test_every_contender_goes_through_every_frame(job: Job, tmp_path: Path) -> None:
    twin = float_twin(Path(job.bundle) / "model.onnx", tmp_path)
    assert plain_loop(job, twin).frames == _FRAMES
    assert bare_decode(job).frames == _FRAMES
    assert bare_resize(job).frames == _FRAMES
    assert bare_inference(job, 7).frames == 7
    assert scopeline(job).frames == _FRAMES


def test_scopeline_judges_all_but_the_frames_before_the_field_is_known(job: Job) -> None:
    spent = scopeline(job)
    assert 0.8 * _FRAMES < spent.judged < _FRAMES


def _costs(plain: list[float], floor: list[float], engine: list[float]) -> Costs:
    def rounds(values: list[float]) -> list[Spent]:
        return [
            Spent(frames=1000, user_s=value, system_s=0, wall_s=value, switches=0, judged=990)
            for value in values
        ]

    third = [value / 3 for value in floor]
    spent = {"plain loop": rounds(plain), "scopeline": rounds(engine)}
    spent |= {part: rounds(third) for part in ("decode", "crop and scale", "inference")}
    return Costs(
        clip="clip",
        bundle="bundle",
        box=(0, 0, 8, 8),
        spent=spent,
        refused={"scopeline, bf16": "no"},
        loads=[],
    )


def test_ratios_compare_each_round_with_itself() -> None:
    # The second round ran on a machine twice as slow; both ratios are the same in every round.
    costs = _costs(plain=[10, 20, 10], floor=[6, 12, 6], engine=[7.5, 15, 7.5])
    assert costs.against_plain.lowest == pytest.approx(0.75)
    assert costs.against_plain.highest == pytest.approx(0.75)
    assert costs.against_floor.median == pytest.approx(1.25)


def test_a_missed_target_is_said_with_the_amount() -> None:
    reached, missed = ratio_table(_costs(plain=[10], floor=[6], engine=[7.5])).rows
    assert reached[-1] == "reached"
    assert missed[-1] == "missed by 0.15"


def test_a_runtime_that_cannot_run_here_stays_in_the_table() -> None:
    table = cost_table(_costs(plain=[10], floor=[6], engine=[7.5]))
    assert ("scopeline, bf16", "cannot run here", "", "") in table.rows
    assert any(row[0].startswith("floor") and row[1].startswith("6.00") for row in table.rows)

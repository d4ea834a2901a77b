"""Schedules: the curves equal torch's own or points worked out by hand."""

import math

import pytest

pytest.importorskip("torch", reason="training needs scopeline[training]")

import torch

from scopeline_training.schedules import Constant, Cosine, WarmRestarts, rate_at


def test_a_constant_rate_stays() -> None:
    assert [rate_at(Constant(), epoch, top=0.1, total=5) for epoch in range(5)] == [0.1] * 5


def test_the_cosine_of_study_s2_is_torchs_for_all_thirty_epochs() -> None:
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=10, eta_min=1e-5)
    wanted = []
    for _ in range(30):
        wanted.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()
    found = [rate_at(Cosine(floor=1e-5, period=10), epoch, top=1e-3, total=30) for epoch in range(30)]
    assert found == pytest.approx(wanted, rel=1e-9)


def test_a_cosine_without_a_period_reaches_the_floor_at_the_end() -> None:
    schedule = Cosine(floor=0.0)
    assert rate_at(schedule, 0, top=2.0, total=8) == 2.0
    assert rate_at(schedule, 4, top=2.0, total=8) == pytest.approx(1.0)
    assert rate_at(schedule, 8, top=2.0, total=8) == pytest.approx(0.0)


def test_without_warm_up_warm_restarts_are_torchs() -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=4, T_mult=2, eta_min=1e-5)
    wanted = []
    for _ in range(28):
        wanted.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()
    schedule = WarmRestarts(floor=1e-5, period=4, warm_up=0, growth=2)
    found = [rate_at(schedule, step, top=1e-2, total=28) for step in range(28)]
    assert found == pytest.approx(wanted, rel=1e-9)


def test_each_cycle_warms_up_in_a_straight_line_and_falls_as_half_a_cosine() -> None:
    schedule = WarmRestarts(floor=0.0, period=6, warm_up=2)
    found = [rate_at(schedule, epoch, top=1.0, total=12) for epoch in range(12)]
    falling = [(1 + math.cos(math.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75)]
    assert found == pytest.approx([0.0, 0.5, *falling] * 2)


def test_cycles_grow_and_their_tops_decay_as_they_are_told() -> None:
    schedule = WarmRestarts(floor=0.0, period=3, warm_up=1, growth=2, decay=0.5)
    tops = {epoch: rate_at(schedule, epoch, top=1.0, total=30) for epoch in (1, 4, 9)}
    assert tops == {1: 1.0, 4: 0.5, 9: 0.25}  # falls last 2, 4 and 8 epochs

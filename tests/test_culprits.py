from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scopeline.culprits import find_culprits

_LAYERS = [f"layer {number}" for number in range(24)]


@given(some.sets(some.sampled_from(_LAYERS), max_size=5))
def test_exactly_the_planted_layers_are_found(guilty: set[str]) -> None:
    found = find_culprits(_LAYERS, lambda kept: guilty <= kept)
    assert found == tuple(layer for layer in _LAYERS if layer in guilty)


@pytest.mark.parametrize("count", [24, 160])
def test_one_culprit_takes_few_trials(count: int) -> None:
    layers = [f"layer {number}" for number in range(count)]
    trials = []

    def passes(kept: frozenset[str]) -> bool:
        trials.append(kept)
        return "layer 17" in kept

    assert find_culprits(layers, passes) == ("layer 17",)
    assert len(trials) <= 2 + 2 * count.bit_length()


def test_either_of_two_layers_is_enough_when_either_helps() -> None:
    found = find_culprits(_LAYERS, lambda kept: bool(kept & {"layer 3", "layer 20"}))
    assert found in {("layer 3",), ("layer 20",)}


def test_a_fault_that_no_layer_explains_is_said_to_lie_elsewhere() -> None:
    assert find_culprits(_LAYERS, lambda kept: False) is None
    assert find_culprits([], lambda kept: False) is None

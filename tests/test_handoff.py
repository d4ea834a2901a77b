from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeline.handoff import Closed, Handoff


def test_items_come_out_in_the_order_they_went_in() -> None:
    handoff: Handoff[int] = Handoff(3)
    for item in (1, 2, 3):
        handoff.put(item)
    handoff.close()
    assert list(handoff) == [1, 2, 3]


def test_a_full_live_handoff_gives_up_the_oldest_and_keeps_the_newest() -> None:
    handoff: Handoff[int] = Handoff(1, when_full="drop_oldest")
    assert handoff.put(1) is None
    assert handoff.put(2) == 1
    assert handoff.take() == 2


def test_a_full_lossless_handoff_makes_the_giver_wait() -> None:
    handoff: Handoff[int] = Handoff(1)
    handoff.put(1)
    giver = threading.Thread(target=handoff.put, args=(2,))
    giver.start()
    assert [handoff.take(), handoff.take()] == [1, 2]
    giver.join()


def test_closing_wakes_a_giver_who_waits() -> None:
    handoff: Handoff[int] = Handoff(1)
    handoff.put(1)
    seen: list[type[BaseException]] = []

    def give() -> None:
        try:
            handoff.put(2)
        except Closed as error:
            seen.append(type(error))

    giver = threading.Thread(target=give)
    giver.start()
    assert handoff.close(discard=True) == [1]
    giver.join()
    assert seen == [Closed]


def test_closing_wakes_a_taker_who_waits() -> None:
    handoff: Handoff[int] = Handoff(1)
    taker = threading.Thread(target=list, args=(handoff,))
    taker.start()
    handoff.close()
    taker.join(timeout=5)
    assert not taker.is_alive()


def test_what_waits_at_the_close_can_still_be_taken() -> None:
    handoff: Handoff[int] = Handoff(2)
    handoff.put(1)
    handoff.close()
    handoff.close()
    assert handoff.take() == 1
    with pytest.raises(Closed):
        handoff.take()


def test_what_comes_after_the_close_pushes_out_nothing_that_waits() -> None:
    handoff: Handoff[int] = Handoff(1, when_full="drop_oldest")
    handoff.put(1)
    handoff.close()
    with pytest.raises(Closed):
        handoff.put(2)
    assert handoff.take() == 1


@pytest.mark.parametrize(("capacity", "bunch"), [(1, 1), (4, 1), (8, 4)])
def test_a_group_is_always_whole_but_for_the_last(capacity: int, bunch: int) -> None:
    handoff: Handoff[int] = Handoff(capacity, bunch=bunch)
    groups: list[list[int]] = []
    taker = threading.Thread(
        target=lambda: groups.extend([first, *handoff.take_more(3)] for first in handoff)
    )
    taker.start()
    for item in range(10):
        handoff.put(item)
    handoff.close()
    taker.join()
    assert groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@given(st.lists(st.sampled_from(["put", "take"]), max_size=60), st.integers(1, 4))
def test_every_item_is_taken_dropped_or_waiting(steps: list[str], capacity: int) -> None:
    handoff: Handoff[int] = Handoff(capacity, when_full="drop_oldest")
    put = taken = dropped = 0
    for step in steps:
        if step == "put":
            dropped += handoff.put(put) is not None
            put += 1
        else:
            taken += len(handoff.take_more(min(1, len(handoff))))
    assert put == taken + dropped + len(handoff)


def test_a_taker_that_waits_for_a_bunch_is_not_forgotten_when_the_giver_ends_early() -> None:
    handoff: Handoff[int] = Handoff(8, bunch=4)
    taken: list[int] = []
    taker = threading.Thread(target=lambda: taken.extend(handoff))
    taker.start()
    handoff.put(1)
    handoff.put(2)
    handoff.close()
    taker.join(timeout=5)
    assert taken == [1, 2]


@pytest.mark.parametrize(("capacity", "bunch"), [(1, 1), (4, 4), (5, 3), (8, 4)])
def test_everything_passes_between_a_giver_and_a_taker_who_wait_for_bunches(
    capacity: int, bunch: int
) -> None:
    handoff: Handoff[int] = Handoff(capacity, bunch=bunch)

    def give() -> None:
        for item in range(2_000):
            handoff.put(item)
        handoff.close()

    giver = threading.Thread(target=give)
    giver.start()
    assert list(handoff) == list(range(2_000))
    giver.join(timeout=5)


def test_a_bunch_larger_than_the_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="bunch"):
        Handoff(2, bunch=3)

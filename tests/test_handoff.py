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


@given(st.lists(st.sampled_from(["put", "take"]), max_size=60), st.integers(1, 4))
def test_every_item_is_taken_dropped_or_waiting(steps: list[str], capacity: int) -> None:
    handoff: Handoff[int] = Handoff(capacity, when_full="drop_oldest")
    put = taken = dropped = 0
    for step in steps:
        if step == "put":
            dropped += handoff.put(put) is not None
            put += 1
        else:
            taken += handoff.take_within(0) is not None
    assert put == taken + dropped + len(handoff)


@pytest.mark.parametrize("capacity", [1, 4, 8])
def test_everything_passes_between_a_giver_and_a_taker_who_wait_for_each_other(capacity: int) -> None:
    handoff: Handoff[int] = Handoff(capacity)

    def give() -> None:
        for item in range(2_000):
            handoff.put(item)
        handoff.close()

    giver = threading.Thread(target=give)
    giver.start()
    assert list(handoff) == list(range(2_000))
    giver.join(timeout=5)


def test_a_hand_off_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room for at least one"):
        Handoff(0)

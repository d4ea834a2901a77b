from __future__ import annotations

import threading

import pytest

from scopeline.crew import Crew


def test_the_block_ends_when_every_thread_has_ended() -> None:
    gate, done = threading.Event(), list[bool]()
    with Crew(on_failure=gate.set) as crew:
        crew.start("waits", lambda: done.append(gate.wait()))
        crew.start("opens", gate.set)
    assert done == [True]


def test_the_first_error_is_raised_with_the_name_of_its_stage() -> None:
    stop, waited = threading.Event(), list[bool]()

    def fail() -> None:
        raise OSError("the cable was pulled")

    with pytest.raises(OSError, match="the cable was pulled") as caught, Crew(on_failure=stop.set) as crew:  # noqa: PT012 - the block is the subject
        crew.start("patient", lambda: waited.append(stop.wait()))
        crew.start("capture", fail)
    assert "in stage 'capture'" in caught.value.__notes__


def test_a_later_error_is_noted_on_the_first() -> None:
    stop = threading.Event()

    def fail_late() -> None:
        stop.wait()
        raise ValueError("second")

    def fail() -> None:
        raise OSError("first")

    with pytest.raises(OSError, match="first") as caught, Crew(on_failure=stop.set) as crew:  # noqa: PT012 - the block is the subject
        crew.start("late", fail_late)
        crew.start("early", fail)
    assert any("ValueError: second" in note for note in caught.value.__notes__)


def test_an_error_in_the_block_itself_ends_the_threads_and_comes_out() -> None:
    stop, waited = threading.Event(), list[bool]()
    with pytest.raises(KeyError), Crew(on_failure=stop.set) as crew:  # noqa: PT012 - the block is the subject
        crew.start("patient", lambda: waited.append(stop.wait()))
        raise KeyError("block")


def test_an_error_while_the_others_are_told_is_noted_on_the_first() -> None:
    def tell() -> None:
        raise RuntimeError("the driver hangs")

    def fail() -> None:
        raise OSError("first")

    with pytest.raises(OSError, match="first") as caught, Crew(on_failure=tell) as crew:
        crew.start("capture", fail)
    assert any("RuntimeError: the driver hangs" in note for note in caught.value.__notes__)

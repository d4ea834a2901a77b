from __future__ import annotations

import threading

import pytest

from scopeline.crew import Crew


def test_the_block_ends_when_every_thread_has_ended() -> None:
    gate, done = threading.Event(), []
    with Crew(on_failure=gate.set) as crew:
        crew.start("waits", lambda: (gate.wait(), done.append(1)) and None)
        crew.start("opens", gate.set)
    assert done == [1]


def test_the_first_error_is_raised_with_the_name_of_its_stage() -> None:
    stop = threading.Event()

    def fail() -> None:
        raise OSError("the cable was pulled")

    with pytest.raises(OSError, match="the cable was pulled") as caught, Crew(on_failure=stop.set) as crew:
        crew.start("patient", lambda: stop.wait() and None)
        crew.start("capture", fail)
    assert "in stage 'capture'" in caught.value.__notes__


def test_a_later_error_is_noted_on_the_first() -> None:
    stop = threading.Event()

    def fail_late() -> None:
        stop.wait()
        raise ValueError("second")

    def fail() -> None:
        raise OSError("first")

    with pytest.raises(OSError, match="first") as caught, Crew(on_failure=stop.set) as crew:
        crew.start("late", fail_late)
        crew.start("early", fail)
    assert any("ValueError: second" in note for note in caught.value.__notes__)


def test_an_error_in_the_block_itself_ends_the_threads_and_comes_out() -> None:
    stop = threading.Event()
    with pytest.raises(KeyError), Crew(on_failure=stop.set) as crew:
        crew.start("patient", lambda: stop.wait() and None)
        raise KeyError("block")

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from media_clips import number_in, write_clip
from scopeline.errors import SourceError
from scopeline.sources.capture_child import Order
from scopeline.sources.child_connection import ChildConnection


def children() -> list[psutil.Process]:
    """Capture children and what they started; helpers that other tests leave to the interpreter are none of ours."""
    return [
        process
        for child in psutil.Process().children()
        if "scopeline.sources.capture_child" in child.cmdline()
        for process in (child, *child.children(recursive=True))
    ]


def read_to_the_end(connection: ChildConnection) -> tuple[list[int | None], str]:
    """The numbers in the pictures, and why there were no more."""
    numbers: list[int | None] = []
    try:
        for arrival in connection.arrivals():
            numbers.append(number_in(arrival.picture))
    except SourceError as error:
        return numbers, str(error)
    finally:
        connection.interrupt()
        connection.close()
    raise AssertionError("a child that ends says why")


def test_a_child_delivers_every_picture_of_its_feed_in_order(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "feed.ts", frames=20)

    numbers, why = read_to_the_end(ChildConnection(Order(place=str(clip))))

    assert numbers == list(range(20))
    assert why == "the sender ended the stream"


def test_a_program_can_bring_the_stream_and_is_gone_afterwards(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "feed.ts", frames=5)
    program = (
        "import av, sys\n"
        f"feed = av.open({str(clip)!r})\n"
        "out = av.open(sys.stdout.buffer, 'w', format='nut')\n"
        "given = feed.streams.video[0]\n"
        "stream = out.add_stream('rawvideo', rate=25)\n"
        "stream.width, stream.height, stream.pix_fmt = given.width, given.height, 'yuv420p'\n"
        "for picture in feed.decode(given):\n"
        "    out.mux(stream.encode(picture))\n"
        "out.close()\n"
    )

    numbers, _ = read_to_the_end(ChildConnection(Order(command=(sys.executable, "-c", program))))

    assert numbers == list(range(5))
    assert children() == []


def test_what_a_program_said_last_is_the_reason() -> None:
    grumble = "import sys; sys.exit('srt: connection refused by the scope')"

    _, why = read_to_the_end(ChildConnection(Order(command=(sys.executable, "-c", grumble))))

    assert "connection refused by the scope" in why


def test_a_feed_that_is_not_there_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        numbers, why = read_to_the_end(ChildConnection(Order(place=f"tcp://127.0.0.1:{port}")))

    assert numbers == []
    assert "refused" in why.lower()


def test_a_file_without_video_is_no_feed(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")

    _, why = read_to_the_end(ChildConnection(Order(place=str(text))))

    assert "Invalid data" in why


def test_a_read_from_a_silent_server_can_be_ended_and_leaves_no_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = ChildConnection(Order(place=f"tcp://127.0.0.1:{server.getsockname()[1]}"))
        why: list[str] = []
        reader = threading.Thread(target=lambda: why.append(read_to_the_end(connection)[1]))
        reader.start()
        with server.accept()[0]:  # the child is connected, and hears nothing
            connection.interrupt()
            reader.join(timeout=5)

    assert not reader.is_alive()
    assert children() == []


def test_silence_is_given_up_by_the_child_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        order = Order(place=f"tcp://127.0.0.1:{server.getsockname()[1]}", open_s=1.0)

        _, why = read_to_the_end(ChildConnection(order))

    assert why == "silent for 1 s"


def test_a_child_whose_engine_is_gone_ends_too(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "feed.ts", frames=20)
    connection = ChildConnection(Order(place=str(clip)))
    arrivals = connection.arrivals()
    next(arrivals)
    [child] = children()

    connection._pipe.close()  # what happens when the engine is killed

    assert child.wait(timeout=10) is not None or not child.is_running()
    connection.close()


@pytest.mark.parametrize("times", [1, 3])
def test_interrupting_is_possible_at_any_time_and_often(tmp_path: Path, times: int) -> None:
    connection = ChildConnection(Order(place=str(write_clip(tmp_path / "feed.ts", frames=5))))
    for _ in range(times):
        connection.interrupt()

    read_to_the_end(connection)

    connection.interrupt()
    assert children() == []

"""The subscriber proves what it missed, against what was planted."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from messages import FRAME_NS, PATIENCE_S, Script, publishing
from scopeline.account import Account, Tally
from scopeline.errors import WireError
from scopeline.latest import StaleView
from scopeline.subscriber import Subscriber
from scopeline.wire import TOPICS, FrameMessage, Message, SmoothedHead, topic_of

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "subscriber.py"


def whole_session(frames: int) -> list[Message]:
    script = Script()
    messages: list[Message] = [script.status("started"), script.field()]
    for number in range(frames):
        messages.append(script.frame())
        if number % 7 == 6:
            messages.append(script.segment(number // 7))
    return [*messages, script.status("ended")]


@given(st.integers(0, 40), st.integers(0, 2**32), st.floats(0, 1))
def test_missed_and_received_and_before_joining_are_everything_sent(
    frames: int, seed: int, share: float
) -> None:
    """Whatever is lost on the way, the account is exact as soon as the last status arrives."""
    messages, chance, account = whole_session(frames), random.Random(seed), Account()
    kept = [message for message in messages[:-1] if chance.random() < share] + messages[-1:]
    for message in kept:
        account.count(message)
    received = Counter(map(topic_of, kept))
    for topic, count in Counter(map(topic_of, messages)).items():
        tally = account.topics[topic]
        assert tally.received == received[topic]
        assert tally.missed + tally.received + tally.before_joining == count
    assert account.ended


@given(st.integers(1, 40), st.integers(0, 2**32), st.floats(0, 1))
def test_one_who_heard_the_start_never_mistakes_a_loss_for_joining_late(
    frames: int, seed: int, share: float
) -> None:
    messages, chance, account = whole_session(frames), random.Random(seed), Account()
    lost = [chance.random() > share for _ in messages]
    for number, message in enumerate(messages):
        if number in (0, len(messages) - 1) or not lost[number]:
            account.count(message)
    assert account.missed == sum(lost[1:-1])
    assert all(tally.before_joining == 0 for tally in account.topics.values())


def test_a_late_joiner_missed_nothing() -> None:
    account = Account()
    for message in [Script().frame(seq=500), Script().frame(seq=501)]:
        account.count(message)
    assert account.topics["frame"] == Tally(received=2, missed=0, before_joining=500, expected=502)


def test_a_loss_at_the_end_of_a_topic_is_found_by_the_counts_in_the_last_status() -> None:
    script, account = Script(), Account()
    account.count(script.frame())
    script.frame(), script.frame()  # sent, never arrived
    account.count(script.status("ended"))
    assert account.topics["frame"].missed == 2


def test_a_restarted_engine_is_a_new_account() -> None:
    account = Account()
    first, second = Script("first"), Script("second")
    for message in (first.frame(), first.frame(seq=5), second.frame(), second.frame(seq=1)):
        account.count(message)
    assert (account.session, account.restarts, account.missed) == ("second", 1, 0)


def test_topics_that_were_not_asked_for_are_not_missed() -> None:
    script = Script()
    with publishing() as sink, Subscriber(sink.address, ["segment"]) as subscriber:
        assert sink.wait_for_subscriber(PATIENCE_S)
        for message in (
            script.status(),
            script.frame(),
            script.segment(1),
            script.frame(),
            script.status("ended"),
        ):
            sink.publish(message)
        sink.close()
        assert [topic_of(message) for message in subscriber] == ["status", "segment", "status"]
        assert subscriber.missed == {"segment": 0, "status": 0}


def test_a_sleeper_knows_exactly_how_many_it_missed_of_each_topic() -> None:
    script, chance = Script(), random.Random(7)
    with (
        publishing(high_water_mark=50) as sink,
        Subscriber(sink.address, high_water_mark=50) as sleeper,
    ):
        assert sink.wait_for_subscriber(PATIENCE_S)
        sink.publish(script.status("started"))
        for number in range(40_000):  # more than the high-water marks and the kernel's buffers hold
            sink.publish(script.segment(number) if chance.random() < 0.1 else script.frame())
        received: Counter[str] = Counter()
        while message := sleeper.take(0.5):  # awake again
            received[topic_of(message)] += 1
        sink.publish(script.status("ended"))
        received.update(topic_of(message) for message in sleeper)
        sink.close()
        for topic in TOPICS:
            assert sleeper.missed[topic] + received[topic] == script.sent[topic]
        assert sleeper.missed["frame"] > 1000
        assert sleeper.missed["segment"] > 100


def test_a_slow_reader_sees_the_newest_frame_and_every_segment() -> None:
    script = Script()
    with publishing() as sink, Subscriber(sink.address) as subscriber:
        assert sink.wait_for_subscriber(PATIENCE_S)
        for number in range(100):
            sink.publish(script.frame())
            if number % 10 == 9:
                sink.publish(script.segment(number))
        sink.publish(script.status("ended"))
        sink.close()
        taken = []
        while not subscriber.account.ended:
            taken += subscriber.take_newest(PATIENCE_S)
        frames = [message for message in taken if isinstance(message, FrameMessage)]
        assert frames[-1].frame == 99
        assert len(frames) + subscriber.skipped == 100
        assert Counter(map(topic_of, taken))["segment"] == 10
        assert subscriber.account.missed == 0


def test_an_engine_that_starts_later_is_found() -> None:
    with publishing() as earlier:
        address = earlier.address
    with Subscriber(address) as subscriber:
        assert subscriber.take(0.01) is None
        with publishing(address) as sink:
            assert sink.wait_for_subscriber(PATIENCE_S)
            sink.publish(Script().status())
            assert subscriber.take(PATIENCE_S) is not None


def test_a_restarted_engine_on_the_same_address_is_read_on() -> None:
    with publishing() as first, Subscriber(first.address) as subscriber:
        assert first.wait_for_subscriber(PATIENCE_S)
        first.publish(Script("first").status())
        assert subscriber.take(PATIENCE_S) is not None
        first.close()
        with publishing(first.address) as second:
            for _ in range(PATIENCE_S * 100):
                if second.wait_for_subscriber(0.01):
                    break
                assert subscriber.take(0) is None  # ZeroMQ asks for its topics again while it is being read
            second.publish(Script("second").status())
            assert subscriber.take(PATIENCE_S) is not None
        assert (subscriber.account.session, subscriber.account.restarts) == ("second", 1)


def test_a_stranger_on_the_address_is_named() -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as stranger:
        stranger.linger = 0
        port = stranger.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(f"tcp://127.0.0.1:{port}") as subscriber:
            while stranger.recv() != b"\1status":
                pass
            stranger.send_multipart([b"frame", b'{"type": "frame"}'])
            with pytest.raises(WireError, match=r"wire\.md.*another program"):
                subscriber.take(PATIENCE_S)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(WireError, match="cannot connect to nowhere"):
        Subscriber("nowhere")


def test_a_topic_that_does_not_exist_is_refused() -> None:
    with pytest.raises(WireError, match="got frames"):
        Subscriber(topics=["frames"])


def test_a_frame_is_stale_after_half_a_second() -> None:
    script, view = Script(), StaleView()
    assert view.is_stale(script.now_ns)
    frame = script.frame()
    view.see(frame)
    assert not view.is_stale(frame.captured_ns + 500_000_000)
    assert view.is_stale(frame.captured_ns + 500_000_001)


def test_a_status_does_not_make_an_old_frame_young() -> None:
    script, view = Script(), StaleView()
    frame = script.frame()
    view.see(frame)
    script.now_ns += 100 * FRAME_NS
    view.see(script.status())
    assert view.age_ms(script.now_ns) == (script.now_ns - frame.captured_ns) / 1e6


def test_a_frame_from_the_future_is_from_another_clock_and_never_fresh() -> None:
    frame, view = Script().frame(), StaleView()
    view.see(frame)
    assert view.is_stale(frame.captured_ns - 1)


def test_the_example_has_at_most_15_lines_of_code_and_needs_no_scopeline() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    code = [line for line in text.splitlines() if line.strip() and not line.startswith('"""')]
    assert len(code) <= 15
    assert "scopeline" not in "".join(code)


def test_the_example_prints_what_every_head_holds_and_what_it_missed() -> None:
    script = Script()
    with (
        publishing() as sink,
        subprocess.Popen(
            [sys.executable, str(EXAMPLE), sink.address], stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            assert sink.wait_for_subscriber(PATIENCE_S)
            sink.publish(script.frame())
            script.frame(), script.frame()  # lost on the way
            undecided = SmoothedHead(posterior={"polyp": 0.5, "colitis": 0.5}, tag=None, since_s=None)
            sink.publish(script.frame(smoothed={"finding": undecided}))
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in range(3)]
        finally:
            process.kill()
    assert lines == ["0.0 {'location': 'sigmoid', 'mes': '2'}", "missed 2 of frame", "0.06 {'finding': None}"]

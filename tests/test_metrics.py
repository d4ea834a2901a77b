"""Metrics: what Prometheus is told, and the page that tells it."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from messages import Script
from scopeline.errors import ConfigError, SinkError
from scopeline.metrics import BUCKETS_S, Metrics
from scopeline.metrics_page import MetricsPage
from scopeline.notices import Signal
from scopeline.sinks.metrics import MetricsSink

ANY = "127.0.0.1:0"
DOCS = Path(__file__).parents[1] / "docs"


def metrics(**changes: object) -> Metrics:
    return Metrics(version="1.2.3", config="sha256:abc", **changes)  # type: ignore[arg-type]


def read(page: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and its labels' values in the labels' order, as Prometheus' own parser reads them."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_frames_are_counted_by_why_they_were_not_judged() -> None:
    script, told = Script(), metrics()
    for message in (script.frame(), script.unusable("blurred"), script.unusable("blurred"), script.frame()):
        told.add(message)
    samples = read(told.page())
    assert samples["scopeline_frames_total", ("judged",)] == 2
    assert samples["scopeline_frames_total", ("blurred",)] == 2


def test_the_ledger_is_told_as_it_stands() -> None:
    script, told = Script(), metrics()
    told.add(
        script.frame(
            ledger=script.ledger(
                captured=10, published=6, in_flight=1, lost={"late": 3}, damaged={"damaged packet": 7}
            )
        )
    )
    samples = read(told.page())
    assert samples["scopeline_captured_frames_total", ()] == 10
    assert samples["scopeline_published_frames_total", ()] == 6
    assert samples["scopeline_in_flight_frames", ()] == 1
    assert samples["scopeline_lost_frames_total", ("late",)] == 3
    assert samples["scopeline_damaged_packets_total", ("damaged packet",)] == 7


def test_a_latency_lies_in_its_bucket_and_all_above() -> None:
    script, told = Script(), metrics()
    told.add(script.frame(latency_ms=20.0))
    told.add(script.frame(latency_ms=40.0))
    told.add(script.frame(latency_ms=5000.0))
    samples = read(told.page())
    buckets = {
        float(labels[0]): value
        for (name, labels), value in samples.items()
        if name == "scopeline_latency_seconds_bucket" and labels[1] == "conclude"
    }
    assert [edge for edge in buckets if edge != float("inf")] == list(BUCKETS_S)
    assert (buckets[0.016], buckets[0.033], buckets[0.05], buckets[2.5], buckets[float("inf")]) == (
        0,
        1,
        2,
        2,
        3,
    )
    assert samples["scopeline_latency_seconds_count", ("conclude",)] == 3
    assert samples["scopeline_latency_seconds_sum", ("conclude",)] == pytest.approx(5.06)
    assert samples["scopeline_latency_seconds_sum", ("infer",)] == pytest.approx(0.9 * 5.06)


def test_a_latency_at_an_edge_belongs_below_it() -> None:
    script, told = Script(), metrics()
    told.add(script.frame(latency_ms=50.0))
    assert read(told.page())["scopeline_latency_seconds_bucket", ("0.05", "conclude")] == 1


def test_one_signal_holds_at_a_time() -> None:
    script, told = Script(), metrics()
    told.add(script.status("signal", signal="frozen"))
    samples = read(told.page())
    assert {labels[0]: value for (name, labels), value in samples.items() if name == "scopeline_signal"} == {
        each.value: float(each is Signal.FROZEN) for each in Signal
    }


def test_a_feed_is_assessable_only_while_it_runs() -> None:
    script, told = Script(), metrics()
    assert read(told.page())["scopeline_assessable", ()] == 0
    told.add(script.frame(state="running"))
    assert read(told.page())["scopeline_assessable", ()] == 1
    told.add(script.frame(state="not_assessable", signal="black"))
    assert read(told.page())["scopeline_assessable", ()] == 0


def test_a_feed_that_is_lost_is_not_assessable_although_no_frame_says_so() -> None:
    script, told = Script(), metrics()
    told.add(script.frame(state="running"))
    told.add(script.status("signal", signal="stalled"))
    assert read(told.page())["scopeline_assessable", ()] == 0


def test_incidents_troubles_marks_and_stale_frames_are_counted() -> None:
    script, told = Script(), metrics()
    told.add(script.status("incident", incident="burst"))
    told.add(script.status("incident", incident="burst"))
    told.add(script.status("trouble", incident="control_refused"))
    told.add(script.status("mark"))
    told.add(script.frame(stale=True))
    samples = read(told.page())
    assert samples["scopeline_incidents_total", ("burst",)] == 2
    assert (
        samples["scopeline_incidents_total", ("lagging",)] == 0
    )  # told before it happens, so that a rate is known
    assert samples["scopeline_troubles_total", ("control_refused",)] == 1
    assert samples["scopeline_marks_total", ()] == 1
    assert samples["scopeline_stale_frames_total", ()] == 1


def test_a_journal_fails_until_it_works_again() -> None:
    script, told = Script(), metrics()
    told.add(script.status("trouble", incident="journal_failed"))
    assert read(told.page())["scopeline_journal_failing", ()] == 1
    told.add(script.status("trouble", incident="journal_works_again"))
    assert read(told.page())["scopeline_journal_failing", ()] == 0


def test_the_age_of_the_newest_frame_goes_on_when_none_comes() -> None:
    script = Script()
    frame = script.frame()
    told = metrics(now_ns=lambda: frame.captured_ns + 2_500_000_000)
    assert ("scopeline_newest_frame_age_seconds", ()) not in read(told.page())
    told.add(frame)
    assert read(told.page())["scopeline_newest_frame_age_seconds", ()] == pytest.approx(2.5)


def test_what_waits_is_asked_when_the_page_is_read() -> None:
    waiting = {"live": 0, "ready": 1}
    told = metrics(waiting=lambda: waiting)
    waiting["live"] = 1
    assert read(told.page())["scopeline_waiting", ("live",)] == 1


def test_nothing_on_the_page_says_what_was_seen_or_whose_it_is() -> None:
    script, told = Script(), metrics()
    told.add(script.status("started", source="Doe_John_1961.mp4", text="Doe"))
    told.add(script.frame())
    page = told.page().decode()
    for secret in ("Doe", "sigmoid", script.session, "theatre"):
        assert secret not in page


def test_two_engines_have_two_pages() -> None:
    script, one, other = Script(), metrics(), metrics()
    one.add(script.frame())
    assert ("scopeline_frames_total", ("judged",)) not in read(other.page())


def test_readers_are_counted_by_the_thread_that_publishes_once_a_second() -> None:
    script, told, asked = Script(), metrics(), []

    def subscribers() -> int:
        asked.append(threading.current_thread())
        return 3

    sink = MetricsSink(told, subscribers)
    assert ("scopeline_subscribers", ()) not in read(told.page())
    for _ in range(101):  # two seconds of frames
        sink.publish(script.frame())
    sink.close()
    assert read(told.page())["scopeline_subscribers", ()] == 3
    assert asked == [threading.current_thread()] * 3


# The page


@contextmanager
def serving(page: Callable[[], bytes]) -> Iterator[MetricsPage]:
    with MetricsPage(ANY, page) as served:
        thread = threading.Thread(target=served.work)
        thread.start()
        try:
            yield served
        finally:
            served.stop()
            thread.join()


def port(page: MetricsPage) -> int:
    return int(page.url.rpartition(":")[2].partition("/")[0])


def ask(page: MetricsPage, path: str = "/metrics", method: str = "GET") -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port(page), timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers["Content-Type"]
    finally:
        connection.close()


def test_the_page_is_served_to_an_http_client() -> None:
    script, told = Script(), metrics()
    told.add(script.frame())
    with serving(told.page) as page:
        status, body, content_type = ask(page)
    assert status == 200
    assert content_type.startswith("text/plain; version=0.0.4")
    assert read(body)["scopeline_frames_total", ("judged",)] == 1


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics?x=1", "GET", 200), ("/metrics", "HEAD", 200), ("/metrics", "POST", 405)],
)
def test_only_the_page_is_served(path: str, method: str, status: int) -> None:
    with serving(lambda: b"a 1\n") as page:
        assert ask(page, path, method)[0] == status


@pytest.mark.parametrize(
    "sent", [b"hello\r\n\r\n", b"\0" * 9000, b"GET /metrics HTTP/1.1\r\n" + b"x" * 9000, b""]
)
def test_a_malformed_request_is_answered_and_the_next_one_served(sent: bytes) -> None:
    with serving(lambda: b"a 1\n") as page:
        with socket.create_connection(("127.0.0.1", port(page))) as rude:
            rude.sendall(sent)
            with suppress(OSError):  # cut off already
                rude.shutdown(socket.SHUT_WR)
        assert ask(page)[:2] == (200, b"a 1\n")


def test_a_client_that_says_nothing_does_not_keep_others_from_the_page() -> None:
    with serving(lambda: b"a 1\n") as page, socket.create_connection(("127.0.0.1", port(page))):
        assert ask(page)[0] == 200


def test_a_client_that_reads_nothing_does_not_keep_others_from_the_page() -> None:
    with (
        serving(lambda: b"x" * 30_000_000) as page,
        socket.create_connection(("127.0.0.1", port(page))) as slow,
    ):
        slow.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        slow.recv(1)  # the answer is under way, and nobody takes the rest
        assert ask(page, "/other")[0] == 404


def test_the_page_ends_while_a_client_says_nothing() -> None:
    with serving(lambda: b"") as page, socket.create_connection(("127.0.0.1", port(page))):
        page.stop()


def test_a_page_that_is_closed_at_work_ends() -> None:
    page = MetricsPage(ANY, lambda: b"")
    thread = threading.Thread(target=page.work)
    thread.start()
    assert ask(page)[0] == 200  # it is at work
    page.close()
    thread.join()


def test_a_page_that_was_stopped_before_it_worked_returns_at_once() -> None:
    with MetricsPage(ANY, bytes) as page:
        page.stop()
        page.stop()
        page.work()
    page.stop()
    page.close()


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "192.168.1.5:9464", "[::]:9464"])
def test_an_address_that_others_could_reach_is_refused_with_the_reason(address: str) -> None:
    with pytest.raises(ConfigError, match="the page knows no key"):
        MetricsPage(address, bytes)


@pytest.mark.parametrize(
    "address", ["9464", "localhost", "127.0.0.1:", "scope.local:80", "127.0.0.1:99999", ""]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"such as 127\.0\.0\.1:9464"):
        MetricsPage(address, bytes)


def test_an_address_that_is_taken_is_told() -> None:
    with MetricsPage(ANY, bytes) as first, pytest.raises(SinkError, match="choose another port"):
        MetricsPage(f"127.0.0.1:{port(first)}", bytes)


def test_adding_messages_while_the_page_is_read_loses_none() -> None:
    script, told = Script(), metrics()
    frames = [script.frame() for _ in range(2000)]
    done = threading.Event()

    def add() -> None:
        for frame in frames:
            told.add(frame)
        done.set()

    thread = threading.Thread(target=add)
    thread.start()
    seen = [0.0]
    while not done.is_set():
        seen.append(read(told.page()).get(("scopeline_frames_total", ("judged",)), 0.0))
    thread.join()
    assert seen == sorted(seen)
    assert read(told.page())["scopeline_latency_seconds_count", ("conclude",)] == 2000


def test_every_metric_that_the_documentation_names_is_on_the_page() -> None:
    script, told = Script(), metrics(waiting=lambda: {"live": 0})
    told.add(script.frame(ledger=script.ledger(lost={"late": 1}, damaged={"damaged packet": 1})))
    told.set_subscribers(1)
    page = told.page().decode()
    named = re.findall(
        r"\b(?:scopeline|process)_[a-z_]+", (DOCS / "always-on.md").read_text(encoding="utf-8")
    )
    assert len(set(named)) > 20
    assert [name for name in named if name not in page] == []

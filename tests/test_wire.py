"""The messages, their encodings, and the documents that describe them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from messages import Script, segment_now
from scopeline import wire
from scopeline.notices import Incident, Signal, Trouble
from scopeline.wire import NOTICE, SCHEMA, TOPICS, Decoder, Encoder, Encoding, Message
from scopeline.wire_schema import schema_text

DOCS = Path(__file__).parents[1] / "docs"
WORDS = {each.value for each in (*Signal, *Incident, *Trouble)}
PAGE = (DOCS / "wire.md").read_text(encoding="utf-8")
STRUCTS = [
    each
    for name, each in vars(wire).items()
    if isinstance(each, type) and issubclass(each, msgspec.Struct) and not name.startswith("_")
]
"""Every part of every message."""


def one_of_each() -> list[Message]:
    script = Script()
    return [
        script.frame(segment=segment_now()),
        script.unusable(),
        script.segment(1),
        script.segment(2, None, assessable=False, mes_dominant=None, mes_worst=None),
        script.field(),
        script.status("ended", latency_ms={"p50": 8.0}),
    ]


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_every_message_survives_the_wire(encoding: Encoding) -> None:
    encoder, decoder = Encoder(encoding), Decoder()
    for message in one_of_each():
        assert decoder.decode(encoder.encode(message)[1]) == message


def test_every_message_says_what_it_is_and_that_it_is_for_research() -> None:
    for message in one_of_each():
        topic, payload = Encoder().encode(message)
        content = json.loads(payload)
        assert content["type"] == topic.decode()
        assert (content["schema"], content["notice"]) == (SCHEMA, NOTICE)


def test_no_topic_is_the_beginning_of_another() -> None:
    """ZeroMQ subscribes to prefixes."""
    assert not [(a, b) for a in TOPICS for b in TOPICS if a != b and b.startswith(a)]


def test_a_field_of_a_later_version_does_not_stop_a_reader() -> None:
    frame = Script().frame()
    later = json.loads(Encoder().encode(frame)[1]) | {"invented_later": {"x": 1}}
    assert Decoder().decode(json.dumps(later).encode()) == frame


def test_a_payload_without_a_field_is_refused_by_its_name() -> None:
    broken = json.loads(Encoder().encode(Script().frame())[1])
    del broken["captured_ns"]
    with pytest.raises(msgspec.ValidationError, match="captured_ns"):
        Decoder().decode(json.dumps(broken).encode())


def test_the_schema_file_is_current() -> None:
    """Otherwise: python -m scopeline.wire_schema > docs/wire.schema.json"""
    assert (DOCS / "wire.schema.json").read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_the_page_explains_every_field(struct: type[Any]) -> None:
    documented = set(re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE))
    assert not {name for name in struct.__struct_fields__ if name not in documented}


def test_the_page_explains_no_field_that_does_not_exist() -> None:
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE))
    fields = {name for struct in STRUCTS for name in struct.__struct_fields__}
    assert not documented - fields - WORDS - {"type", *TOPICS}


def test_the_page_explains_every_kind_of_weather_incident_and_trouble() -> None:
    assert set(re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)) >= WORDS


def test_the_examples_on_the_page_are_messages() -> None:
    examples = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    decoded = [Decoder().decode(example.encode()) for example in examples]
    assert {type(message) for message in decoded} == set(get_args(Message))


def test_the_page_shows_the_example_subscriber_as_it_is() -> None:
    assert (DOCS / "examples" / "subscriber.py").read_text(encoding="utf-8") in PAGE

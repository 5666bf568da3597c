"""The published schemas say what encode writes and decode reads."""

import copy
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_problems import problems
from test_messages import MESSAGES, T, places

from labmon.model.event import Event, EventKind
from labmon.model.messages import Command, EventMessage, MessageError

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
DOCUMENT = Path(__file__).parents[2] / "docs" / "mqtt.md"


def schema_of(message: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SCHEMAS / f"{type(message).path}.schema.json").read_text())
    return loaded


def test_there_is_a_schema_for_every_message_and_the_document_names_it() -> None:
    names = {f"{type(message).path}.schema.json" for message in MESSAGES}
    assert {path.name for path in SCHEMAS.iterdir() if not path.name.startswith("local-")} == names
    text = DOCUMENT.read_text()
    assert all(f"schemas/{name}" in text for name in names)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_what_is_sent_is_what_the_schema_says(message: Any) -> None:
    assert problems(orjson.loads(message.encode()), schema_of(message)) == []


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_of_event_is_in_the_schema(kind: EventKind) -> None:
    message = EventMessage("j", 1, Event(kind, T, T, "x"))
    assert problems(orjson.loads(message.encode()), schema_of(message)) == []


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_what_the_schema_requires_the_reader_requires(message: Any) -> None:
    schema, data = schema_of(message), orjson.loads(message.encode())
    for name in schema["required"]:
        without = copy.deepcopy(data)
        del without[name]
        assert problems(without, schema)
        with pytest.raises(MessageError):
            type(message).decode(orjson.dumps(without))
    extra = data | {"surprise": 1}
    assert problems(extra, schema)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(MESSAGES),
    st.randoms(use_true_random=False),
    st.none()
    | st.booleans()
    | st.integers(-5, 2**64 - 1)
    | st.floats()
    | st.text("ab ", max_size=5)
    | st.just([])
    | st.just({}),
)
def test_what_the_reader_takes_the_schema_allows(message: Any, random: Any, value: Any) -> None:
    data = orjson.loads(message.encode())
    path = random.choice(places(data))
    at = data
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    payload = orjson.dumps(data)
    try:
        type(message).decode(payload)
    except MessageError:
        return
    assert problems(orjson.loads(payload), schema_of(message)) == []


def test_the_schema_refuses_what_no_reader_takes() -> None:
    order = orjson.loads(Command("c-1", "ana", "00", T).encode())
    schema = schema_of(Command("c-1", "ana", "00", T))
    for name, value in (("id", "A/b"), ("id", ""), ("time", -1), ("time", 1.5), ("v", 2), ("v", True), ("user", None)):
        assert problems(order | {name: value}, schema), (name, value)

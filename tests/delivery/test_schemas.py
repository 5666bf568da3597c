"""The published schemas say what encode writes and decode reads."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_messages import MESSAGES, T, places

from labmon.model.event import Event, EventKind
from labmon.model.messages import Command, EventMessage, MessageError

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
DOCUMENT = Path(__file__).parents[2] / "docs" / "mqtt.md"
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


def is_type(value: Any, name: str) -> bool:
    if name in {"integer", "number"}:
        return not isinstance(value, bool) and isinstance(value, int if name == "integer" else int | float)
    return isinstance(value, TYPES[name])


def problems(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """What is wrong with a value. A word of the schema that this does not know fails the test that uses it."""
    found: list[str] = []
    size = len(value) if isinstance(value, str | list | dict) else 0
    number = isinstance(value, int | float) and not isinstance(value, bool)
    for word, said in schema.items():
        wrong = False
        match word:
            case "$schema" | "title" | "description":
                pass
            case "const":
                wrong = value != said or type(value) is not type(said)
            case "enum":
                wrong = value not in said
            case "type":
                wrong = not any(is_type(value, name) for name in ([said] if isinstance(said, str) else said))
            case "minimum":
                wrong = number and value < said
            case "maximum":
                wrong = number and value > said
            case "minLength":
                wrong = isinstance(value, str) and size < said
            case "maxLength":
                wrong = isinstance(value, str) and size > said
            case "pattern":
                wrong = isinstance(value, str) and re.search(said, value) is None
            case "minItems":
                wrong = isinstance(value, list) and size < said
            case "maxItems":
                wrong = isinstance(value, list) and size > said
            case "maxProperties":
                wrong = isinstance(value, dict) and size > said
            case "required":
                wrong = isinstance(value, dict) and not value.keys() >= set(said)
            case "properties":
                for name in value if isinstance(value, dict) else ():
                    if name in said:
                        found += problems(value[name], said[name], f"{at}.{name}")
            case "additionalProperties":
                for name in (value.keys() - schema.get("properties", {}).keys()) if isinstance(value, dict) else ():
                    found += [f"{at}.{name}: unknown"] if said is False else problems(value[name], said, f"{at}.{name}")
            case "items":
                for index, item in enumerate(value if isinstance(value, list) else ()):
                    found += problems(item, said, f"{at}[{index}]")
            case "anyOf":
                wrong = all(problems(value, one, at) for one in said)
            case _:
                raise AssertionError(f"{at}: the test does not know {word}")
        if wrong:
            found.append(f"{at}: {word}")
    return found


def schema_of(message: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SCHEMAS / f"{type(message).path}.schema.json").read_text())
    return loaded


def test_there_is_a_schema_for_every_message_and_the_document_names_it() -> None:
    names = {f"{type(message).path}.schema.json" for message in MESSAGES}
    assert {path.name for path in SCHEMAS.iterdir()} == names
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

"""Checks a JSON value against a published schema."""

from __future__ import annotations

import re
from typing import Any

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

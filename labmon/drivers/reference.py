"""The reference page of the driver file's keys, made from the grammar itself: what each may be, and what it says."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from labmon.config import types as config_types
from labmon.drivers.given import Ref
from labmon.drivers.grammar import DriverFile

_WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "nothing"}
_NAMED = {
    "Id": "id",
    "Text": "text",
    "Number": "number",
    "Duration": "duration",
    "Period": "duration, more than 0",
}
"""Types of labmon.config.types that every page names alike."""
_ANY_TEXT = "at least 1, at most 2000"
"""The limits of every text."""
_INTRODUCTION = """# Every key of a driver file

Made from the grammar by `python tests/test_readme.py`; [drivers.md](drivers.md) teaches how to use it. A key without a
default must be given. Durations are written `500 ms`, `10 s`, `5 min`; ids are made of `a-z`, `0-9` and `-`. Where a
type says *or a parameter*, `{param: name}` may stand in its place, and the site file gives the value.
"""


def page() -> str:
    """The whole page, in Markdown."""
    models = list(_models(DriverFile))
    return _INTRODUCTION + "".join(f"\n{_section(model, models)}" for model in models)


def undocumented() -> list[str]:
    """Keys without words of their own, as `Model.field`."""
    return [
        f"{model.__name__}.{name}"
        for model in _models(DriverFile)
        for name in model.model_fields
        if not _docs(model).get(name)
    ]


def _models(model: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> Iterator[type[BaseModel]]:
    """The model and those that its keys hold, each once, in the order of the file."""
    seen = set() if seen is None else seen
    if model in seen:
        return
    seen.add(model)
    yield model
    for info in model.model_fields.values():
        for inner in _held(info.annotation):
            yield from _models(inner, seen)


def _held(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        if annotation is not Ref:
            yield annotation
        return
    for part in get_args(annotation):
        if not isinstance(part, str):
            yield from _held(part)


def _title(model: type[BaseModel]) -> str:
    """`DriverFile` -> `Driver file`."""
    return "".join(f" {c.lower()}" if c.isupper() and n else c for n, c in enumerate(model.__name__))


def _anchor(model: type[BaseModel]) -> str:
    return _title(model).lower().replace(" ", "-")


def _section(model: type[BaseModel], models: list[type[BaseModel]]) -> str:
    rows = [f"## {_title(model)}", "", " ".join(inspect.cleandoc(model.__doc__ or "").split()), ""]
    if places := _places(model, models):
        rows += [f"Stands at: {places}.", ""]
    rows += ["| key | type | default | what it says |", "|---|---|---|---|"]
    docs = _docs(model)
    hints = _annotations(model)
    for name, info in model.model_fields.items():
        default = "" if info.is_required() else _default(info.get_default(call_default_factory=True))
        words = " ".join((docs.get(name) or "").split())
        kind = _kind(hints.get(name, info.annotation))
        cells = f"`{info.alias or name}`", kind, default, words
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _places(model: type[BaseModel], models: list[type[BaseModel]]) -> str:
    found = []
    for holder in models:
        for name, info in holder.model_fields.items():
            if model in set(_held(info.annotation)):
                found.append(f"`{info.alias or name}` of [{_title(holder).lower()}](#{_anchor(holder)})")
    return ", ".join(dict.fromkeys(found))


def _annotations(model: type[BaseModel]) -> dict[str, Any]:
    """Annotations with their limits, which pydantic takes off the outermost one."""
    return {
        name: Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        for name, info in model.model_fields.items()
    }


def _docs(model: type[BaseModel]) -> dict[str, str]:
    """The words below each attribute, of the model and of what it inherits from."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls is BaseModel or cls is config_types.Strict:
            continue
        body = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for before, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[before.target.id] = after.value.value
    return found


def _default(value: Any) -> str:
    if value is PydanticUndefined or value is None:
        return "left out"
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, (list, dict)) and not value:
        return "none"
    return f"`{value}`"


def _kind(annotation: Any) -> str:
    """What may stand there, in words."""
    for name, words in _NAMED.items():
        if annotation is getattr(config_types, name, None):
            return words
    if isinstance(annotation, TypeVar):
        return "value"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(annotation, arguments)
    if origin is Literal:
        return " or ".join(f"`{str(a).lower() if isinstance(a, bool) else a}`" for a in arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"{_kind(arguments[0])} -> {_kind(arguments[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "a parameter" if annotation is Ref else f"[{_title(annotation).lower()}](#{_anchor(annotation)})"
    return _WORDS.get(annotation, str(annotation))


def _annotated(annotation: Any, arguments: tuple[Any, ...]) -> str:
    limits = _limits(arguments[1:])
    inner = _kind(arguments[0])
    plain = not limits or limits == _ANY_TEXT or get_origin(arguments[0]) is Annotated
    return inner if plain else f"{inner} ({limits})"


def _union(arguments: tuple[Any, ...]) -> str:
    kinds = [_kind(a) for a in arguments if a is not type(None)]
    if "true or false" in kinds and len(kinds) > 2:
        kinds = ["value" if k == "true or false" else k for k in kinds if k not in ("integer", "number", "text")]
    return " or ".join(dict.fromkeys(kinds))


def _limits(metadata: Any) -> str:
    bounds = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    words = []
    for item in metadata:
        for part in getattr(item, "metadata", [item]):
            words += [f"{text} {getattr(part, key)}" for key, text in bounds.items() if hasattr(part, key)]
            if getattr(part, "min_length", None):
                words.append(f"at least {part.min_length}")
            if getattr(part, "max_length", None):
                words.append(f"at most {part.max_length}")
    return ", ".join(words)

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

WANTED: tuple[tuple[str, str], ...] = (
    ("serial settings as delivered (the site file can change them)", "DriverFile.serial Serial.parity Serial.rtscts"),
    ("Modbus RTU, ASCII or TCP, serial text, binary frames", "DriverFile.framings"),
    ("the function code", "Request.read Request.write"),
    ("register numbers from 0, from 1, or as 30001 and 40001", "DriverFile.base"),
    ("what may be read in one request, and what not", "Request.count Request.merge Merge.gap Merge.most"),
    ("how a frame begins and ends", "Frame.starts Frame.end Frame.reply-ends Frame.reply-length Frame.reply-size"),
    ("a reply that ends by a pause, or has bytes after its end", "Frame.reply-idle Checksum.place"),
    ("checksums, several in a frame, other ones by model", "Frame.checksum Checksum.poly Checksum.of Checksum.when"),
    ("bytes that are stuffed, hex for bytes, the eighth bit", "Frame.transforms"),
    ("the address and parameters in a request, in any form", "Request.send DriverFile.address"),
    ("a unit that must be selected on a shared line", "DriverFile.select"),
    ("an instrument that repeats what it hears", "Frame.echo"),
    ("BREAK, waking up, logging in, closing", "DriverFile.session Session.wake Action.break Action.until"),
    ("how long to wait and to be quiet", "Timing.timeout Timing.after-reply Timing.between-characters Request.after"),
    ("busy: ask again", "DriverFile.retry Retry.code"),
    ("lines and frames that come unasked", "Query.kind Query.silence Request.listen"),
    ("types, byte and word order of each value", "Field.type Field.order Field.chars"),
    ("a factor, exponent or capacity that the instrument says", "Channel.scale Channel.scale-by"),
    ("a layout or unit that depends on a mode", "Channel.from Source.if Channel.unit-by"),
    (
        "bits by name and polarity, and unknown ones",
        "Field.bits Condition.set Condition.clear Condition.other-than-set",
    ),
    ("codes, letters, parts of a word", "Field.codes Field.part Channel.states Channel.otherwise"),
    ("values that mean that there is none", "Field.sentinels Sentinel.reason"),
    ("when a value counts", "Channel.bad-when Channel.warn-when Channel.range Query.bad-when"),
    ("dates and times in any form and zone", "Record.time TimeParts.unix TimeParts.month-day TimeParts.zone"),
    (
        "text: a template, a pattern, columns, a column found by another",
        "Request.reply Request.pattern Request.columns Field.beside",
    ),
    ("errors that the instrument answers with", "Frame.error Frame.error-meanings"),
    ("channels made from others", "Channel.compute Compute.counts-per-volume Compute.dew-point"),
    ("write, wait or poll, then read", "Request.value Request.wait Request.until"),
    ("stored samples, each once", "Query.record Record.key Record.index Record.queue Record.newest Record.logger"),
    ("samples that are missing", "Record.number Record.interval Record.present-when"),
    ("acting on a new sample only", "Record.check RecordCheck.new-when"),
    (
        "what asking does to the instrument; writes are refused otherwise",
        "Request.effect DriverFile.writes DriverFile.single-reader DriverFile.no-scan",
    ),
    ("which instrument it is", "DriverFile.identity Identity.expect Identity.wrong-when Identity.variants"),
    ("a test of the byte order", "Identity.self-test"),
    ("settings that nobody may change unseen", "DriverFile.guard Guard.watch Guard.expect"),
    ("the instrument's clock", "DriverFile.clock Clock.at-most Clock.set"),
    ("asking more often, less often, first, or once at connect", "Query.every Query.priority Request.once"),
    ("values that are old or stand still", "Channel.max-age Query.alive"),
    (
        "a family of models, repeated parts",
        "DriverFile.extends DriverFile.leave-out Field.repeat Channel.repeat",
    ),
    ("what differs and cannot be asked", "DriverFile.params Param.required Request.when"),
    (
        "units, decimals, sizes of particles, sources",
        "Channel.unit Channel.decimals Channel.particle-size DriverFile.manual",
    ),
    ("the proof", "DriverFile.examples Example.origin Example.fails"),
    ("an instrument of which nobody has a manual", "DriverFile.generic"),
)
"""What an engineer finds in a manual, and the keys that say it (`Model.key`)."""


def page() -> str:
    """The whole page, in Markdown."""
    models = list(_models(DriverFile))
    return _INTRODUCTION + _finder(models) + "".join(f"\n{_section(model, models)}" for model in models)


def _finder(models: list[type[BaseModel]]) -> str:
    """The table that leads from what a manual says to the keys. Raises KeyError for a key that does not exist."""
    keys = {f"{m.__name__}.{i.alias or n}": m for m in models for n, i in m.model_fields.items()}
    rows = ["", "| in the manual | keys |", "|---|---|"]
    for what, names in WANTED:
        links = [f"[`{name.partition('.')[2]}`](#{_anchor(keys[name])})" for name in names.split()]
        rows.append(f"| {what} | {', '.join(links)} |")
    return "\n".join(rows) + "\n"


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

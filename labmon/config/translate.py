"""pydantic's findings in the words and at the positions of the file."""

from __future__ import annotations

import re
import types
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Discriminator, Tag, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from labmon.config.builder import scalar
from labmon.config.errors import ConfigError, Path, Positions, did_you_mean, one_of, path_text
from labmon.config.types import Secret

_MESSAGES = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "none_required": "must be empty",
    "finite_number": "must be a finite number",
    "string_too_short": "must not be empty",
}
_WORD = re.compile("[A-Za-z][a-z_-]{0,23}")
_ID_HINT = "an id is made of a-z, 0-9 and - and neither begins nor ends with -"


@dataclass(slots=True)
class _Finding:
    """One of pydantic's errors, at a path of the data. `choices` are the members of unions that it was found under."""

    path: Path
    error: ErrorDetails
    model: type[BaseModel] | None
    """Model that the mapping at (or around) the path was checked against."""
    secret: bool
    choices: tuple[tuple[Path, str], ...]


def config_errors(
    error: ValidationError, model: type[BaseModel], data: Any, positions: Positions, file: str, skip: set[Path]
) -> list[ConfigError]:
    """One ConfigError for each mistake that pydantic found; those at or below a path in `skip` are left out."""
    found = [_locate(e, model, data) for e in error.errors(include_url=False, include_input=False)]
    found = [f for f in found if not any(f.path[: len(path)] == path for path in skip)]
    errors: dict[tuple[Path, bool], ConfigError] = {}
    for finding in _best_members(found):
        message, hint = _words(finding, data)
        at_key = finding.error["type"] in ("extra_forbidden", "invalid_key") or finding.error["loc"][-1:] == ("[key]",)
        mark = positions.key(finding.path) if at_key else positions.value(finding.path)
        # A word that is no key of ours may be a secret that was pasted to the wrong place.
        odd = at_key and not hint.startswith("did you") and not _WORD.fullmatch(str(finding.path[-1]))
        hidden = odd or (at_key and finding.secret)
        shown = finding.path[:-1] if hidden else finding.path
        known = errors.get((finding.path, at_key))
        if known is not None and known.message != message:
            # Members of one union, none of which fits: `must be a whole number, or must be text`.
            message = f"{known.message}, or {message}"
            hint = known.hint or hint
        errors[finding.path, at_key] = ConfigError(file, mark.line, mark.column, path_text(shown, data), message, hint)
    return list(errors.values())


# ---------------------------------------------------------------- where


def _locate(error: ErrorDetails, model: type[BaseModel], data: Any) -> _Finding:
    """Walk pydantic's location along types and data together; parts that name a member of a union are no keys."""
    annotation: Any = model
    holder: type[BaseModel] | None = None
    path: Path = ()
    secret = False
    choices: list[tuple[Path, str]] = []
    for part in error["loc"]:
        members = _members(annotation)
        if len(members) > 1:
            choices.append((path, str(part)))
            annotation = _member(members, part)
            continue
        annotation = members[0] if members else Any
        if part == "[key]":
            continue
        if _is_model(annotation):
            holder = annotation
            secret = secret or issubclass(annotation, Secret)
            annotation = _field(annotation, part)
        elif get_origin(annotation) is dict:
            annotation, holder = get_args(annotation)[1], None
        elif get_origin(annotation) in (list, tuple, set, frozenset):
            annotation, holder = get_args(annotation)[0], None
            if part == 0 and _is_single(data, path):
                continue  # one that stands in the place of a list
        elif not _holds(data, path, part):
            # A part that stands for a validator or an unnamed member of a union.
            continue
        path = (*path, part)
    if len(members := _members(annotation)) == 1 and _is_model(members[0]) and issubclass(members[0], Secret):
        secret = True
    return _Finding(path, error, holder, secret, tuple(choices))


def _members(annotation: Any) -> list[Any]:
    """Members of a union without None; a list of one for what is no union."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            if any(isinstance(extra, Discriminator) or (isinstance(extra, FieldInfo) and extra.discriminator)
                   for extra in get_args(annotation)[1:]):  # fmt: skip
                return list(get_args(get_args(annotation)[0]))
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            members = [m for m in get_args(annotation) if m is not type(None)]
            if len(members) != 1:
                return members
            annotation = members[0]
        else:
            return [annotation]


def _member(members: Sequence[Any], part: int | str) -> Any:
    """The member of a union that a part of a location names."""
    for member in members:
        if get_origin(member) is Annotated and any(isinstance(e, Tag) and e.tag == part for e in get_args(member)[1:]):
            return member
        plain = _members(member)[0]
        if getattr(plain, "__name__", None) == part or str(part).startswith(f"{getattr(plain, '__name__', '')}["):
            return plain
        if _is_model(plain) and any(
            get_origin(f.annotation) is Literal and part in get_args(f.annotation) for f in plain.model_fields.values()
        ):
            return plain
    return Any


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _field(model: type[BaseModel], alias: int | str) -> Any:
    for name, info in model.model_fields.items():
        if (info.alias or name) == alias:
            # pydantic takes a discriminator off the annotation; put it back for _members.
            return Annotated[info.annotation, info] if info.discriminator else info.annotation
    return Any


def _holds(data: Any, path: Path, part: int | str) -> bool:
    try:
        for step in path:
            data = data[step]
        data[part]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _is_single(data: Any, path: Path) -> bool:
    """Whether a mapping stands at this path, where a list is meant."""
    try:
        for step in path:
            data = data[step]
    except (KeyError, IndexError, TypeError):
        return False
    return isinstance(data, Mapping)


def _best_members(found: list[_Finding]) -> Iterable[_Finding]:
    """Keep, under each union, the findings of the members that the value comes nearest to."""
    unions: dict[Path, dict[str, list[_Finding]]] = defaultdict(lambda: defaultdict(list))
    for finding in found:
        for path, member in finding.choices:
            unions[path][member].append(finding)
    dropped: set[int] = set()
    for path, members in unions.items():
        inside = {name: fs for name, fs in members.items() if any(_is_inside(f, path) for f in fs)}
        if inside:
            nearest = min(inside.values(), key=len)
            dropped |= {id(f) for fs in members.values() if fs is not nearest for f in fs}
    return [f for f in found if id(f) not in dropped]


def _is_inside(finding: _Finding, union: Path) -> bool:
    """Whether the member took the value for one of its kind, and found the mistake within it."""
    return len(finding.path) > len(union) or finding.error["type"] == "value_error"


# ---------------------------------------------------------------- what


def _words(finding: _Finding, data: Any) -> tuple[str, str]:
    error, kind = finding.error, finding.error["type"]
    context = error.get("ctx", {})
    if finding.secret and kind not in ("missing", "value_error"):
        return "must be a mapping with `credential` or `file`", "a secret never stands in the file itself"
    if kind == "missing":
        return "is missing", ""
    if kind == "extra_forbidden":
        known = _keys(finding.model)
        word = str(finding.path[-1])
        return "unknown key", did_you_mean(word, known) or one_of(known)
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", error["msg"])), ""
    if kind == "literal_error":
        return f"must be {context['expected']}", _nearest_literal(finding, context["expected"], data)
    if kind == "union_tag_invalid":
        expected = context["expected_tags"]
        return f"{_unquoted(context)} must be one of {expected}", _nearest(context["tag"], expected)
    if kind == "union_tag_not_found":
        return f"{_unquoted(context)} is missing", ""
    if kind == "string_pattern_mismatch" and "a-z0-9" in context.get("pattern", ""):
        return "is not an id", _ID_HINT
    if kind == "string_type" and isinstance(_value(data, finding.path), (int, float)):
        return _MESSAGES[kind], "put it in quotes"
    if kind in ("int_type", "float_type") and _is_number(_value(data, finding.path)):
        return _MESSAGES[kind], "write it without quotes"
    if kind in _MESSAGES:
        return _MESSAGES[kind], ""
    if kind in ("too_short", "too_long"):
        least, bound = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        return f"must have {least} {context[bound]} items, not {context['actual_length']}", ""
    return error["msg"].replace("Input should", "must").replace("String should", "must"), ""


def _is_number(value: Any) -> bool:
    """Whether a text would have been a number without its quotes."""
    try:
        return isinstance(value, str) and isinstance(scalar(value), (int, float))
    except ValueError:
        return False


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()] if model else []


def _value(data: Any, path: Path) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _nearest_literal(finding: _Finding, expected: str, data: Any) -> str:
    value = _value(data, finding.path)
    words = [w.strip() for w in expected.replace(" or ", ", ").split(", ")]
    if str(value) in words and isinstance(value, str):
        return "write it without quotes"
    if f"'{value}'" in words and not isinstance(value, str):
        return "put it in quotes"
    return _nearest(value, expected) if isinstance(value, str) else ""


def _nearest(value: str, expected: str) -> str:
    """Hint at the nearest of pydantic's `'a', 'b' or 'c'`."""
    return did_you_mean(value, [w.strip("' ") for w in expected.replace(" or ", ", ").split(", ")])


def _unquoted(context: Mapping[str, Any]) -> str:
    return str(context["discriminator"]).strip("'")

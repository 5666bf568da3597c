"""Text replies as templates: one declaration that reads a reply and writes one.

`{field}` stands for a field, `[ ... ]` for a part that may be missing, a space for one or more spaces; a backslash
takes the next character as it is. All else is literal. Blanks before and after the whole reply are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from labmon.drivers.text_field import TextField
from labmon.links.pattern import Pattern, PatternError
from labmon.model.reading import Raw

_TOKEN = re.compile(r"\\(?P<escaped>.)|\{(?P<field>[^{}]*)\}|(?P<bracket>[\[\]])|(?P<space> +)|(?P<literal>[^\\{}\[\] ])", re.S)  # fmt: skip  # noqa: E501


class TemplateError(ValueError):
    """A template or pattern that cannot be."""


class TextBlock:
    """A reply's fields, from a template or from a regular expression with a named group per field.

    Optional parts with a field that is `left_out` (this device does not have it) do not exist, those with one that is
    `certain` (it has it) must be there. Raises TemplateError for one that does not fit its fields.
    """

    def __init__(
        self,
        fields: Sequence[TextField],
        template: str | None,
        pattern: str | None,
        *,
        left_out: Collection[str] = (),
        certain: Collection[str] = (),
    ) -> None:
        self.fields = tuple(fields)
        self.prefix = b""
        """What every reply begins with."""
        self._parts: list[_Part] = []
        groups = {f.name: group_name(f.name) for f in fields}
        if template is not None:
            self._parts = _parts(template, {f.name: f for f in fields}, left_out, certain)
            text = "[ \t]*" + "".join(part.regex for part in self._parts) + "[ \t]*"
            self.prefix = _prefix(self._parts)
        else:
            text = pattern or ""
        try:
            self.expect = Pattern(text.encode("ascii"))
        except (PatternError, UnicodeEncodeError) as error:
            raise TemplateError(f"the pattern is no regular expression: {error}") from None
        """What the whole reply must match."""
        for name, group in groups.items():
            if group not in self.expect.groupindex:
                what = f"`{{{name}}}`" if template is not None else f"`(?P<{group}>...)`"
                raise TemplateError(f"field {name} does not stand in the reply: {what} is missing")
        if unknown := set(self.expect.groupindex) - set(groups.values()):
            raise TemplateError(f"group {min(unknown)} of the pattern is none of the fields")
        self._read: list[tuple[str, Callable[[str], Raw]]] = [(groups[f.name], f.read) for f in fields]

    def decode(self, data: bytes) -> Sequence[Raw]:
        """Raw values in the order of the fields, None for one that is missing. Raises ValueError on another reply."""
        found = self.expect.fullmatch(data)
        if found is None:
            raise ValueError(f"unexpected reply {data[:40]!r}")
        values: list[Raw] = []
        for group, read in self._read:
            text = found[group]
            values.append(None if text is None else read(text.decode("latin-1").strip()))
        return values

    @property
    def reversible(self) -> bool:
        """Whether a reply can be made (a template was given)."""
        return bool(self._parts)

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """A reply with these raw values; an optional part of which a field is not given is left out.

        Raises ValueError for a pattern, which cannot be turned round, and for a field that is missing.
        """
        if not self._parts:
            raise ValueError("a pattern cannot be turned round; give the reply as a template")
        return "".join(part.write(raws) for part in self._parts).encode("latin-1")


def group_name(field: str) -> str:
    """The group of a regular expression that holds this field."""
    name = field.replace("-", "_")
    return name if name.isidentifier() else f"_{name}"


@dataclass(frozen=True, slots=True)
class _Part:
    """Literal text, a field, or an optional section."""

    regex: str
    literal: str = ""
    field: TextField | None = None
    section: tuple[_Part, ...] = ()

    def write(self, raws: Mapping[str, Raw]) -> str:
        if self.section:
            missing = any(p.field is not None and raws.get(p.field.name) is None for p in self.section)
            return "" if missing else "".join(p.write(raws) for p in self.section)
        if self.field is None:
            return self.literal
        raw = raws.get(self.field.name)
        if raw is None:
            raise ValueError(f"{self.field.name}: a value is missing")
        return self.field.write(raw)


def _parts(
    template: str, fields: Mapping[str, TextField], left_out: Collection[str], certain: Collection[str]
) -> list[_Part]:
    parts: list[_Part] = []
    section: list[_Part] | None = None
    dropped = False
    at = 0
    while at < len(template):
        token = _TOKEN.match(template, at)
        if token is None:
            raise TemplateError(f"`{template[at]}` in the reply at character {at + 1} is not closed or not opened")
        at = token.end()
        into = parts if section is None else section
        if token["bracket"] == "[":
            if section is not None:
                raise TemplateError("a `[` within `[ ]`")
            section, dropped = [], False
        elif token["bracket"] == "]":
            if section is None:
                raise TemplateError("a `]` without `[`")
            if any(p.field is not None and p.field.name in certain for p in section) and not dropped:
                parts += section
            elif not dropped:
                inner = "".join(p.regex for p in section)
                parts.append(_Part(f"(?:{inner})?", section=tuple(section)))
            section = None
        elif token["field"] is not None:
            name = token["field"]
            if name in left_out:
                if section is None:
                    raise TemplateError(f"field {name} applies by `when` only: put it in `[ ]`")
                dropped = True
            elif name not in fields:
                raise TemplateError(f"`{{{name}}}` is none of the fields")
            else:
                one = fields[name]
                into.append(_Part(f"(?P<{group_name(name)}>{one.pattern})", field=one))
        elif token["space"]:
            into.append(_Part(" +", literal=" "))
        else:
            literal = token["escaped"] or token["literal"]
            into.append(_Part(re.escape(literal), literal=literal))
    if section is not None:
        raise TemplateError("a `[` that is not closed")
    return parts


def _prefix(parts: Sequence[_Part]) -> bytes:
    text = ""
    for part in parts:
        if part.field is not None or part.section or part.literal == " ":
            break
        text += part.literal
    return text.encode("latin-1")

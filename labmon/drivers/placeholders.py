"""What stands in braces in a request: the device's address or a parameter, in the form that the instrument reads.

`{name}` as it is; `{name:02d}` decimal, `{name:X}` or `{name:02x}` hex; `{name:byte}`, `{name:word}` and
`{name:word-little}` as binary numbers of one and two bytes; `{name+128:byte}` with a number added.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from labmon.drivers.given import ParamValue

_PLACEHOLDER = re.compile(
    r"\{(?P<name>[a-z0-9-]+)(?:\+(?P<plus>0x[0-9A-Fa-f]{1,8}|[0-9]{1,9}))?(?::(?P<form>[^{}]*))?\}"
)
_DIGITS = re.compile("0?[0-9]?[dxX]")
_BINARY = {"byte": (1, "big"), "word": (2, "big"), "word-little": (2, "little")}
_HEX = re.compile(r"(?:\s*[0-9A-Fa-f]{2})*\s*")
_HEX_OR_ANY = re.compile(r"(?:\s*(?:[0-9A-Fa-f]{2}|\.\.))*\s*")

Values = Mapping[str, ParamValue]
"""What is known of a device: `address`, where it has one, and its parameters."""


def filled(template: str, values: Values) -> str:
    """A text with its placeholders filled in.

    Raises ValueError for a name that is neither address nor parameter, and for a value that its format cannot hold.
    """
    return _PLACEHOLDER.sub(lambda found: _written(found, values).decode("latin-1"), template)


def filled_reply(template: str, values: Values, fields: Collection[str], quoted: Callable[[str], str]) -> str:
    """A reply's template or expression with the address and parameters filled in, `quoted` so that they are literal.

    What else stands in braces is left: a field, or the expression's own (`a{3}`). Raises ValueError as `filled`.
    """

    def fill(found: re.Match[str]) -> str:
        if found["name"] in fields or found["name"] not in values:
            return found[0]
        return quoted(_written(found, values).decode("latin-1"))

    return _PLACEHOLDER.sub(fill, template)


def filled_hex(template: str, values: Values) -> bytes:
    """The bytes of hex digits with placeholders between. Raises ValueError."""
    found = bytearray()
    for part in _pieces(template):
        if isinstance(part, re.Match):
            found += _bytes_of(part, values)
        elif not _HEX.fullmatch(part):
            raise ValueError(f"{part.strip()!r} is no hex: two digits per byte")
        else:
            found += bytes.fromhex(part)
    return bytes(found)


def hex_template(template: str, values: Values) -> list[int | None]:
    """As `filled_hex`, with None for each `..`, which stands for any byte. Raises ValueError."""
    found: list[int | None] = []
    for part in _pieces(template):
        if isinstance(part, re.Match):
            found += list(_bytes_of(part, values))
        elif not _HEX_OR_ANY.fullmatch(part):
            raise ValueError(f"{part.strip()!r} is no hex: two digits per byte, or `..` for any")
        else:
            pairs = "".join(part.split())
            found += [None if pairs[n : n + 2] == ".." else int(pairs[n : n + 2], 16) for n in range(0, len(pairs), 2)]
    return found


def _pieces(template: str) -> list[str | re.Match[str]]:
    pieces: list[str | re.Match[str]] = []
    at = 0
    for found in _PLACEHOLDER.finditer(template):
        pieces += [template[at : found.start()], found]
        at = found.end()
    return [*pieces, template[at:]]


def _bytes_of(found: re.Match[str], values: Values) -> bytes:
    if found["form"] is None:
        raise ValueError(f"`{found[0]}` stands in hex and needs a format: byte, word, word-little, 02d, 02X, ...")
    return _written(found, values)


def _written(found: re.Match[str], values: Values) -> bytes:
    name, plus, form = found["name"], found["plus"], found["form"]
    if name not in values:
        raise ValueError(f"`{{{name}}}` in the request is neither the address nor a parameter with a value")
    value = values[name]
    if plus is None and form is None:
        return str(value).encode("latin-1")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"`{found[0]}` needs a whole number, but {name} is {value!r}")  # noqa: TRY004
    number = value + (int(plus, 0) if plus else 0)
    if form in _BINARY:
        size, end = _BINARY[form]
        if not 0 <= number < 1 << (8 * size):
            raise ValueError(f"`{found[0]}`: {number} does not fit into {size} byte{'s' * (size > 1)}")
        return number.to_bytes(size, "big" if end == "big" else "little")
    if form is not None and not _DIGITS.fullmatch(form):
        raise ValueError(f"`{found[0]}`: {form!r} is no format; known are d, 02d, x, 02X, byte, word and word-little")
    return format(number, form or "d").encode("ascii")

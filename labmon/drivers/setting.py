"""What is known of a device when its queries are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labmon.drivers import grammar
from labmon.drivers.given import ParamValue, value_of
from labmon.drivers.placeholders import filled_hex
from labmon.model.reading import Raw


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a device when its queries are made."""

    file: grammar.DriverFile
    framing: str
    address: int | str | None
    params: Mapping[str, ParamValue]
    zone: str = "UTC"
    """The site's time zone, for instruments whose clock shows local time."""

    def value(self, given: Any) -> Any:
        """A value, or the parameter's that it refers to."""
        return value_of(given, self.params)

    @property
    def binary(self) -> bool:
        """Whether the bytes of its requests and replies are written as hex."""
        return self.framing == "binary"

    @property
    def values(self) -> dict[str, ParamValue]:
        """What placeholders can name: `address`, where there is one, and the parameters."""
        address = {} if self.address is None else {"address": self.address}
        return {**self.params, **address}

    def literal(self, given: Any) -> bytes:
        """Bytes that the file gives as text, or as hex in a binary file; empty for what is not given.

        Raises ValueError.
        """
        text = self.value(given)
        if text is None:
            return b""
        return filled_hex(str(text), {}) if self.binary else str(text).encode("latin-1")


def sentinels_of(field: grammar.Field, setting: Setting) -> dict[Raw, str]:
    """Raw value -> reason; a word with its highest bit set is the negative number that a signed field reads."""
    found: dict[Raw, str] = {}
    for sentinel in field.sentinels:
        raw = setting.value(sentinel.raw)
        if raw is None:
            continue
        type_ = field.as_ or field.type
        if isinstance(raw, int) and type_ in ("i8", "i16", "i24", "i32", "i64"):
            bits = int(type_[1:]) if field.part is None else field.part[1] - field.part[0] + 1
            raw = raw - (1 << bits) if raw >> (bits - 1) == 1 else raw
        found[raw] = sentinel.reason
    return found

"""A binary reply that is known whole: hex digits, `..` for any byte."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from labmon.drivers.placeholders import Values, hex_template
from labmon.drivers.template import TemplateError
from labmon.drivers.text_field import TextField
from labmon.model.reading import Raw


class HexReply:
    """The reply of a binary request that has no fields. Raises TemplateError for what is no hex."""

    fields: tuple[TextField, ...] = ()

    def __init__(self, template: str, values: Values) -> None:
        try:
            self._bytes = hex_template(template, values)
        except ValueError as error:
            raise TemplateError(str(error)) from None
        if not self._bytes:
            raise TemplateError("a reply of no bytes")
        self.length = len(self._bytes)
        """Bytes of the payload."""
        known = [None, *self._bytes].index(None, 1) - 1 if None in self._bytes else self.length
        self.prefix = bytes(byte or 0 for byte in self._bytes[:known])
        """What every such payload begins with."""
        self.expect = re.compile(b"".join(b"." if b is None else re.escape(bytes([b])) for b in self._bytes), re.DOTALL)
        """What the whole payload must match."""

    def decode(self, data: bytes) -> Sequence[Raw]:
        """Nothing; raises ValueError on another reply."""
        if not self.expect.fullmatch(data):
            raise ValueError(f"unexpected reply {data[:24].hex(' ')}")
        return ()

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """The payload, with 0 where any byte may stand."""
        return bytes(byte or 0 for byte in self._bytes)

"""Integers and texts of any length as few bytes, and a cursor that reads them back."""

from __future__ import annotations


def unsigned(number: int) -> bytes:
    """Seven bits a byte, lowest first; the top bit says that more follow."""
    if number < 128:
        return bytes((number,))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def signed(number: int) -> bytes:
    """An integer of either sign; small magnitudes are short."""
    return unsigned(number << 1 if number >= 0 else (~number << 1) | 1)


def text(string: str) -> bytes:
    """A text with its length; lone surrogates (undecodable bytes of an instrument) survive."""
    encoded = string.encode("utf-8", "surrogatepass")
    return unsigned(len(encoded)) + encoded


class Bytes:
    """Reads what the functions above wrote. Every method raises ValueError when the bytes end too early."""

    __slots__ = ("_at", "_source")

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        part = self._source[self._at : self._at + count]
        if len(part) != count:
            raise ValueError("cut short")
        self._at += count
        return part

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def unsigned(self) -> int:
        """The next unsigned integer."""
        number = shift = 0
        source, at = self._source, self._at
        try:
            while (byte := source[at]) > 127:
                number |= (byte & 127) << shift
                shift += 7
                at += 1
        except IndexError:
            raise ValueError("cut short") from None
        self._at = at + 1
        return number | byte << shift

    def signed(self) -> int:
        """The next signed integer."""
        number = self.unsigned()
        return ~(number >> 1) if number & 1 else number >> 1

    def text(self) -> str:
        """The next text."""
        return self.take(self.unsigned()).decode("utf-8", "surrogatepass")

    def end(self) -> None:
        """Raises ValueError when something is left."""
        if self._at != len(self._source):
            raise ValueError("bytes left over")

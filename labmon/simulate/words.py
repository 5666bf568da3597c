"""The text side of a simulated instrument: what it understands, and what it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from typing import Protocol

from labmon.drivers.columns import DelimitedBlock, FixedBlock
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.examples import bytes_of
from labmon.drivers.query import CompiledQuery
from labmon.drivers.steps import Step
from labmon.drivers.template import group_name
from labmon.drivers.text_step import Text, Untold
from labmon.drivers.words import ByteBlock
from labmon.links.errors import Garbled, LinkError, Refused
from labmon.links.frame import FrameForm, LengthField
from labmon.model.reading import Raw


class Found(Protocol):
    """A match of a pattern."""

    @property
    def string(self) -> bytes:
        """What was searched."""
        ...

    def __getitem__(self, group: str) -> bytes | None: ...

    def start(self, group: str, /) -> int:
        """Where the group begins."""
        ...

    def end(self, group: str, /) -> int:
        """Where the group ends."""
        ...


Sources = Callable[[], Sequence[tuple[Sequence[Step], Mapping[str, Raw]]]]


class Spoken:
    """Answers text and binary requests. `payloads` are those of the examples, by query ("" for the identity)."""

    def __init__(self, sources: Sources, payloads: Mapping[str, Sequence[bytes]], driver: CompiledDriver) -> None:
        self._sources = sources
        self._driver = driver
        self._known: dict[bytes, Text | Untold] | None = None
        self._shown = [payload for several in payloads.values() for payload in several]

    def known(self) -> Set[bytes]:
        """Requests as they stand on the wire."""
        return self._texts().keys()

    def _texts(self) -> dict[bytes, Text | Untold]:
        if self._known is None:
            self._known = {}
            for steps, _ in self._sources():
                for one in steps:
                    if isinstance(one, Text | Untold) and (not isinstance(one, Text) or one.stream is None):
                        self._known.setdefault(one.request.encode(0), one)
        return self._known

    def answer(self, frame: bytes) -> bytes | None:
        """The reply's whole frame, with the values of now; None for what it does not understand."""
        wanted = self._texts().get(frame)
        if not isinstance(wanted, Text):
            return None
        for steps, raws in self._sources():
            if wanted in steps:
                said = self._framed(wanted, self._payload(wanted, raws))
                # What it repeats character by character went out as the characters came.
                return said.removeprefix(frame) if wanted.frame.echo == "characters" else said
        return None

    def unasked(self, query: CompiledQuery) -> bytes:
        """The frame of a stream, with the values of now."""
        (one,) = query.steps
        assert isinstance(one, Text)
        raws = next(raws for steps, raws in self._sources() if one in steps)
        return self._framed(one, self._payload(one, raws))

    @staticmethod
    def _framed(one: Text, payload: bytes) -> bytes:
        """The whole frame: with what it begins with, and the length that it has where it says one."""
        begins = max(one.form.starts, one.block.prefix if isinstance(one.block, ByteBlock) else b"", key=len)
        payload = begins + payload[len(begins) :] if isinstance(one.block, ByteBlock) else payload
        frame, length = one.framed(payload), one.form.end
        if not isinstance(length, LengthField) or one.form.transforms:
            return frame
        echoed = len(frame) - len(one.form.closed(payload))
        number = len(frame) - echoed - length.plus
        field = payload[length.at : length.at + length.size]
        if length.encoding == "hex":
            text = b"%0*x" if field == field.lower() else b"%0*X"
            field = text % (length.size, number)
        elif length.encoding == "decimal":
            field = b"%0*d" % (length.size, number)
        elif length.encoding in ("big", "little"):
            field = number.to_bytes(length.size, "big" if length.encoding == "big" else "little")
        elif length.encoding == "high-nibble":
            field = bytes([number << 4 & 0xF0 | field[0] & 0x0F])
        else:
            field = bytes([field[0] & 0xF0 | number & 0x0F])
        return one.framed(payload[: length.at] + field + payload[length.at + length.size :])

    def _payload(self, one: Text, raws: Mapping[str, Raw]) -> bytes:
        try:
            if isinstance(one.block, ByteBlock | DelimitedBlock | FixedBlock):
                return one.block.encode(raws, self._like(one.block))
            return one.encode(raws)
        except ValueError:
            # A pattern cannot be turned round: what an example shows, with other values in the places of its groups.
            for payload in self._shown:
                if (found := one.block.expect.fullmatch(payload)) is not None:
                    return rewritten(found, {group_name(f.name): raws.get(f.name) for f in one.fields})
            raise

    def _like(self, block: ByteBlock | DelimitedBlock | FixedBlock) -> bytes:
        """A reply of this form that an example shows: what no field reads is as there. Empty where there is none."""
        for payload in self._shown:
            with suppress(ValueError):
                block.decode(payload)
                return payload
        return b""

    def refusal(self, frame: bytes, code: str | None) -> bytes:
        """The reply by which it refuses, with this code or the first that the file shows.

        Raises ValueError when the file knows of no refusal, or not of this one.
        """
        known: list[str] = []
        for example in self._driver.file.examples:
            if example.fails != "refused":
                continue
            got = bytes_of(example.exchanges[-1].got, example.framing or self._driver.framings[0])
            known.append(_code(self._texts(), got))
            if code in (None, known[-1]):
                return got
        what = f"code {code}; it shows {', '.join(known)}" if known else "a refusal"
        raise ValueError(f"no example of the driver file shows {what}")

    @property
    def summed(self) -> bool:
        """Whether its replies have a checksum."""
        frame = self._driver.file.frame
        return frame is not None and any(one.of != "request" for one in frame.checksum)

    def unsummed(self, request: bytes, frame: bytes) -> bytes:
        """The reply with another checksum: the first change from its end on that the checksum tells of."""
        one = self._texts().get(request)
        for at in range(len(frame) - 1, -1, -1):
            changed = frame[:at] + _neighbour(frame[at]) + frame[at + 1 :]
            if self._notices(one, changed):
                return changed
        raise ValueError("the replies of this instrument have no checksum")

    def _notices(self, one: Text | Untold | None, frame: bytes) -> bool:
        """Whether a frame is refused for its checksum; without a request it is one of a stream."""
        try:
            if one is not None:
                one.request.match(frame, 0)
            else:
                for form in self._streams():
                    form.opened(frame)
        except Garbled as error:
            return "checksum" in str(error)
        except LinkError:
            return False
        return False

    def _streams(self) -> Iterator[FrameForm]:
        for steps, _ in self._sources():
            yield from (one.form for one in steps if isinstance(one, Text) and one.stream is not None)


def _neighbour(byte: int) -> bytes:
    if chr(byte) in "0123456789abcdefABCDEF":
        return b"1" if byte == ord("0") else b"0"
    return bytes([byte ^ 1])


def _code(texts: Mapping[bytes, Text | Untold], got: bytes) -> str:
    """The code of a refusal, as the link understands it."""
    for one in texts.values():
        try:
            one.request.match(got, 0)
        except Refused as error:
            return str(error.error)
        except LinkError:
            continue
    return "?"


def rewritten(found: Found, raws: Mapping[str, Raw]) -> bytes:
    """A reply like the one found, with these values written as theirs are: as wide, with as many decimals."""
    text = found.string
    for group in sorted(raws, key=lambda name: -found.start(name)):
        raw = raws[group]
        before = found[group]
        if before is not None and raw is not None:
            text = text[: found.start(group)] + _like(before.decode("latin-1"), raw) + text[found.end(group) :]
    return text


def _like(before: str, raw: Raw) -> bytes:
    if isinstance(raw, str):
        return raw.ljust(len(before)).encode("latin-1")
    shape = re.fullmatch(r"( *)([+-]?)(\d+)(?:\.(\d*))?", before)
    if shape is None or raw is None:
        return before.encode("latin-1")
    sign = "+" if shape[2] == "+" else ""
    zero = "0" if len(shape[3]) > 1 and shape[3].startswith("0") else ""
    return format(float(raw), f"{sign}{zero}{len(before)}.{len(shape[4] or '')}f").encode("latin-1")

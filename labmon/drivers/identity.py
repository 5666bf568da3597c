"""Which instrument it is: the identity check of a driver file for one device."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from labmon.drivers import grammar, meaning
from labmon.drivers.asking import Asking
from labmon.drivers.conditions import fields_of
from labmon.drivers.driver import Identified, WrongInstrument
from labmon.drivers.given import ParamValue, applies, value_of
from labmon.drivers.setting import Setting
from labmon.drivers.words import WordField
from labmon.links.link import Link
from labmon.links.pattern import Pattern
from labmon.model.reading import Raw

NEAR = 1e-6
"""Part by which a float of a self-test may differ: a 32-bit one has 24 bits."""
_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


class CompiledIdentity:
    """The identity check of a driver file for one device (labmon.drivers.driver.Identity).

    `given` are the parameters that the site file sets, which no variant may contradict.
    """

    def __init__(self, identity: grammar.Identity, setting: Setting, given: Mapping[str, Any] | None = None) -> None:
        self._asking = Asking(identity.requests, setting)
        self.steps = self._asking.steps
        self.timeout = self._asking.timeout
        self.longest = self._asking.longest
        self.variants: dict[str, Mapping[str, ParamValue]] = {v.name: v.params for v in identity.variants}
        self._given = dict(given or {})
        index = self._asking.index
        self._show = [(name, index[name]) for name in identity.show if name in index]
        self._expect = [
            (name, index[name], Pattern(str(pattern).encode()))
            for name, given_ in identity.expect.items()
            if name in index and (pattern := value_of(given_, setting.params)) is not None
        ]
        self._wrong = [
            (c, meaning.test_of(c, index, setting.params))
            for c in identity.wrong_when
            if applies(c.when, setting.params)
        ]
        self._tests = [(one, index[one.field]) for one in identity.self_test if one.field in index]
        self._variants = [(v, meaning.tests(v.when, index, setting.params, missing=False)) for v in identity.variants]

    async def check(self, link: Link) -> Identified:
        """Ask and compare (see labmon.drivers.driver.Identity.check)."""
        return self.judge(await self._asking.raws(link))

    def decode(self, payloads: Sequence[bytes]) -> Identified:
        """As check, from payloads. Raises WrongInstrument, Garbled."""
        return self.judge(self._asking.decode(payloads))

    def raws(self, payloads: Sequence[bytes]) -> Sequence[Raw]:
        """Raw values in the order of `fields`. Raises Garbled."""
        return self._asking.decode(payloads)

    def judge(self, raws: Sequence[Raw]) -> Identified:
        """What the instrument says of itself. Raises WrongInstrument where it is not what was expected."""
        found = ", ".join(f"{name} {raws[at]}" for name, at in self._show if raws[at] is not None)
        # First: with a wrong byte order nothing else that was read can be believed.
        for test, at in self._tests:
            if not _passes(test, raws[at]):
                raise WrongInstrument(found, self._order(test, raws[at]))
        for name, at, pattern in self._expect:
            if pattern.fullmatch(str(raws[at] if raws[at] is not None else "").encode()) is None:
                raise WrongInstrument(found, f"{name} {pattern.pattern.decode()}")
        for condition, wrong in self._wrong:
            if wrong(raws):
                raise WrongInstrument(found, f"another {', '.join(fields_of(condition))}")
        return Identified(found, self._variant(found, raws))

    def _variant(self, found: str, raws: Sequence[Raw]) -> str:
        if not self._variants:
            return ""
        for variant, tests in self._variants:
            if all(test(raws) for test in tests):
                for name, value in variant.params.items():
                    if self._given.get(name, value) != value:
                        raise WrongInstrument(
                            found, f"{name} {self._given[name]}, as the site file says; {variant.name} has {value}"
                        )
                return variant.name
        raise WrongInstrument(found, f"one of {', '.join(self.variants)}")

    def _order(self, test: grammar.SelfTest, raw: Raw) -> str:
        """What a failed self-test says: the value that must be there, and the byte order that would give it."""
        wanted = test.near if test.is_ is None else test.is_
        text = f"self-test {test.field} {wanted}, not {raw}: the byte order differs"
        field = next(f for step in self.steps for f in step.fields if f.name == test.field)
        if isinstance(field, WordField) and isinstance(raw, (int, float)):
            fits = [order for order in _ORDERS if _passes(test, _reordered(field, raw, order))]
            if fits:
                text += f", it is {fits[0]} and not {field.order}"
        return text

    def encode(self, raws: Mapping[str, Raw]) -> list[bytes]:
        """The payload of each step's reply with these raw values."""
        return [one.encode(raws) for one in self.steps]

    @property
    def fields(self) -> list[str]:
        """Names of all fields, in the order of raw values."""
        return self._asking.names


def _passes(test: grammar.SelfTest, raw: Raw) -> bool:
    if test.near is None:
        return raw == test.is_
    return isinstance(raw, (int, float)) and math.isclose(raw, test.near, rel_tol=NEAR, abs_tol=0.0)


def _reordered(field: WordField, raw: Raw, order: str) -> Raw:
    """What the same bytes on the wire mean in another order; None where they cannot be told."""
    try:
        data = field.encode(raw)
        there = field.positions(field.address)
        wire = dict(zip(there, data, strict=True))
        other = WordField(field.name, field.address, field.type, order, field.byte, field.bit, field.registers)
        [found] = struct.unpack(">" + field.code, bytes(wire[at] for at in other.positions(field.address)))
    except (ValueError, KeyError, struct.error):
        return None
    return found if isinstance(found, (int, float)) else None

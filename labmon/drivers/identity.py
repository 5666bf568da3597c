"""Which instrument it is: the identity check of a driver file for one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labmon.drivers import grammar, meaning
from labmon.drivers.asking import Asking
from labmon.drivers.conditions import fields_of
from labmon.drivers.driver import WrongInstrument
from labmon.drivers.given import applies, value_of
from labmon.drivers.setting import Setting
from labmon.links.link import Link
from labmon.links.pattern import Pattern
from labmon.model.reading import Raw


class CompiledIdentity:
    """The identity check of a driver file for one device (labmon.drivers.driver.Identity)."""

    def __init__(self, identity: grammar.Identity, setting: Setting) -> None:
        self._asking = Asking(identity.requests, setting)
        self.steps = self._asking.steps
        index = self._asking.index
        self._show = [(name, index[name]) for name in identity.show if name in index]
        self._expect = [
            (name, index[name], Pattern(str(pattern).encode()))
            for name, given in identity.expect.items()
            if name in index and (pattern := value_of(given, setting.params)) is not None
        ]
        self._wrong = [
            (c, meaning.test_of(c, index, setting.params))
            for c in identity.wrong_when
            if applies(c.when, setting.params)
        ]

    async def check(self, link: Link) -> str:
        """Ask and compare (see labmon.drivers.driver.Identity.check)."""
        return self.judge(await self._asking.raws(link))

    def decode(self, payloads: Sequence[bytes]) -> str:
        """As check, from payloads. Raises WrongInstrument, Garbled."""
        return self.judge(self._asking.decode(payloads))

    def raws(self, payloads: Sequence[bytes]) -> Sequence[Raw]:
        """Raw values in the order of `fields`. Raises Garbled."""
        return self._asking.decode(payloads)

    def judge(self, raws: Sequence[Raw]) -> str:
        """What the instrument says of itself. Raises WrongInstrument where it is not what was expected."""
        found = ", ".join(f"{name} {raws[at]}" for name, at in self._show if raws[at] is not None)
        for name, at, pattern in self._expect:
            if pattern.fullmatch(str(raws[at] if raws[at] is not None else "").encode()) is None:
                raise WrongInstrument(found, f"{name} {pattern.pattern.decode()}")
        for condition, test in self._wrong:
            if test(raws):
                raise WrongInstrument(found, f"another {', '.join(fields_of(condition))}")
        return found

    def encode(self, raws: Mapping[str, Raw]) -> list[bytes]:
        """The payload of each step's reply with these raw values."""
        return [one.encode(raws) for one in self.steps]

    @property
    def fields(self) -> list[str]:
        """Names of all fields, in the order of raw values."""
        return self._asking.names

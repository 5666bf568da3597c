"""From a driver file to what a line polls. All that can be decided once is decided here, none of it per reading."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from labmon.drivers import grammar, meaning
from labmon.drivers.driver import Answer, ChannelSpec, Outcome, SerialDefaults, WrongInstrument
from labmon.drivers.given import applies, settle, value_of
from labmon.drivers.steps import Setting, Step, Write, step
from labmon.drivers.values import raws_of
from labmon.links.errors import Refused
from labmon.links.link import Link
from labmon.model.reading import Raw

_NS = 1_000_000_000


class _Asking:
    """Requests in their order, over one link."""

    def __init__(self, requests: Sequence[grammar.Request], setting: Setting) -> None:
        timing = setting.file.timing
        self.steps: tuple[Step, ...] = tuple(step(r, setting) for r in requests if applies(r.when, setting.params))
        self.timeout = timing.timeout
        self._gaps = [timing.after_reply] + [
            max(timing.after_reply, timing.after_write) if isinstance(before, Write) else timing.after_reply
            for before in self.steps[:-1]
        ]
        self._meanings = setting.file.text.error_meanings if setting.file.text else {}
        self.names = [f.name for s in self.steps for f in s.fields]
        self.index = {name: at for at, name in enumerate(self.names)}

    async def raws(self, link: Link) -> Sequence[Raw]:
        """Ask all; the raw values of all fields."""
        found: list[Raw] = []
        try:
            for one, gap in zip(self.steps, self._gaps, strict=True):
                values = await one.ask(link, self.timeout, gap)
                if len(self.steps) == 1:
                    return values
                found.extend(values)
        except Refused as refused:
            if (meaning_ := self._meanings.get(str(refused.error))) is None:
                raise
            raise Refused(refused.error, meaning_) from refused
        return found

    def decode(self, payloads: Sequence[bytes]) -> Sequence[Raw]:
        """Raw values from the payloads of all steps. Raises Garbled."""
        return [raw for one, payload in zip(self.steps, payloads, strict=True) for raw in one.decode(payload)]


class CompiledQuery:
    """A query of a driver file for one device (labmon.drivers.driver.Query).

    `steps` are its requests: a simulator serves their `encode(raws)` payloads, with raw values by field name that
    `raws_of` makes of channel values. `timeout` holds for each step.
    """

    def __init__(self, name: str, query: grammar.Query, setting: Setting) -> None:
        self.name = name
        self.every = query.every
        self.kind: Literal["live", "record"] = query.kind
        self._asking = _Asking(query.requests, setting)
        self.steps = self._asking.steps
        self.timeout = self._asking.timeout
        self._grammar = query
        self._params = setting.params
        index, params = self._asking.index, setting.params
        fields = {f.name: f for s in self.steps for f in s.fields}
        self._bad = meaning.verdict(query.bad_when, index, params)
        self._makers: list[meaning.Make | None] = []
        self._computed: list[tuple[int, meaning.Computation]] = []
        self._own: list[int | None] = []
        specs: list[ChannelSpec] = []
        for one in query.channels:
            if not applies(one.when, params):
                continue
            if one.compute is not None:
                spec = meaning.spec_of(one, None, params)
                at = {s.id: (n, s) for n, s in enumerate(specs)}
                inputs = [at[name] for name in meaning.operands(one.compute)]
                self._computed.append((len(specs), meaning.computation(one, one.compute, spec, inputs, params)))
                self._makers.append(None)
                self._own.append(None)
            else:
                source = one.from_ or one.id
                spec = meaning.spec_of(one, fields[source].type, params)
                self._makers.append(meaning.channel(one, index[source], fields[source].sentinels, index, params))
                self._own.append(index[source])
            specs.append(spec)
        self.channels = tuple(specs)
        self._record = query.record

    async def ask(self, link: Link) -> Answer:
        """Ask once (see labmon.drivers.driver.Query.ask)."""
        return self.answer(await self._asking.raws(link))

    def decode(self, payloads: Sequence[bytes]) -> Answer:
        """The answer that these payloads of the steps make. Raises Garbled."""
        return self.answer(self._asking.decode(payloads))

    def answer(self, raws: Sequence[Raw]) -> Answer:
        """The answer that the raw values of all fields make, in the order of `fields`."""
        if self._bad is not None and (reason := self._bad(raws)) is not None:
            return Answer([Outcome(None, reason, 0, self._raw(raws, at)) for at in self._own])
        outcomes = [Outcome(None, None) if make is None else make(raws) for make in self._makers]
        for at, compute in self._computed:
            outcomes[at] = compute(outcomes)
        answer = Answer(outcomes)
        if self._record is not None:
            index = self._asking.index
            time = raws[index[self._record.time]]
            if isinstance(time, (int, float)) and time == time:
                answer.time = int(time) * _NS
                answer.key = "/".join(str(raws[index[name]]) for name in self._record.key)
        return answer

    @staticmethod
    def _raw(raws: Sequence[Raw], at: int | None) -> Raw:
        raw = None if at is None else raws[at]
        return None if isinstance(raw, str) else raw

    @property
    def fields(self) -> list[str]:
        """Names of all fields, in the order of raw values."""
        return self._asking.names

    def raws(self, payloads: Sequence[bytes]) -> dict[str, Raw]:
        """Raw values by field name, from the payloads of the steps. Raises Garbled."""
        return dict(zip(self.fields, self._asking.decode(payloads), strict=True))

    def raws_of(self, values: Mapping[str, float | str], start: Mapping[str, Raw]) -> dict[str, Raw]:
        """Raw values with which the channels have these values (or, given a reason, this reason for none).

        `start` holds raw values of a good reply (see examples.typical); what no channel speaks of stays as it is.
        Raises ValueError for a channel that does not exist or is computed, and a reason that the file cannot express.
        """
        fields = {f.name: f for s in self.steps for f in s.fields}
        return raws_of(self._grammar, fields, self._params, values, start)

    def encode(self, raws: Mapping[str, Raw]) -> list[bytes]:
        """The payload of each step's reply with these raw values."""
        return [one.encode(raws) for one in self.steps]


class CompiledIdentity:
    """The identity check of a driver file for one device (labmon.drivers.driver.Identity)."""

    def __init__(self, identity: grammar.Identity, setting: Setting) -> None:
        self._asking = _Asking(identity.requests, setting)
        self.steps = self._asking.steps
        index = self._asking.index
        self._show = [(name, index[name]) for name in identity.show if name in index]
        self._expect = [
            (name, index[name], str(pattern))
            for name, given in identity.expect.items()
            if name in index and (pattern := value_of(given, setting.params)) is not None
        ]
        self._wrong = [
            (c, meaning.test_of(c, index[c.field], setting.params))
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
            if re.fullmatch(pattern, str(raws[at] if raws[at] is not None else "")) is None:
                raise WrongInstrument(found, f"{name} {pattern}")
        for condition, test in self._wrong:
            if test(raws):
                raise WrongInstrument(found, f"another {condition.field}")
        return found

    def encode(self, raws: Mapping[str, Raw]) -> list[bytes]:
        """The payload of each step's reply with these raw values."""
        return [one.encode(raws) for one in self.steps]

    @property
    def fields(self) -> list[str]:
        """Names of all fields, in the order of raw values."""
        return self._asking.names


class CompiledDriver:
    """A driver file, ready to make queries for devices (labmon.drivers.driver.Driver)."""

    def __init__(self, id_: str, file: grammar.DriverFile, source_text: str) -> None:
        self.id = id_
        self.file = file
        self.source_text = source_text
        self.title = file.title
        self.framings: tuple[str, ...] = tuple(file.framings)
        given = file.serial
        self.serial = SerialDefaults(**given.model_dump()) if given is not None else SerialDefaults()
        shown = {e.query for e in file.examples if e.readings is not None}
        self.proven = all(name in shown for name in file.queries)
        self.seen_on_hardware = any(e.origin.composed is None for e in file.examples)
        self._queries: dict[str, list[CompiledQuery]] = {}
        """By what they were made for: a query holds nothing of its device, so devices that are set alike share it."""

    def queries(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> list[CompiledQuery]:
        """The queries for one device. Raises ValueError when framing, address or parameters do not fit."""
        made_for = repr((framing, address, params))
        if made_for not in self._queries:
            setting = self.setting(framing, address, params)
            self._queries[made_for] = [
                self.query(name, setting)
                for name, query in self.file.queries.items()
                if applies(query.when, setting.params)
            ]
        return list(self._queries[made_for])

    def query(self, name: str, setting: Setting) -> CompiledQuery:
        """One query, for a setting already made. Raises ValueError for units that do not go together."""
        return CompiledQuery(name, self.file.queries[name], setting)

    def identity(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> CompiledIdentity | None:
        """The identity check for one device, where the file has one. Raises ValueError as `queries`."""
        setting = self.setting(framing, address, params)
        return CompiledIdentity(self.file.identity, setting) if self.file.identity is not None else None

    def setting(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> Setting:
        """Check what a site file says of a device. Raises ValueError."""
        if framing not in self.framings:
            raise ValueError(f"{self.id} does not speak {framing}; it speaks {', '.join(self.framings)}")
        return Setting(self.file, framing, self._address(framing, address), settle(self.file.params, params))

    def _address(self, framing: str, address: int | str | None) -> int | str | None:
        allowed = self.file.address
        if allowed is None and framing == "text":
            if address is not None:
                raise ValueError(f"{self.id} has no address on a text line")
            return None
        if allowed is None:
            allowed = grammar.Address.model_validate({"from": 1, "to": 247})
        if address is None:
            address = allowed.default
        if address is None:
            raise ValueError(f"{self.id} needs an address")
        if allowed.pattern is not None:
            if not isinstance(address, str) or re.fullmatch(allowed.pattern, address) is None:
                raise ValueError(f"address {address!r} does not match {allowed.pattern}")
            return address
        low, high = allowed.from_ or 0, allowed.to or 0
        if isinstance(address, bool) or not isinstance(address, int) or not low <= address <= high:
            raise ValueError(f"address {address!r} is not within {low}..{high}")
        return address

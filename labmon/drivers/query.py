"""A query of a driver file for one device: from its replies' raw values to one outcome per channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from labmon.drivers import computed, grammar, meaning, record_readers, records, streams
from labmon.drivers.asking import Asking
from labmon.drivers.conditions import FieldIndex
from labmon.drivers.driver import Answer, ChannelSpec, Outcome, Sign
from labmon.drivers.entries import entries_of
from labmon.drivers.given import applies
from labmon.drivers.setting import Setting
from labmon.drivers.values import raws_of, well_of
from labmon.links.link import Link
from labmon.model.reading import Raw, Reason

WAITS = {"high": 0.0, "normal": 1.0, "low": 10.0}
"""Seconds that a query that is due lets others go first. Bounded, so that none waits for ever."""


class CompiledQuery:
    """A query of a driver file for one device (labmon.drivers.driver.Query).

    `steps` are its requests: a simulator serves their `encode(raws)` payloads, with raw values by field name that
    `raws_of` makes of channel values. `timeout` holds for each step.
    """

    def __init__(self, name: str, query: grammar.Query, setting: Setting) -> None:
        self.name = name
        self.every = query.every
        self.waits = WAITS[query.priority]
        self.kind: Literal["live", "record", "stream"] = query.kind
        requests, asked_setting = records.asked(query, setting)
        self._asking = Asking(requests, asked_setting)
        self.steps = self._asking.steps
        self.timeout = self._asking.timeout
        self.longest = self._asking.longest
        self.silence = query.silence
        """Of a stream: seconds without a frame after which it is silent; None, three times its interval."""
        self.stream = streams.form(query, self.steps)
        """Of a stream: how its frames are known."""
        self.addressed = self.stream is not None and streams.addressed(query, setting)
        """Of a stream: whether its frames say which device sends them."""
        self._grammar = query
        self._params = setting.params
        self.entries = entries_of(query, self._asking.names, setting)
        """What takes blocks of its records apart; None where a reply is one record, or no record."""
        self._fields = [f for s in self.steps for f in s.fields] + list(self.entries.fields if self.entries else ())
        index, params = FieldIndex(self._fields), setting.params
        fields: dict[str, meaning.AnyField] = {f.name: f for f in self._fields}
        self._bad = meaning.verdict(query.bad_when, index, params)
        self._makers: list[meaning.Make | None] = []
        self._computed: list[tuple[int, computed.Computation]] = []
        self._own: list[int | None] = []
        specs: list[ChannelSpec] = []
        for one in query.channels:
            if not applies(one.when, params):
                continue
            if one.compute is not None:
                spec = meaning.spec_of(one, [], params)
                at = {s.id: (n, s) for n, s in enumerate(specs)}
                inputs = [at[name] for name in computed.operands(one.compute)]
                made = computed.computation(one, one.compute, spec, inputs, index, params)
                self._computed.append((len(specs), made))
                self._makers.append(None)
                self._own.append(None)
            else:
                sources = [source.field for source in meaning.sources(one, params)]
                spec = meaning.spec_of(one, [fields[name] for name in sources], params)
                self._makers.append(meaning.channel(one, fields, index, params))
                self._own.append(index[sources[0]] if len(sources) == 1 else None)
            specs.append(spec)
        self.channels = tuple(specs)
        self._setting = setting
        self._record = records.Meaning(query.record, index, setting) if query.record is not None else None
        self.more_steps = records.steps_of(query, setting)
        """Requests of a reading of records beyond those of one asking, by what they are for."""
        self.more_exchanges = records.most_of(query) * len(self.steps)
        """Exchanges that a turn of reading records can have beyond those of one asking."""
        self.way = records.way(query, setting)
        """How its records are read; None for live values."""
        self._alive = [(one.field, index[one.field], one.within) for one in query.alive if one.field in index]

    async def ask(self, link: Link) -> Answer:
        """Ask once (see labmon.drivers.driver.Query.ask)."""
        return self.answer(await self.read(link))

    @property
    def pauses(self) -> Sequence[float]:
        """Seconds of silence that the file demands before each step."""
        return self._asking.pauses

    async def read(self, link: Link) -> Sequence[Raw]:
        """Ask once; the raw values of all fields, for who looks at more than their meaning. Raises as `ask`."""
        return self._whole(await self._asking.raws(link))

    def decode(self, payloads: Sequence[bytes]) -> Answer:
        """The answer that these payloads of the steps make. Raises Garbled."""
        return self.answer(self._whole(self._asking.decode(payloads)))

    def _whole(self, raws: Sequence[Raw]) -> Sequence[Raw]:
        """With the values of the first record of a block; without them where it holds none."""
        if self.entries is None:
            return raws
        return next(iter(self.entries.split(raws)), raws)

    def answer(self, raws: Sequence[Raw]) -> Answer:
        """The answer that the raw values of all fields make, in the order of `fields`."""
        if self._record is not None:
            return self._recorded(self._record, raws)
        return self._answer(raws)

    def _recorded(self, record: records.Meaning, raws: Sequence[Raw]) -> Answer:
        """What is no record is nothing at all: zeros and garbage are not even kept as raw values."""
        if len(raws) < len(self._fields) or not record.present(raws):
            return Answer([Outcome(None, Reason.NO_DATA.value)] * len(self._own), present=False)
        return record.tell(self._answer(raws), raws)

    def _answer(self, raws: Sequence[Raw]) -> Answer:
        if self._bad is not None and (reason := self._bad(raws)) is not None:
            return Answer([Outcome(None, reason, 0, self._raw(raws, at)) for at in self._own])
        outcomes = [Outcome(None, None) if make is None else make(raws) for make in self._makers]
        for at, compute in self._computed:
            outcomes[at] = compute(outcomes, raws)
        answer = Answer(outcomes)
        if self._alive:
            answer.signs = [Sign(name, raws[at], within) for name, at, within in self._alive]
        return answer

    def reader(self) -> record_readers.Reader:
        """A reader of its records, for one device. Raises ValueError for a query of live values."""
        return record_readers.reader(self, self._grammar, self._setting)

    @staticmethod
    def _raw(raws: Sequence[Raw], at: int | None) -> Raw:
        raw = None if at is None else raws[at]
        return None if isinstance(raw, str) else raw

    @property
    def fields(self) -> list[str]:
        """Names of all fields, in the order of raw values."""
        return [f.name for f in self._fields]

    def raws(self, payloads: Sequence[bytes]) -> dict[str, Raw]:
        """Raw values by field name, from the payloads of the steps. Raises Garbled."""
        return dict(zip(self.fields, self._whole(self._asking.decode(payloads)), strict=False))

    def raws_of(self, values: Mapping[str, float | str], start: Mapping[str, Raw]) -> dict[str, Raw]:
        """Raw values with which the channels have these values (or, given a reason, this reason for none).

        `start` holds raw values of a good reply (see examples.typical); what no channel speaks of stays as it is.
        Raises ValueError for a channel that does not exist or is computed, and a reason that the file cannot express.
        """
        fields: dict[str, meaning.AnyField] = {f.name: f for f in self._fields}
        return raws_of(self._grammar, fields, self._params, values, start)

    def well(self, start: Mapping[str, Raw]) -> dict[str, Raw]:
        """The same raw values, changed so that no condition takes a value away or warns, as far as that can be."""
        fields: dict[str, meaning.AnyField] = {f.name: f for s in self.steps for f in s.fields}
        return well_of(self._grammar, fields, self._params, start)

    def encode(self, raws: Mapping[str, Raw]) -> list[bytes]:
        """The payload of each step's reply with these raw values."""
        if self.entries is not None:
            raws = {**raws, self.entries.field: self.entries.encode(raws)}
        return [one.encode(raws) for one in self.steps]

"""Asking a real instrument what its driver file says, and looking at the answer from every side."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from labmon.drivers import grammar, records, telling
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.course import changed
from labmon.drivers.driver import Answer, Outcome, WrongInstrument
from labmon.drivers.given import applies
from labmon.drivers.query import CompiledQuery
from labmon.drivers.setting import Setting
from labmon.drivers.steps import Step, Words
from labmon.drivers.watched import Seen, Watched
from labmon.drivers.words import WordBlock, WordField
from labmon.links.errors import LinkError, LinkLost
from labmon.links.stream import Listener, StreamForm
from labmon.model.reading import Raw

_ORDERED = ("u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64")
TINY = 1e-9
"""Nothing that is measured is smaller: a float with its words swapped often is."""
ORDERS: tuple[str, ...] = get_args(grammar.Order)


@dataclass(frozen=True, slots=True)
class OrderView:
    """A channel's value as each byte and word order would have it."""

    channel: str
    field: str
    type: str
    data: str
    """Its bytes as they came, in hex."""
    declared: str
    values: Mapping[str, float]
    """Order -> value in the channel's unit."""
    within: Mapping[str, bool]
    """Order -> whether it can be true: in the channel's range, and not tiny. Empty where the file names no range."""

    @property
    def telling(self) -> bool:
        """Whether the bytes tell the orders apart: zeros look right in all of them."""
        return len({repr(value) for value in self.values.values()}) > 1


@dataclass(slots=True)
class QueryProbe:
    """What came of one query. Without `answer` its `error` says why; with `effects` it was not asked."""

    name: str
    exchanges: list[Seen] = field(default_factory=list)
    """Of the last time that it was asked."""
    raws: dict[str, Raw] = field(default_factory=dict)
    answer: Answer | None = None
    error: str = ""
    refused: bool = False
    """The instrument answered with an error of its own."""
    times: list[float] = field(default_factory=list)
    """Seconds to the end of the reply, of each exchange."""
    failures: dict[str, int] = field(default_factory=dict)
    """How often it failed, by reason."""
    asked: int = 0
    orders: list[OrderView] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Probe:
    """What came of all."""

    identity: str | None = None
    """What the instrument said of itself."""
    variant: str = ""
    """The variant that it is thereby; empty where the file has none."""
    identity_error: str = ""
    identity_exchanges: list[Seen] = field(default_factory=list)
    queries: list[QueryProbe] = field(default_factory=list)
    setting: Setting | None = None
    """The device that the queries were asked as; not until the identity was."""
    settings: dict[str, Raw] | None = None
    """Of the guard: the settings that are watched."""
    guard_error: str = ""
    """What is set otherwise than the file expects, or why that is not known."""
    clock_ahead: float | None = None
    """Seconds by which its clock is ahead of ours."""
    clock_error: str = ""
    lost: str = ""
    """The port or connection was lost meanwhile."""

    @property
    def good(self) -> bool:
        """Whether everything that was asked was answered, by the right instrument."""
        asked = [query for query in self.queries if not query.effects]
        return (
            not self.identity_error
            and not self.lost
            and bool(asked)
            and all(query.answer is not None for query in asked)
        )


def effects_of(requests: Sequence[grammar.Request], setting: Setting) -> list[str]:
    """What asking does to the instrument: empty where it only reads."""
    found = []
    for one in requests:
        if applies(one.when, setting.params):
            if one.effect is not None:
                found.append(one.effect)
            if one.write is not None or changed(one):
                declared = [allowed.effect for allowed in setting.file.writes if _allows(allowed, one, setting)]
                found += declared or [telling.request(one)]
    session = setting.file.session
    for act in [*session.open, *session.wake, *session.close] if session is not None else []:
        if act.changes and applies(act.when, setting.params):
            declared = [allowed.effect for allowed in setting.file.writes if allowed.send == act.send]
            found += declared or [f"sends {telling.quoted(act.send or '')} at connect"]
    return list(dict.fromkeys(found))


def _of_steps(query: CompiledQuery, seen: Sequence[Seen], framing: str) -> list[Seen]:
    """The exchanges of the query's own requests: what opens, wakes and selects left out, of several tries the last."""
    own: list[Seen] = []
    waiting = list(seen)
    for step in query.steps:
        found = [n for n, one in enumerate(waiting) if _is_request(step, one, framing)]
        if not found:
            return list(seen)
        last = found[0]
        while last + 1 in found:
            last += 1
        own.append(waiting[last])
        waiting = waiting[last + 1 :]
    return own


def _is_request(step: Step, seen: Seen, framing: str) -> bool:
    return step.request.encode(_transaction(seen, framing)) == seen.sent


def _allows(allowed: grammar.AllowedWrite, one: grammar.Request, setting: Setting) -> bool:
    if one.send is not None:
        return allowed.send == one.send
    first = allowed.coil if one.write in ("coil", "coils") else allowed.holding
    return first is not None and first <= setting.value(one.at) < first + allowed.count


@dataclass(slots=True)
class Subject:
    """Whom a probe asks. `given` are the parameters that a person or the site file sets."""

    driver: CompiledDriver
    framing: str
    address: int | str | None
    given: Mapping[str, Any]
    link: Watched
    allow_effects: bool = False

    @property
    def setting(self) -> Setting:
        """What is known of the device, the parameters of its variant included."""
        return self.driver.setting(self.framing, self.address, self.given)

    def may(self, requests: Sequence[grammar.Request]) -> bool:
        """Whether these requests may be asked."""
        return self.allow_effects or not effects_of(requests, self.setting)


async def probe(subject: Subject, found: Probe, *, names: Sequence[str] = (), times: int = 5) -> None:
    """Ask identity, guard, clock and queries over an open link, each query `times` times (once where it has effects).

    What comes is put into `found` as it comes, so that an interrupted probe has what it saw. Raises nothing for what
    instrument and line do.
    """
    file = subject.driver.file
    try:
        await _identify(subject, found)
        if not names:
            await _guard(subject, found)
            await _clock(subject, found)
        found.setting = setting = subject.setting
        for name, query in file.queries.items():
            if applies(query.when, setting.params) and (not names or name in names):
                one = QueryProbe(name)
                found.queries.append(one)
                effects = effects_of(records.asked(query, setting)[0], setting)
                if effects and not subject.allow_effects:
                    one.effects = effects
                    continue
                asked = subject.driver.query(name, setting)
                if asked.stream is not None:
                    await _listen(asked, asked.stream, subject.link, one)
                    continue
                for _ in range(1 if effects else times):
                    await _ask(asked, setting, subject.link, one)
    except LinkLost as lost:
        found.lost = lost.reason


async def _identify(subject: Subject, found: Probe) -> None:
    """Who it is; a variant decides parameters of all that follows."""
    identity = subject.driver.identity(subject.framing, subject.address, subject.given)
    said = subject.driver.file.identity
    if identity is None or said is None or not subject.may(said.requests):
        return
    subject.link.seen.clear()
    try:
        identified = await identity.check(subject.link)
        found.identity, found.variant = identified.text, identified.variant
        subject.given = {**subject.given, **identity.variants.get(identified.variant, {})}
    except LinkLost:
        raise
    except WrongInstrument as wrong:
        found.identity, found.identity_error = wrong.found, str(wrong)
    except LinkError as error:
        found.identity_error = error.reason
    finally:
        found.identity_exchanges = list(subject.link.seen)


async def _guard(subject: Subject, found: Probe) -> None:
    guard, said = subject.driver.guard(subject.framing, subject.address, subject.given), subject.driver.file.guard
    if guard is None or said is None or not subject.may(said.requests):
        return
    try:
        settings = await guard.ask(subject.link)
    except LinkLost:
        raise
    except LinkError as error:
        found.guard_error = error.reason
    else:
        found.settings, found.guard_error = dict(settings.watched), settings.wrong


async def _clock(subject: Subject, found: Probe) -> None:
    clock, said = subject.driver.clock(subject.framing, subject.address, subject.given), subject.driver.file.clock
    if clock is None or said is None or not subject.may(said.requests):
        return
    asked = time.time_ns()
    try:
        shown = await clock.ask(subject.link)
    except LinkLost:
        raise
    except LinkError as error:
        found.clock_error = error.reason
    else:
        if shown is None:
            found.clock_error = "shows no time"
        else:
            found.clock_ahead = (shown - (asked + time.time_ns()) / 2) / 1e9
            if abs(found.clock_ahead) > clock.at_most:
                found.clock_error = "further off than the file allows"


async def _listen(query: CompiledQuery, form: StreamForm, link: Watched, one: QueryProbe) -> None:
    """Wait for one frame of a stream, as long as the file says that silence is none."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def hear(payload: bytes, _now: float) -> None:
        if not heard.done():
            heard.set_result(payload)

    one.asked = 1
    patience = query.silence or 3 * query.every
    link.begin()
    link.listen(Listener([(form, hear)]))
    try:
        async with asyncio.timeout(patience):
            payload = await heard
    except TimeoutError:
        one.error = f"silent (nothing of this form within {patience:g} s)"
        return
    finally:
        link.listen(None)
        one.exchanges = [Seen(b"", link.heard(), None)]
    try:
        one.answer = query.decode([payload])
        one.raws = query.raws([payload])
    except LinkError as error:
        one.error = error.reason


async def _ask(query: CompiledQuery, setting: Setting, link: Watched, one: QueryProbe) -> None:
    link.seen.clear()
    one.asked += 1
    try:
        raws = await query.read(link)
        answer: Answer | None = query.answer(raws)
        error = ""
    except LinkLost:
        raise
    except LinkError as failure:
        raws, answer, error = [], None, failure.reason
        one.failures[error] = one.failures.get(error, 0) + 1
    finally:
        exchanges = _of_steps(query, link.seen, setting.framing)
        one.times += [seen.seconds for seen in exchanges if seen.seconds is not None and not seen.error]
    if answer is None and one.answer is not None:
        return  # what was seen of an answer is worth more than the failure after it
    one.exchanges, one.answer, one.error = exchanges, answer, error
    one.refused = error.startswith("refused")
    if answer is not None:
        one.raws = dict(zip(query.fields, raws, strict=True))
        one.orders = list(_orders(query, setting.file.queries[query.name], setting, exchanges))


def _orders(
    query: CompiledQuery, said: grammar.Query, setting: Setting, exchanges: Sequence[Seen]
) -> Iterator[OrderView]:
    """Each channel that is a word of several bytes, in each order."""
    for step, seen in zip(query.steps, exchanges, strict=False):
        if not isinstance(step, Words) or step.table in ("coils", "discrete"):
            continue
        payload = step.request.match(seen.got, _transaction(seen, setting.framing))
        if payload is None:
            continue
        for channel in said.channels:
            if not applies(channel.when, setting.params) or channel.bit is not None or channel.compute is not None:
                continue
            for word in step.fields:
                if word.name in {source.field for source in channel.sources} and word.type in _ORDERED:
                    yield _view(channel, word, step, payload, setting)


def _transaction(seen: Seen, framing: str) -> int:
    return int.from_bytes(seen.sent[:2], "big") if framing == "modbus-tcp" else 0


def _view(channel: grammar.Channel, word: WordField, step: Words, payload: bytes, setting: Setting) -> OrderView:
    first = 2 * (word.address - step.address)
    data = payload[first : first + 2 * word.registers]
    scale, offset = float(setting.value(channel.scale)), float(setting.value(channel.offset))
    orders = ("ABCD", "BADC") if word.registers == 1 else ORDERS
    values: dict[str, float] = {}
    for order in orders:
        [raw] = WordBlock(0, word.registers, [dataclasses.replace(word, address=0, order=order)]).decode(data)
        values[order] = raw * scale + offset if isinstance(raw, (int, float)) else math.nan
    low, high = channel.range or (None, None)
    within = {}
    if low is not None and high is not None and not channel.scale_by and channel.unit_by is None:
        within = {order: low <= value <= high and not 0 < abs(value) < TINY for order, value in values.items()}
    declared = word.order if word.order in orders else {"CDAB": "ABCD", "DCBA": "BADC"}[word.order]
    return OrderView(channel.id, word.name, word.type, data.hex(" ").upper(), declared, values, within)


def timing(times: Sequence[float]) -> tuple[float, float, float] | None:
    """Fastest, median and slowest; None where nothing was answered."""
    return (min(times), statistics.median(times), max(times)) if times else None


def outcomes(query: CompiledQuery, answer: Answer) -> Iterator[tuple[str, Outcome]]:
    """The channels of an answer, by id."""
    for spec, outcome in zip(query.channels, answer.outcomes, strict=True):
        yield spec.id, outcome

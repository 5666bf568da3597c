"""A driver file's examples: its test, its documentation, and where a simulator starts from.

Each runs both ways through what serves the real line: the request that would be sent equals `sent`, and `got` passes
the link's matcher and decodes to what the example expects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from labmon.drivers import grammar
from labmon.drivers.asking import Asking
from labmon.drivers.call_step import Calling, PlayedTalk, Talk
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import Answer, ChannelSpec, Identified, Outcome, Settings, WrongInstrument
from labmon.drivers.guards import CompiledClock, CompiledGuard
from labmon.drivers.identity import CompiledIdentity
from labmon.drivers.query import CompiledQuery
from labmon.drivers.steps import Step
from labmon.drivers.text_step import Untold
from labmon.links.errors import Garbled, LinkError, Refused, Silent
from labmon.links.link import Link
from labmon.model.reading import Flag, Raw, reason_code

_BINARY = ("modbus-rtu", "modbus-tcp", "binary")
_TRANSACTION = 1
"""Transaction id that Modbus TCP examples are written with."""


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """What came of one example. `problems` is empty when it holds."""

    number: int
    """Position in the file, from 1."""
    title: str
    problems: tuple[str, ...]


def bytes_of(text: str, framing: str) -> bytes:
    """The bytes of an example: hex for RTU and TCP, characters otherwise. Raises ValueError."""
    return bytes.fromhex(text) if framing in _BINARY else text.encode("latin-1")


def run(driver: CompiledDriver) -> list[ExampleResult]:
    """Run all examples of a driver. Never raises for what stands in the file."""
    results = []
    for number, example in enumerate(driver.file.examples, 1):
        try:
            problems = _run(driver, example)
        except ValueError as error:
            problems = [str(error)]
        results.append(ExampleResult(number, title_of(example), tuple(problems)))
    return results


def title_of(example: grammar.Example) -> str:
    """What an example is of, and where from."""
    origin = example.origin
    kind, text = next(
        (kind, text)
        for kind, text in (("printed", origin.printed), ("recorded", origin.recorded), ("composed", origin.composed))
        if text is not None
    )
    return f"{asked_of(example)}: {kind} ({text})"


def asked_of(example: grammar.Example) -> str:
    """What an example asks: the query's name, `identity`, `guard`, `clock` or `set-clock`."""
    if example.query is not None:
        return example.query
    if example.set_clock is not None:
        return "set-clock"
    return "identity" if example.identity else "guard" if example.guard else "clock"


Target = CompiledQuery | CompiledIdentity | CompiledGuard | CompiledClock | Asking


def target_of(driver: CompiledDriver, example: grammar.Example, framing: str | None = None) -> Target:
    """What an example asks, for the device that it tells of; for `set-clock` what sets it. Raises ValueError.

    `framing`: another of the file's than the one that its bytes are in.
    """
    framing = framing or example.framing or driver.framings[0]
    setting = driver.setting(framing, example.address, example.params)
    if example.query is not None:
        return driver.query(example.query, setting)
    what = asked_of(example)
    made: CompiledIdentity | CompiledGuard | CompiledClock | None
    if what == "identity":
        made = driver.identity(framing, example.address, example.params)
    elif what == "guard":
        made = driver.guard(framing, example.address, example.params)
    else:
        made = clock = driver.clock(framing, example.address, example.params)
        if clock is not None and example.set_clock is not None:
            return clock.setting(example.set_clock * 1_000_000_000)
    if made is None:
        raise ValueError(f"a device with these parameters has no {what}")
    return made


def payloads_of(steps: Sequence[Step], example: grammar.Example, framing: str) -> list[bytes]:
    """Payloads of an example's replies, taken by the link's matchers. Raises what they raise, and ValueError."""
    payloads = []
    for step, exchange in zip(steps, example.exchanges, strict=True):
        if isinstance(step, Calling):
            raise ValueError("asked by a function: its replies are not taken one by one")  # noqa: TRY004
        got = bytes_of(exchange.got, framing)
        if isinstance(step, Untold):
            payloads.append(b"")
            continue
        if not got:
            raise Silent("nothing came")
        payload = step.request.match(got, _TRANSACTION)
        manner = step.request.manner
        if payload is None and manner is not None and manner.over is not None:
            payload = manner.over(got)  # all has come, and then the pause
        if payload is None:
            # What the link says when the time is over.
            if step.request.begins(got, _TRANSACTION):
                raise Silent(f"incomplete: {exchange.got!r}")
            raise Garbled(f"not a reply to this request: {exchange.got!r}")
        payloads.append(payload)
    return payloads


def _run(driver: CompiledDriver, example: grammar.Example) -> list[str]:
    framing = example.framing or driver.framings[0]
    target = target_of(driver, example)
    if by_calls(target):
        return _run_calls(driver, target, example, framing)
    asked = len(example.exchanges)
    if asked > len(target.steps) or (asked < len(target.steps) and example.fails is None):
        return [f"{asked} exchanges, but {len(target.steps)} requests"]
    problems = []
    for number, (step, exchange) in enumerate(zip(target.steps, example.exchanges, strict=False), 1):
        sent = step.request.encode(_TRANSACTION)
        if sent != bytes_of(exchange.sent, framing):
            shown = sent.hex(" ").upper() if framing in _BINARY else repr(sent.decode("latin-1"))
            problems.append(f"exchange {number}: labmon sends {shown}")
    try:
        payloads = payloads_of(target.steps[:asked], example, framing)
        if asked == len(target.steps):
            problems += problems_of(target, target.decode(payloads), example)
    except (LinkError, WrongInstrument) as error:
        failure = failure_of(error)
        if failure != example.fails:
            problems.append(f"{failure}: {error}")
        return problems
    if example.fails is not None:
        problems.append(f"does not fail as {example.fails}")
    return problems


def _run_calls(driver: CompiledDriver, target: Target, example: grammar.Example, framing: str) -> list[str]:
    """An example of what functions of a Python driver ask: they talk with the example itself."""
    player = talk_of(driver, example, framing)
    try:
        raws = called(target, player)
        if isinstance(target, Asking):
            told: Told = raws
        else:
            told = target.answer(raws) if isinstance(target, CompiledQuery) else target.judge(raws)
        problems = problems_of(target, told, example)
    except (LinkError, WrongInstrument) as error:
        failure = failure_of(error)
        return player.problems + ([] if failure == example.fails else [f"{failure}: {error}"])
    except Exception as error:  # noqa: BLE001 - a driver's own fault
        return [*player.problems, f"{type(error).__name__}: {error}"]
    if example.fails is not None:
        problems.append(f"does not fail as {example.fails}")
    if player.left:
        problems.append(f"{player.left} exchanges were not asked for")
    return player.problems + problems


def talk_of(driver: CompiledDriver, example: grammar.Example, framing: str) -> PlayedTalk:
    """The far end of an example, for functions that ask. Raises ValueError."""
    setting = driver.setting(framing, example.address, example.params)
    exchanges = [(bytes_of(e.sent, framing), bytes_of(e.got, framing)) for e in example.exchanges]
    return PlayedTalk(exchanges, setting.params, setting.address)


def by_calls(target: Target) -> bool:
    """Whether functions of a Python driver ask it."""
    return any(isinstance(step, Calling) for step in target.steps)


def called(target: Target, talk: Talk) -> list[Raw]:
    """Raw values of all fields of a target that functions ask. Raises what they raise, and DriverFault."""
    return [raw for step in target.steps if isinstance(step, Calling) for raw in step.taken(step.function(talk))]


Told = Answer | Identified | Settings | int | None | Sequence[Raw]
"""What comes of asking a Target."""


async def ask(target: Target, link: Link) -> Told:
    """Ask once over a link. Raises what the link raises, and WrongInstrument."""
    if isinstance(target, CompiledIdentity):
        return await target.check(link)
    return await (target.raws(link) if isinstance(target, Asking) else target.ask(link))


def problems_of(target: Target, told: Told, example: grammar.Example) -> list[str]:
    """What is not as the example expects."""
    pairs: list[tuple[str, object, object]] = []
    if isinstance(target, CompiledQuery) and isinstance(told, Answer):
        return compare(target, told, example)
    if example.fails is not None:
        return []
    if isinstance(told, Identified):
        pairs = [("found", told.text, example.found), ("variant", told.variant, example.variant or "")]
    elif isinstance(told, Settings):
        pairs = [
            ("settings", dict(told.watched), example.settings),
            ("wrong-mode", told.wrong, example.wrong_mode or ""),
        ]
    elif told is None or isinstance(told, int):
        pairs = [("time", None if told is None else told // 1_000_000_000, example.time)]
    return [f"{name} {found!r} instead of {wanted!r}" for name, found, wanted in pairs if found != wanted]


def failure_of(error: Exception) -> str:
    """What an example calls such a failure."""
    if isinstance(error, (Refused, Silent)):
        return "refused" if isinstance(error, Refused) else "silent"
    return "wrong-instrument" if isinstance(error, WrongInstrument) else "garbled"


def compare(query: CompiledQuery, answer: Answer, example: grammar.Example) -> list[str]:
    """In what an answer is not what the example expects; nothing for one that expects a failure."""
    if example.no_record:
        return [] if not answer.present else ["there is a record, and the example says that there is none"]
    if example.readings is None:
        return []
    if not answer.present:
        return ["there is no record"]
    problems = []
    for spec, outcome in zip(query.channels, answer.outcomes, strict=True):
        if spec.id not in example.readings:
            problems.append(f"{spec.id}: {_told(outcome)}, and the example does not say what is expected")
            continue
        expected = example.readings[spec.id]
        if not agrees(expected, outcome):
            problems.append(f"{spec.id}: {_told(outcome)} instead of {expected}")
        warned = bool(outcome.flags & Flag.WARNING)
        if warned is not (spec.id in example.warned):
            problems.append(f"{spec.id}: {'carries a' if warned else 'lacks the'} warning")
    if missing := set(example.readings) - {spec.id for spec in query.channels}:
        problems.append(f"no channels {', '.join(sorted(missing))} on a device with these parameters")
    time = None if answer.time is None else answer.time // 1_000_000_000
    if time != example.time:
        problems.append(f"time {time} instead of {example.time}")
    if answer.key != example.key:
        problems.append(f"key {answer.key} instead of {example.key}")
    return problems


def _told(outcome: Outcome) -> str:
    return str(outcome.reason if outcome.value is None else outcome.value)


def agrees(expected: float | str, outcome: Outcome) -> bool:
    """Whether an outcome is what an example says: a number to the digits written, a reason with its detail if given."""
    if isinstance(expected, str):
        reason = outcome.reason or ""
        return reason == expected or (reason_code(reason) == expected)
    if outcome.value is None:
        return False
    exponent = Decimal(repr(expected)).normalize().as_tuple().exponent
    places = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return round(outcome.value, places) == expected or outcome.value == expected


def specs(driver: CompiledDriver, example: grammar.Example) -> tuple[ChannelSpec, ...]:
    """The channels of an example's query; none for the identity."""
    target = target_of(driver, example)
    return target.channels if isinstance(target, CompiledQuery) else ()


def typical(driver: CompiledDriver, query: CompiledQuery, framing: str, params: Mapping[str, object]) -> dict[str, Raw]:
    """Raw values of a good reply to `query`: those of the first example in which all readings have values.

    An example for a device with other parameters serves as far as its fields go. Empty where there is none.
    """
    found: dict[str, Raw] = {}
    for example in driver.file.examples:
        if example.query != query.name or not example.readings:
            continue
        if any(isinstance(value, str) for value in example.readings.values()):
            continue
        target = target_of(driver, example)
        if isinstance(target, CompiledQuery):
            raws = target.raws(payloads_of(target.steps, example, example.framing or driver.framings[0]))
            if example.params == params:
                return raws
            found = found or raws
    return {name: raw for name, raw in found.items() if name in query.fields}

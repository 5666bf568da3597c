"""How stored records are asked for, and what makes a reply one of them: its time, its key, its number.

The readers, which know one device's buffer, are in record_readers and record_index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from labmon.drivers import grammar, meaning
from labmon.drivers.asking import Asking
from labmon.drivers.driver import Answer, Last
from labmon.drivers.given import value_of
from labmon.drivers.moment import time_of
from labmon.drivers.setting import Setting
from labmon.drivers.steps import pdu_address
from labmon.model.reading import Raw

_NS = 1_000_000_000
GONE = "the record that was read last is no more: the instrument's buffer was cleared, or has wrapped"
INDEX = "index"
"""The placeholder of a request that stands for the index of a record."""


def same(last: Last | None, answer: Answer | None) -> bool:
    """Whether a record is the one that was taken last. Where its time cannot be one the key alone decides."""
    if last is None or answer is None or last[1] != answer.key:
        return False
    return answer.time is None or not possible(answer.time) or last[0] == answer.time


def last_of(answer: Answer) -> Last:
    """What is remembered of a record as the last one: its time, -1 where it has none, and its key."""
    return -1 if answer.time is None else answer.time, answer.key or ""


def possible(time: int) -> bool:
    """Whether a time (UTC ns) can be one of a reading."""
    return 0 <= time < 2**63


@dataclass(frozen=True, slots=True)
class Way:
    """How records are read, for who plays the instrument."""

    register: int | None = None
    """Address (from 0) of the register that takes the index."""
    first: int = 0
    newest: int | None = None
    count: str | None = None
    """Field with the number of records."""


def way(given: grammar.Query, setting: Setting) -> Way | None:
    """How the records of a query are read; None for a query of live values."""
    record = given.record
    if record is None:
        return None
    index = record.index
    if index is None:
        return Way(count=record.check.waiting if record.check is not None else None)
    register = None if index.at is None else pdu_address(index.at, "holding", setting)
    newest = None if index.newest is None else int(setting.value(index.newest))
    return Way(register, int(setting.value(index.first)), newest, index.count)


class Meaning:
    """What makes a reply a record: its time, key, number, and whether there is one at all."""

    def __init__(self, record: grammar.Record, index: dict[str, int], setting: Setting) -> None:
        self._time = time_of(record.time, index, setting)
        self._key = [index[name] for name in record.key]
        self._number = None if record.number is None else index[record.number.field]
        given = record.interval
        self._interval = index[given.field] if isinstance(given, grammar.FieldRef) else None
        fixed = None if isinstance(given, grammar.FieldRef) else value_of(given, setting.params)
        self._fixed = float(fixed) if isinstance(fixed, (int, float)) else None
        # A condition that cannot be tested holds, as everywhere: a record is not dropped for it.
        self._present = meaning.tests(record.present_when, index, setting.params)

    def present(self, raws: Sequence[Raw]) -> bool:
        """Whether there is a record."""
        return all(test(raws) for test in self._present)

    def tell(self, answer: Answer, raws: Sequence[Raw]) -> Answer:
        """Say of the answer which record it is."""
        answer.time = self._time(raws)
        answer.key = "/".join(str(raws[at]).replace("/", "|") for at in self._key)
        number = None if self._number is None else raws[self._number]
        answer.number = number if isinstance(number, int) else None
        interval = self._fixed if self._interval is None else raws[self._interval]
        answer.interval = float(interval) if isinstance(interval, (int, float)) and interval > 0 else None
        return answer


LOOKS = 20
"""Records that a turn may read to find its place, beside those that it takes: 16 halves of a buffer, and its ends."""


def most_of(given: grammar.Query) -> int:
    """Records that one turn reads at most beyond one; 0 for a query of live values."""
    record = given.record
    if record is None:
        return 0
    return 2 if record.index is None else record.at_most + LOOKS


def asked(query: grammar.Query, setting: Setting) -> tuple[list[grammar.Request], Setting]:
    """All requests of one asking of a query: for a record the check, the index of the newest, then the record."""
    record = query.record
    if record is None:
        return list(query.requests), setting
    requests = list(record.check.requests) if record.check is not None else []
    if record.index is not None:
        shown = record.index.newest if record.index.newest is not None else record.index.first
        selected, setting = select(record.index, int(setting.value(shown)), setting)
        requests += selected
    return requests + list(query.requests), setting


def select(index: grammar.RecordIndex, number: int, setting: Setting) -> tuple[list[grammar.Request], Setting]:
    """The request that selects a record, or the setting in which `{index}` of the requests is its number."""
    if index.write is None:
        return [], replace(setting, params={**setting.params, INDEX: number})
    # The number was checked where it came from: what labmon makes itself need not pass the grammar again.
    return [grammar.Request.model_construct(write=index.write, at=index.at, value=number, fields={})], setting


def steps_of(given: grammar.Query, setting: Setting) -> dict[str, Any]:
    """Requests that a reading of records has beyond those of one asking, by what they are for."""
    record = given.record
    if record is None:
        return {}
    more = {"pop": record.queue.pop if record.queue is not None else None}
    if record.logger is not None:
        more |= {"first": record.logger.first, "repeat": record.logger.repeat}
    return {name: Asking([request], setting).steps for name, request in more.items() if request is not None}

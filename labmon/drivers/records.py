"""How stored records are read: each once, in their order, in bounded turns, without a word about the journal.

A reader holds what is known of one device's buffer. It is told which record was taken last and returns those that came
after; where that one is in the buffer is found anew whenever there is doubt, so that a buffer that was cleared, wrapped
or filled by somebody else meanwhile neither loses nor doubles a record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from labmon.drivers import grammar, meaning
from labmon.drivers.asking import Asking
from labmon.drivers.driver import Answer, Last, Turn
from labmon.drivers.entries import entries_of
from labmon.drivers.given import value_of
from labmon.drivers.moment import time_of
from labmon.drivers.setting import Setting
from labmon.drivers.steps import pdu_address
from labmon.links.errors import Garbled
from labmon.links.link import Link
from labmon.model.reading import Raw

if TYPE_CHECKING:
    from labmon.drivers.query import CompiledQuery

_NS = 1_000_000_000
GONE = "the record that was read last is no more: the instrument's buffer was cleared, or has wrapped"
INDEX = "index"
"""The placeholder of a request that stands for the index of a record."""


def same(last: Last | None, answer: Answer | None) -> bool:
    """Whether a record is the one that was taken last. Where its time cannot be one the key alone decides."""
    if last is None or answer is None or last[1] != answer.key:
        return False
    return answer.time is None or not possible(answer.time) or last[0] == answer.time


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


def reader(query: CompiledQuery, given: grammar.Query, setting: Setting) -> Reader:
    """A reader for one device. Raises ValueError where the query is not of records."""
    record = given.record
    if record is None:
        raise ValueError(f"query {query.name} reads no records")
    if record.index is not None and setting.value(record.index.take) == "all":
        return IndexReader(query, given, record.index, setting)
    if record.queue is not None:
        return QueueReader(query, given, record.queue, setting)
    if record.logger is not None:
        return LoggerReader(query, given, record.logger, setting)
    return NewestReader(query.ask, numbered_of(record))


def numbered_of(record: grammar.Record) -> tuple[int, int | None] | None:
    """See labmon.drivers.driver.RecordReader.numbered."""
    return None if record.number is None else (record.key.index(record.number.field), record.number.modulo)


class NewestReader:
    """Only the latest completed record can be read."""

    confirms = False

    def __init__(self, ask: Callable[[Link], Awaitable[Answer]], numbered: tuple[int, int | None] | None = None):
        self.numbered = numbered
        self._ask = ask

    def forget(self) -> None:
        """Nothing is known."""

    async def turn(self, link: Link, last: Last | None) -> Turn:
        """Read it; it is new when it is not the last one taken."""
        answer = await self._ask(link)
        if not answer.present:
            return Turn([], absent=True)
        return Turn([], shown=answer) if same(last, answer) else Turn([answer])


class _Checked:
    """What is asked once per turn before records are read, and the reading of one record."""

    def __init__(self, query: CompiledQuery, given: grammar.Query, setting: Setting) -> None:
        record = given.record
        assert record is not None
        self.numbered = numbered_of(record)
        self.query = query
        self.given = given
        self.setting = setting
        self.most = record.at_most
        check = record.check
        self._check = Asking(check.requests, setting) if check is not None else None
        self.names = self._check.index if self._check is not None else {}
        self._new = meaning.tests(check.new_when, self.names, setting.params) if check is not None else []
        self._waiting = self.names[check.waiting] if check is not None and check.waiting is not None else None
        self._waited: Raw = None
        self._done = False
        """Whether the turn before has read all that there was."""
        self.checked: Sequence[Raw] = ()

    async def look(self, link: Link) -> bool:
        """Ask the check; whether there can be anything new."""
        if self._check is None:
            return True
        self.checked = await self._check.raws(link)
        waiting = None if self._waiting is None else self.checked[self._waiting]
        changed, self._waited = waiting != self._waited, waiting
        if not self._new or not self._done or changed:
            return True
        return any(test(self.checked) for test in self._new)

    def waits(self) -> int | None:
        """How many records wait, where the instrument says so."""
        return self._waited if isinstance(self._waited, int) else None

    def done(self, *, all_read: bool) -> None:
        """A turn has come to its end."""
        self._done = all_read

    def answer(self, raws: Sequence[Raw]) -> Answer:
        """The record that these raw values of its requests make, with those of the check."""
        return self.query.answer([*self.checked, *raws])


class IndexReader:
    """Records are selected by an index. The buffer may be full: then each new record moves or overwrites an old one."""

    confirms = False

    def __init__(
        self, query: CompiledQuery, given: grammar.Query, index: grammar.RecordIndex, setting: Setting
    ) -> None:
        self._one = _Checked(query, given, setting)
        self.numbered = self._one.numbered
        self._index = index
        self._first = int(setting.value(index.first))
        newest = setting.value(index.newest) if index.newest is not None else None
        self._newest = None if newest is None else int(newest)
        self._count_at = self._one.names[index.count]
        self._most = self._one.most
        self._size = self._most
        self._at: int | None = None
        """Place of the record taken last, from 0, as far as known."""
        self._count = 0
        self.only_newest = False
        """Whether nobody can say which record was taken last, so that none but the newest is read."""
        self._moved = False
        """Whether records came while others were read, and moved them."""
        self._searched: tuple[Last | None, int, int] | None = None
        """What is looked for from the end of the buffer, the count when that began, and the place to look at next."""
        self._gone: Last | None = None
        """The last record taken, when it was looked for everywhere and is no more."""

    def forget(self) -> None:
        """Where the last record stands is looked up again."""
        self._at = self._searched = None
        self._one.done(all_read=False)

    async def turn(self, link: Link, last: Last | None) -> Turn:
        """See labmon.drivers.driver.RecordReader. After a failure fewer records are read at once."""
        try:
            found = await self._turn(link, last)
        except BaseException:
            self._size = max(1, self._size // 2)
            self._one.done(all_read=False)
            raise
        # Records that come faster than so many can be read move the buffer each time.
        self._size = max(1, self._size // 2) if self._moved else min(self._most, self._size * 2)
        self._moved = False
        self._one.done(all_read=not found.more)
        return found

    async def _turn(self, link: Link, last: Last | None) -> Turn:
        fresh = await self._one.look(link)
        before, count = self._count, self._counted()
        self._count = count
        if count < before:
            self._at = None
        if not count:
            return Turn([], absent=True)
        if not fresh and count == before:
            return Turn([])
        newest = await self._read(link, self._newest if self._newest is not None else self._first + count - 1)
        if newest is None:
            return Turn([], absent=True)
        if same(last, newest):
            self._searched = None
            return Turn([], shown=newest)
        if self.only_newest:
            return Turn([newest])
        if self._newest is not None:
            # It may have come after the others were counted, and would be looked for among those in vain.
            await self._one.look(link)
            self._count = count = max(count, self._counted())
        grown = last is not None and self._at is not None and self._at == count - 2 and count == before + 1
        if grown and same(last, await self._place(link, count - 2)):
            # One more than there was, behind the one taken last: this is it. A full buffer's count does not grow.
            self._at = count - 1
            return Turn([newest])
        return await self._after(link, last, newest, count)

    def _counted(self) -> int:
        count = self._one.checked[self._count_at]
        return count if isinstance(count, int) and count > 0 else 0

    async def _after(self, link: Link, last: Last | None, newest: Answer, count: int) -> Turn:
        """Read on from the last record taken, or from the oldest where that is no more, up to the newest."""
        lost = ""
        start: int | None = None
        if last is not None and last != self._gone:
            start = await self._find(link, last, count)
            if start is None and self._searched is not None:
                return Turn([], more=True)
            if start is None:
                self._gone = last
        if start is None:
            if last is not None:
                lost = GONE
            # All that there is, the oldest first: the one behind the newest, where that is not the last of the buffer.
            start = count - 1
            if self._newest is not None and not _alike(newest, await self._place(link, start)):
                start = await self._search(link, _last_of(newest), count)
                if start is None:
                    return Turn([], more=self._searched is not None)
        return await self._read_on(link, last, start, newest, count, lost)

    async def _read_on(self, link: Link, last: Last | None, start: int, newest: Answer, count: int, lost: str) -> Turn:
        anchored = last is not None and not lost
        records: list[Answer] = []
        seen = last if anchored else None
        at = place = start
        for _ in range(min(count, self._size)):
            place = (place + 1) % count
            answer = await self._place(link, place)
            if answer is None:
                continue
            if seen is None:
                seen, start = _last_of(answer), place
            records.append(answer)
            at = place
            if _alike(newest, answer):
                break
        # In a full buffer a record that came meanwhile has moved the others, and one of them was passed over.
        if (len(records) > 1 or anchored) and not same(seen, await self._place(link, start)):
            self._at = None
            self._moved = True
            return Turn([], more=True)
        self._at = at
        return Turn(records, more=bool(records) and not _alike(newest, records[-1]), lost=lost)

    # ------------------------------------------------------------------ where the last record stands

    async def _find(self, link: Link, last: Last, count: int) -> int | None:
        if self._at is not None and self._at < count and same(last, await self._place(link, self._at)):
            self._searched = None
            return self._at
        self._at = None
        if self._searched is None or self._searched[0] != last:
            found = await self._by_time(link, last, count)
            if found is not None:
                self._at, self._searched = found, None
                return found
        return await self._search(link, last, count)

    async def _by_time(self, link: Link, last: Last, count: int) -> int | None:
        """The place of a record in a buffer whose times go up, as they nearly always do: a dozen looks."""
        low, high = 0, count - 1
        while low <= high:
            middle = (low + high) // 2
            answer = await self._place(link, middle)
            if answer is None or answer.time is None:
                return None
            if same(last, answer):
                return middle
            if answer.time < last[0]:
                low = middle + 1
            elif answer.time > last[0]:
                high = middle - 1
            else:
                return None
        return None

    async def _search(self, link: Link, last: Last, count: int) -> int | None:
        """Look at every place from the end, some in each turn; None with `_searched` set: not all are looked at."""
        place = count - 1
        if self._searched is not None and self._searched[0] == last and self._searched[1] <= count:
            place = min(self._searched[2], count - 1)
        for _ in range(self._size):
            if place < 0:
                break
            answer = await self._place(link, place)
            if same(last, answer):
                self._searched = None
                return place
            place -= 1
        self._searched = (last, count, place) if place >= 0 else None
        return None

    async def _place(self, link: Link, place: int) -> Answer | None:
        return await self._read(link, self._first + place)

    async def _read(self, link: Link, number: int) -> Answer | None:
        requests, setting = select(self._index, number, self._one.setting)
        asking = Asking([*requests, *self._one.given.requests], setting)
        answer = self._one.answer(await asking.raws(link))
        return answer if answer.present else None


def _alike(one: Answer | None, other: Answer | None) -> bool:
    """Whether two answers are of the same record."""
    if one is None or other is None:
        return one is other
    return one.key == other.key and one.time == other.time


def _last_of(answer: Answer) -> Last:
    return -1 if answer.time is None else answer.time, answer.key or ""


class QueueReader:
    """The oldest of the records that wait is shown, and makes room for the next when it is popped."""

    confirms = True

    def __init__(
        self, query: CompiledQuery, given: grammar.Query, queue: grammar.RecordQueue, setting: Setting
    ) -> None:
        self._one = _Checked(query, given, setting)
        self.numbered = self._one.numbered
        self._asking = Asking(given.requests, setting)
        self._pop = Asking([queue.pop], setting)

    def forget(self) -> None:
        """What is shown is looked at again."""
        self._one.done(all_read=False)

    async def turn(self, link: Link, last: Last | None) -> Turn:
        """Pop what is on the disk, and read what is shown then."""
        self._one.done(all_read=False)
        if not await self._one.look(link):
            self._one.done(all_read=True)
            return Turn([])
        shown = await self._shown(link)
        if same(last, shown):
            waited = self._one.waits()
            await self._pop.raws(link)
            await self._one.look(link)
            shown = await self._shown(link)
            if same(last, shown) and not self._fell(waited):
                raise Garbled("the queue shows a record again that was taken out of it")
        self._one.done(all_read=shown is None)
        return Turn([], absent=True) if shown is None else Turn([shown], more=True)

    def _fell(self, waited: int | None) -> bool:
        """Whether one less waits: what is shown is another record, although it looks the same."""
        waits = self._one.waits()
        return waited is not None and waits is not None and waits < waited

    async def _shown(self, link: Link) -> Answer | None:
        answer = self._one.answer(await self._asking.raws(link))
        return answer if answer.present else None


class LoggerReader:
    """Records come block by block: the first, the next, and the last one again.

    The instrument moves on with each block, so the next is asked for when the one before is on the disk. After a start,
    or a reply that did not come through, it is found again what was taken: by the last block again where that is all
    that can be had, else from the first on, up to the record taken last.
    """

    confirms = True

    def __init__(
        self, query: CompiledQuery, given: grammar.Query, logger: grammar.RecordLogger, setting: Setting
    ) -> None:
        self._one = _Checked(query, given, setting)
        self.numbered = self._one.numbered
        self._next = Asking(given.requests, setting)
        self._first = Asking([logger.first], setting) if logger.first is not None else None
        self._repeat = Asking([logger.repeat], setting) if logger.repeat is not None else None
        names = [*self._one.names, *self._next.names]
        self._entries = entries_of(given, names, setting)
        self._stands: Literal["unknown", "asked", "behind"] = "unknown"
        """Where the instrument stands: behind the block read last, or there or one further, or nobody knows."""
        self._looking = False
        """Whether records are passed over up to the one taken last."""
        self._gone: Last | None = None
        """The last record taken, when it was looked for everywhere and is no more."""
        self._head: Last | None = None
        """The first record of the log, when it was read from there."""
        self._trusted = False
        """Whether the block read now follows one in which the record taken last was found."""

    def forget(self) -> None:
        """Where the instrument stands is not known."""
        self._stands, self._trusted = "unknown", False

    async def turn(self, link: Link, last: Last | None) -> Turn:
        """See labmon.drivers.driver.RecordReader."""
        if not await self._one.look(link):
            return Turn([])
        self._one.done(all_read=False)
        asking = self._asking(last)
        if asking is not self._first:
            self._stands = "asked"
        raws = await asking.raws(link)
        named = dict(zip(asking.names, raws, strict=True))
        ordered = [*self._one.checked, *(named[name] for name in self._next.names)]
        whole = [ordered] if self._entries is None else self._entries.split(ordered)
        self._stands = "behind"
        most = 1 if self._entries is None else self._entries.most
        answers = [self._one.query.answer(one) for one in whole]
        block = [answer for answer in answers if answer.present]
        if asking is self._first:
            self._head = None
        elif asking is self._repeat and not block and self._first is not None:
            # It sent nothing before: it began anew.
            self._stands = "unknown"
            return Turn([], more=self._looking)
        turn = self._new(block, last, full=len(whole) == most)
        if asking is self._first and block:
            self._head = _last_of(block[0])
        self._one.done(all_read=not turn.more)
        return turn

    def _asking(self, last: Last | None) -> Asking:
        """What to ask: after a reply that did not come through the same block again, where that can be had."""
        if self._stands == "behind":
            return self._next
        if self._first is not None and (self._stands == "unknown" or self._repeat is None):
            self._looking = last is not None and last != self._gone
            return self._first
        return self._repeat or self._next

    def _new(self, block: list[Answer], last: Last | None, *, full: bool) -> Turn:
        """The records of a block that come after the last one taken."""
        places = [n for n, answer in enumerate(block) if same(last, answer)]
        more = full and bool(block)
        if places:
            self._trusted = more and (self._trusted or self._looking)
            self._looking = False
            return Turn(block[places[-1] + 1 :], more=more, shown=block[places[-1]])
        if not self._looking:
            if self._older(block, last):
                self._stands = "unknown"
                return Turn([], more=True)
            self._trusted = self._trusted and more
            lost = GONE if last is not None and last == self._gone else ""
            return Turn(block, more=more, lost=lost if block else "", absent=last is None and not block)
        if not more:
            # Looked through whole: it is no more, and all that is there came after it.
            self._gone, self._looking, self._stands = last, False, "unknown"
            return Turn([], more=bool(block))
        return Turn([], more=True)

    def _older(self, block: list[Answer], last: Last | None) -> bool:
        """Whether the instrument seems to have begun anew with its first block, unasked: it had no power."""
        if self._first is None or not block or last is None or last == self._gone:
            return False
        if same(self._head, block[0]):
            return True
        time = block[0].time
        return not self._trusted and time is not None and time < last[0]


Reader = NewestReader | IndexReader | QueueReader | LoggerReader


def steps_of(given: grammar.Query, setting: Setting) -> dict[str, Any]:
    """Requests that a reading of records has beyond those of one asking, by what they are for."""
    record = given.record
    if record is None:
        return {}
    more = {"pop": record.queue.pop if record.queue is not None else None}
    if record.logger is not None:
        more |= {"first": record.logger.first, "repeat": record.logger.repeat}
    return {name: Asking([request], setting).steps for name, request in more.items() if request is not None}

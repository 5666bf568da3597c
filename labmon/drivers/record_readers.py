"""How stored records are read: each once, in their order, in bounded turns, without a word about the journal.

A reader holds what is known of one device's buffer. It is told which record was taken last and returns those that came
after; where that one is in the buffer is found anew whenever there is doubt, so that a buffer that was cleared, wrapped
or filled by somebody else meanwhile neither loses nor doubles a record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from labmon.drivers import grammar
from labmon.drivers.asking import Asking
from labmon.drivers.driver import Answer, Last, Turn
from labmon.drivers.entries import entries_of
from labmon.drivers.record_index import IndexReader
from labmon.drivers.record_turn import Checked, numbered_of
from labmon.drivers.records import GONE, last_of, same
from labmon.drivers.setting import Setting
from labmon.links.errors import Garbled
from labmon.links.link import Link

if TYPE_CHECKING:
    from labmon.drivers.query import CompiledQuery


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


class QueueReader:
    """The oldest of the records that wait is shown, and makes room for the next when it is popped."""

    confirms = True

    def __init__(
        self, query: CompiledQuery, given: grammar.Query, queue: grammar.RecordQueue, setting: Setting
    ) -> None:
        self._one = Checked(query, given, setting)
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
        self._one = Checked(query, given, setting)
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
            self._head = last_of(block[0])
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

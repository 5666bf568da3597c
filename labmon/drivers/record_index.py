"""Stored records that are selected by an index, in a buffer that may be full, cleared or filled meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labmon.drivers import grammar
from labmon.drivers.asking import Asking
from labmon.drivers.driver import Answer, Last, Turn
from labmon.drivers.record_turn import Checked
from labmon.drivers.records import GONE, last_of, same, select
from labmon.drivers.setting import Setting
from labmon.links.link import Link

if TYPE_CHECKING:
    from labmon.drivers.query import CompiledQuery

_NS = 1_000_000_000


class IndexReader:
    """Records are selected by an index. The buffer may be full: then each new record moves or overwrites an old one."""

    confirms = False

    def __init__(
        self, query: CompiledQuery, given: grammar.Query, index: grammar.RecordIndex, setting: Setting
    ) -> None:
        self._one = Checked(query, given, setting)
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
                start = await self._search(link, last_of(newest), count)
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
                seen, start = last_of(answer), place
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

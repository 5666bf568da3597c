"""What every reader of stored records does in a turn: its cheap question first, and the reading of one record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labmon.drivers import grammar, meaning
from labmon.drivers.asking import Asking
from labmon.drivers.driver import Answer
from labmon.drivers.setting import Setting
from labmon.links.link import Link
from labmon.model.reading import Raw

if TYPE_CHECKING:
    from labmon.drivers.query import CompiledQuery


def numbered_of(record: grammar.Record) -> tuple[int, int | None] | None:
    """See labmon.drivers.driver.RecordReader.numbered."""
    return None if record.number is None else (record.key.index(record.number.field), record.number.modulo)


class Checked:
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

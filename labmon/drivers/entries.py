"""Blocks of records: one reply with several, each of the same form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labmon.drivers import grammar
from labmon.drivers.given import applies
from labmon.drivers.reply import reply_of
from labmon.drivers.setting import Setting
from labmon.links.errors import Garbled
from labmon.model.reading import Raw


class Entries:
    """Takes a block apart. `fields` are those of one record."""

    def __init__(self, given: grammar.RecordEntries, at: int, setting: Setting) -> None:
        fields = {name: f for name, f in given.fields.items() if applies(f.when, setting.params)}
        self._block = reply_of(form_of(given), fields, setting)
        self.fields = self._block.fields
        self.field = given.field
        self.most = given.most
        self._size = given.size
        self._at = at

    def split(self, raws: Sequence[Raw]) -> list[list[Raw]]:
        """The raw values of a block's reply, with those of each of its records behind them.

        Raises Garbled for a block that is no whole number of records, or that holds more than a full one.
        """
        text = str(raws[self._at] or "")
        number, rest = divmod(len(text), self._size)
        if rest or number > self.most:
            raise Garbled(f"{len(text)} characters are not up to {self.most} records of {self._size}")
        parts = [text[n * self._size : (n + 1) * self._size] for n in range(number)]
        try:
            return [[*raws, *self._block.decode(part.encode("latin-1"))] for part in parts]
        except ValueError as error:
            raise Garbled(str(error)) from None

    def encode(self, raws: Mapping[str, Raw]) -> str:
        """A block of one record with these raw values."""
        return self._block.encode(raws).decode("latin-1")


def form_of(given: grammar.RecordEntries) -> grammar.Request:
    """The form of one record, as that of a reply to which nothing is sent."""
    form = {"reply": given.reply} if given.reply is not None else {"pattern": given.pattern}
    return grammar.Request.model_validate({"send": "", **form}).model_copy(update={"fields": given.fields})


def entries_of(query: grammar.Query, names: Sequence[str], setting: Setting) -> Entries | None:
    """What takes the blocks of a query apart; None where a reply is one record, or no record."""
    logger = query.record.logger if query.record is not None else None
    if logger is None or logger.entries is None:
        return None
    return Entries(logger.entries, list(names).index(logger.entries.field), setting)

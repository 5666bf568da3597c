"""What a simulated instrument stores, by query, and the requests that move through it: popping, first, next, repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from labmon.drivers import grammar
from labmon.drivers.query import CompiledQuery
from labmon.drivers.steps import FUNCTIONS, Step, Words, Write
from labmon.drivers.text_step import Text, Untold
from labmon.model.reading import Raw
from labmon.simulate.stored import Block, Stored


class Memory:
    """The samples of all queries that read records. `file` says how they are read."""

    def __init__(self, file: grammar.DriverFile, queries: Sequence[CompiledQuery]) -> None:
        self._queries = {query.name: query for query in queries if query.way is not None}
        self.stored: dict[str, Stored] = {}
        """The samples that it keeps, by query."""
        for name, query in self._queries.items():
            record = file.queries[name].record
            if record is not None and query.way is not None:
                self.stored[name] = Stored(query.way, record, block=_block(record, query))

    def sources(self, name: str) -> Sequence[Step]:
        """All steps of a query that its samples answer."""
        query = self._queries[name]
        return [*query.steps, *chain.from_iterable(query.more_steps.values())]

    def popped(self, table: str, address: int, value: int) -> bool:
        """Whether a write takes the oldest sample of a query away: then it is gone."""
        for name, query in self._queries.items():
            for one in query.more_steps.get("pop", ()):
                if isinstance(one, Write) and (one.table, one.address, one.values) == (table, address, (value,)):
                    self.stored[name].pop()
                    return True
        return False

    def asked(self, body: bytes) -> bool:
        """What comes of a request before it is answered; whether something did."""
        moved = False
        for name, query in self._queries.items():
            stored = self.stored[name]
            for kind, steps in query.more_steps.items():
                if any(_is(one, body) for one in steps):
                    {"pop": stored.pop, "first": stored.first, "repeat": stored.repeat}[kind]()
                    moved = True
            if stored.block is not None and _is(query.steps[-1], body):
                stored.next()
                moved = True
        return moved

    def restart(self, *, lose: bool) -> None:
        """As just switched on; `lose`: nothing is stored any more."""
        for stored in self.stored.values():
            stored.restart()
            if lose:
                stored.lose()


def _is(one: Step, body: bytes) -> bool:
    """Whether a request, as it stands on the wire or as a PDU, is this one. Writes are told elsewhere."""
    if isinstance(one, Text | Untold):
        return one.request.encode(0) == body
    if isinstance(one, Words):
        return body == bytes([FUNCTIONS[one.table]]) + one.address.to_bytes(2, "big") + one.count.to_bytes(2, "big")
    return False


def _block(record: grammar.Record, query: CompiledQuery) -> Block | None:
    """How a logger's blocks are made: one sample each, or as many as the file says."""
    if record.logger is None:
        return None
    entries = query.entries
    if entries is None:
        return Block(1, lambda samples: dict(samples[0]) if samples else {})

    def together(samples: Sequence[Mapping[str, Raw]]) -> dict[str, Raw]:
        first = dict(samples[0]) if samples else {}
        return {**first, entries.field: "".join(entries.encode(sample) for sample in samples)}

    return Block(entries.most, together)

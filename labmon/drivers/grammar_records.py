"""What a driver file says of stored samples: what makes a record, and how they are read, each once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Tag, model_validator
from pydantic import Field as Limits

from labmon.config.types import Id, Period, Strict
from labmon.drivers.given import Given, Ref
from labmon.drivers.grammar_channels import Condition
from labmon.drivers.grammar_fields import Field
from labmon.drivers.grammar_time import TimeSpec
from labmon.drivers.grammar_wire import Request


class RecordNumber(Strict):
    """Records are numbered one after the other."""

    field: Id
    """Field that holds the record's number; it must be among the fields of `key`."""
    modulo: Annotated[int, Limits(ge=2)] | None = None
    """How many numbers there are: after `modulo - 1` comes 0. Left out: the numbers never begin again."""


class FieldRef(Strict):
    """`{field: name}`: the value of a field of the record."""

    field: Id
    """The field's name."""


def _kind(value: object) -> str:
    if isinstance(value, FieldRef) or (isinstance(value, dict) and "field" in value):
        return "field"
    return "param" if isinstance(value, (dict, Ref)) else "value"


Interval = Annotated[
    Annotated[Period, Tag("value")] | Annotated[FieldRef, Tag("field")] | Annotated[Ref, Tag("param")],
    Discriminator(_kind),
]
"""A duration, a field in seconds, or a parameter in seconds."""


class RecordCheck(Strict):
    """A question asked once per turn, before any record is read. Its fields belong to every record of the turn."""

    requests: Annotated[list[Request], Limits(min_length=1)]
    """Requests in their order."""
    new_when: list[Condition] = []
    """Records are read only where one of these holds, or where `waiting` or the index's count has changed. Left out:
    at each poll."""
    waiting: Id | None = None
    """Field with the number of records that wait in the instrument."""

    @model_validator(mode="after")
    def _reads(self) -> RecordCheck:
        if any(request.write is not None for request in self.requests):
            raise ValueError("a check reads only")
        return self


class RecordIndex(Strict):
    """The instrument shows the record whose index is written to a register; the query's requests read it."""

    write: Literal["holding"] | None = None
    """Table of the register that takes the index. Left out: `{index}` stands in a `send` of the requests."""
    at: Given[int] | None = None
    """Number of that register, in the file's convention; it must be declared under `writes`."""
    first: Given[int] = 0
    """Index of the first record in the buffer."""
    count: Id
    """Field (of the check) with the number of records in the buffer."""
    newest: Given[int] | None = None
    """The index that means the newest record, whatever its place. Left out: the last of the buffer is the newest."""
    take: Given[Literal["all", "newest"]] = "all"
    """Whether every record is read that was stored since the one before, or only the newest."""

    @model_validator(mode="after")
    def _register(self) -> RecordIndex:
        if (self.write is None) != (self.at is None):
            raise ValueError("give write and at, or neither")
        return self


class RecordQueue(Strict):
    """The requests read the oldest record that waits. It is popped when it is on labmon's disk; while the disk
    fails, after 2 s.
    """

    pop: Request
    """The request that takes the oldest record away."""


class RecordEntries(Strict):
    """A reply that holds several records, one after the other in a text field."""

    field: Id
    """The text field that holds them."""
    size: Annotated[int, Limits(ge=1, le=1000)]
    """Characters of one record."""
    most: Annotated[int, Limits(ge=1, le=1000)]
    """Records in a full reply; one with fewer is the last for now."""
    pattern: Annotated[str, Limits(max_length=1000)] | None = None
    """How one record is written, as a regular expression with one named group per field."""
    reply: Annotated[str, Limits(max_length=1000)] | None = None
    """How one record is written, as a template in the place of a pattern."""
    fields: Annotated[dict[Id, Field], Limits(min_length=1)]
    """Where values stand in one record."""

    @model_validator(mode="after")
    def _form(self) -> RecordEntries:
        if (self.pattern is None) == (self.reply is None):
            raise ValueError("give exactly one of reply and pattern")
        return self


class RecordLogger(Strict):
    """The query's requests send the next block of records; other commands send the first, and the last one again."""

    first: Request | None = None
    """Goes to the oldest record and sends the first block. Left out: the log cannot be read again from its start."""
    repeat: Request | None = None
    """Sends the last block again: asked after a reply that did not come through and, without `first`, at a start."""
    entries: RecordEntries | None = None
    """Where a block holds several records. Left out: a reply is one record."""


class Record(Strict):
    """The reply is a sample that the instrument stored: its own time, and what makes it the same sample again."""

    time: TimeSpec
    """A field with Unix seconds, or a text field of type time."""
    key: Annotated[list[Id], Limits(min_length=1)]
    """Fields that together tell a record from every other one; a record that is read twice is one reading."""
    number: RecordNumber | None = None
    """A number that runs on from record to record; one that is missing is a gap in the journal, and an event."""
    interval: Interval | None = None
    """Time between two records; a longer step is a gap in the journal, and an event."""
    present_when: list[Condition] = []
    """All of these must hold, else there is no record at all: an empty queue, an empty slot."""
    at_most: Annotated[int, Limits(ge=1, le=1000)] = 20
    """Records that one turn reads at most; the line's other devices are polled between two turns."""
    check: RecordCheck | None = None
    """What is asked first, once per turn."""
    newest: Literal[True] | None = None
    """The requests read the latest completed record, and no other can be read. Said or not, this is so where neither
    index, queue nor logger is given."""
    index: RecordIndex | None = None
    """Records are selected by their index."""
    queue: RecordQueue | None = None
    """Records wait in a queue and are popped."""
    logger: RecordLogger | None = None
    """Records come block by block, by commands; the next is asked for when the one before is on labmon's disk;
    while the disk fails, after 2 s."""

    @model_validator(mode="after")
    def _one_way(self) -> Record:
        if sum(way is not None for way in (self.newest, self.index, self.queue, self.logger)) > 1:
            raise ValueError("records are read in one way: newest, index, queue or logger")
        if self.number is not None and self.number.field not in self.key:
            raise ValueError(f"the number's field {self.number.field} must be among the fields of key")
        return self

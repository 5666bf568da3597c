"""What is known of one gateway by what the broker carries, and whether it is silent. Pure; time is an argument.

A sign of life is a message that arrives now. What the broker had kept says how things were, never that they still are;
the gateway's own clock is quoted, and nothing is judged by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from labmon.model.status import LineHealth, Status
from labmon.watch.sight import Moment

SILENT: Final = "gateway-silent"
HEALTH: Final = "health-silent"
INGEST: Final = "ingest-silent"
NOTICES: Final = "notices"
_NAMED = 8
_MOST_LINES = 10_000


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what may be missing, in seconds of sight; see config.site.WatchConfig."""

    silent: float
    offline: float
    ingest: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether what `watch.<gateway>.<name>` tells of holds, in which words, and since when (UTC ns)."""

    name: str
    active: bool
    detail: str = ""
    since: int | None = None


@dataclass(slots=True)
class Stream:
    """Something that must go on coming while any of it is owed. `last` is when it came, or when waiting began."""

    last: Moment
    owed: int = 0
    proven: bool = False
    """It came, or nothing was owed, since it was last found missing."""

    def came(self, at: Moment) -> None:
        """It came, or none of it is owed."""
        self.last, self.proven = at, True

    def wait(self, at: Moment) -> None:
        """Whoever sends it was away: patience begins anew."""
        self.last = at

    def judged(self, name: str, at: Moment, patience: float, tell: Callable[[int], str]) -> Iterator[Verdict]:
        """Nothing while neither is known."""
        if self.owed and at.sight - self.last.sight >= patience:
            self.proven = False
            yield Verdict(name, True, f"nothing heard of it since {tell(self.last.wall)}", self.last.wall)
        elif self.proven:
            yield Verdict(name, False)


@dataclass(frozen=True, slots=True)
class Gone:
    """It was said that the gateway is not there: by its will, or by itself at `stopped` (UTC ns, its own clock)."""

    at: Moment
    session: int
    stopped: int
    kept: bool
    """The broker had kept this: it happened before the watch was connected."""


@dataclass(slots=True)
class Gateway:
    """One gateway as the watch sees it. `tell` writes a time (UTC ns); `name_devices` says that nobody else does."""

    began: Moment
    patience: Patience
    tell: Callable[[int], str]
    name_devices: bool = True
    heard: Moment | None = None
    """The last sign of life."""
    gone: Gone | None = None
    unreadable: str = ""
    """Why the last status was not understood."""
    _said: tuple[int, int] | None = None
    """Session and time of the last status that said online; the same again is a repetition."""
    _started: int = 0
    _silent_session: int | None = None
    _failing: tuple[str, ...] | None = None
    _stores: dict[str, Stream] | None = None
    _health: Stream | None = None
    _devices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids of the devices on each line."""

    # What arrives

    def status(self, status: Status, kept: bool, at: Moment) -> None:
        """A status; `kept` by the broker from before the subscription."""
        if not status.online:
            # An offline of an earlier session is a will that comes late.
            if (self._said is None or status.session >= self._said[0]) and self.gone is None:
                self.gone = Gone(at, status.session, status.time, kept)
            return
        said = (status.session, status.time)
        # A bridge between brokers sends what was kept again, as if it were new.
        fresh = not kept and said != self._said
        self._said, self._started = said, status.since
        if kept:
            # Later than what was known, and no sign of life: from here on it must be heard.
            self.gone = None
        if not fresh:
            return
        returned = not self.well(at)
        self.heard, self.gone, self.unreadable = at, None, ""
        self._failing = None if status.failing is None else tuple(status.failing)
        self._expect(status, at)
        if returned:
            for stream in self._streams():
                stream.wait(at)

    def health(self, health: LineHealth, kept: bool, at: Moment) -> None:
        """How one line is."""
        if health.line in self._devices or len(self._devices) < _MOST_LINES:
            self._devices[health.line] = tuple(device.device for device in health.devices)
        if not kept and self._health is not None:
            self._health.came(at)

    def stored(self, store: str, kept: bool, at: Moment) -> None:
        """A store answered: whether it has stored or not, ingest is there."""
        if not kept and (stream := (self._stores or {}).get(store)) is not None:
            stream.came(at)

    def _expect(self, status: Status, at: Moment) -> None:
        """Who owes what, as the gateway itself says it."""
        if status.lines is not None:
            self._health = self._health or Stream(at)
            self._health.owed = status.lines
            if not status.lines:
                self._health.came(at)
        if status.stores is not None:
            before = self._stores or {}
            self._stores = {name: before.get(name) or Stream(at) for name in status.stores}
            for name, behind in status.stores.items():
                if behind is not None:
                    self._stores[name].owed = behind
                if behind == 0:
                    self._stores[name].came(at)

    def _streams(self) -> Iterator[Stream]:
        yield from (self._stores or {}).values()
        if self._health is not None:
            yield self._health

    # What is to be said

    @property
    def stores(self) -> Collection[str]:
        """The stores that it delivers to, as far as it has told."""
        return self._stores or ()

    def well(self, at: Moment) -> bool:
        """Whether it was heard lately and nothing says that it is gone."""
        lively = self.heard is not None and at.sight - self.heard.sight < self.patience.silent
        return lively and self.gone is None

    def verdicts(self, at: Moment, standing: Collection[str]) -> Iterator[Verdict]:
        """What can be said now, and nothing of what is not known. `standing` are the names of its active alarms."""
        if not self.well(at):
            yield from self._missing(at, SILENT in standing)
            return
        yield Verdict(SILENT, False, self._back() if SILENT in standing else "")
        if self._failing is not None:
            names = ", ".join(self._failing)
            yield Verdict(NOTICES, bool(names), f"does not work, or not for everybody: {names}" if names else "")
        if self._health is not None:
            yield from self._health.judged(HEALTH, at, self.patience.silent, self.tell)
        if self._stores is not None:
            yield from self._ingest(self._stores, at, standing)

    def _ingest(self, stores: dict[str, Stream], at: Moment, standing: Collection[str]) -> Iterator[Verdict]:
        for store, stream in stores.items():
            yield from stream.judged(f"{INGEST}.{store}", at, self.patience.ingest, self.tell)
        for name in standing:
            if name.startswith(f"{INGEST}.") and name.removeprefix(f"{INGEST}.") not in stores:
                yield Verdict(name, False, "the gateway delivers to it no more")

    def _missing(self, at: Moment, standing: bool) -> Iterator[Verdict]:
        last = self.heard or self.began
        over = at.sight - last.sight >= self.patience.silent
        if self.gone is not None:
            over = over or at.sight - self.gone.at.sight >= self.patience.offline
        known = self.gone is not None or self.heard is not None
        if not (over or (standing and known)):
            return  # it may still come, or after a start it is not known yet
        if self.gone is not None:
            self._silent_session = self.gone.session
        elif self.heard is not None and self._said is not None:
            self._silent_session = self._said[0]
        yield Verdict(SILENT, True, self._how_missing(), last.wall)

    def _how_missing(self) -> str:
        parts = [self._how()]
        if self.heard is not None and self.gone is not None:
            parts.append(f"it was last heard at {self.tell(self.heard.wall)}")
        if self.unreadable:
            parts.append(f"what it says is not understood ({self.unreadable}): is it another version of labmon?")
        names = [name for line in self._devices.values() for name in line] if self.name_devices else []
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            parts.append(f"its instruments: {', '.join(names[:_NAMED])}{more}")
        return "; ".join(parts)

    def _how(self) -> str:
        gone = self.gone
        if gone is not None and gone.stopped:
            return f"it was stopped in the ordinary way, at {self.tell(gone.stopped)} by its own clock"
        if gone is not None:
            when = "before the watch was connected" if gone.kept else f"at {self.tell(gone.at.wall)}"
            return f"its connection to the broker broke off {when}, without a word"
        if self.heard is not None:
            return f"it was last heard at {self.tell(self.heard.wall)}; the broker is there, and it says nothing"
        kept = f", except an old word of {self.tell(self._said[1])} by its own clock" if self._said else ""
        hint = "if it runs: may the watch read its status at the broker?"
        return f"nothing was heard of it since the watch began at {self.tell(self.began.wall)}{kept} ({hint})"

    def _back(self) -> str:
        if self._said is None or self._silent_session is None:
            return ""
        if self._said[0] == self._silent_session:
            return "it had gone on working: only its connection to the broker was away"
        started = f"it was started anew, at {self.tell(self._started)} by its own clock"
        return f"{started}: in between nothing was watched or recorded, have that time assessed"

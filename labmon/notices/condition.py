"""Whether a notice channel works: when its failure is an alarm, and when it is over. Pure; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Trouble:
    since: float
    text: str
    lasting: bool
    """True when it needs no waiting: a refusal for good."""


class ChannelCondition:
    """Failures of a whole channel, and of single people on it.

    A failure is an alarm when it has lasted `failing_after` seconds, a refusal for good at once. A channel is over it
    with the first message that is accepted, a person with the first that is accepted for that person.
    """

    def __init__(self, failing_after: float) -> None:
        self._failing_after = failing_after
        self._channel: _Trouble | None = None
        self._people: dict[str, _Trouble] = {}

    @property
    def down(self) -> bool:
        """The channel's last attempt failed as a whole."""
        return self._channel is not None

    @property
    def text(self) -> str:
        """What fails now, whether or not it has lasted; empty when nothing does."""
        people = [f"{person}: {trouble.text}" for person, trouble in sorted(self._people.items())]
        return "; ".join([*([self._channel.text] if self._channel else []), *people])

    def failed(self, since: float, text: str) -> None:
        """The channel did not work; `since` is when the attempt began (monotonic seconds)."""
        if self._channel is None:
            self._channel = _Trouble(since, text, lasting=False)
        self._channel.text = text

    def worked(self) -> None:
        """The far end carried out a conversation."""
        self._channel = None

    def accepted(self, person: str) -> None:
        """A message for `person` was accepted."""
        self._people.pop(person, None)

    def deferred(self, person: str, now: float, text: str) -> None:
        """A message for `person` was put off."""
        trouble = self._people.setdefault(person, _Trouble(now, text, lasting=False))
        trouble.text = text

    def refused(self, person: str, now: float, text: str) -> None:
        """A message for `person` was refused for good."""
        self._people[person] = _Trouble(now, text, lasting=True)

    def trouble(self, now: float) -> dict[str, str]:
        """What is wrong for long enough to be an alarm: text for people by person id, `""` for the channel itself."""
        found: dict[str, str] = {}
        if self._channel is not None and now - self._channel.since >= self._failing_after:
            found[""] = self._channel.text
        for person, trouble in sorted(self._people.items()):
            if trouble.lasting or now - trouble.since >= self._failing_after:
                found[person] = f"{person} cannot be reached: {trouble.text}"
        return found

    def unreachable(self, now: float) -> bool:
        """Say whether single people are the trouble, while the channel itself works."""
        return self._channel is None and bool(self.trouble(now))

    def next_due(self, now: float) -> float | None:
        """Monotonic time at which a present failure becomes an alarm by lasting."""
        troubles = [*self._people.values(), *([self._channel] if self._channel else [])]
        dues = [t.since + self._failing_after for t in troubles if not t.lasting]
        return min((due for due in dues if due > now), default=None)

"""Commands by MQTT: checked, handed on, answered, and recorded whatever becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping

from labmon.alarms.errors import CommandRefused
from labmon.config.secrets import command_proof, proof_matches
from labmon.delivery.lockout import Lockout
from labmon.delivery.log import Journal
from labmon.delivery.used import UsedIds
from labmon.health.allowance import Allowance
from labmon.journal.errors import JournalUnavailable
from labmon.model.event import Event, EventKind
from labmon.model.messages import Command, MessageError, Reply, command_id
from labmon.mqtt import Connection, MessageProperties, MqttError, SubscribeRefused
from labmon.mqtt.topics import Topics, last_level
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

WINDOW = 60 * 10**9
"""A command is taken within so many nanoseconds of its time, before or after."""
ACCESS = "gateway.access"
_LOOK = 5.0
_LONGEST_VERB = 64

Handler = Callable[[str, Command], str]
"""(verb, command) -> what was done. Raises CommandRefused. It checks the user's role and whether the command fits the
alarm and its occurrence, and records what becomes of it as a COMMAND event with `command_id` set."""


class _Unproven(Exception):
    """A command that is refused before it is known who gave it, or although it was given before."""


class _Closed(_Unproven):
    """The same while the way is closed: that it was closed is recorded, and these are counted."""


class CommandReceiver:
    """Takes `P/command/<verb>`, answers on `P/reply/<id>`.

    A command must be well-formed, made within a minute, by a known user who has a PIN, with a proof made with that PIN
    for this gateway, and its id must not be used: then `handler` decides. What does not get there is recorded by
    `record` as a refused COMMAND event that names nobody as its author. Refusals are recorded and answered at a bounded
    rate, the rest counted, and so is what one user may order; wrong proofs close the way by MQTT for a while (lockout)
    and are the condition `gateway.access`. `keys` are the keys of the users' PINs (config.secrets.pin_key), None for a
    user without one. `used` and `lockout` are those of the receiver before, whose place this one takes in the same run.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Topics,
        keys: Mapping[str, bytes | None],
        handler: Handler,
        record: Callable[[Event], None],
        journal: Journal,
        *,
        on_condition: Callable[[str, bool, str], None] = lambda *_: None,
        used: UsedIds | None = None,
        lockout: Lockout | None = None,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.carried_out = 0
        self.refused = 0
        self.unanswered = 0
        """Refused and not answered, because there were too many."""
        self._connection = connection
        self._topics = topics
        self._keys = keys
        self._handler = handler
        self._record = record
        self._clock = clock
        self._monotonic = monotonic
        self._used = used or UsedIds(journal)
        self._started = clock()
        self._on_condition = on_condition
        self._answers = Allowance(20, 6.0)
        self._records = Allowance(20, 60.0)
        self._orders: dict[str, Allowance] = {}
        self._lockout = lockout or Lockout()
        self._opening: asyncio.TimerHandle | None = None
        self._passed_over = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; needs neither journal nor broker."""
        self._task = kept("used command ids", self._load)
        self._wait_open(self._monotonic())  # the way may have been closed before this receiver took its place
        with contextlib.suppress(SubscribeRefused):  # told by the connection, tried again with the next one
            await self._connection.subscribe(self._topics.commands, self._take)

    async def stop(self) -> None:
        """Take no more."""
        if self._passed_over:
            self._note("?", "none of these was recorded by itself")
        if self._opening is not None:
            self._opening.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _load(self) -> None:
        while not self._used.complete:
            try:
                await self._used.load(self._clock())
            except (JournalUnavailable, ValueError) as error:
                log.debug("used command ids not read yet: %s", error)
                await asyncio.sleep(_LOOK)

    async def _take(self, topic: str, payload: bytes, properties: MessageProperties) -> None:
        verb = last_level(topic, self._topics.commands) or "?"
        if len(verb) > _LONGEST_VERB:
            verb = "?"
        try:
            if properties.retain:
                raise _Unproven("a retained command is not taken: it would come again with every connect")
            command = Command.decode(payload)
            self._check(verb, command)
        except MessageError as error:
            await self._refuse(verb, command_id(payload), f"malformed: {error}")
            return
        except _Unproven as error:
            await self._refuse(verb, command_id(payload), str(error), record=not isinstance(error, _Closed))
            return
        self._used.add(command.id)
        try:
            done = self._handler(verb, command)
        except CommandRefused as refused:
            self.refused += 1
            await self._reply(command.id, False, str(refused))
        except Exception as error:
            log.error("fault while carrying out %s", verb, exc_info=error)
            self._record(self._event(verb, command, f"refused: fault in labmon: {type(error).__name__}"))
            await self._reply(command.id, False, f"fault in labmon: {type(error).__name__}")
        else:
            self.carried_out += 1
            await self._reply(command.id, True, done)

    def _check(self, verb: str, command: Command) -> None:
        now, mono = self._clock(), self._monotonic()
        if abs(now - command.time) > WINDOW:
            seconds = (now - command.time) / 1e9
            raise _Unproven(
                f"made {abs(seconds):.0f} s {'ago' if seconds > 0 else 'in the future'} by the clock of the gateway; "
                f"it is taken within {WINDOW // 10**9} s"
            )
        if command.user not in self._keys:
            raise _Unproven(f"unknown user {command.user!r:.70}")
        key = self._keys[command.user]
        if key is None:
            raise _Unproven(f"{command.user} has no PIN, which a command by MQTT needs")
        if closed := self._lockout.closed(command.user, mono):
            raise _Closed(
                f"too many wrong proofs: commands by MQTT are refused for another {closed:.0f} s; "
                "use the command line at the gateway"
            )
        expected = command_proof(
            key,
            gateway=self._topics.prefix,
            verb=verb,
            id=command.id,
            user=command.user,
            time=command.time,
            alarm=command.alarm,
            occurrence=command.occurrence,
            device=command.device,
            reason=command.reason,
            until=command.until,
        )
        if not proof_matches(command.proof, expected):
            self._wrong(verb, command.user, mono)
            raise _Unproven(f"wrong proof, made in the name of {command.user}")
        if command.id in self._used:
            raise _Unproven("this id was used before")
        if not self._used.complete and command.time < self._started:
            raise _Unproven("made before labmon started, and the journal cannot be read to see whether it was used")
        if not self._orders.setdefault(command.user, Allowance(200, 0.5)).take(mono):
            raise _Unproven(f"{command.user} gave too many commands at once; give it again in a few seconds")

    def _wrong(self, verb: str, user: str, mono: float) -> None:
        told = self._lockout.failed(user, mono)
        if told is None:
            return
        log.warning("commands by MQTT: %s", told)
        self._note(verb, told)
        self._on_condition(ACCESS, True, told)
        self._wait_open(mono)

    def _wait_open(self, mono: float) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        seconds = self._lockout.open_again(mono)
        if seconds is None:
            self._on_condition(ACCESS, False, "")
            return
        later = asyncio.get_running_loop().call_later
        self._opening = later(seconds, lambda: self._wait_open(self._monotonic()))

    async def _refuse(self, verb: str, identifier: str | None, why: str, record: bool = True) -> None:
        self.refused += 1
        mono = self._monotonic()
        if record and self._records.take(mono):
            self._note(verb, why + (f" (id {identifier})" if identifier else ""))
        else:
            self._passed_over += 1
        if not self._answers.take(mono):
            self.unanswered += 1
        elif identifier is not None:
            await self._reply(identifier, False, why)

    def _note(self, verb: str, why: str) -> None:
        """Record a refusal that names nobody as the author, with the count of those that were only counted before."""
        also = f" ({self._passed_over} more refused commands were passed over before)" if self._passed_over else ""
        self._passed_over = 0
        now = self._clock()
        self._record(Event(EventKind.COMMAND, now, now, f"refused: {why}{also}", command=verb))

    def _event(self, verb: str, command: Command, detail: str) -> Event:
        now = self._clock()
        return Event(
            EventKind.COMMAND,
            now,
            now,
            detail,
            alarm=command.alarm,
            occurrence=command.occurrence,
            device=command.device,
            user=command.user,
            reason=command.reason,
            command=verb,
            command_id=command.id,
        )

    async def _reply(self, identifier: str, ok: bool, text: str) -> None:
        try:
            await self._connection.publish(
                self._topics.reply(identifier), Reply(identifier, ok, text, self._clock()).encode()
            )
        except (MqttError, MessageError, ValueError) as error:
            log.warning("reply to command %s not published: %s", identifier, error)

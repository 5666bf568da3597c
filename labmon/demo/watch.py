"""What the demonstration sees of its daemon: the topics that any viewer may read."""

from __future__ import annotations

import os
from typing import Literal

from labmon.demo.view import Facts
from labmon.model.event import AlarmState
from labmon.model.messages import AlarmMessage, LineHealth, Live, MessageError
from labmon.model.plant import Plant
from labmon.mqtt import BrokerSettings, Connection


class Watch:
    """Subscribes to live, alarm, event and health of one gateway and keeps the latest of each."""

    def __init__(self, plant: Plant, facts: Facts, port: int, protocol: Literal["5", "3.1.1"]) -> None:
        self.prefix = plant.prefix
        self.facts = facts
        self.readings = 0
        self.events = 0
        self.malformed = 0
        settings = BrokerSettings(host="127.0.0.1", port=port, protocol=protocol)
        self.connection = Connection(settings, f"labmon-demo-{os.getpid()}")

    async def start(self) -> None:
        """Connect and subscribe."""
        await self.connection.start()
        for topic in ("live/+/+", "alarm/+", "event", "health/+"):
            await self.connection.subscribe(f"{self.prefix}/{topic}", self._take, 0)

    async def stop(self) -> None:
        """Disconnect."""
        await self.connection.stop()

    def _take(self, topic: str, payload: bytes, *_: object) -> None:
        what = topic.removeprefix(self.prefix + "/").split("/")[0]
        try:
            if what == "live":
                live = Live.decode(payload)
                self.facts.live[live.device] = live
                self.readings += len(live.channels)
            elif what == "alarm" and payload:
                alarm = AlarmMessage.decode(payload)
                self.facts.alarms[alarm.alarm] = alarm
                if alarm.state is AlarmState.NORM:
                    self.facts.alarms.pop(alarm.alarm, None)
            elif what == "event":
                self.events += 1
            elif what == "health":
                health = LineHealth.decode(payload)
                self.facts.lines[health.line] = health
        except MessageError:
            self.malformed += 1

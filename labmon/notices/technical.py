"""Technical alarms in words for people: what is wrong, what it means for the material, what to do first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labmon.model.event import AlarmState, Event
from labmon.model.plant import Device, Plant
from labmon.notices.notice import AlarmNow
from labmon.notices.words import quantity


@dataclass(frozen=True, slots=True)
class Condition:
    """Words for one kind of technical alarm. `{name}` is the id of the line, store or notice channel concerned."""

    is_: str
    """Follows the name of what it concerns: `incubator-1` + `does not answer`."""
    over: str
    meaning: str
    check: str


_UNWATCHED = "Its limits are NOT watched until it is back: look at the instrument's own display."
_DEVICE = {
    "dead": Condition(
        "does not answer",
        "answers again",
        f"The instrument has stopped answering. {_UNWATCHED}",
        "Check that the instrument is switched on and its cable is plugged in.",
    ),
    "wrong-instrument": Condition(
        "is not the instrument it should be",
        "is the right instrument again",
        "What answers at this address is not the instrument that the site file names. Its values are not used, "
        "and the limits are NOT watched.",
        "Check whether instruments or cables were swapped.",
    ),
    "wrong-settings": Condition(
        "is set otherwise than it should be",
        "is set as it should be again",
        "The instrument answers, but is set so that its values would be taken for something else. They are not used. "
        f"{_UNWATCHED}",
        "Set the instrument as reported below, and ask who changed it.",
    ),
}
_DEVICE_CLOCK = Condition(
    "has a clock that is off",
    "has the right time again",
    "Samples that the instrument stores itself carry its own time, which is wrong. Values are as measured, and limits "
    "are watched.",
    "Set the instrument's clock. If it goes wrong again, its battery may be flat.",
)
_CHANNEL = {
    "silence": Condition(
        "gives no readings",
        "gives readings again",
        f"No reading with a value has come for too long. {_UNWATCHED}",
        "Check the instrument, its probe and its cable.",
    ),
    "quality": Condition(
        "gives only bad readings",
        "gives good readings again",
        f"The instrument answers, but without a usable value. {_UNWATCHED}",
        "Check the probe and what the instrument itself reports as faulty.",
    ),
}
_LINE = Condition(
    "is lost",
    "is back",
    "No instrument on this line can be read. Their limits are NOT watched until the line is back: "
    "look at the instruments' own displays.",
    "Check the power and cable of the converter or network device at this endpoint.",
)
_GATEWAY = {
    "journal": Condition(
        "cannot write its journal",
        "writes its journal again",
        "Readings and events are not safe on the gateway's disk. Alarms are still raised and sent.",
        "Check free space and health of the disk. Do not switch the gateway off.",
    ),
    "delivery": Condition(
        "cannot deliver data to {name}",
        "delivers data to {name} again",
        "Trends and reports from that store are not up to date. Nothing is lost: the gateway keeps the data and sends "
        "it later. Alarms work.",
        "Check the store, ingest and the network between them and the gateway.",
    ),
    "quarantine": Condition(
        "has data that {name} refuses",
        "has no more data that {name} refuses",
        "The store refused some records for good. They are kept in the gateway's quarantine.",
        "Have an engineer look at the quarantine and at the reasons given.",
    ),
    "notices": Condition(
        "cannot send notices by {name}",
        "sends notices by {name} again",
        "Some people are NOT told of alarms this way. What could not be sent is kept and tried again.",
        "Tell those on duty by telephone. Check the server and the addresses.",
    ),
    "broker": Condition(
        "has no connection to the message broker",
        "is connected to the message broker again",
        "Displays and stores get nothing new. Nothing is lost: the gateway keeps the data. Alarms and notices work.",
        "Check the broker and the network between it and the gateway.",
    ),
    "certificate": Condition(
        "has a certificate that ends soon or has ended",
        "has no certificate that ends soon",
        "When a certificate has ended, the connection that needs it fails: displays and stores get nothing new, or "
        "notices do not go out. Instruments are watched and alarms raised as before.",
        "Have whoever looks after the plant's certificates put new ones in the places reported.",
    ),
    "access": Condition(
        "gets commands with wrong PINs",
        "gets no more commands with wrong PINs",
        "Somebody tries to give commands over the network in the name of staff. Not one of them was carried out. "
        "For some minutes such commands are refused from staff too: acknowledge by the command line at the gateway.",
        "Ask whether somebody mistyped a PIN. If nobody did, tell those who look after the network at once.",
    ),
    "fault": Condition(
        "has a fault in its own software",
        "runs without a fault again",
        "A part of labmon failed or hung, and was started again. What it watches was NOT watched until then.",
        "Look at the details below and at the lines concerned. Send the gateway's log to whoever maintains labmon.",
    ),
    "clock": Condition(
        "has a clock that cannot be trusted",
        "has a synchronised clock again",
        "The times of readings and alarms may be wrong; readings are marked uncertain for it. Values are as measured, "
        "and alarms and their delays work.",
        "Have an engineer check the gateway's time service, its time server and the network between them.",
    ),
}
_UNSEEN = "Assume that its instruments are NOT watched: look at the instruments' own displays."
_WATCHED = {
    "gateway-silent": Condition(
        "is silent",
        "is heard again",
        "As far as can be seen from outside, it watches no instrument and tells nobody of alarms. Limits are NOT "
        "watched until it is back.",
        "Look at the instruments' own displays, now and until the gateway is back. Then check the gateway: its power, "
        "its network, and whether labmon runs on it (systemctl status labmon).",
    ),
    "health-silent": Condition(
        "tells nothing of its lines any more",
        "tells of its lines again",
        f"The gateway is there, but does not say how its lines and instruments are. {_UNSEEN}",
        "Look at the gateway's log and restart labmon on it (systemctl restart labmon).",
    ),
    "ingest-silent": Condition(
        "into {name} is silent",
        "into {name} answers again",
        "Trends and reports from that store are not up to date. Nothing is lost: the gateway keeps the data and sends "
        "it later. Alarms work.",
        "Check that ingest runs (systemctl status labmon-ingest), then the store.",
    ),
    "notices": Condition(
        "cannot send all its notices",
        "sends all its notices again",
        "Some people, perhaps all, are NOT told of its alarms. It goes on watching and keeps trying.",
        "Tell those on duty by telephone, and have somebody watch the gateway's alarms (labmon alarm list on the "
        "gateway). Then check the mail server or webhook as the gateway sees it.",
    ),
}
"""What `labmon watch` tells of a gateway: `watch.<gateway>.<name>`."""
_WATCH = {
    "broker": Condition(
        "cannot see the gateways through the message broker",
        "can see the gateways' message broker again",
        "Whether the gateways still watch their instruments is NOT known. Where broker and gateway are one machine, "
        "that machine may be down.",
        "Look whether the gateways are up, and at the instruments' own displays until you know. Then check the broker "
        "and the network between it and the watch.",
    ),
    "journal": Condition(
        "cannot write its journal",
        "writes its journal again",
        "After a restart of the watch somebody may be told twice. It goes on watching.",
        "Check free space and health of the disk of the machine on which labmon watch runs.",
    ),
    "notices": Condition(
        "cannot send notices by {name}",
        "sends notices by {name} again",
        "Some people will NOT be told this way when a gateway is silent. What could not be sent is kept and tried "
        "again.",
        "Check the server and the addresses. Until then look at the gateways yourself.",
    ),
    "fault": Condition(
        "has a fault in its own software",
        "runs without a fault again",
        "A part of labmon watch failed and was started again. It may have overlooked something.",
        "Send the log of labmon watch to whoever maintains labmon.",
    ),
    "ping": Condition(
        "cannot reach its ping address",
        "reaches its ping address again",
        "Whoever waits for the pings will take the watch for dead. It goes on watching.",
        "Check the network of the machine on which labmon watch runs, and the address.",
    ),
}
"""What `labmon watch` tells of itself: `watch.<name>`."""
_OTHER = Condition("has a technical fault", "has recovered", "", "")


def find(event: Event, plant: Plant) -> tuple[str, Condition]:
    """What a technical alarm concerns, as a short name, and the words for it; never fails on an unknown alarm."""
    parts = event.alarm.split(".")
    match parts:
        case ["gateway", name, *rest] if name in _GATEWAY:
            return f"gateway {plant.gateway}", _named(_GATEWAY[name], rest)
        case ["watch", gateway, name, *rest] if name in _WATCHED:
            what = "ingest of gateway" if name == "ingest-silent" else "gateway"
            return f"{what} {gateway}", _named(_WATCHED[name], rest)
        case ["watch", name, *rest] if name in _WATCH:
            return "the watch", _named(_WATCH[name], rest)
        case ["line", line, "lost"]:
            return f"line {line}", _LINE
        case [device, name] if name in _DEVICE:
            return device, _DEVICE[name]
        case [device, "clock-drift"]:
            return device, _DEVICE_CLOCK
        case [device, channel, name] if name in _CHANNEL:
            return f"{device} {channel}", _CHANNEL[name]
        case _:
            return event.alarm or "the gateway", _OTHER


def _named(words: Condition, rest: Sequence[str]) -> Condition:
    is_, over = (text.format(name=".".join(rest) or "its target") for text in (words.is_, words.over))
    return Condition(is_, over, words.meaning, words.check)


def watched(event: Event) -> str:
    """Id of the gateway that `labmon watch` tells of; empty for an alarm that is not about one."""
    match event.alarm.split("."):
        case ["watch", gateway, name, *_] if name in _WATCHED:
            return gateway
        case _:
            return ""


def blinds(event: Event) -> bool:
    """Say whether an alarm leaves all that is below a line or gateway without monitoring."""
    match event.alarm.split("."):
        case ["line", _, "lost"] | ["watch", _, "gateway-silent"]:
            return True
        case _:
            return False


def devices(event: Event, plant: Plant) -> list[Device]:
    """The devices that a technical alarm of a device, line or gateway leaves without monitoring."""
    match event.alarm.split("."):
        case ["watch", gateway, "gateway-silent"]:
            return list(plant.devices.values()) if gateway == plant.gateway else []
        case ["line", line, "lost"]:
            info = plant.lines.get(line)
            return [plant.devices[d] for d in info.devices if d in plant.devices] if info else []
        case [device, name] if name in _DEVICE:
            return [plant.devices[device]] if device in plant.devices else []
        case _:
            return []


def blind(event: Event, plant: Plant, now: Sequence[AlarmNow]) -> list[str]:
    """Process alarms that stay active while this technical alarm leaves them without measurement, one line each."""
    match event.alarm.split("."):
        case [device, channel, name] if name in _CHANNEL:
            prefixes = [f"{device}.{channel}."]
        case _:
            prefixes = [f"{device.id}." for device in devices(event, plant)]
    lines = []
    for view in now:
        tail = view.alarm.rsplit(".", 1)[-1]
        process = tail.endswith(("-high", "-low"))
        active = view.state in (AlarmState.UNACK, AlarmState.ACKED)
        if process and active and any(view.alarm.startswith(prefix) for prefix in prefixes):
            channel_info = plant.channels.get(view.alarm.rsplit(".", 1)[0])
            last = ""
            if view.value is not None and channel_info is not None:
                last = f", last {quantity(view.value, channel_info.unit, channel_info)}"
            lines.append(f"{view.alarm}{last}")
    return sorted(lines)

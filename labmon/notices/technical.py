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
}
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
_OTHER = Condition("has a technical fault", "has recovered", "", "")


def find(event: Event, plant: Plant) -> tuple[str, Condition]:
    """What a technical alarm concerns, as a short name, and the words for it; never fails on an unknown alarm."""
    parts = event.alarm.split(".")
    match parts:
        case ["gateway", name, *rest] if name in _GATEWAY:
            words = _GATEWAY[name]
            is_, over = (text.format(name=".".join(rest) or "its target") for text in (words.is_, words.over))
            return f"gateway {plant.gateway}", Condition(is_, over, words.meaning, words.check)
        case ["line", line, "lost"]:
            return f"line {line}", _LINE
        case [device, name] if name in _DEVICE:
            return device, _DEVICE[name]
        case [device, channel, name] if name in _CHANNEL:
            return f"{device} {channel}", _CHANNEL[name]
        case _:
            return event.alarm or "the gateway", _OTHER


def devices(event: Event, plant: Plant) -> list[Device]:
    """The devices that a technical alarm of a device or line leaves without monitoring."""
    match event.alarm.split("."):
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

"""The texts as staff get them, word for word. To change them: NOTICE_CASES=write, then read every changed file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from notice_bench import NOON, SECOND, USERS, View, event, make_plant, technical

from labmon.config.site import NoticesConfig
from labmon.model.event import AlarmClass, AlarmState, Event, EventKind
from labmon.notices.matter import House, Situation
from labmon.notices.notice import Notice
from labmon.notices.pending import Pending, start
from labmon.notices.text import write
from labmon.notices.words import SiteClock, duration, number

CASES = Path(__file__).parent / "cases"
HOUR = 3600.0
ACKED, RTNUN, NORM, UNACK = AlarmState.ACKED, AlarmState.RTNUN, AlarmState.NORM, AlarmState.UNACK


def house(plant=None) -> House:
    plant = plant or make_plant()
    users = {user.id: user.name for user in USERS}
    may = [user.name for user in USERS if user.role != "viewer"]
    return House(plant, SiteClock(plant.timezone), NoticesConfig().acknowledge, users, may)


def story(*events: Event, journaled: bool = True) -> Pending:
    pending = start(1 if journaled else None, events[0], 0.0)
    for seq, further in enumerate(events[1:], 2):
        pending.fold(seq if journaled else None, further)
    return pending


def letter(*events: Event, after: float = 1.0, views: list[View] | None = None, journaled: bool = True) -> Notice:
    told = story(*events, journaled=journaled)
    now = NOON + round(after * SECOND)
    waited = (now - told.oldest) / SECOND
    return write(house(), told, Situation(now, views or [], ["On Call", "Shift Lead"], "mail", waited))


def from_watch(alarm: str, kind: str = "raised", at: float = 0.0, **fields) -> Notice:
    """As labmon watch tells it, which nobody can acknowledge."""
    told = fields.pop("told", 1.0)
    views = fields.pop("views", [])
    plant = replace(make_plant(), gateway_name="Gateway in the corridor")
    words = House(plant, SiteClock(plant.timezone), "", {}, [], "labmon watch on tower-2")
    state = UNACK if kind == "raised" else NORM
    about = technical(f"watch.{alarm}", kind, at, **({"state": state, "since": NOON - 90 * SECOND} | fields))
    return write(words, story(about), Situation(NOON + round((at + told) * SECOND), views, ["On Call"], "mail", told))


ALERT = {"alarm": "incubator-1.co2.alert-low", "channel": "incubator-1.co2", "alarm_class": AlarmClass.ALERT}
CO2 = ALERT | {"value": 4.6, "unit": "%{CO2}", "limit": 4.7, "direction": "low", "since": NOON - 600 * SECOND}
PARTICLES = {
    "alarm": "counter-1.p05.action-high",
    "device": "counter-1",
    "channel": "counter-1.p05",
    "value": 352001.0,
    "unit": "/m3",
    "limit": 352000.0,
    "since": NOON,
}
LINE = {"line": "rs485-a", "occurrence": "occ-9", "since": NOON - 20 * SECOND}
OWN = {"device": "incubator-1", "area": "culture-b", "line": "rs485-a", "since": NOON - 30 * SECOND}


def cases() -> dict[str, Notice]:
    raised, cleared = event("raised"), event("cleared", 1500)
    acked = event("acknowledged", 240, user="duty", reason="flasks moved to incubator-2")
    silence = {**OWN, "channel": "incubator-1.temperature"}
    return {
        "action-raised": letter(raised, views=[View(value=38.1)]),
        "action-raised-late-active": letter(raised, after=4 * HOUR, views=[View(peak=39.0)]),
        "action-raised-late-unmeasured": letter(raised, after=4 * HOUR, views=[View(measured=False)]),
        "action-raised-late-acknowledged": letter(raised, acked, after=4 * HOUR, views=[View(state=ACKED)]),
        "action-over-told-late": letter(raised, acked, replace(cleared, state=NORM), after=6 * HOUR),
        "action-merged": letter(
            raised,
            cleared,
            event("raised", 2 * HOUR, occurrence="occ-2"),
            event("cleared", 2.5 * HOUR, occurrence="occ-2"),
            event("raised", 5 * HOUR, occurrence="occ-3", since=NOON + 17700 * SECOND),
            after=6 * HOUR,
            views=[View(occurrence="occ-3")],
        ),
        "action-cleared": letter(cleared, after=1501, views=[View(state=RTNUN, value=37.2, peak=38.9)]),
        "action-cleared-acknowledged": letter(replace(cleared, state=NORM), after=1501),
        "action-acknowledged": letter(acked, after=241, views=[View(state=ACKED)]),
        "action-not-measured": letter(
            event("not-measured", 60, value=38.2, detail="silent"), after=121, views=[View(measured=False, value=38.2)]
        ),
        "action-not-journaled": letter(raised, views=[View(value=38.1)], journaled=False),
        "action-particles": letter(event("raised", **PARTICLES), views=[]),
        "alert-raised": letter(event("raised", **CO2), views=[View("incubator-1.co2.alert-low", value=4.6)]),
        "back-in-service": letter(event("raised", detail="was raised while out of service"), views=[View(value=38.1)]),
        "alarm-removed": letter(
            event(
                "removed",
                alarm_class=None,
                limit=None,
                unit="",
                direction="",
                state=NORM,
                detail="was UNACK when its rule left the configuration; it is watched no more",
            )
        ),
        "line-lost": letter(
            technical("line.rs485-a.lost", **LINE, detail="/dev/labmon-a: no such device"),
            views=[View(state=ACKED, measured=False)],
        ),
        "line-back": letter(technical("line.rs485-a.lost", "cleared", 600, state=NORM, **LINE), after=601),
        "device-dead": letter(technical("incubator-1.dead", **OWN, detail="silent 5 times")),
        "channel-silent": letter(
            technical("incubator-1.temperature.silence", **silence), views=[View(measured=False, value=38.4)]
        ),
        "channel-bad": letter(technical("incubator-1.temperature.quality", **silence, detail="no-sensor")),
        "wrong-settings": letter(
            technical("incubator-1.wrong-settings", **OWN, detail="unit is 3, not degrees Celsius")
        ),
        "clock-drift": letter(technical("incubator-1.clock-drift", **OWN, detail="75 s ahead, 60 s at most")),
        "wrong-instrument": letter(technical("incubator-1.wrong-instrument", **OWN, detail="serial 4711, not 4712")),
        "gateway-journal": letter(technical("gateway.journal", detail="no space left on device")),
        "gateway-delivery": letter(technical("gateway.delivery.influx", detail="401 unauthorized")),
        "gateway-notices": letter(technical("gateway.notices.sms", detail="webhook sms.example.org answers 503")),
        "gateway-quarantine": letter(technical("gateway.quarantine.influx", detail="12 records: field type conflict")),
        "gateway-fault": letter(
            technical("gateway.fault", detail="line rs485-a: stuck (no turn completed in 76 s), is replaced")
        ),
        "gateway-broker": letter(technical("gateway.broker")),
        "gateway-certificate": letter(
            technical(
                "gateway.certificate",
                detail="certificate /etc/labmon/gw1.crt ends on 2026-12-01 09:30 UTC: put a new one there",
            )
        ),
        "gateway-access": letter(
            technical("gateway.access", detail="5 wrong proofs in 5 min in the name of qa-officer; refused for 1 min")
        ),
        "gateway-clock": letter(technical("gateway.clock", "cleared", 7200, state=NORM), after=7201),
        "gateway-clock-raised": letter(
            technical(
                "gateway.clock",
                detail="not synchronised: no time service keeps it, or the kernel was not told",
            )
        ),
        "watch-gateway-silent": from_watch(
            "gw-1.gateway-silent",
            detail="its connection to the broker broke off at 2026-11-22 03:58:30 CET (02:58:30 UTC), without a word; "
            "it was last heard at 2026-11-22 03:58:20 CET (02:58:20 UTC)",
        ),
        "watch-gateway-silent-late": from_watch(
            "gw-1.gateway-silent", told=HOUR, views=[View("watch.gw-1.gateway-silent")]
        ),
        "watch-gateway-silent-elsewhere": from_watch(
            "gw-2.gateway-silent",
            detail="it was stopped in the ordinary way, at 2026-11-22 03:58:30 CET (02:58:30 UTC) by its own clock; "
            "its instruments: freezer-7, freezer-8",
        ),
        "watch-gateway-back": from_watch(
            "gw-1.gateway-silent",
            "cleared",
            1200,
            detail="it had gone on working: only its connection to the broker was away",
        ),
        "watch-health-silent": from_watch("gw-1.health-silent", detail="nothing heard of it since 03:50"),
        "watch-ingest-silent": from_watch("gw-1.ingest-silent.influx", detail="nothing heard of it since 03:50"),
        "watch-ingest-back": from_watch("gw-1.ingest-silent.influx", "cleared", 600),
        "watch-gateway-notices": from_watch("gw-1.notices", detail="does not work, or not for everybody: mail"),
        "watch-broker": from_watch(
            "broker", detail="broker.plant.example:8883: no answer within 10 s; not seen: gw-1, gw-2"
        ),
        "watch-journal": from_watch("journal", detail="no space left on device"),
        "watch-own-notices": from_watch("notices.sms", detail="webhook sms.example.org answers 503"),
        "watch-ping": from_watch("ping", detail="no answer within 10 s"),
        "watch-fault": from_watch("fault", detail="judge: failed (ValueError: x), starts again in 1 s"),
        "everything-missing": letter(
            Event(EventKind.RAISED, NOON, NOON, alarm="lost-1.ghost.action-high", alarm_class=AlarmClass.ACTION)
        ),
    }


@pytest.mark.parametrize("name", cases())
def test_text(name: str) -> None:
    notice = cases()[name]
    got = f"Subject: {notice.subject}\n\n{notice.text}"
    path = CASES / f"{name}.txt"
    if os.environ.get("NOTICE_CASES") == "write":
        path.write_text(got)
    assert got == path.read_text()
    assert "None" not in got
    assert all(line == line.rstrip() for line in got.splitlines())


def test_every_file_is_a_case() -> None:
    assert {path.stem for path in CASES.glob("*.txt")} == set(cases())


def test_an_alarm_class_and_the_place_stand_in_the_first_forty_characters() -> None:
    subject = cases()["action-raised"].subject
    assert subject == "ACTION incubator-1 temperature 38.1 °C > 37.5 °C · Cell culture B"
    assert "ACTION incubator-1 temperature 38.1 °C" in subject[:40]


def test_a_value_is_never_shown_equal_to_the_limit_that_it_breaks() -> None:
    subject = letter(event("raised", value=37.54)).subject
    assert "37.54 °C > 37.50 °C" in subject


def test_a_state_is_named_and_not_numbered() -> None:
    fields = {"device": "freezer-1", "channel": "freezer-1.door", "unit": "1", "value": 1.0, "limit": 0.5}
    notice = letter(event("raised", **(fields | {"alarm": "freezer-1.door.action-high"})))
    assert "open" in notice.subject


def test_a_fault_in_a_text_sends_a_plain_one() -> None:
    broken = event("raised", alarm_class=AlarmClass.ACTION, direction=5, value="much")
    notice = letter(broken)
    assert notice.subject == "ACTION incubator-1.temperature.action-high raised"
    assert "limit: 37.5" in notice.text


def test_braces_in_the_sites_own_words_do_no_harm() -> None:
    plant = make_plant()
    words = House(plant, SiteClock("UTC"), "press {the} button {alarm} {0}", {}, [])
    notice = write(words, story(event("raised")), Situation(NOON, [], [], "mail"))
    assert "press {the} button incubator-1.temperature.action-high {0}" in notice.text


def test_an_unknown_time_zone_falls_back_to_utc() -> None:
    assert SiteClock("Europe/Nowhere").full(NOON) == "2026-11-22 03:00:00 UTC"


def test_daylight_saving_names_its_zone() -> None:
    july = 1_783_036_800_000_000_000
    assert SiteClock("Europe/Berlin").full(july) == "2026-07-03 02:00:00 CEST (00:00:00 UTC)"
    assert SiteClock("America/New_York").full(july) == "2026-07-02 20:00:00 EDT (2026-07-03 00:00:00 UTC)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (45.4, "45 s"),
        (119.6, "2 min"),
        (1500, "25 min"),
        (21_900, "6 h 5 min"),
        (21_600, "6 h"),
        (266_400, "3 d 2 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_large_numbers_are_grouped() -> None:
    assert [number(v, 0) for v in (3520, 352_000, -40_000)] == ["3520", "352 000", "-40 000"]


def berlin(hour: int, minute: int) -> int:
    """A moment of 2026-10-25 in UTC: at 01:00 clocks in Berlin go back from 03:00 CEST to 02:00 CET."""
    return (1_792_886_400 + hour * 3600 + minute * 60) * SECOND


@pytest.mark.parametrize(
    ("hour", "full", "short"),
    [
        (-1, "2026-10-25 01:30:00 CEST (2026-10-24 23:30:00 UTC)", "01:30"),
        (0, "2026-10-25 02:30:00 CEST (00:30:00 UTC)", "02:30 CEST"),
        (1, "2026-10-25 02:30:00 CET (01:30:00 UTC)", "02:30 CET"),
        (2, "2026-10-25 03:30:00 CET (02:30:00 UTC)", "03:30"),
    ],
)
def test_the_hour_that_comes_twice_is_told_apart(hour: int, full: str, short: str) -> None:
    clock, moment = SiteClock("Europe/Berlin"), berlin(hour, 30)
    assert clock.full(moment) == full
    assert clock.short(moment, moment) == short
    assert clock.short(moment, moment + 86400 * SECOND) == f"2026-10-25 {short}"


def test_where_both_passes_have_one_name_the_offset_tells_them_apart() -> None:
    """Pyongyang went back by half an hour at 2015-08-14 15:00 UTC, and its time was called KST before and after."""
    clock, back = SiteClock("Asia/Pyongyang"), 1_439_564_400 * SECOND
    texts = [clock.short(back + minutes * 60 * SECOND, back) for minutes in (-15, 15)]
    assert texts == ["23:45 +0900", "23:45 +0830"]


def test_the_hour_that_is_left_out_does_no_harm() -> None:
    spring = 1_774_746_000 * SECOND  # 2026-03-29 01:00 UTC: 02:00 CET becomes 03:00 CEST
    clock = SiteClock("Europe/Berlin")
    minute = 60 * SECOND
    assert [clock.short(spring + m * minute, spring) for m in (-1, 0, 30)] == ["01:59", "03:00", "03:30"]


def test_an_alarm_over_the_change_of_the_hour_lasts_as_long_as_it_did() -> None:
    """Raised 02:30 CEST, back 02:10 CET: forty minutes, not minus twenty."""
    raised = replace(event("raised"), time=berlin(0, 30), detected=berlin(0, 30), since=berlin(0, 30))
    cleared = replace(event("cleared"), time=berlin(1, 10), detected=berlin(1, 10), since=berlin(0, 30))
    told = story(cleared)
    notice = write(house(), told, Situation(berlin(1, 10), [], ["On Call"], "mail", 0.0))
    assert "after 40 min" in notice.subject
    late = write(house(), story(raised, cleared), Situation(berlin(2, 0), [], ["On Call"], "mail", 5400.0))
    assert "02:30 CEST to 02:10 CET" in late.subject
    assert "2026-10-25 02:30:00 CEST (00:30:00 UTC)" in late.text
    assert "2026-10-25 02:10:00 CET (01:10:00 UTC)" in late.text

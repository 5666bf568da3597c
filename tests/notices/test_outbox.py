"""The notifier against real mail and web servers: once, merged, late, killed in the middle."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from notice_bench import (
    FAST,
    NOON,
    SECOND,
    Bench,
    View,
    configure,
    event,
    hook_channel,
    mail_channel,
    technical,
)
from servers.mail import MailServer
from servers.webhook import WebhookServer

from labmon.model.event import AlarmClass, AlarmState, EventKind
from labmon.notices.channel import Timing
from labmon.tasks.faults import faults_to

BOTH = ("mail.duty", "mail.lead")
HOUR = 3600.0


def subjects(server: MailServer) -> list[str]:
    return [mail.subject for mail in server.mails]


async def test_raised_acknowledged_cleared_reach_everybody_once(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        bench.views.append(View(value=38.1))
        bench.happen(event("started", alarm="", state=None), event("raised"))
        await eventually(lambda: bench.settled(*BOTH))
        assert subjects(server) == ["ACTION incubator-1 temperature 38.1 °C > 37.5 °C · Cell culture B"]
        assert server.mails[0].to == ["duty@example.org", "lead@example.org"]
        assert "Sent by mail to On Call, Shift Lead." in server.mails[0].text

        bench.now = NOON + 240 * SECOND
        bench.views[0].state = AlarmState.ACKED
        bench.happen(event("acknowledged", 240, user="duty", reason="moved"))
        await eventually(lambda: bench.settled(*BOTH))
        bench.now = NOON + 1500 * SECOND
        bench.views.clear()
        bench.happen(event("cleared", 1500, state=AlarmState.NORM))
        await eventually(lambda: bench.settled(*BOTH))

    assert [s.split()[0] for s in subjects(server)] == ["ACTION", "ACKNOWLEDGED", "CLEARED"]
    told = [(r.to, r.by, r.outcome, r.reason, r.occurrence) for r in bench.records]
    assert told == [
        (person, "mail", "accepted", why, "occ-1")
        for why in ("raised", "acknowledged", "cleared")
        for person in ("duty", "lead")
    ]
    assert bench.conditions == [("gateway.notices.mail", False, "")]


async def test_notices_of_one_occurrence_form_one_conversation(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        raised = event("raised")
        bench.happen(raised)
        await eventually(lambda: bench.settled(*BOTH))
        bench.happen(event("cleared", 1))
        await eventually(lambda: bench.settled(*BOTH))
    first, second = (mail.message for mail in server.mails)
    assert first["Message-ID"] == f"<{raised.uid}.raised@example.org>"
    assert first["References"] == second["References"] == "<occ-1@example.org>"
    assert first["Message-ID"] != second["Message-ID"]


async def test_out_of_service_sends_nothing(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        away = {"state": AlarmState.OOSRV}
        bench.happen(event("out-of-service", **away), event("raised", 1, **away), event("cleared", 2, **away))
        bench.happen(event("raised", 3, occurrence="occ-2", **away), event("in-service", 4, alarm="", state=None))
        # What the alarm engine does on coming back: nobody was told, so it is raised then.
        bench.happen(event("raised", 4, occurrence="occ-2", detail="was raised while out of service"))
        await eventually(lambda: bench.settled(*BOTH))
    assert len(server.mails) == 1
    assert "was raised while out of service" in server.mails[0].text


async def test_who_was_told_hears_that_the_alarm_left_the_configuration(eventually: Any) -> None:
    route = {"classes": ["action"], "to": ["duty", "lead"], "by": ["mail"]}
    async with MailServer() as server, Bench(configure([mail_channel(server.port)], [route])) as bench:
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled(*BOTH))
        bench.happen(event("removed", 1, alarm_class=None, limit=None, state=AlarmState.NORM))
        await eventually(lambda: bench.settled(*BOTH))
    assert server.mails[1].subject.startswith("NO LONGER WATCHED incubator-1 temperature")


async def test_coming_back_into_service_does_not_tell_again(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled(*BOTH))
        bench.happen(event("out-of-service", 1, state=AlarmState.OOSRV), event("in-service", 2))
        bench.happen(event("acknowledged", 3, user="duty"))
        await eventually(lambda: bench.settled(*BOTH))
    assert [s.split()[0] for s in subjects(server)] == ["ACTION", "ACKNOWLEDGED"]


async def test_a_lost_measurement_is_told_only_while_it_is_lost(eventually: Any) -> None:
    async with MailServer() as server:
        config = configure([mail_channel(server.port)])
        async with Bench(config, timing=replace(FAST, unmeasured_hold=0.05)) as bench:
            bench.views.append(View(measured=False))
            bench.happen(event("not-measured", 0), event("measured-again", 0))
            bench.happen(technical("incubator-1.temperature.silence"))
            await eventually(lambda: len(server.mails) == 1)
            bench.happen(event("not-measured", 0))
            await eventually(lambda: len(server.mails) == 2)
            await eventually(lambda: bench.settled(*BOTH))
    assert "NOT MEASURED" not in server.mails[0].subject
    assert "NOT MEASURED, alarm still active" in server.mails[1].subject


async def test_six_hours_without_a_server_give_one_mail_per_alarm(eventually: Any) -> None:
    server = MailServer()
    alarms = [f"incubator-1.temperature.{name}" for name in ("action-high", "alert-high")]
    async with Bench(configure([mail_channel(server.port)])) as bench:
        for hour in range(6):
            bench.now = NOON + hour * 3600 * SECOND
            for alarm, grade in zip(alarms, (AlarmClass.ACTION, AlarmClass.ALERT), strict=True):
                fields = {"alarm": alarm, "alarm_class": grade, "occurrence": f"{alarm}-{hour}"}
                bench.happen(event("raised", hour * HOUR, **fields))
                if hour < 5 or grade is AlarmClass.ALERT:
                    bench.happen(event("acknowledged", hour * HOUR + 600, user="lead", **fields))
                    bench.happen(event("cleared", hour * HOUR + 1200, state=AlarmState.NORM, **fields))
        down = ("gateway.notices.mail", True)
        await eventually(lambda: [c[:2] for c in bench.conditions] == [down])
        own = {"alarm": "gateway.notices.mail", "occurrence": "occ-mail"}
        bench.happen(technical(after=60, **own))
        bench.views = [View(alarms[0], f"{alarms[0]}-5"), View("gateway.notices.mail", "occ-mail", value=None)]
        bench.now = NOON + 6 * 3600 * SECOND

        async with server:
            await eventually(lambda: bench.condition == ("gateway.notices.mail", False, "") and len(server.mails) > 1)
            # The news of its own failure waits until that is over: it could not be true when it arrives.
            bench.happen(technical("gateway.clock", after=6 * HOUR))
            await eventually(lambda: server.mails[-1].subject.startswith("TECHNICAL gateway gw-1 has a clock"))
            bench.views.pop()
            bench.happen(technical(kind="cleared", after=6 * HOUR, state=AlarmState.NORM, **own))
            await eventually(lambda: bench.settled(*BOTH))

    assert len(server.mails) == 4, subjects(server)
    assert server.mails[0].subject.startswith("ACTION incubator-1 temperature now 38.4 °C > 37.5 °C since")
    assert "It had been raised 5 times before, first at 04:00" in server.mails[0].text
    assert server.mails[1].subject.startswith("OVER, told late: ALERT incubator-1 temperature was 38.1 °C")
    assert "Shift Lead acknowledged it" in server.mails[1].text
    assert server.mails[3].subject.startswith("OVER, told late: TECHNICAL gateway gw-1 cannot send notices by mail")
    assert ["waited" in mail.text for mail in server.mails] == [True, True, False, True]


async def test_the_daemon_was_away_and_what_it_left_merges(eventually: Any) -> None:
    async with MailServer() as server:
        bench = Bench(configure([mail_channel(server.port)]), now=NOON + 6 * 3600 * SECOND)
        bench.happen(*(event(kind, 600 * n, occurrence=f"occ-{n}") for n in range(8) for kind in ("raised", "cleared")))
        async with bench:
            await eventually(lambda: bench.settled(*BOTH))
    assert len(server.mails) == 1
    assert "raised 7 times before" in server.mails[0].text


async def test_a_restart_tells_nothing_again_and_forgets_nobody(eventually: Any) -> None:
    async with MailServer() as server:
        bench = Bench(configure([mail_channel(server.port)]), views=[View()])
        async with bench:
            bench.happen(event("raised"))
            await eventually(lambda: bench.settled(*BOTH) and len(bench.records) == 2)
        # Lead is on no route any more, but he was told and has to hear the end.
        route = {"classes": ["action"], "to": ["duty"], "by": ["mail"]}
        bench.config = configure([mail_channel(server.port)], [route])
        async with bench:
            bench.happen(event("cleared", 60, state=AlarmState.NORM))
            await eventually(lambda: bench.settled(*BOTH))
            bench.happen(event("raised", 90, occurrence="occ-2"))
            await eventually(lambda: bench.settled("mail.duty"))
    assert [(m.subject.split()[0], len(m.to)) for m in server.mails] == [("ACTION", 2), ("CLEARED", 2), ("ACTION", 1)]


async def test_somebody_new_is_told_of_what_happens_from_then_on(eventually: Any) -> None:
    async with MailServer() as server:
        route = {"classes": ["action"], "to": ["duty"], "by": ["mail"]}
        still = {"alarm": "incubator-1.temperature.alert-high", "occurrence": "occ-0"}
        bench = Bench(configure([mail_channel(server.port)], [route]), views=[View(**still)])
        async with bench:
            # An alarm that stays open keeps the journal's past within reach.
            bench.happen(event("started", alarm="", state=None), event("raised", **still))
            bench.happen(event("raised"), event("cleared", 1, state=AlarmState.NORM))
            await eventually(lambda: bench.settled("mail.duty"))
        bench.config, bench.now = configure([mail_channel(server.port)]), NOON + 2 * SECOND
        async with bench:
            bench.happen(event("raised", 2, occurrence="occ-2"))
            await eventually(lambda: bench.settled(*BOTH))
    assert [mail.to for mail in server.mails] == [
        ["duty@example.org"],
        ["duty@example.org"],
        ["duty@example.org", "lead@example.org"],
    ]


async def test_an_alarm_before_the_very_first_start_is_not_lost(eventually: Any) -> None:
    async with MailServer() as server:
        bench = Bench(configure([mail_channel(server.port)]))
        bench.happen(event("raised"))
        async with bench:
            await eventually(lambda: bench.settled(*BOTH))
    assert len(server.mails) == 1


async def test_killed_between_acceptance_and_cursor_repeats_one_message_with_the_same_id(eventually: Any) -> None:
    async with MailServer() as server:
        bench = Bench(configure([mail_channel(server.port)]))
        alarms = [f"incubator-1.temperature.{name}" for name in ("action-high", "action-low", "alert-high")]
        bench.happen(*(event(kind, n, alarm=a) for kind in ("raised", "cleared") for n, a in enumerate(alarms)))
        # The third message is accepted, and the journal does not hear of it: the process is dead.
        server.before_reply = lambda: setattr(bench.journal, "broken", len(server.mails) >= 3)
        bench.start()
        await eventually(lambda: len(server.mails) == 3 and len(bench.records) == 6)
        await bench.stop()
        server.before_reply, bench.journal.broken = None, False
        bench.journal.events = [e for e in bench.journal.events if e.kind is not EventKind.NOTICE]
        async with bench:
            await eventually(lambda: bench.settled(*BOTH))
    ids = [mail.message["Message-ID"] for mail in server.mails]
    assert len(ids) == 4
    assert ids[3] == ids[2]
    assert len(set(ids)) == 3


async def test_answer_lost_after_the_server_took_the_message_is_repeated_under_the_same_id(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        server.drop = "accepted"
        bench.happen(event("raised"))
        await eventually(lambda: len(server.mails) >= 2)
        assert not bench.records, "nobody may count as told"
        server.drop = ""
        await eventually(lambda: bench.settled(*BOTH))
    assert len({mail.message["Message-ID"] for mail in server.mails}) == 1


@pytest.mark.parametrize("stage", ["greeting", "rcpt", "data"])
async def test_a_connection_dropped_at_any_stage_is_tried_again(stage: str, eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        server.drop = stage
        bench.happen(event("raised"))
        await eventually(lambda: server.connections >= 2)
        assert not server.mails
        server.drop = ""
        await eventually(lambda: bench.settled(*BOTH))
    assert len(server.mails) == 1


async def test_server_killed_in_the_middle_and_back(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        server.hang = "data"
        bench.happen(event("raised"))
        await eventually(lambda: server.connections)
        await server.kill()
        server.hang = ""
        await eventually(lambda: any(active for _, active, _ in bench.conditions))
        await server.start()
        await eventually(lambda: bench.settled(*BOTH))
        await eventually(lambda: bench.condition[1] is False)
    assert len(server.mails) == 1


async def test_a_stuck_channel_delays_no_other_and_is_told_by_it(eventually: Any) -> None:
    async with MailServer() as server, WebhookServer() as hook:
        config = configure([mail_channel(server.port, timeout="100 ms"), hook_channel(hook.url)])
        async with Bench(config) as bench:
            server.hang = "greeting"
            bench.happen(event("raised"))
            await eventually(lambda: len(hook.accepted()) == 1)
            await eventually(lambda: ("gateway.notices.mail", True) in [c[:2] for c in bench.conditions])
            detail = next(c[2] for c in bench.conditions if c[1])
            bench.happen(technical("gateway.notices.mail", occurrence="occ-mail", detail=detail))
            await eventually(lambda: len(hook.accepted()) == 2)
            assert not server.mails
            server.release()
            await eventually(lambda: bench.settled("hook.duty", "hook.lead") and len(server.mails) == 1)
    assert detail == f"mail server 127.0.0.1:{server.port} does not answer within 0.1 s"
    assert hook.accepted()[1].json["subject"] == "TECHNICAL gateway gw-1 cannot send notices by mail"


async def test_a_refused_recipient_is_recorded_alarmed_and_passed(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        server.recipients["lead@example.org"] = "550 5.1.1 no such user"
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled(*BOTH))
        assert server.mails[0].to == ["duty@example.org"]
        assert {r.to: r.outcome for r in bench.records} == {"duty": "accepted", "lead": "refused"}
        assert "550 5.1.1 no such user" in bench.records[1].detail
        active = ("gateway.notices.mail", True, "lead cannot be reached: 550 5.1.1 no such user")
        await eventually(lambda: bench.condition == active)
        # The others hear of it over the same channel: it is not the channel that fails.
        bench.happen(technical("gateway.notices.mail", occurrence="occ-mail", detail=active[2]))
        await eventually(lambda: len(server.mails) == 2)
        server.recipients.clear()
        bench.happen(event("cleared", 5))
        await eventually(lambda: bench.condition == ("gateway.notices.mail", False, ""))
        await eventually(lambda: bench.settled(*BOTH))
    assert server.mails[2].to == ["duty@example.org", "lead@example.org"]


async def test_a_refused_message_is_not_retried_for_ever(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        server.content_reply = "554 5.7.1 looks like spam"
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled(*BOTH))
        assert {r.outcome for r in bench.records} == {"refused"}
        await eventually(lambda: bench.condition[1])


async def test_a_recipient_put_off_is_tried_again_and_nobody_else_is_told_twice(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        server.recipients["lead@example.org"] = "451 4.7.1 greylisted"
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled("mail.duty") and bench.condition[1])
        assert bench.condition[2] == "lead cannot be reached: 451 4.7.1 greylisted"
        assert not bench.settled("mail.lead")
        server.recipients.clear()
        await eventually(lambda: bench.settled(*BOTH))
        await eventually(lambda: bench.condition == ("gateway.notices.mail", False, ""))
    assert [mail.to for mail in server.mails] == [["duty@example.org"], ["lead@example.org"]]


async def test_a_person_without_an_address_is_an_alarm_and_blocks_nobody(eventually: Any) -> None:
    async with MailServer() as server:
        config = configure([mail_channel(server.port)])
        people = [
            person.model_copy(update={"email": None}) if person.id == "lead" else person for person in config.people
        ]
        async with Bench(config.model_copy(update={"people": people})) as bench:
            bench.happen(event("raised"))
            await eventually(lambda: bench.settled(*BOTH))
            active = ("gateway.notices.mail", True, "lead cannot be reached: no e-mail address is configured")
            await eventually(lambda: bench.condition == active)
    assert server.mails[0].to == ["duty@example.org"]


async def test_one_message_that_breaks_the_server_does_not_block_the_rest(eventually: Any) -> None:
    async with WebhookServer() as hook, Bench(configure([hook_channel(hook.url)])) as bench:
        hook.status_for = lambda post: 500 if "action-high" in post.body.decode() else 200
        bench.happen(event("raised"), technical("gateway.clock"), technical("gateway.broker"))
        await eventually(lambda: len(hook.accepted()) == 2)
        await eventually(lambda: (bench.conditions and bench.condition[1] is False) or len(hook.posts) > 3)
        hook.status_for = None
        await eventually(lambda: len(hook.accepted()) == 3, what="the message refused is tried again, and taken")


async def test_a_notice_that_cannot_be_written_does_not_block_the_rest(
    eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours in its text: told, the others go out, and it is tried again."""
    from labmon.notices import channel

    right, broken = channel.write, True

    def write(house: Any, story: Any, situation: Any) -> Any:
        if broken and story.alarm.endswith("action-high"):
            raise RuntimeError("planted")
        return right(house, story, situation)

    monkeypatch.setattr(channel, "write", write)
    told: list[tuple[str, str]] = []
    asyncio.get_running_loop().set_exception_handler(None)
    with faults_to(lambda part, what, error: told.append((part, what))):
        async with WebhookServer() as hook, Bench(configure([hook_channel(hook.url)])) as bench:
            bench.happen(event("raised"), technical("gateway.clock"), technical("gateway.broker"))
            await eventually(lambda: len(hook.accepted()) == 2)
            await eventually(lambda: told)
            broken = False
            await eventually(lambda: len(hook.accepted()) == 3, what="it is tried again")
    part, what = told[0]
    assert part.startswith("notices ")
    assert "planted" in what


async def test_urgent_events_go_at_once_and_are_not_repeated_from_the_journal(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        raised = event("raised")
        bench.journal.broken = True
        bench.notifier.urgent([replace(raised, journaled=False)])
        await eventually(lambda: len(server.mails) == 1 and len(bench.records) == 2)
        assert "NOT JOURNALED" in server.mails[0].text
        bench.journal.broken = False
        bench.journal.events.clear()
        bench.happen(raised, event("cleared", 5))
        await eventually(lambda: bench.settled(*BOTH))
        bench.notifier.urgent([raised])
    assert [s.split()[0] for s in subjects(server)] == ["ACTION", "CLEARED"]


async def test_urgent_events_that_wait_take_their_place_in_the_journal(eventually: Any) -> None:
    server = MailServer()
    async with Bench(configure([mail_channel(server.port)])) as bench:
        raised = event("raised")
        bench.notifier.urgent([raised])
        bench.happen(raised)
        await eventually(lambda: bench.conditions)
        assert max(bench.journal.cursors.values()) < 10, "no cursor may pass what nobody accepted"
        async with server:
            await eventually(lambda: bench.settled(*BOTH))
    assert len(server.mails) == 1
    assert "NOT JOURNALED" not in server.mails[0].text


async def test_notices_go_out_although_the_journal_never_opened(eventually: Any) -> None:
    async with MailServer() as server:
        bench = Bench(configure([mail_channel(server.port)]))
        bench.journal.broken = True
        async with bench:
            bench.notifier.urgent([event("raised")])
            await eventually(lambda: len(server.mails) == 1)


async def test_a_disk_that_takes_no_cursor_delays_no_notice(eventually: Any) -> None:
    async with MailServer() as server:
        bench = Bench(configure([mail_channel(server.port)]))
        never = asyncio.Event()

        async def hang(name: str, seq: int) -> None:
            await never.wait()

        async with bench:
            await eventually(lambda: bench.conditions)
            bench.journal.advance = hang
            bench.happen(event("raised"))
            await eventually(lambda: len(server.mails) == 1)
            bench.happen(event("cleared", 3))
            await eventually(lambda: len(server.mails) == 2)


@pytest.mark.parametrize("stage", ["greeting", "data"])
async def test_stop_ends_although_the_server_hangs(stage: str, eventually: Any) -> None:
    async with MailServer() as server:
        bench = Bench(configure([mail_channel(server.port, timeout="60 s")]))
        bench.start()
        server.hang = stage
        bench.happen(event("raised"))
        await eventually(lambda: server.connections == 1)
        async with asyncio.timeout(3.0):
            await bench.stop()
        assert not bench.settled(*BOTH)
        server.release()
        async with bench:
            await eventually(lambda: bench.settled(*BOTH))


async def test_stop_lets_a_conversation_under_way_end(eventually: Any) -> None:
    async with MailServer() as server:
        bench = Bench(configure([mail_channel(server.port)]))
        bench.start()
        server.hang = "accepted"
        bench.happen(event("raised"))
        await eventually(lambda: len(server.mails) == 1)
        stopping = asyncio.create_task(bench.stop())
        await asyncio.sleep(0)
        server.release()
        await stopping
        assert bench.settled(*BOTH)


async def test_routes_choose_by_class_and_area(eventually: Any) -> None:
    routes = [
        {"classes": ["action"], "areas": ["culture-b"], "to": ["duty"], "by": ["mail"]},
        {"classes": ["technical"], "areas": ["corridor"], "to": ["lead"], "by": ["mail"]},
    ]
    async with MailServer() as server, Bench(configure([mail_channel(server.port)], routes)) as bench:
        bench.happen(
            event("raised"),
            event("raised", alarm_class=AlarmClass.ALERT, alarm="incubator-1.temperature.alert-high"),
            event("raised", alarm="freezer-1.door.action-high", device="freezer-1", area="corridor", channel=""),
            technical("line.rs485-a.lost", line="rs485-a"),
            technical("line.tcp-1.lost", line="tcp-1"),
            technical("gateway.clock"),
        )
        await eventually(lambda: bench.settled(*BOTH))
    got = sorted((mail.to[0].split("@")[0], mail.subject.split(" ")[1:3]) for mail in server.mails)
    assert got == [
        ("duty", ["incubator-1", "temperature"]),
        ("lead", ["gateway", "gw-1"]),
        ("lead", ["line", "tcp-1"]),
    ]


@pytest.mark.parametrize("step", [3600, -3600])
async def test_a_step_of_the_clock_makes_no_news_late_and_no_retry_wait(eventually: Any, step: int) -> None:
    """The server comes back a moment after; the message that waited for it has not waited for an hour."""
    server = MailServer()
    async with Bench(configure([mail_channel(server.port)]), views=[View(value=38.1)]) as bench:
        bench.happen(event("raised"))
        await eventually(lambda: bench.condition == ("gateway.notices.mail", True, bench.condition[2]))
        bench.now, bench.stepped = bench.now + step * SECOND, float(step)
        bench.happen(event("raised", alarm="incubator-1.temperature.alert-high", alarm_class=AlarmClass.ALERT))
        async with server:
            await eventually(lambda: bench.settled(*BOTH))
    assert sorted(subjects(server)) == [
        "ACTION incubator-1 temperature 38.1 °C > 37.5 °C · Cell culture B",
        "ALERT incubator-1 temperature 38.1 °C > 37.5 °C · Cell culture B",
    ]
    assert all("waited" not in mail.text for mail in server.mails)


@pytest.mark.parametrize("step", [3600, -3600])
async def test_a_lost_measurement_is_held_back_as_long_as_ever(eventually: Any, step: int) -> None:
    timing = Timing(first_retry=0.02, longest_retry=0.2, unmeasured_hold=0.3, look=5.0, grace=0.3)
    async with (
        MailServer() as server,
        Bench(configure([mail_channel(server.port)]), views=[View(measured=False)], timing=timing) as bench,
    ):
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled(*BOTH))
        bench.now, bench.stepped = bench.now + step * SECOND, float(step)
        began = time.monotonic()
        bench.happen(event("not-measured"))  # detected before the step, read after it
        await eventually(lambda: len(server.mails) == 2)
        assert time.monotonic() - began >= timing.unmeasured_hold
    assert "NOT MEASURED" in server.mails[1].subject
    assert "waited" not in server.mails[1].text

"""What a gateway's messages, and their absence, are taken for; time is told, nothing waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from labmon.model.status import DeviceHealth, LineHealth, Status
from labmon.watch.gateway import Gateway, Patience, Verdict
from labmon.watch.sight import Moment, Sight

T = 1_795_316_400_000_000_000
SECOND = 10**9
CLOCK = 7 * SECOND
"""The gateway's own clock: 1970, as on a machine without a battery."""


def tell(moment: int) -> str:
    """Seconds past T, or the gateway's own time."""
    return f"[{(moment - T) / SECOND:g}]" if moment >= T else f"[own {moment / SECOND:g}]"


@dataclass
class Bench:
    """A gateway that is given messages at seconds of sight; `standing` are its alarms, by the last verdicts."""

    gateway: Gateway = field(default_factory=lambda: Gateway(Moment(0, T), Patience(120, 30, 300), tell))
    standing: set[str] = field(default_factory=set)
    details: dict[str, str] = field(default_factory=dict)

    def status(self, at: float, *, kept: bool = False, time: int | None = None, session: int = 5, **more: Any) -> None:
        online = more.pop("online", True)
        said = CLOCK + int(at * SECOND) if time is None else time
        self.gateway.status(Status(online, session, "0.1.0", CLOCK, said, **more), kept, moment(at))

    def will(self, at: float, *, kept: bool = False, session: int = 5) -> None:
        self.status(at, kept=kept, time=0, session=session, online=False)

    def look(self, at: float) -> list[str]:
        """The alarms that stand after a look at this time."""
        for verdict in self.verdicts(at):
            (self.standing.add if verdict.active else self.standing.discard)(verdict.name)
            self.details[verdict.name] = verdict.detail
        return sorted(self.standing)

    def verdicts(self, at: float) -> list[Verdict]:
        return list(self.gateway.verdicts(moment(at), set(self.standing)))


def moment(at: float) -> Moment:
    return Moment(at, T + int(at * SECOND))


SILENT = ["gateway-silent"]


def test_a_gateway_that_speaks_is_well() -> None:
    bench = Bench()
    for at in range(0, 600, 30):
        bench.status(at)
        assert bench.look(at + 29) == []
        assert bench.gateway.well(moment(at + 29))


def test_one_that_stops_speaking_is_silent_since_it_was_last_heard() -> None:
    bench = Bench()
    bench.status(10)
    assert bench.look(129) == []
    (verdict,) = bench.verdicts(130)
    assert (verdict.name, verdict.active, verdict.since) == ("gateway-silent", True, T + 10 * SECOND)
    assert verdict.detail == "it was last heard at [10]; the broker is there, and it says nothing"
    assert bench.look(130) == SILENT
    assert bench.verdicts(5000) == bench.verdicts(130), "what is said does not change while nothing else does"


def test_nothing_is_said_of_a_gateway_before_it_had_time_to_speak() -> None:
    bench = Bench()
    assert bench.verdicts(119) == []
    (verdict,) = bench.verdicts(120)
    assert verdict.active
    assert verdict.since == T
    assert "nothing was heard of it since the watch began at [0]" in verdict.detail
    assert "may the watch read its status" in verdict.detail


def test_an_old_status_that_the_broker_had_kept_is_no_sign_of_life() -> None:
    bench = Bench()
    bench.status(0, kept=True)
    assert not bench.gateway.well(moment(1))
    assert bench.look(119) == []
    assert bench.look(120) == SILENT
    assert "except an old word of [own 7] by its own clock" in bench.details["gateway-silent"]
    bench.status(200, time=CLOCK)
    assert bench.look(201) == SILENT, "the same again, as a bridge between brokers sends it"
    bench.status(230)
    assert bench.look(231) == []


def test_the_gateways_clock_judges_nothing() -> None:
    bench = Bench()
    for at, own in ((0, 1), (100, T + 10**6 * SECOND), (200, 2), (300, 3)):
        bench.status(at, time=own)
        assert bench.look(at + 90) == []


def test_one_whose_connection_broke_may_come_back() -> None:
    bench = Bench()
    bench.status(0)
    bench.will(10)
    assert bench.look(39) == []
    assert not bench.gateway.well(moment(39))
    bench.status(39)
    assert bench.look(60) == []
    bench.will(70)
    assert bench.look(100) == SILENT
    told = bench.details["gateway-silent"]
    assert told == "its connection to the broker broke off at [70], without a word; it was last heard at [39]"


def test_one_that_was_stopped_is_told_so() -> None:
    bench = Bench()
    bench.status(0)
    bench.status(10, online=False)
    assert bench.look(41) == SILENT
    assert bench.details["gateway-silent"].startswith(
        "it was stopped in the ordinary way, at [own 17] by its own clock"
    )


def test_a_late_will_of_an_earlier_session_means_nothing() -> None:
    bench = Bench()
    bench.status(0, session=5)
    bench.status(20, session=6)
    bench.will(21, session=5)
    assert bench.look(80) == []
    bench.will(81, session=6)
    assert bench.look(120) == SILENT


def test_a_session_from_before_a_clock_was_set_back_counts() -> None:
    bench = Bench()
    bench.status(0, session=900)
    bench.status(20, session=3)
    assert bench.look(30) == []
    bench.will(40, session=3)
    assert bench.look(80) == SILENT


def test_what_is_back_says_whether_it_had_gone_on() -> None:
    bench = Bench()
    bench.status(0)
    bench.will(10)
    bench.look(50)
    bench.status(60)
    assert bench.look(61) == []
    assert bench.details["gateway-silent"] == "it had gone on working: only its connection to the broker was away"
    bench.will(70)
    assert bench.look(110) == SILENT
    bench.status(120, session=6)
    assert bench.look(121) == []
    assert bench.details["gateway-silent"].startswith("it was started anew, at [own 7] by its own clock")


def test_one_that_comes_and_goes_stays_silent_while_its_alarm_stands() -> None:
    bench = Bench()
    bench.status(0)
    bench.will(10)
    assert bench.look(50) == SILENT
    bench.status(60)
    bench.will(61)
    (verdict,) = bench.verdicts(62)
    assert verdict.active, "the off-delay of the alarm must begin anew"


def test_after_a_restart_an_alarm_stands_until_the_gateway_is_heard() -> None:
    bench = Bench(standing={"gateway-silent"})
    bench.status(0, kept=True)
    assert bench.verdicts(60) == []
    bench.status(61, session=9)
    (verdict,) = bench.verdicts(62)
    assert (verdict.active, verdict.detail) == (False, ""), "which session fell silent is not known any more"
    again = Bench(standing={"gateway-silent"})
    again.will(0, kept=True, session=5)
    assert again.look(1) == SILENT
    assert "broke off before the watch was connected" in again.details["gateway-silent"]
    again.status(5, session=6)
    assert again.look(6) == []
    assert "started anew" in again.details["gateway-silent"]


def test_a_kept_online_after_a_will_waits_for_a_sign_of_life() -> None:
    bench = Bench()
    bench.status(0)
    bench.will(10)
    bench.status(20, kept=True)
    assert bench.look(100) == []
    assert bench.look(120) == SILENT


def test_a_status_that_is_not_understood_is_silence_with_a_reason() -> None:
    bench = Bench()
    bench.status(0)
    bench.gateway.unreadable = "status: unknown colour"
    assert bench.look(120) == SILENT
    assert "not understood (status: unknown colour)" in bench.details["gateway-silent"]
    bench.status(130)
    assert bench.look(131) == []
    assert bench.gateway.unreadable == ""


def test_instruments_are_named_where_the_site_file_does_not_know_them() -> None:
    health = LineHealth("bus", "open", T, T, devices=[DeviceHealth(f"d{n}", "ok", T) for n in range(10)])
    for named in (True, False):
        bench = Bench(Gateway(Moment(0, T), Patience(120, 30, 300), tell, name_devices=named))
        bench.gateway.health(health, True, moment(0))
        bench.look(120)
        listed = "its instruments: d0, d1, d2, d3, d4, d5, d6, d7 and 2 more"
        assert (listed in bench.details["gateway-silent"]) is named


# ---------------------------------------------------------------- ingest


def owing(bench: Bench, begin: int, end: int, behind: int | None, **more: Any) -> None:
    for at in range(begin, end, 30):
        bench.status(at, stores={"influx": behind}, **more)
        bench.look(at)


INGEST = "ingest-silent.influx"


def test_a_store_with_a_backlog_that_confirms_nothing_is_silent() -> None:
    bench = Bench()
    owing(bench, 0, 290, 40)
    assert bench.look(299) == []
    bench.gateway.stored("influx", False, moment(299))
    owing(bench, 300, 590, 40)
    assert bench.look(598) == []
    owing(bench, 599, 600, 40)
    assert bench.look(600) == [INGEST]
    assert bench.details[INGEST] == "nothing heard of it since [299]"
    bench.gateway.stored("influx", False, moment(601))
    assert bench.look(602) == []


def test_a_store_without_a_backlog_owes_nothing() -> None:
    bench = Bench()
    owing(bench, 0, 1000, 0)
    assert bench.look(1000) == []
    owing(bench, 1000, 1250, 5)
    assert bench.look(1250) == []
    owing(bench, 1270, 1300, 5)
    assert bench.look(1300) == [INGEST]
    owing(bench, 1310, 1320, 0)
    assert bench.look(1311) == []


def test_a_store_whose_backlog_is_not_known_is_not_judged() -> None:
    bench = Bench()
    owing(bench, 0, 1000, None)
    assert bench.look(1000) == []


def test_what_the_broker_had_kept_is_no_confirmation() -> None:
    bench = Bench()
    owing(bench, 0, 290, 40)
    bench.gateway.stored("influx", True, moment(290))
    owing(bench, 300, 301, 40)
    assert bench.look(301) == [INGEST]


def test_nobody_confirms_for_a_gateway_that_is_silent_or_was() -> None:
    bench = Bench()
    owing(bench, 0, 60, 40)
    assert bench.look(1000) == SILENT
    owing(bench, 1000, 1290, 40)
    assert bench.look(1290) == []
    owing(bench, 1299, 1301, 40)
    assert bench.look(1301) == [INGEST]


def test_after_a_restart_an_ingest_alarm_stands_until_it_answers() -> None:
    bench = Bench(standing={INGEST})
    owing(bench, 0, 200, 40)
    assert bench.look(200) == [INGEST]
    bench.gateway.stored("influx", False, moment(201))
    assert bench.look(202) == []


def test_a_store_that_the_gateway_has_no_more_is_over() -> None:
    bench = Bench(standing={INGEST})
    bench.status(0, stores={})
    assert bench.look(1) == []
    assert bench.details[INGEST] == "the gateway delivers to it no more"


# ---------------------------------------------------------------- lines and notices


def test_lines_of_which_nothing_is_told_are_noticed() -> None:
    bench = Bench()
    health = LineHealth("bus", "open", T, T)
    for at in range(0, 200, 30):
        bench.status(at, lines=1)
        bench.gateway.health(health, False, moment(at))
        assert bench.look(at) == []
    for at in range(210, 310, 30):
        bench.status(at, lines=1)
        bench.gateway.health(health, True, moment(at))
        bench.look(at)
    assert bench.look(301) == ["health-silent"]
    bench.status(302, lines=1)
    assert bench.look(303) == ["health-silent"]
    bench.gateway.health(health, False, moment(304))
    assert bench.look(305) == []


def test_a_gateway_without_lines_has_no_health_to_tell() -> None:
    bench = Bench()
    for at in range(0, 600, 30):
        bench.status(at, lines=0)
        assert bench.look(at) == []


def test_notices_that_the_gateway_cannot_send_are_passed_on() -> None:
    bench = Bench()
    bench.status(0, failing=("mail", "sms"))
    assert bench.look(1) == ["notices"]
    assert bench.details["notices"] == "does not work, or not for everybody: mail, sms"
    bench.status(30, failing=())
    assert bench.look(31) == []


def test_a_gateway_that_tells_nothing_more_than_that_it_is_there_is_judged_by_that() -> None:
    bench = Bench()
    for at in range(0, 900, 30):
        bench.status(at)
        assert bench.look(at) == []


# ---------------------------------------------------------------- sight


def test_only_time_with_a_steady_connection_is_sight() -> None:
    sight = Sight(15.0)
    assert sight.at(100.0, T).sight == 0.0
    sight.connected(100.0)
    sight.connected(105.0)
    assert not sight.steady(114.9)
    assert sight.steady(115.0)
    assert sight.at(120.0, T).sight == 5.0
    sight.lost(125.0)
    assert not sight.steady(126.0)
    assert sight.at(1000.0, T) == Moment(10.0, T)
    sight.connected(1000.0)
    assert sight.at(1010.0, T).sight == 10.0
    assert sight.at(1020.0, T).sight == 15.0


def test_a_connection_that_flaps_is_no_sight() -> None:
    sight = Sight(15.0)
    for begin in range(0, 1000, 20):
        sight.connected(begin)
        assert not sight.steady(begin + 14)
        sight.lost(begin + 14)
    assert sight.at(1000.0, T).sight == 0.0

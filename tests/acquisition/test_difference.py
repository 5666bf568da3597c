"""What a site file that was loaded again changes: as data, without anything that runs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labmon.acquisition.load
from labmon.acquisition.difference import Difference, compare, kept
from labmon.acquisition.load import Loaded, load
from labmon.config.site import Site
from labmon.daemon.reloaded import rows_of

Plain = dict[str, Any]
OVER = "2020-01-01"


def device(name: str, address: int) -> Plain:
    return {
        "id": name,
        "name": name.title(),
        "driver": "vaisala/gmp25x",
        "area": "room",
        "address": address,
        "channels": [{"id": "co2", "unit": "%{CO2}", "limits": "co2"}],
    }


def line(name: str, port: int, *devices: Plain) -> Plain:
    return {
        "id": name,
        "tcp": {"host": "10.0.0.1", "port": port},
        "framing": "modbus-rtu",
        "devices": list(devices),
    }


SITE: Plain = {
    "labmon": 1,
    "site": {"id": "lab", "name": "Laboratory"},
    "gateway": {"id": "gw-1"},
    "areas": [{"id": "room", "name": "Room", "grade": "C"}, {"id": "hall", "name": "Hall", "grade": "D"}],
    "profiles": {
        "co2": {
            "version": 1,
            "reason": "test",
            "unit": "%{CO2}",
            "limits": [{"level": "action", "high": 8.0, "dead-band": 0.1, "on-delay": "10 s"}],
        }
    },
    "lines": [line("one", 501, device("a", 1), device("b", 2)), line("two", 502, device("c", 1))],
    "users": [{"id": "anna", "name": "Anna", "role": "engineer"}],
    "mqtt": {"host": "broker"},
    "stores": [{"id": "old", "sqlite": {"path": "old.db"}}],
    "notices": {
        "channels": [{"id": "mail", "email": {"host": "mail", "from": "a@b.c"}}],
        "people": [{"id": "duty", "name": "Duty", "email": "d@b.c"}],
        "routes": [{"classes": ["action"], "to": ["duty"], "by": ["mail"]}],
    },
    "journal": {"path": "journal.db", "keep-readings": "1 d", "size": "1 GB"},
    "socket": "control.sock",
}


def loaded(folder: Path, site: Plain) -> Loaded:
    path = folder / "site.yaml"
    path.write_text(json.dumps(site, indent=1))
    found = load(path)
    assert not found.errors, found.errors
    return found


@pytest.fixture
def difference(tmp_path: Path) -> Callable[[Callable[[Plain], Any]], tuple[Difference, list[str]]]:
    """The difference that a change of the site file makes, and what is said of it."""

    def find(change: Callable[[Plain], Any]) -> tuple[Difference, list[str]]:
        site = copy.deepcopy(SITE)
        old = loaded(tmp_path, site)
        change(site)
        new = loaded(tmp_path, site)
        found = compare(old, new)
        return found, rows_of(found, old, new, {"old": 7})

    return find


def test_the_same_file_is_no_difference(difference: Any) -> None:
    found, rows = difference(lambda site: None)
    assert not found
    assert not found.texts
    assert found.lines.same == ("one", "two")
    assert rows == ["2 lines untouched", "nothing in operation changes; the files as they are now are recorded"]


def test_a_reason_is_a_text_and_nothing_in_operation(difference: Any) -> None:
    found, rows = difference(lambda site: site["profiles"]["co2"].update(reason="better"))
    assert not found
    assert found.texts
    assert rows[-1].startswith("nothing in operation changes")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda s: s["lines"][0]["tcp"].update(port=503), "endpoint 10.0.0.1:503"),
        (lambda s: s["lines"][0].update(quiet="100 ms"), "quiet 0.1 s"),
        (lambda s: s["lines"][0]["devices"].pop(), "without b"),
        (lambda s: s["lines"][0]["devices"].append(device("d", 3)), "with d"),
        (lambda s: s["lines"][0]["devices"].reverse(), "order of its devices"),
        (lambda s: s["lines"][0]["devices"][1].update(address=9), "address 9 of b"),
        (lambda s: s["lines"][0]["devices"][1].update(timeout="2 s"), "timeout of b"),
        (lambda s: s["lines"][0]["devices"][1].update(every={"co2": "3 s"}), "interval of b"),
        (lambda s: s["lines"][0]["devices"][1].update(area="hall"), "channels of b"),
        (lambda s: (s["lines"][0]["devices"][1]["channels"][0].pop("unit") and s["profiles"].clear())
         or [d["channels"][0].pop("limits") for li in s["lines"] for d in li["devices"]], "channels of b"),
        (
            lambda s: s["lines"][0]["devices"][1]["channels"][0].update(
                calibration={"offset": 0.1, "certificate": "C", "date": "2026-01-01"}
            ),
            "channels of b",
        ),
        (
            lambda s: s["lines"][0]["devices"][1]["channels"].append({"id": "device-status"}),
            "channels of b",
        ),
    ],
)  # fmt: skip
def test_what_makes_a_line_another_one_and_leaves_its_neighbour_alone(difference: Any, change: Any, why: str) -> None:
    found, rows = difference(change)
    assert (found.lines.same, found.lines.added, found.lines.removed) == (("two",), (), ())
    assert found.lines.changed == {"one": (why,)}
    assert f"line one: changed ({why}), restarted" in rows
    assert "1 line untouched" in rows


def test_the_text_of_a_driver_makes_its_lines_others(tmp_path: Path) -> None:
    folder = tmp_path / "drivers" / "vaisala"
    folder.mkdir(parents=True)
    shipped = Path(__file__).parents[2] / "drivers" / "vaisala" / "gmp25x.yaml"
    own = folder / "gmp25x.yaml"
    own.write_text(shipped.read_text())
    site = copy.deepcopy(SITE) | {"drivers": ["drivers"]}
    old = loaded(tmp_path, site)
    own.write_text(shipped.read_text() + "# checked\n")
    found = compare(old, loaded(tmp_path, site))
    assert found.lines.changed == {name: (f"text of the driver of {d}",) if name == "two" else (
        "text of the driver of a", "text of the driver of b") for name, d in (("one", "a"), ("two", "c"))}  # fmt: skip
    assert found.texts


def test_another_time_zone_concerns_only_the_instruments_that_show_local_time(tmp_path: Path) -> None:
    """Else their records would be dated by the old zone until the next restart."""
    folder = tmp_path / "drivers" / "vaisala"
    folder.mkdir(parents=True)
    shipped = Path(__file__).parents[2] / "drivers" / "vaisala" / "gmp25x.yaml"
    (folder / "gmp25x.yaml").write_text(shipped.read_text())
    (folder / "local.yaml").write_text(shipped.read_text() + "# zone: site\n")
    site = copy.deepcopy(SITE) | {"drivers": ["drivers"]}
    site["lines"][1]["devices"][0]["driver"] = "vaisala/local"
    old = loaded(tmp_path, site)
    site["site"]["timezone"] = "Europe/Berlin"
    found = compare(old, loaded(tmp_path, site))
    assert found.lines.changed == {"two": ("time zone of c",)}
    assert found.lines.same == ("one",)


def test_lines_that_come_and_go_and_one_that_takes_the_endpoint_of_another(difference: Any) -> None:
    def change(site: Plain) -> None:
        site["lines"][0] = line("three", 501, device("a", 1))

    found, rows = difference(change)
    assert (found.lines.same, found.lines.changed) == (("two",), {})
    assert (found.lines.added, found.lines.removed) == (("three",), ("one",))
    assert found.devices_gone == {("room", "b")}
    assert rows[:3] == ["line three: added", "line one: removed", "1 line untouched"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda limit: limit.update(high=9),
            "3 limits changed: a.co2.action-high 8 % CO₂ -> 9 % CO₂, b.co2.action-high 8 % CO₂ -> 9 % CO₂, "
            "c.co2.action-high 8 % CO₂ -> 9 % CO₂",
        ),
        (
            lambda limit: limit.update({"on-delay": "20 s"}),
            "3 limits changed: a.co2.action-high (dead-band or delay), b.co2.action-high (dead-band or delay), "
            "c.co2.action-high (dead-band or delay)",
        ),
    ],
)
def test_another_limit_touches_no_line(difference: Any, change: Any, said: str) -> None:
    found, rows = difference(lambda site: change(site["profiles"]["co2"]["limits"][0]))
    assert not found.lines
    assert not found.plant
    assert set(found.rules.changed) == {f"{d}.co2.action-high" for d in "abc"}
    assert said in rows


def test_names_and_instructions_touch_no_line(difference: Any) -> None:
    found, rows = difference(lambda site: site["lines"][0]["devices"][0].update(name="Probe", instruction="Look"))
    assert not found.lines
    assert not found.rules
    assert found.plant
    assert "names, places, grades or instructions changed" in rows


def test_a_calibration_that_became_overdue_meanwhile_touches_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime as dt

    site = copy.deepcopy(SITE)
    due = {"certificate": "C", "date": "2019-01-01", "due": OVER}
    site["lines"][0]["devices"][0]["channels"][0]["calibration"] = due

    class Before(dt.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> dt.datetime:
            return dt.datetime(2019, 6, 1, tzinfo=tz)

    with monkeypatch.context() as patched:
        patched.setattr(labmon.acquisition.load.dt, "datetime", Before)
        old = loaded(tmp_path, site)
    new = loaded(tmp_path, site)
    found = compare(old, new)
    assert not found.lines
    assert not found
    assert not found.texts
    assert old.plan is not None
    assert new.plan is not None
    lines = kept(old.plan, new.plan, found.lines)
    assert [held is before for held, before in zip(lines, old.plan.lines, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("change", "section", "said"),
    [
        (lambda s: s["users"].clear(), "users", "users changed"),
        (
            lambda s: s["gateway"].update(clock={"trusted": "GPS"}),
            "gateway.clock",
            "whether the clock is trusted without asking changed",
        ),
        (lambda s: s["mqtt"].update(port=8883), "mqtt", "broker settings changed"),
        (
            lambda s: s.update(stores=[{"id": "new", "sqlite": {"path": "new.db"}}]),
            "stores",
            "store old: removed; 7 entries that it had not confirmed count as delivered",
        ),
        (lambda s: s["stores"][0]["sqlite"].update(path="other.db"), "stores", "how stores are written changed"),
        (lambda s: s["notices"]["people"][0].update(email="e@b.c"), "notices", "notices changed"),
        (
            lambda s: s["journal"].update({"keep-readings": "2 d"}),
            "journal",
            "journal: readings are kept for 2 d within 1 GB, committed every 1 s",
        ),
    ],
)
def test_sections_with_a_part_of_the_daemon_of_their_own(difference: Any, change: Any, section: str, said: str) -> None:
    found, rows = difference(change)
    assert found.sections == {section}
    assert not found.restart
    assert any(row.startswith(said) for row in rows), rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["site"].update(id="other"), "the id of the site (site.id: lab -> other)"),
        (lambda s: s["gateway"].update(id="gw-2"), "the id of the gateway (gateway.id: gw-1 -> gw-2)"),
        (lambda s: s["journal"].update(path="b.db"), "the path of the journal (journal.path: journal.db -> b.db)"),
        (lambda s: s.update(socket="b.sock"), "the path of the control socket (socket: control.sock -> b.sock)"),
    ],
)
def test_what_only_a_restart_can_change(difference: Any, change: Any, said: str) -> None:
    found, _ = difference(change)
    assert found.restart == (said,)


def test_every_section_of_a_site_file_has_its_place(difference: Any) -> None:
    """One that nobody has thought of is left to a restart."""
    from labmon.acquisition.difference import _ELSEWHERE, _RESOLVED, RESTART, SECTIONS

    known = _RESOLVED | _ELSEWHERE | set(SECTIONS) | {key for key in RESTART if "." not in key}
    assert set(Site.model_fields) <= known


def test_only_what_has_no_errors_can_be_compared(tmp_path: Path) -> None:
    old = loaded(tmp_path, SITE)
    (tmp_path / "site.yaml").write_text("labmon: 1\n")
    with pytest.raises(ValueError, match="without errors"):
        compare(old, load(tmp_path / "site.yaml"))

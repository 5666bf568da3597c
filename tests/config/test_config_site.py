"""Loading a site: the example, the shipped profiles, and what loading offers to those who know the drivers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labmon.config.load import SiteLoad, load_site, secrets_of
from labmon.config.profiles import Library
from labmon.config.shipped import shipped
from labmon.config.site import Profile, Site
from labmon.config.types import Secret

CASES = Path(__file__).parent / "cases"
EXAMPLE = shipped("config") / "example-site.yaml"


@pytest.fixture(scope="module")
def library() -> Library:
    found = Library()
    found.add_folder(shipped("config") / "profiles")
    return found


def good(text: str, path: Path = Path("site.yaml")) -> SiteLoad:
    """The case without fault, with something added at its end."""
    return load_site(path, text=(CASES / "good" / "site.yaml").read_text() + text)


# ---------------------------------------------------------------- the example


def test_the_example_loads_without_error_or_warning() -> None:
    loaded = load_site(EXAMPLE)
    assert [*loaded.errors, *loaded.warnings] == []
    assert loaded.site is not None
    assert loaded.text == EXAMPLE.read_text()


def test_the_example_says_everything_that_a_site_file_may_say() -> None:
    text = EXAMPLE.read_text()
    # Left out of the example on purpose: what only a laboratory or the demonstration needs.
    rare = {
        "sqlite",
        "bits",
        "rtscts",
        "local-echo",
        "certificate",
        "key",
        "ingest-certificate",
        "ingest-key",
        "protocol",
        "keepalive",
        "timeout",
        "acknowledge",
        "set-clock",
    }
    missing = {name for name in _keys(Site) if not re.search(rf"(?:^|[\s{{,]){name}:", text, re.MULTILINE)}
    assert missing <= rare | {"ca"}


def _keys(model: type) -> set[str]:
    found: set[str] = set()
    todo, seen = [model], set()
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for name, info in current.model_fields.items():
            found.add(info.alias or name)
            todo += [c for c in _classes(info.annotation) if hasattr(c, "model_fields")]
    return found


def _classes(annotation: object) -> list[type]:
    inner = getattr(annotation, "__args__", ())
    return [annotation] if isinstance(annotation, type) and not inner else [c for a in inner for c in _classes(a)]


# ---------------------------------------------------------------- shipped profiles


def test_shipped_profiles_are_in_order(library: Library) -> None:
    assert library.errors == []
    assert library.names == set(library.profiles)
    assert len(library.profiles) >= 25


def test_every_shipped_figure_says_where_it_comes_from(library: Library) -> None:
    for name, profile in library.profiles.items():
        assert len(profile.reason) > 40, name
        assert profile.source, name
        assert re.search(r"proposal|regulation|no source", profile.source), name


# EU GMP Annex 1 (2022), Table 5: particles per cubic metre of 0.5 um and of 5 um and larger.
TABLE_5 = {
    ("A", "at-rest"): (3520, 29), ("A", "in-operation"): (3520, 29),
    ("B", "at-rest"): (3520, 29), ("B", "in-operation"): (352_000, 2930),
    ("C", "at-rest"): (352_000, 2930), ("C", "in-operation"): (3_520_000, 29_300),
    ("D", "at-rest"): (3_520_000, 29_300),
}  # fmt: skip


def test_annex_1_limits_are_those_of_table_5_and_none_is_invented(library: Library) -> None:
    expected = {
        f"annex-1-grade-{grade.lower()}-{state}-{size}": (grade, state, bound)
        for (grade, state), bounds in TABLE_5.items()
        for size, bound in zip(("500nm", "5um"), bounds, strict=True)
    }
    found = {name: p for name, p in library.profiles.items() if name.startswith("annex-1")}
    assert {n: (p.grade, p.state, p.limits[0].high) for n, p in found.items()} == expected
    for profile in found.values():
        (limit,) = profile.limits
        assert (limit.level, limit.low, limit.dead_band, limit.on_delay, limit.off_delay) == ("action", None, 0, 0, 0)
        assert profile.unit == "{#}/m3"
    assert not any(p.grade == "D" and p.state == "in-operation" for p in library.profiles.values())


def test_the_pressure_limit_is_the_guidance_of_annex_1(library: Library) -> None:
    (limit,) = library.profiles["differential-pressure-10-pa"].limits
    assert (limit.low, limit.high) == (10, None)


# ---------------------------------------------------------------- profiles by name


def test_the_site_comes_before_its_folders_and_these_before_the_shipped(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    template = '{version: %d, reason: ours, unit: "%%{CO2}", limits: [{level: action, high: %d}]}'
    (tmp_path / "own" / "a.yaml").write_text(
        f"labmon: 1\nprofiles:\n  co2-incubator-co2: {template % (7, 6)}\n  two: {template % (7, 6)}\n"
    )
    loaded = good(f"profile-folders: [own]\nprofiles:\n  two: {template % (9, 6)}\n", tmp_path / "site.yaml")
    assert loaded.errors == []
    assert loaded.profiles["co2-incubator-co2"].version == 7
    assert loaded.profiles["two"].version == 9
    assert loaded.profiles["freezer"].version == 1
    assert any(str(tmp_path / "own" / "a.yaml") == name and "version: 7" in text for name, text in loaded.texts.items())


def test_a_wrong_profile_is_known_but_not_given(tmp_path: Path) -> None:
    text = (CASES / "good" / "site.yaml").read_text().replace("limits: co2-incubator-co2", "limits: mine")
    loaded = load_site(
        tmp_path / "s.yaml", text=text + "profiles:\n  mine: {version: 1, unit: '%{CO2}', silence: 3 s}\n"
    )
    assert [e.path for e in loaded.errors] == ["profiles.mine.reason"]
    assert "mine" not in loaded.profiles
    assert all(isinstance(p, Profile) for p in loaded.profiles.values())


# ---------------------------------------------------------------- for those who know more


def test_others_report_mistakes_in_the_same_form_and_order() -> None:
    loaded = good("")
    assert loaded.errors == []
    loaded.error(("lines", 0, "devices", 0, "driver"), "unknown driver `x`", "did you mean `y`?")
    loaded.error(("site",), "first")
    loaded.error(("lines", 0, "devices", 0, "every", "no-such"), "no such query")
    loaded.error(("site",), "first")
    loaded.warning(("lines", 0), "careful")
    assert list(map(str, loaded.errors)) == [
        "site.yaml:2:7: site: first",
        "site.yaml:10:9: lines.bus-1.devices.incubator-1.every.no-such: no such query",
        "site.yaml:12:17: lines.bus-1.devices.incubator-1.driver: unknown driver `x`; did you mean `y`?",
    ]
    assert list(map(str, loaded.warnings)) == ["site.yaml:7:5: lines.bus-1: careful"]


SECRETS = """mqtt:
  host: localhost
  user: gw1
  password: {file: open}
  tls: {certificate: c, key: {file: closed}}
users:
  - {id: lead, name: Shift lead, role: operator, pin: {credential: pin}}
"""


def test_secrets_are_found_with_their_place() -> None:
    loaded = good(SECRETS)
    assert dict(secrets_of(loaded.site)) == {
        ("users", 0, "pin"): Secret(credential="pin"),
        ("mqtt", "tls", "key"): Secret(file="closed"),
        ("mqtt", "password"): Secret(file="open"),
    }


def test_a_secret_that_everybody_can_read_is_a_warning_at_its_place(tmp_path: Path) -> None:
    for name, mode in (("open", 0o644), ("closed", 0o600)):
        (tmp_path / name).write_text("s3cret")
        (tmp_path / name).chmod(mode)
    loaded = good(SECRETS, tmp_path / "site.yaml")
    assert loaded.errors == []
    (warning,) = loaded.warnings
    assert (warning.line, warning.path) == (19, "mqtt.password")
    assert "s3cret" not in str(warning)


def test_two_names_of_one_serial_port_are_one_endpoint(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("")
    (tmp_path / "by-id").symlink_to(tmp_path / "port")
    loaded = good(
        f"  - {{id: a, serial: {{port: {tmp_path}/port}}, devices: []}}\n"
        f"  - {{id: b, serial: {{port: {tmp_path}/by-id}}, devices: []}}\n"
    )
    assert [(e.line, e.path) for e in loaded.errors] == [(17, "lines.b.serial.port")]
    assert "the endpoint of line a" in str(loaded.errors[0])

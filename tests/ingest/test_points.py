"""Line protocol: what it says, and that a real server reads the same."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ranges import GATEWAY, HUMIDITY, TEMPERATURE, channel, entry, record, start_of
from servers.influx import Server

from labmon.ingest.points import LineEncoder, Why, printable, raw_text, refusals
from labmon.ingest.store import Refused
from labmon.model.reading import Flag
from labmon.model.record import ChannelTag, RecordRange

NOW = 1_700_000_000_123_456_789


def lines(made: RecordRange, site: str = "lab") -> list[str]:
    refused: list[Why] = []
    found = [line.text for line in LineEncoder().lines(made, site, GATEWAY, refused)]
    assert not refused
    return found


def test_good_uncertain_and_bad_readings() -> None:
    made = record(
        [entry(7, NOW, (37.0, None), (None, "silent"), (0, 0), (3700, None)),
         entry(8, NOW + 1, (-0.5, 1e-7), None, (Flag.CLOCK, 0), (-50.25, "+0.0000001\r"))]
    )  # fmt: skip
    temperature = "temperature,area=suite-1,channel=temperature,device=incubator-1,gateway=gw-1,site=lab,unit=Cel"
    humidity = "relative-humidity,area=suite-1,channel=humidity,device=incubator-1,gateway=gw-1,site=lab,unit=%{RH}"
    assert lines(made) == [
        f'{temperature} value=37.0,quality=2,raw="3700" {NOW}',
        f'{humidity} quality=0,reason="silent" {NOW}',
        f'{temperature} value=-0.5,quality=1,raw="-50.25" {NOW + 1}',
        rf'{humidity} value=1e-07,quality=2,raw="+0.0000001\\r" {NOW + 1}',
    ]


def test_an_entry_names_its_columns_by_index() -> None:
    made = record([entry(1, NOW, (40.0,), columns=(1,))])
    assert [line.split(",")[0] for line in lines(made)] == ["relative-humidity"]


def test_special_characters_of_tags_are_escaped() -> None:
    odd = channel("d", "c", "a kind,of", "{#}/m3 = x", area="a, b")
    tags = r"area=a\,\ b,channel=c,device=d,gateway=gw-1,site=lab,unit={#}/m3\ \=\ x"
    assert lines(record([entry(1, NOW, (1.0,))], odd)) == [rf"a\ kind\,of,{tags} value=1.0,quality=2 {NOW}"]


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        (channel("d", "c", "k", "a\\"), "unit 'a\\\\' holds a backslash or a control character"),
        (channel("d", "c", "k\n", "u"), "kind 'k\\n' holds a backslash or a control character"),
        (channel("d", "c", "#k", "u"), "kind '#k' would be a comment"),
        (channel("d", "c", "k", "u", area=""), "area is empty"),
    ],
)
def test_what_cannot_be_a_line_is_refused_and_the_rest_is_not(tag: ChannelTag, why: str) -> None:
    refused: list[Why] = []
    made = record([entry(4, NOW, (1.0, 2.0)), entry(5, NOW + 1, (3.0,), columns=(1,))], tag, TEMPERATURE)
    found = list(LineEncoder().lines(made, "lab", GATEWAY, refused))
    assert [(line.seq, line.channel) for line in found] == [(4, TEMPERATURE.key), (5, TEMPERATURE.key)]
    assert refused == [(4, "d.c", why)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_refused_even_if_a_range_was_made_with_one(value: float) -> None:
    refused: list[Why] = []
    assert not list(LineEncoder().lines(record([entry(1, NOW, (value,))]), "lab", GATEWAY, refused))
    assert refused == [(1, TEMPERATURE.key, f"value {value} is no number")]


def test_integers_and_truths_are_written_as_floats() -> None:
    made = record([entry(1, NOW, (5, True))])
    assert [re.search(r"value=([^,]*),", line)[1] for line in lines(made)] == ["5.0", "1.0"]  # type: ignore[index]


def test_a_channel_that_changed_its_unit_or_site_is_another_series() -> None:
    encoder, refused = LineEncoder(), []
    made = [
        next(encoder.lines(record([entry(1, NOW, (1.0,))], channel("d", "c", "k", unit)), site, GATEWAY, refused)).text
        for unit, site in (("Cel", "lab"), ("K", "lab"), ("Cel", "plant"), ("Cel", "lab"))
    ]
    assert len(set(made)) == 3
    assert made[0] == made[3]


def test_printable_text_is_unambiguous() -> None:
    assert printable('a"b\n\\n\x02\x7f°') == 'a"b\\n\\\\n\\x02\\x7f°'
    assert raw_text(0.1 + 0.2) == "0.30000000000000004"
    assert raw_text(2**64) == "18446744073709551616"


def test_refusals_are_one_per_entry() -> None:
    whys = [(5, f"d.c{i}", "type") for i in range(6)] + [(3, "d.x", "old"), (5, "d.y", "old")]
    assert refusals(whys) == (
        Refused(3, "d.x: old"),
        Refused(5, "d.c0, d.c1, d.c2, d.c3 and 2 more: type; d.y: old"),
    )


TAG = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\\"), min_size=1, max_size=20
) | st.sampled_from([",", "=", " ", '"', "a,b=c d", "{#}/[cft_i]", "'", "%", "#", "é", "\u2028"])
TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["\\", '"', '\\"', "a\nb", "\r\n", "\x00", "\x02+23.50\x03", "a\\nb", "x,y=1 2", "end\\"]
)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
ROW = st.tuples(TAG, TAG, TAG, NUMBER, TEXT | NUMBER | st.integers(-(2**63), 2**64 - 1) | st.none())


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(ROW, min_size=1, max_size=12))
def test_a_real_server_reads_what_was_meant(influx: Server, rows: list[tuple[str, str, str, float, object]]) -> None:
    site = f"h-{time.time_ns()}"
    start = start_of(len(rows))
    tags = [
        ChannelTag(f"d{i}.{n}", area, f"d{i}", n, f"text {k}"[:40], "u") for i, (area, n, k, _, _) in enumerate(rows)
    ]
    made = record(
        [entry(i + 1, start + i, (row[3],), raw=(row[4],), columns=(i,)) for i, row in enumerate(rows)], *tags
    )
    made = RecordRange.decode(made.encode())
    status, body = influx.write("\n".join(lines(made, site)))
    assert status == 204, body
    points = sorted(influx.points(site), key=lambda point: point.time)
    assert len(points) == len(rows)
    for point, tag, (_, _, _, value, _), sent in zip(points, tags, rows, made.entries, strict=True):
        assert point.measurement == tag.kind
        own = {"area": tag.area, "device": tag.device, "channel": tag.channel, "unit": "u"}
        assert point.tags == {"site": site, "gateway": GATEWAY, **own}
        assert point.fields["value"] == value
        assert point.fields["quality"] == 2
        raw = sent.raw[0]
        assert point.fields.get("raw") == (None if raw is None else raw_text(raw)), json.dumps(raw)


def test_bad_readings_come_back_with_their_reason(influx: Server, site: str) -> None:
    start = start_of(2)
    reasons = ["refused (2 illegal data address)", 'odd "text" \\ here\n']
    made = record([entry(i + 1, start + i, (None,), (reason,)) for i, reason in enumerate(reasons)], HUMIDITY)
    status, body = influx.write("\n".join(lines(made, site)))
    assert status == 204, body
    points = sorted(influx.points(site), key=lambda point: point.time)
    assert [point.fields for point in points] == [{"quality": 0, "reason": printable(reason)} for reason in reasons]

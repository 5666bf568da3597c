import pytest

from labmon.mqtt.topics import Place, Topics, client_id, last_level, parse

topics = Topics("labmon/north/gw-1")


def test_topics_are_those_of_the_documentation() -> None:
    assert topics.record == "labmon/north/gw-1/record"
    assert topics.stored("influx") == "labmon/north/gw-1/record/stored/influx"
    assert topics.live("room-1", "incubator-1") == "labmon/north/gw-1/live/room-1/incubator-1"
    assert topics.alarm("incubator-1.co2.action-high") == "labmon/north/gw-1/alarm/incubator-1.co2.action-high"
    assert topics.event == "labmon/north/gw-1/event"
    assert topics.command("ack") == "labmon/north/gw-1/command/ack"
    assert topics.reply("c-1") == "labmon/north/gw-1/reply/c-1"
    assert topics.health("line-1") == "labmon/north/gw-1/health/line-1"
    assert topics.status == "labmon/north/gw-1/status"


@pytest.mark.parametrize("level", ["", "+", "#", "a/b", "A", "a b", "a\x00"])
def test_nothing_can_break_out_of_its_level(level: str) -> None:
    for build in (topics.alarm, topics.command, topics.reply, topics.health, topics.stored):
        with pytest.raises(ValueError, match="level of a topic"):
            build(level)


def test_topics_are_taken_apart() -> None:
    place = parse("labmon/north/gw-1/record/stored/influx")
    assert place == Place("north", "gw-1", ("record", "stored", "influx"))
    assert place.prefix == topics.prefix
    for foreign in ("labmon/north/gw-1", "other/north/gw-1/record", "labmon/NORTH/gw-1/record", "labmon//gw/record"):
        assert parse(foreign) is None


def test_the_last_level_is_read_only_where_the_filter_matches() -> None:
    assert last_level(topics.stored("influx"), topics.stored_by_all) == "influx"
    assert last_level(topics.command("ack"), topics.stored_by_all) is None
    assert last_level(topics.prefix + "/record/stored/a/b", topics.stored_by_all) is None
    assert last_level(topics.prefix + "/record/stored/", topics.stored_by_all) is None


def test_every_process_has_client_ids_of_its_own() -> None:
    assert client_id(topics.prefix, "record") != client_id(topics.prefix, "record")

"""Sessions, sleep, echo and selection: simulated from the file, asked by the real link, and around examples."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver
from labmon.links.endpoint import SerialEndpoint
from labmon.links.errors import LinkError
from labmon.links.opening import make_link
from labmon.simulate.instrument import Instrument
from labmon.simulate.line import Instruments, PtyLine
from labmon.simulate.made import framing_of
from labmon.simulate.proof import prove

HEAD = """\
labmon-driver: 1
maker: Test
models: [X]
title: Test X
class: scale
manual: {document: none, revision: none, pages: "1"}
framings: [text]
serial: {baud: 115200}
timing: {timeout: 300 ms}
"""
ASKED = """\
queries:
  weight:
    every: 10 s
    requests:
      - {send: "W", reply: "W {weight}", fields: {weight: {type: number, form: "+07.2f"}}}
    channels:
      - {id: weight, name: Weight, unit: g}
examples:
  - query: weight
    origin: {composed: by hand}
    raws: {weight: 12.5}
    exchanges: [{sent: "W\\r", got: "GOT"}]
    readings: {weight: 12.5}
"""
SESSION = (
    HEAD
    + """\
frame: {end: "\\r"}
session:
  open: [{wait: 10 ms}, flush, {send: "CR", reply: "CC"}]
  wake: [{send: "?", until: "*", every: 50 ms, at-most: 10}]
  close: [{send: "CQ", reply: "CF"}]
"""
    + ASKED.replace("GOT", "W +0012.50\\r")
)
ECHO = HEAD + 'frame: {end: "\\r", echo: characters}\n' + ASKED.replace('"GOT"', '"W\\rW +0012.50\\r"')
SELECT = (
    HEAD
    + """\
frame: {end: "\\r"}
address: {default: 1, from: 1, to: 9}
select: "{address+0x80:byte}"
"""
    + ASKED.replace("GOT", "W +0012.50\\r")
)


def loaded(folder: Path, text: str) -> CompiledDriver:
    path = folder / "test" / "x.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    found = load_driver(path)
    assert found.driver is not None, "\n".join(map(str, found.errors))
    return found.driver


@pytest.mark.parametrize("text", [SESSION, ECHO, SELECT], ids=["session", "echo", "select"])
async def test_what_stands_around_an_exchange_is_answered_by_both_far_ends(tmp_path: Path, text: str) -> None:
    driver = loaded(tmp_path, text)
    (trial,) = await prove(driver)
    assert not trial.problems, trial
    made = Instrument(driver, "text", None, {})
    made.jump("weight", 42.25)
    made.quantities["weight"].noise = 0.0
    line = PtyLine(Instruments(framing_of("text", [made]), [made]), tmp_path / "port")
    await line.start()
    link = make_link(SerialEndpoint(str(tmp_path / "port"), 115200), "text", least_quiet=0.02)
    try:
        await link.open()
        (query,) = made.queries
        for _ in range(3):
            assert (await query.ask(link)).outcomes[0].value == 42.25
    finally:
        await link.close()
        await line.stop()


async def test_without_its_session_it_answers_nothing_and_after_a_restart_it_wants_it_again(tmp_path: Path) -> None:
    made = Instrument(loaded(tmp_path, SESSION), "text", None, {})
    assert not made.hears(None, b"W\r")
    assert made.hears(None, b"CR\r") and made.answer(b"CR\r") == b"CC\r"
    assert not made.hears(None, b"W\r"), "it sleeps"
    assert made.hears(None, b"?") and made.answer(b"?") is None, "it does not hear the first call"
    assert made.answer(b"?") == b"*"
    assert made.hears(None, b"W\r") and made.answer(b"W\r") is not None
    made.advance(60.0)
    assert not made.hears(None, b"W\r"), "it fell asleep"
    for knock in (b"?", b"?"):
        made.answer(knock)
    assert made.hears(None, b"W\r")
    made.reboot(0.0, lose=False)
    for knock in (b"?", b"?"):
        made.answer(knock)
    assert not made.hears(None, b"W\r"), "the session went with the restart"
    made.answer(b"CR\r")
    assert made.hears(None, b"W\r")
    made.answer(b"CQ\r")
    assert not made.hears(None, b"W\r"), "closed"


async def test_only_the_selected_unit_answers(tmp_path: Path) -> None:
    driver = loaded(tmp_path, SELECT)
    made = [Instrument(driver, "text", unit, {}) for unit in (1, 2, 3)]
    for number, one in enumerate(made):
        one.jump("weight", 10.0 * (number + 1))
        one.quantities["weight"].noise = 0.0
    line = PtyLine(Instruments(framing_of("text", made), made), tmp_path / "port")
    await line.start()
    link = make_link(SerialEndpoint(str(tmp_path / "port"), 115200), "text", least_quiet=0.02)
    try:
        await link.open()
        for number in (0, 1, 1, 2, 0, 2):
            assert (await made[number].queries[0].ask(link)).outcomes[0].value == 10.0 * (number + 1)
        made[2].reboot(0.0, lose=False)
        with pytest.raises(LinkError):
            await made[2].queries[0].ask(link)
        await asyncio.wait_for(link.settle(), 5)
        assert (await made[2].queries[0].ask(link)).outcomes[0].value == 30.0, "selected anew after a failure"
    finally:
        await link.close()
        await line.stop()

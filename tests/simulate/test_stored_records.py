"""Simulated instruments that store samples, read as the daemon reads them."""

from __future__ import annotations

from typing import Any

import pytest

from labmon.drivers.catalogue import Catalogue
from labmon.links.errors import Refused
from labmon.links.link import Request
from labmon.simulate.instrument import Instrument


class Wire:
    """A Modbus TCP link to one simulated instrument."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument

    async def exchange(self, request: Request, timeout: float, *, gap: float = 0.0) -> bytes:
        answer = self.instrument.answer(request.encode(1)[7:])
        assert answer is not None
        payload = request.match(b"\0\1\0\0" + (len(answer) + 1).to_bytes(2, "big") + b"\1" + answer, 1)
        assert payload is not None
        return payload

    def rest(self, seconds: float) -> None:
        """It needs none."""


@pytest.mark.parametrize(
    ("name", "params"),
    [("pms/airnet-ii", {}), ("pms/minicapt", {}), ("lighthouse/remote", {"flow-scale": 0.01, "flow-unit": "L/min"})],
)
async def test_every_sample_is_read_once(name: str, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    instrument = Instrument(Catalogue().get(name), "modbus-tcp", 1, params, sample=10.0)
    now = 1_763_820_000.0
    monkeypatch.setattr("time.time", lambda: now)
    query = next(q for q in instrument.queries if q.kind == "record")
    stored = instrument.stored["record"]
    stored.lose()
    instrument.advance(1.0)
    reader, last, times = query.reader(), None, []
    for more in (0, 1, 1, 7, 0, 30):
        for _ in range(more):
            now += 10.0
            instrument.advance(10.0)
        for _ in range(200):
            turn = await reader.turn(Wire(instrument), last)  # type: ignore[arg-type]
            for answer in turn.records:
                assert answer.time is not None and answer.key is not None
                times.append(answer.time // 10**9)
                last = answer.time, answer.key
            if not turn.more:
                break
    assert times == [1_763_820_000 + 10 * n for n in range(1, 40)]
    if name.startswith("pms"):
        assert not stored.samples


async def test_an_empty_queue_reads_as_zeros_and_is_no_record() -> None:
    instrument = Instrument(Catalogue().get("pms/airnet-ii"), "modbus-tcp", 1, {})
    instrument.stored["record"].lose()
    instrument.advance(0.1)
    query = next(q for q in instrument.queries if q.kind == "record")
    try:
        answer = await query.ask(Wire(instrument))  # type: ignore[arg-type]
    except Refused:
        pytest.fail("an empty queue answers")
    assert not answer.present

"""Broken frames of every shipped example: no value out of them, and no exception beyond the declared ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from labmon.drivers import examples
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import WrongInstrument
from labmon.drivers.identity import CompiledIdentity
from labmon.drivers.load import load_driver
from labmon.drivers.query import CompiledQuery
from labmon.drivers.steps import Step
from labmon.drivers.text_step import Text
from labmon.links.errors import Garbled, Refused

FILES = sorted((Path(__file__).parents[2] / "drivers").glob("*/*.yaml"))
SEED = 20261122


def driver_of(path: Path) -> CompiledDriver:
    loaded = load_driver(path)
    assert loaded.driver is not None
    return loaded.driver


def good_exchanges(driver: CompiledDriver) -> list[tuple[Step, bytes, str]]:
    found = []
    for example in driver.file.examples:
        if example.fails is not None:
            continue
        framing = example.framing or driver.framings[0]
        target = examples.target_of(driver, example)
        for step, exchange in zip(target.steps, example.exchanges, strict=True):
            found.append((step, examples.bytes_of(exchange.got, framing), framing))
    return found


def taken(step: Step, got: bytes) -> bytes | None:
    try:
        return step.request.match(got, 1)
    except (Garbled, Refused):
        return None


def is_protected(step: Step, framing: str) -> bool:
    """Whether the frame has a checksum; TCP leaves that to the layer below, plain text has none."""
    return framing in ("modbus-rtu", "modbus-ascii") or (isinstance(step, Text) and bool(step.form.checks))


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_changed_byte_never_makes_another_value(path: Path) -> None:
    driver = driver_of(path)
    dice = random.Random(SEED)
    changed = 0
    for step, got, framing in good_exchanges(driver):
        whole = taken(step, got)
        assert whole is not None
        places = range(len(got)) if len(got) < 40 else dice.sample(range(len(got)), 40)
        for place in places:
            other = dice.randrange(1, 256)
            payload = taken(step, got[:place] + bytes([got[place] ^ other]) + got[place + 1 :])
            if is_protected(step, framing):
                changed += 1
                assert payload in (None, whole), f"byte {place} of {got!r} changed"
            elif payload is not None:
                decode(step, payload)
    assert changed or framing in ("text", "modbus-tcp")


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_cut_frame_is_no_reply(path: Path) -> None:
    for step, got, _ in good_exchanges(driver_of(path)):
        whole = taken(step, got)
        for length in range(len(got) - 2):
            assert taken(step, got[:length]) is None, f"{got[:length]!r} of {got!r}"
        # Where either of two line ends will do, the first byte of the longer one may end the reply.
        assert taken(step, got[:-1]) in (None, whole)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_replies_to_other_requests_are_not_taken(path: Path) -> None:
    """Every good reply against every request of the same driver that did not ask for it, where forms differ at all."""
    driver = driver_of(path)
    if driver.generic:
        return  # its examples are of different units, each by itself on its line
    exchanges = good_exchanges(driver)
    for step, got, framing in exchanges:
        for other, _, other_framing in exchanges:
            if framing != other_framing or other.request.encode(1) == step.request.encode(1):
                continue
            payload = taken(other, got)
            if payload is not None:
                # Modbus reads of one size, and answers without an echo, look alike: only the link's order tells.
                assert len(payload) == len(taken(step, got) or b"")


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_any_payload_of_the_right_size_gives_values_or_reasons(path: Path) -> None:
    driver = driver_of(path)
    dice = random.Random(SEED)
    seen = 0
    for example in driver.file.examples:
        if example.fails is not None:
            continue
        target = examples.target_of(driver, example)
        good = examples.payloads_of(target.steps, example, example.framing or driver.framings[0])
        for _ in range(20):
            payloads = [mixed(dice, payload) for payload in good]
            try:
                check(target, payloads)
            except Garbled:
                continue
            except WrongInstrument:
                assert isinstance(target, CompiledIdentity)
            seen += 1
    assert seen


def mixed(dice: random.Random, payload: bytes) -> bytes:
    kind = dice.randrange(3)
    if kind == 0:
        return payload  # beside a broken one of the same asking
    if kind == 1:
        return dice.randbytes(len(payload))
    at = dice.randrange(len(payload))
    return payload[:at] + dice.randbytes(1) + payload[at + 1 :]


def check(target: examples.Target, payloads: list[bytes]) -> None:
    if not isinstance(target, CompiledQuery):
        target.decode(payloads)
        return
    answer = target.decode(payloads)
    assert len(answer.outcomes) == len(target.channels)
    for outcome in answer.outcomes:
        assert (outcome.value is None) is not (outcome.reason is None)
        assert outcome.value is None or abs(outcome.value) < float("inf")


def decode(step: Step, payload: bytes) -> None:
    try:
        step.decode(payload)
    except Garbled:
        return

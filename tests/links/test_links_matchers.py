"""The Modbus matchers without any wire: golden frames, junk for every unit id, foreign frames, any pieces."""

from __future__ import annotations

import contextlib

import peers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerAscii, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU

from labmon.links import modbus, pdu
from labmon.links.errors import Garbled, LinkError, Refused
from labmon.links.framing import RtuRequest
from labmon.links.link import Request
from labmon.links.pdu import parse_identification

UNITS = range(1, 248)
FRAMINGS = ("modbus-rtu", "modbus-ascii", "modbus-tcp")


def frame(framing: str, unit: int, pdu: bytes, transaction: int = 7) -> bytes:
    if framing == "modbus-rtu":
        return peers.rtu(unit, pdu)
    return peers.ascii_frame(unit, pdu) if framing == "modbus-ascii" else peers.tcp(transaction, unit, pdu)


def test_golden_frames() -> None:
    """Vaisala GMP25x (M211799EN, printed) and Thermo ULT (printed): facts/instruments.md section 5."""
    vaisala = modbus.read("modbus-rtu", 240, 3, 0, 2)
    assert vaisala.encode(0) == bytes.fromhex("F0030000 0002D12A")
    assert vaisala.match(bytes.fromhex("F00304D47A43E833AB"), 0) == bytes.fromhex("D47A43E8")
    assert vaisala.size == 17
    thermo = modbus.read("modbus-ascii", 1, 3, 0x0530, 2)
    assert thermo.encode(0) == b":010305300002C5\r\n"
    assert thermo.match(b":010304FFFFFCE01E\r\n", 0) == (-800).to_bytes(4, "big", signed=True)
    assert thermo.match(b":010304fffffce01e\r\n", 0) == (-800).to_bytes(4, "big", signed=True)
    warm = modbus.read("modbus-ascii", 1, 3, 0x0538, 2)
    assert warm.encode(0) == b":010305380002BD\r\n"
    assert warm.match(b":010304FFFFFD44B9\r\n", 0) == (-700).to_bytes(4, "big", signed=True)


@pytest.mark.parametrize("framing", ["modbus-rtu", "modbus-ascii"])
def test_a_junk_byte_costs_nothing_for_any_unit(framing: str) -> None:
    for unit in UNITS:
        request = modbus.read(framing, unit, 3, 100, 3)
        right = frame(framing, unit, peers.reply_pdu(unit, b"\x03\x00\x64\x00\x03"))
        payload = peers.registers(unit, 3, 100, 3)
        refusal = frame(framing, unit, b"\x83\x0b")
        for junk in (b"\x00", b"\xff", b"\x55", bytes([unit]), b"\x03", b"\x83", b"\x55\xaa", bytes([unit, 3])):
            assert request.match(junk + right, 0) == payload, (unit, junk)
            assert request.match(right + junk, 0) == payload, (unit, junk)
            with pytest.raises(Refused, match="11 gateway target"):
                request.match(junk + refusal, 0)
            with pytest.raises(Refused):
                request.match(refusal + junk, 0)


def test_junk_within_a_frame_yields_no_other_value() -> None:
    for unit in UNITS:
        right = frame("modbus-rtu", unit, peers.reply_pdu(unit, b"\x03\x00\x64\x00\x03"))
        request = modbus.read("modbus-rtu", unit, 3, 100, 3)
        for at in range(1, len(right)):
            # Where the byte inserted equals its neighbour at either end, the frame stands whole beside it.
            assert request.match(right[:at] + b"\x5a" + right[at:], 0) in (None, right[3:-2])
            assert request.match(right[:at] + bytes([right[at] ^ 0x40]) + right[at + 1 :], 0) is None


@pytest.mark.parametrize("framing", FRAMINGS)
def test_only_unit_function_and_length_that_were_asked(framing: str) -> None:
    request = modbus.read(framing, 17, 4, 10, 5)
    asked = b"\x04\x00\x0a\x00\x05"
    request.encode(7)
    assert request.match(frame(framing, 17, peers.reply_pdu(17, asked)), 7) == peers.registers(17, 4, 10, 5)
    wrong = [
        frame(framing, 18, peers.reply_pdu(18, asked)),
        frame(framing, 17, peers.reply_pdu(17, asked, function=3)),
        frame(framing, 17, peers.reply_pdu(17, asked, extra=1)),
        frame(framing, 17, peers.reply_pdu(17, asked, extra=-1)),
        frame(framing, 17, b"\x83\x02"),
        frame(framing, 18, b"\x84\x02"),
    ]
    short = frame(framing, 17, b"\x04\x0a" + b"\x00" * 8)
    for reply in [*wrong, short]:
        try:
            assert request.match(reply, 7) is None
        except Garbled:
            assert framing == "modbus-tcp"
        # Only on RTU does a byte count too high look like a reply that is not whole yet.
        assert (framing == "modbus-rtu" and reply is short) or not request.begins(reply, 7)


def test_other_transactions_are_skipped() -> None:
    request = modbus.read("modbus-tcp", 17, 3, 10, 5)
    asked = b"\x03\x00\x0a\x00\x05"
    right = frame("modbus-tcp", 17, peers.reply_pdu(17, asked))
    other = peers.tcp(6, 17, peers.reply_pdu(17, asked.replace(b"\x0a", b"\x0b")))
    assert request.match(other, 7) is None
    assert request.begins(other, 7)
    assert request.match(other + right, 7) == peers.registers(17, 3, 10, 5)
    assert request.match(other[9:] + right, 7) == peers.registers(17, 3, 10, 5)
    assert request.match(peers.tcp(0, 17, peers.reply_pdu(17, asked)), 7) is None
    with pytest.raises(Garbled, match="two replies"):
        request.match(right[:-4] + right, 7)


def test_a_frame_within_a_foreign_frame_is_that_frame_s_data() -> None:
    request = modbus.read("modbus-rtu", 17, 3, 10, 1)
    hidden = peers.rtu(17, b"\x03\x02\x12\x34")
    foreign = peers.rtu(40, b"\x03\x08" + hidden + b"\x00")
    assert len(hidden) == 7
    assert request.match(hidden, 0) == b"\x12\x34"
    assert request.match(foreign, 0) is None
    right = peers.rtu(17, b"\x03\x02\x56\x78")
    assert request.match(foreign + right, 0) == b"\x56\x78"


def test_two_different_replies_are_nobody_s() -> None:
    request = modbus.read("modbus-rtu", 17, 3, 10, 1)
    one, two = peers.rtu(17, b"\x03\x02\x12\x34"), peers.rtu(17, b"\x03\x02\x12\x35")
    assert request.match(one + one, 0) == b"\x12\x34"
    with pytest.raises(Garbled, match="two different"):
        request.match(one + two, 0)


def test_the_own_echo_is_no_reply() -> None:
    """Function 1 at 0x0300, 24 coils: the request is a well-formed reply of three data bytes."""
    request = modbus.read("modbus-rtu", 17, 1, 0x0300, 24)
    echo = request.encode(0)
    assert len(echo) == 8 and echo[2] == 3
    assert request.match(echo, 0) is None
    assert request.match(echo + peers.rtu(17, b"\x01\x03abc"), 0) == b"abc"


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_write_must_be_repeated_exactly(framing: str) -> None:
    request = modbus.write_register(framing, 9, 0x18, 0xFFFF)
    assert request.match(frame(framing, 9, b"\x06\x00\x18\xff\xff"), 7) == b"\x00\x18\xff\xff"
    for wrong in (b"\x06\x00\x18\x00\x00", b"\x06\x00\x19\xff\xff"):
        try:
            assert request.match(frame(framing, 9, wrong), 7) is None
        except Garbled:
            assert framing == "modbus-tcp"
    with pytest.raises(Refused) as refused:
        request.match(frame(framing, 9, b"\x86\x06"), 7)
    assert refused.value.error == 6
    assert refused.value.reason == "refused (6 server device busy)"


@pytest.mark.parametrize("framing", FRAMINGS)
def test_device_identification(framing: str) -> None:
    request = modbus.device_identification(framing, 240, 1, 0)
    pdu = b"\x2b\x0e\x01\x81\x00\x00\x03" + b"\x00\x07Vaisala" + b"\x01\x06GMP252" + b"\x02\x051.2.3"
    whole = frame(framing, 240, pdu)
    for cut in range(len(whole)):
        assert request.match(whole[:cut], 7) is None
    payload = request.match(b"\x00" + whole, 7)
    assert payload is not None
    parsed = parse_identification(payload)
    assert parsed.objects == {0: b"Vaisala", 1: b"GMP252", 2: b"1.2.3"}
    assert (parsed.conformity, parsed.next_object) == (0x81, None)
    for wrong in (payload[:3], payload[:-1], payload + b"x"):
        with pytest.raises(ValueError, match="device identification"):
            parse_identification(wrong)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_modbus_cannot_say_is_refused(framing: str) -> None:
    for function, address, count in ((3, 0, 0), (3, 0, 126), (1, 0, 2001), (3, 65535, 2), (4, -1, 1), (5, 0, 1)):
        with pytest.raises(ValueError, match=r"function|addresses"):
            modbus.read(framing, 1, function, address, count)
    for unit in (-1, 256):
        with pytest.raises(ValueError, match="unit"):
            modbus.read(framing, unit, 3, 0, 1)
    for address, value in ((0, 65536), (65536, 0), (0, -1)):
        with pytest.raises(ValueError, match="register"):
            modbus.write_register(framing, 1, address, value)
    for code, first in ((0, 0), (5, 0), (1, 256)):
        with pytest.raises(ValueError, match="identification"):
            modbus.device_identification(framing, 1, code, first)
    with pytest.raises(ValueError, match="framing"):
        modbus.read("modbus", 1, 3, 0, 1)
    if framing != "modbus-tcp":
        with pytest.raises(ValueError, match="unit 0"):
            modbus.read(framing, 0, 3, 0, 1)


def asked(framing: str) -> Request:
    return modbus.read(framing, 17, 3, 10, 3)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    framing=st.sampled_from(FRAMINGS),
    before=st.binary(max_size=12),
    after=st.binary(max_size=12),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_in_any_pieces_the_reply_is_found_once_it_is_whole(
    framing: str, before: bytes, after: bytes, cuts: list[int]
) -> None:
    request, pdu = asked(framing), b"\x03\x00\x0a\x00\x03"
    right = frame(framing, 17, peers.reply_pdu(17, pdu))
    wire = before + right + after
    found = None
    for end in [*sorted(c for c in cuts if c < len(wire)), len(before + right), len(wire)]:
        found = request.match(wire[:end], 7)
        if end < len(before) + len(right) - (2 if framing == "modbus-ascii" else 0):
            assert found is None
    assert found == peers.registers(17, 3, 10, 3)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(framing=st.sampled_from(FRAMINGS), noise=st.binary(max_size=80), start=st.booleans())
def test_noise_is_never_a_value(framing: str, noise: bytes, start: bool) -> None:
    request = asked(framing)
    head = {"modbus-rtu": b"\x11\x03\x06", "modbus-ascii": b":110306", "modbus-tcp": b"\0\7\0\0\0\x09\x11\x04"}[framing]
    buffer = (head if start else b"") + noise
    with contextlib.suppress(LinkError):
        assert request.match(buffer, 7) is None
    assert request.begins(buffer, 7) in (True, False)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(unit=st.integers(1, 247), function=st.integers(1, 4), address=st.integers(0, 60000), count=st.integers(1, 125))
def test_pymodbus_reads_our_requests_and_we_its_replies(unit: int, function: int, address: int, count: int) -> None:
    """pymodbus' framers and decoder as oracle, without a wire."""
    from pymodbus.pdu.bit_message import ReadCoilsResponse, ReadDiscreteInputsResponse
    from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadInputRegistersResponse

    kinds = {
        1: ReadCoilsResponse,
        2: ReadDiscreteInputsResponse,
        3: ReadHoldingRegistersResponse,
        4: ReadInputRegistersResponse,
    }
    values = [(address + i) & 0xFFFF for i in range(count)]
    bits = [bool(v % 3) for v in values]
    response = kinds[function](bits=bits) if function < 3 else kinds[function](registers=values)
    body = bytes([function]) + response.encode()
    for framing, framer in (("modbus-rtu", FramerRTU), ("modbus-ascii", FramerAscii), ("modbus-tcp", FramerSocket)):
        request = modbus.read(framing, unit, function, address, count)
        oracle = framer(DecodePDU(True))
        used, dev, tid, pdu = oracle.decode(request.encode(77))
        decoded = oracle.decoder.decode(pdu)
        assert used == len(request.encode(77))
        assert (dev, decoded.function_code, decoded.address, decoded.count) == (unit, function, address, count)
        assert tid == (77 if framing == "modbus-tcp" else 0)
        payload = request.match(framer(DecodePDU(False)).encode(body, unit, 77), 77)
        assert payload == body[2:]


def test_a_reply_that_stands_within_a_longer_frame_is_doubtful() -> None:
    request = RtuRequest(7, pdu.read(3, 0, 1))
    reply = frame("modbus-rtu", 7, b"\x03\x02\x01\x71")
    longer = frame("modbus-rtu", 9, b"\x03\x0a\x00\x00" + reply + b"\x00")
    within = longer[: longer.index(reply) + len(reply)]
    assert request.match(within, 0) is not None, "no more can be told from what has come"
    assert request.doubtful(within)
    assert request.match(longer, 0) is None
    assert not request.doubtful(reply)
    assert not request.doubtful(b"\xff" + reply), "a byte of noise holds nothing up"
    assert not request.doubtful(request.encode(0) + reply), "nor does an echo"


@pytest.mark.parametrize("framing", ["modbus-rtu", "modbus-ascii", "modbus-tcp"])
@pytest.mark.parametrize("wrong", ["70 FA 04 01", "01 01 00 01"])
def test_an_identification_that_cannot_be_one_is_no_reply(framing: str, wrong: str) -> None:
    request = modbus.device_identification(framing, 7, 4, 0)  # type: ignore[arg-type]
    request.encode(7)
    good = bytes.fromhex("2B 0E 04 01 00 00 01 00 02 48 69")
    assert request.match(frame(framing, 7, good), 7) is not None
    bad = frame(framing, 7, bytes.fromhex("2B 0E 04") + bytes.fromhex(wrong) + b"\x00\x02Hi")
    with contextlib.suppress(Garbled):
        assert request.match(bad, 7) is None

"""Frames: several checksums, length fields, transforms, idle ends; golden frames of the instruments' manuals."""

from __future__ import annotations

import re

import peers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labmon.links import modbus, pdu
from labmon.links.checksum import Checksum
from labmon.links.errors import Garbled, Refused
from labmon.links.frame import Check, FixedLength, FrameForm, Idle, LengthField, Terminated, pieces
from labmon.links.text import Command, Prompted, TextRequest
from labmon.links.transform import Escape

# facts/instruments.md 5: CRC-8 over the header and CRC-16 over the data, both reflected, from all ones, inverted.
HEADER = Check(Checksum("crc8", "raw", poly=0x81, init=0xFF, reflected=True, xor_out=0xFF), start=2, stop=7)
DATA = Check(Checksum("crc16-x25", "raw-little"), start=8)
WATLOW = FrameForm(FixedLength(17), (HEADER, DATA), b"\x55\xff")
SHDLC = FrameForm(
    Terminated((b"\x7e",)),
    (Check(Checksum("sum8", "raw", inverted=True), start=1),),
    b"\x7e",
    (Escape(0x7D, 0x20, frozenset([0x7E, 0x11, 0x13])),),
)


def test_watlow_request_has_both_checksums_where_they_belong() -> None:
    bare = bytes.fromhex("55FF 0510000006 010301040101")
    assert WATLOW.closed(bare, inserted=True).hex() == "55ff0510000006e8010301040101e399"


def test_a_header_s_checksum_stays_in_the_payload_and_one_at_the_end_does_not() -> None:
    form = FrameForm(FixedLength(16), (HEADER, DATA), b"\x55\xff")
    whole = bytes.fromhex("55ff0510000006e8010301040101e399")
    assert form.opened(whole) == whole[:-2]
    assert form.closed(whole[:7] + b"\0" + whole[8:-2]) == whole
    for at in range(2, 16):
        broken = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises(Garbled, match="checksum"):
            form.opened(broken)


def test_plantower_frame_is_found_behind_anything() -> None:
    """facts/instruments.md 1.11: header, length, 13 words, sum of the 30 bytes before."""
    form = FrameForm(LengthField(2, 2, "big", 4), (Check(Checksum("sum16", "raw")),), b"\x42\x4d")
    body = bytes.fromhex("424d001c") + bytes(range(26))
    frame = body + sum(body).to_bytes(2, "big")
    assert len(frame) == 32
    assert form.closed(body) == frame
    for junk in (b"", b"\x42", b"\x42\x4d", b"\x42\x4d\x00\x1c" + bytes(28), b"\x00\xff\x42\x4d\xff\xff"):
        assert pieces(form, junk + frame + junk + frame) == [body, body], junk
    assert pieces(form, frame[:-1]) == []
    assert pieces(form, frame[:-1] + bytes([frame[-1] ^ 1]) + frame) == [body]


@pytest.mark.parametrize(
    ("encoding", "byte", "total"),
    [("high-nibble", 0x3A, 5), ("low-nibble", 0x3A, 12), ("big", 0x3A, 60), ("little", 0x3A, 60)],
)
def test_length_in_a_byte_or_half_of_one(encoding: str, byte: int, total: int) -> None:
    assert LengthField(1, 1, encoding, 2).total(bytes([0, byte])) == total  # type: ignore[arg-type]
    assert LengthField(1, 1, encoding, 2).total(b"\0") is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "message"), [(b"\xff\xff", "more than"), (b"\x00\x00", "less than")])
def test_a_length_that_cannot_be_is_garbled(field: bytes, message: str) -> None:
    with pytest.raises(Garbled, match=message):
        LengthField(2, 2, "big", 1).total(b"\0\0" + field)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.binary(min_size=0, max_size=40), junk=st.binary(max_size=5))
def test_stuffed_frames_come_back_whole(data: bytes, junk: bytes) -> None:
    payload = b"\x7e" + data
    wire = SHDLC.closed(payload)
    assert wire.count(b"\x7e") == 2
    assert not set(wire[1:-1]) & {0x11, 0x13}
    assert SHDLC.opened(wire) == payload
    assert payload in pieces(SHDLC, junk.replace(b"\x7e", b"") + wire + wire)


def test_a_frame_that_ends_within_a_stuffed_byte_is_garbled() -> None:
    with pytest.raises(Garbled, match="stuffed"):
        SHDLC.opened(b"\x7e\x01\x7d\x7e")


def test_bronkhorst_is_hex_text_between_colon_and_line_end() -> None:
    """facts/instruments.md 3.6 and 5."""
    asked = TextRequest(
        bytes.fromhex("06 03 04 01 21 01 20"),
        Terminated((b"\r\n",)),
        terminator=b"\r\n",
        starts=b":",
        begins_with=b":",
        transforms=("hex-text",),
        expect=re.compile(rb":\x06\x03\x02\x01\x21(?P<value>..)", re.S),
        error=re.compile(rb":\x04\x03\x00(?P<code>.)."),
    )
    assert asked.encode(0) == b":06030401210120\r\n"
    payload = asked.match(b":06030201213E80\r\n", 0)
    assert payload == b":" + bytes.fromhex("06030201213E80")
    assert asked.match(b":06030201213e80\r\n", 0) == payload
    with pytest.raises(Garbled, match="no hex"):
        asked.match(b":0603020121 E80\r\n", 0)
    with pytest.raises(Refused):
        asked.match(b":0403001C00\r\n", 0)


def test_bit_seven_is_set_for_what_goes_and_cleared_of_what_comes() -> None:
    asked = TextRequest(
        b"A", Terminated((b"\r",)), terminator=b"\r", transforms=("set-bit-7", "strip-bit-7"), echo=True
    )
    assert asked.encode(0) == b"\xc1\x8d"
    assert asked.match(b"\xc1\x8d\xb1\x8d", 0) == b"1"
    assert asked.match(b"A\r1\r", 0) == b"1"


def test_a_checksum_behind_the_terminator_and_one_that_leaves_bytes_out() -> None:
    after = FrameForm(Terminated((b"\x03",)), (Check(Checksum("xor", "raw"), start=1, after=True),), b"\x02")
    assert after.closed(b"\x02AB") == b"\x02AB\x03" + bytes([ord("A") ^ ord("B") ^ 3])
    assert after.opened(b"\x02AB\x03\x00") == b"\x02AB"
    with pytest.raises(Garbled, match="checksum"):
        after.opened(b"\x02AB\x03\x01")
    leaving = FrameForm(Terminated((b"\r",)), (Check(Checksum("sum8", "hex-upper"), stop=-1),))
    assert leaving.closed(b"AB*") == b"AB*83\r"
    assert leaving.opened(b"AB*83\r") == b"AB*"


def test_two_checksums_at_the_end_and_their_ways_of_writing() -> None:
    two = FrameForm(Terminated((b"\r",)), (Check(Checksum("xor", "hex-lower")), Check(Checksum("sum8", "decimal"))))
    frame = two.closed(b"12")
    assert frame == b"1203" + b"198" + b"\r"
    assert two.opened(frame) == b"12"
    assert Checksum("xor", "raw", inverted=True).encode(b"\x0f") == b"\xf0"
    assert Checksum("xor", "raw", high_bit=True).encode(b"\x0f") == b"\x8f"
    assert Checksum("sum16", "hex-upper", inverted=True).encode(b"\x01") == b"FFFE"


def test_what_follows_a_reply_that_only_its_length_ends_makes_it_garbled() -> None:
    asked = TextRequest(b"?", FixedLength(4))
    assert asked.match(b"abcd", 0) == b"abcd"
    assert asked.match(b"abc", 0) is None
    with pytest.raises(Garbled, match="bytes behind"):
        asked.match(b"xabcd", 0)
    with pytest.raises(Garbled, match="two different"):
        asked.match(b"abcdefgh", 0)


def test_a_reply_that_ends_by_a_pause_is_judged_when_it_has_passed() -> None:
    asked = TextRequest(b"?", Idle(0.05), expect=re.compile(rb"ok \d"))
    assert asked.manner is not None
    assert asked.manner.over is not None
    assert asked.match(b"ok 1", 0) is None
    assert asked.manner.over(b"ok 1") == b"ok 1"
    with pytest.raises(Garbled, match="unexpected"):
        asked.manner.over(b"late ok 1")


def test_commands_and_prompts() -> None:
    assert Command(b"\x85").match(b"anything", 0) == b""
    prompted = Prompted(b"\r", b"\r\n*", 0.1, 12)
    assert prompted.match(b"", 0) is None
    assert prompted.match(b"2026-11-22 10:00:00,0.3,12*0345\r\n", 0) is None
    assert prompted.match(b"\r\n*", 0) == b"\r\n*"
    for make in (lambda: Command(b""), lambda: Prompted(b"", b"x", 1.0, 1)):
        with pytest.raises(ValueError, match="no bytes"):
            make()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.binary(max_size=80))
def test_no_bytes_make_a_form_raise_or_stand_still(data: bytes) -> None:
    """Whatever comes: `find` moves on by one byte at least, and only Garbled is raised."""
    length = FrameForm(LengthField(2, 1, "big", 4), (Check(Checksum("sum8", "raw")),), b"\x42")
    line = FrameForm(Terminated((b"\r\n", b"\r")), (Check(Checksum("xor", "hex-upper"), uncovered=b"*"),))
    for form in (length, line, WATLOW, SHDLC):
        rest, rounds = data, 0
        while (place := form.find(rest)) is not None:
            assert place.start < place.stop <= len(rest)
            rest = rest[place.stop :]
            rounds += 1
        assert rounds <= len(data)


# ---------------------------------------------------------------- Modbus writes: Application Protocol V1.1b3


@pytest.mark.parametrize(
    ("asked", "request_", "reply"),
    [
        (pdu.write_coil(0xAC, True), "05 00AC FF00", "05 00AC FF00"),
        (pdu.write_register(1, 3), "06 0001 0003", "06 0001 0003"),
        (pdu.write_coils(0x13, [1, 0, 1, 1, 0, 0, 1, 1, 1, 0]), "0F 0013 000A 02 CD01", "0F 0013 000A"),
        (pdu.write_registers(1, [0xA, 0x102]), "10 0001 0002 04 000A 0102", "10 0001 0002"),
    ],
    ids=["5", "6", "15", "16"],
)
def test_writes_are_those_of_the_specification(asked: pdu.Pdu, request_: str, reply: str) -> None:
    """Examples of sections 6.5, 6.6, 6.11 and 6.12."""
    assert asked.request == bytes.fromhex(request_)
    assert asked.head == bytes.fromhex(reply)
    assert asked.size == len(asked.head)


@pytest.mark.parametrize("framing", ["modbus-rtu", "modbus-ascii", "modbus-tcp"])
def test_writes_take_their_own_confirmation_and_no_other(framing: modbus.ModbusFraming) -> None:
    several, coil = modbus.write_registers(framing, 7, 1, [10, 258]), modbus.write_coil(framing, 7, 1, True)

    def framed(text: str) -> bytes:
        reply = bytes.fromhex(text)
        if framing == "modbus-tcp":
            return peers.tcp(9, 7, reply)
        return peers.rtu(7, reply) if framing == "modbus-rtu" else peers.ascii_frame(7, reply)

    assert several.match(framed("10 0001 0002"), 9) == bytes.fromhex("0001 0002")
    assert coil.match(framed("05 0001 FF00"), 9) == bytes.fromhex("0001 FF00")
    for asked, other in ((several, "10 0001 0003"), (several, "10 0002 0002"), (coil, "05 0001 0000")):
        try:
            assert asked.match(framed(other), 9) is None
        except Garbled:
            assert framing == "modbus-tcp"
    for asked, refused in ((several, "90 02"), (coil, "85 02")):
        with pytest.raises(Refused):
            asked.match(framed(refused), 9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pdu.write_coil(0x10000, True),
        lambda: pdu.write_registers(0, []),
        lambda: pdu.write_registers(0, [0] * 124),
        lambda: pdu.write_registers(0xFFFF, [0, 0]),
        lambda: pdu.write_registers(0, [0x10000]),
        lambda: pdu.write_coils(0, []),
        lambda: pdu.write_coils(0, [True] * 1969),
        lambda: pdu.write_coils(-1, [True]),
    ],
)
def test_writes_that_modbus_cannot_say(make: object) -> None:
    with pytest.raises(ValueError):
        make()  # type: ignore[operator]

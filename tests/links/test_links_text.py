"""Text requests: the ends of replies, checksums, echo, patterns, the instrument's own errors."""

from __future__ import annotations

import re

import pytest

from labmon.links.checksum import Checksum
from labmon.links.errors import Garbled, Refused
from labmon.links.text import Check, FixedLength, LengthField, Terminated, TextRequest

XOR = Check(Checksum("inverted-xor", "hex-lower"))
CR_LF = Terminated((b"\r\n",))


@pytest.mark.parametrize(
    ("checksum", "value"),
    [
        (Checksum("crc16-modbus"), 0x4B37),
        (Checksum("crc16-ccitt"), 0x29B1),
        (Checksum("crc16-x25"), 0x906E),
        (Checksum("crc8"), 0xF4),
        (Checksum("crc8", poly=0x31, init=0, reflected=True), 0xA1),
        (Checksum("crc16-ccitt", init=0), 0x31C3),
        (Checksum("sum8"), 0xDD),
        (Checksum("sum16"), 0x01DD),
        (Checksum("lrc"), 0x23),
        (Checksum("xor"), 0x31),
        (Checksum("inverted-xor"), 0xCE),
    ],
    ids=lambda value: str(getattr(value, "name", "")),
)
def test_checksums_of_the_catalogue_string(checksum: Checksum, value: int) -> None:
    """CRC check values of the catalogue of parametrised CRC algorithms over "123456789"; the rest by arithmetic."""
    assert checksum.compute(b"123456789") == value


def test_watlow_s_two_checksums() -> None:
    """Standard Bus request, facts/instruments.md 2.13 and 5."""
    crc8 = Checksum("crc8", poly=0x81, init=0xFF, reflected=True, xor_out=0xFF)
    assert crc8.encode(bytes.fromhex("0510000006")) == b"\xe8"
    assert Checksum("crc16-x25", "raw-little").encode(bytes.fromhex("010301040101")) == bytes.fromhex("e399")


def test_encodings() -> None:
    data = b"123456789"
    assert Checksum("sum16", "raw").encode(data) == b"\x01\xdd"
    assert Checksum("sum16", "raw-little").encode(data) == b"\xdd\x01"
    assert Checksum("sum16", "hex-lower").encode(data) == b"01dd"
    assert Checksum("sum16", "hex-upper").encode(data) == b"01DD"
    assert Checksum("sum16", "decimal").encode(data) == b"00477"
    assert Checksum("xor", "decimal").encode(data) == b"049"
    for checksum in (Checksum("sum16", "hex-upper"), Checksum("sum16", "raw"), Checksum("sum16", "decimal")):
        assert len(checksum.encode(data)) == checksum.width
        assert checksum.agrees(data, checksum.encode(data))
        assert not checksum.agrees(data + b"\x01", checksum.encode(data))
    assert Checksum("sum16", "hex-upper").agrees(data, b"01dd")
    for wrong in (("crc32", "raw"), ("xor", "base64")):
        with pytest.raises(ValueError, match="is called"):
            Checksum(*wrong)
    with pytest.raises(ValueError, match="no polynomial"):
        Checksum("xor", poly=7)


def test_six_bits_in_each_character() -> None:
    """SDI-12 V1.4, 4.4.12.3 prints `0+3.14OqZ`; the Rotronic HygroFlex manual, p. 54, the reply that ends in `#M`."""
    sdi = Checksum("crc16-x25", "six-bits", poly=0x8005, init=0, xor_out=0, plus=0x40)
    assert sdi.encode(b"0+3.14") == b"OqZ"
    rotronic = Checksum("sum6", "six-bits", plus=0x20)
    assert rotronic.encode(b"{M03RDD 0027.50;0023.76;0029.31;0022.77;#") == b"M"
    for checksum, width in ((sdi, 3), (rotronic, 1), (Checksum("sum8", "six-bits", plus=0x40), 2)):
        assert checksum.width == width == len(checksum.encode(b"123456789"))
    assert Checksum("sum6", inverted=True).compute(b"1") == 0x3F ^ 0x31
    for wrong in ({"encoding": "six-bits"}, {"plus": 0x20}):
        with pytest.raises(ValueError, match="plus"):
            Checksum("sum8", **wrong)  # type: ignore[arg-type]


def test_a_reply_that_stands_alone() -> None:
    """One control character in the place of a frame: at once, and never as a part of a frame."""
    asked = TextRequest(
        b"PV",
        Terminated((b"\x03",)),
        reply_check=Check(Checksum("xor"), start=1, after=True),
        begins_with=b"\x02",
        expect=re.compile(rb"\x02PV.*|\x06"),
        error=re.compile(rb"\x04"),
        alone=(b"\x04", b"\x06", b"\x15"),
    )
    with pytest.raises(Refused, match="04h"):
        asked.match(b"\x04", 0)
    assert asked.match(b"\x06", 0) == b"\x06"
    with pytest.raises(Garbled, match="1 bytes: 15"):
        asked.match(b"\x15", 0)
    body = b"PV 1\x03"
    whole = b"\x02" + body + Checksum("xor").encode(body)
    assert asked.match(whole, 0) == b"\x02PV 1"
    assert asked.match(b"\x04" + whole, 0) == b"\x02PV 1"
    for cut in range(1, len(whole)):
        assert asked.match(whole[:cut], 0) is None
    with pytest.raises(Garbled, match=r"checksum 00 instead of .. for"):
        asked.match(whole[:-1] + b"\x00", 0)


def thermo(address: bytes, payload: bytes) -> TextRequest:
    return TextRequest(
        b"?:%s:00::" % address,
        LengthField(7, 2, "hex", 14, b"\r"),
        terminator=b"\r",
        request_check=XOR,
        reply_check=XOR,
        begins_with=b"!:%s:" % address,
        expect=re.compile(rb"!:%s:[0-9a-f]{2}:%s:" % (address, payload)),
        error=re.compile(rb"!:[0-9a-f]{4}:02:\?(?P<code>[0-3]):"),
    )


def test_thermo_frames() -> None:
    """Printed frames of the Isotemp manual (facts/instruments.md 2.1, 5): length field, inverted XOR, colons inside."""
    clock = thermo(b"0010", rb"[\d.;:]{17}")
    assert clock.encode(0) == b"?:0010:00::c1\r"
    assert thermo(b"3010", rb".*").encode(0) == b"?:3010:00::c2\r"
    whole = b"!:0010:11:31.07.10;01:02:23:e2\r"
    assert clock.match(whole, 0) == b"!:0010:11:31.07.10;01:02:23:"
    assert thermo(b"0011", rb"[\d.]{8}").match(b"!:0011:08:31.07.10:d2\r", 0) == b"!:0011:08:31.07.10:"
    for cut in range(len(whole)):
        assert clock.match(whole[:cut], 0) is None
        assert clock.begins(whole[:cut], 0) is (cut >= 1)
    assert clock.match(b"\x00\xff" + whole + b"\x00", 0) == b"!:0010:11:31.07.10;01:02:23:"
    with pytest.raises(Garbled, match="checksum"):
        clock.match(b"!:0010:11:31.07.10;01:02:24:e2\r", 0)
    with pytest.raises(Garbled, match="length field"):
        clock.match(b"!:0010:1x:31.07.10;01:02:23:e2\r", 0)
    # Another address is not ours, whatever its checksum.
    assert clock.match(b"!:0011:08:31.07.10:d2\r", 0) is None
    body = b"!:0010:02:?1:"
    with pytest.raises(Refused) as refused:
        clock.match(body + Checksum("inverted-xor", "hex-lower").encode(body) + b"\r", 0)
    assert refused.value.error == "1"


def test_terminators() -> None:
    alicat = TextRequest(b"A", Terminated((b"\r",)), terminator=b"\r")
    assert alicat.encode(0) == b"A\r"
    assert alicat.match(b"A +24.57 +100.0 N2\r", 0) == b"A +24.57 +100.0 N2"
    assert alicat.match(b"A +24.57 +100.0 N2", 0) is None
    assert alicat.begins(b"A +24", 0)
    either = TextRequest(b"ch:it", Terminated((b"\r\n", b"\r")), terminator=b"\r")
    assert either.match(b"it +37.0\r\n", 0) == b"it +37.0"
    assert either.match(b"it +37.0\r", 0) == b"it +37.0"
    assert either.match(b"\r\n\r\nit +37.0\r\n\r\n", 0) == b"it +37.0"
    watson = TextRequest(b"1RS", Terminated((b"!",)), terminator=b"\r", echo=True)
    assert watson.match(b"1RS\r\n323Du 110 CW 1 !", 0) == b"323Du 110 CW 1 "
    assert watson.match(b"323Du 110 CW 1 !", 0) is None
    assert watson.match(b"stale !1RS\r323Du 110 CW 1 !", 0) == b"323Du 110 CW 1 "
    with pytest.raises(ValueError, match="terminator"):
        Terminated(())


def test_a_check_character_behind_the_terminator() -> None:
    check = Check(Checksum("xor", "raw"), start=1)
    request = TextRequest(b"Q", Terminated((b"\x03",), after=1), reply_check=check)
    frame = b"\x0212.5\x03" + bytes([ord("1") ^ ord("2") ^ ord(".") ^ ord("5") ^ 3])
    assert request.match(frame[:-1], 0) is None
    assert request.match(frame, 0) == b"\x0212.5"
    with pytest.raises(Garbled, match="checksum"):
        request.match(frame[:-1] + b"\x00", 0)
    with pytest.raises(ValueError, match="checksum of that width"):
        TextRequest(b"Q", Terminated((b"\x03",), after=2), reply_check=check)


def test_fixed_length_with_header_and_sum() -> None:
    """Plantower PMS5003, facts/instruments.md 1.11: a binary frame, resynchronised on its header."""
    frame = b"\x42\x4d\x00\x1c" + bytes(range(26))
    frame += sum(frame).to_bytes(2, "big")
    request = TextRequest(
        b"\x42\x4d\xe2\x00\x00",
        FixedLength(32),
        request_check=Check(Checksum("sum16")),
        reply_check=Check(Checksum("sum16")),
        begins_with=b"\x42\x4d\x00\x1c",
    )
    assert request.encode(0) == b"\x42\x4d\xe2\x00\x00\x01\x71"
    assert request.match(b"\x4d\x00\x42" + frame + b"\x42", 0) == frame[:-2]
    # What only looked like a header, and the real one behind it.
    assert request.match(frame[:4] + frame + bytes(28), 0) == frame[:-2]
    with pytest.raises(Garbled):
        request.match(frame[:-1] + b"\xff", 0)
    with pytest.raises(ValueError, match="0 bytes"):
        FixedLength(0)


def test_a_length_field_in_every_encoding() -> None:
    for field, frame in (
        (LengthField(1, 2, "decimal", 3), b"#12abcdefghijkl"),
        (LengthField(1, 2, "hex", 3), b"#0cabcdefghijkl"),
        (LengthField(1, 2, "big", 3), b"#\x00\x0cabcdefghijkl"),
        (LengthField(1, 2, "little", 3), b"#\x0c\x00abcdefghijkl"),
    ):
        request = TextRequest(b"Q", field)
        assert request.match(frame[:-1], 0) is None
        assert request.match(frame, 0) == frame
    with pytest.raises(Garbled, match="more than 1024"):
        TextRequest(b"Q", LengthField(1, 2, "big", 3)).match(b"#\xff\xff", 0)


def test_the_whole_reply_must_match() -> None:
    request = TextRequest(b"ch:it", CR_LF, terminator=b"\r", expect=re.compile(rb"it [+-]\d+\.\d [+-]\d+\.\d"))
    assert request.match(b"it +37.0 +36.9\r\n", 0) == b"it +37.0 +36.9"
    for wrong in (b"ic +5.0 +5.0\r\n", b"it +37.0 +36.9 x\r\n", b"\x00it +37.0 +36.9\r\n", b"it +37.0\r\n"):
        with pytest.raises(Garbled, match="unexpected"):
            request.match(wrong, 0)
    # An unsolicited line beside the reply costs nothing; two replies that differ cost the exchange.
    assert request.match(b"ic +5.0 +5.0\r\nit +37.0 +36.9\r\n", 0) == b"it +37.0 +36.9"
    assert request.match(b"it +37.0 +36.9\r\nit +37.0 +36.9\r\n", 0) == b"it +37.0 +36.9"
    with pytest.raises(Garbled, match="two different"):
        request.match(b"it +37.0 +36.9\r\nit +37.0 +36.8\r\n", 0)


def test_the_instrument_s_own_errors() -> None:
    request = TextRequest(b"RD DM982", CR_LF, terminator=b"\r", error=re.compile(rb"E(?P<code>\d)"))
    with pytest.raises(Refused) as refused:
        request.match(b"E1\r\n", 0)
    assert refused.value.error == "1"
    named = TextRequest(b"Q", CR_LF, error=re.compile(rb"ERROR|EMPTY RECORD"))
    with pytest.raises(Refused, match="EMPTY RECORD"):
        named.match(b"EMPTY RECORD\r\n", 0)
    short = TextRequest(b"Q", FixedLength(10), error=re.compile(rb"\x15"))
    with pytest.raises(Refused):
        short.match(b"\x15", 0)
    with pytest.raises(Garbled, match="two different"):
        named.match(b"12.5\r\nERROR\r\n", 0)


def test_a_checksum_with_its_mark() -> None:
    request = TextRequest(
        b"R", CR_LF, request_check=Check(Checksum("xor", "hex-upper"), start=0, uncovered=b"*"), terminator=b"\r",
        reply_check=Check(Checksum("sum8", "hex-upper"), uncovered=b"*"),
    )  # fmt: skip
    assert request.encode(0) == b"R*52\r"
    assert request.match(b"12.5*C6\r\n", 0) == b"12.5"
    for wrong in (b"12.5*C9\r\n", b"12.5C6\r\n", b"C8\r\n", b"\x00C\r\n"):
        with pytest.raises(Garbled):
            request.match(wrong, 0)
    with pytest.raises(ValueError, match="no bytes"):
        TextRequest(b"", CR_LF)

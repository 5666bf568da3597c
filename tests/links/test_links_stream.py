"""Frames that come unasked: cut out of whatever arrives, at every split, with junk, and beside replies."""

from __future__ import annotations

import random
import re

import pytest

from labmon.links.checksum import Checksum
from labmon.links.frame import LONGEST, Check, FixedLength, FrameForm, Idle, LengthField, Terminated
from labmon.links.stream import Listen, Listener, StreamForm

BINARY = FrameForm(LengthField(2, 2, "big", 4), (Check(Checksum("sum16")),), b"\x42\x4d")
LINES = FrameForm(Terminated((b"\r\n", b"\r")))


def binary(number: int, words: int = 13) -> bytes:
    body = b"\x42\x4d" + (2 * words + 2).to_bytes(2, "big") + number.to_bytes(2, "big") * words
    return body + (sum(body) & 0xFFFF).to_bytes(2, "big")


class Ear:
    """A listener with one kind, and what it heard."""

    def __init__(self, form: FrameForm, pattern: bytes = b"(?s).{30}", prefix: bytes = b"") -> None:
        self.heard: list[bytes] = []
        self.rest = b""
        kind = StreamForm(form, re.compile(pattern).fullmatch, prefix)
        self.listener = Listener([(kind, lambda payload, now: self.heard.append(payload))])

    def hear(self, *pieces: bytes) -> None:
        for piece in pieces:
            rest, _ = self.listener.hear(piece, 0.0)
            self.rest += rest


def test_whole_frames_are_taken_and_nothing_is_left() -> None:
    ear = Ear(BINARY)
    ear.hear(binary(1) + binary(2))
    assert ear.heard == [binary(1)[:-2], binary(2)[:-2]]
    assert (ear.rest, ear.listener.heard, ear.listener.junk) == (b"", 2, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 31, 33])
def test_split_anywhere(size: int) -> None:
    ear = Ear(BINARY)
    stream = b"".join(binary(n) for n in range(5))
    ear.hear(*(stream[at : at + size] for at in range(0, len(stream), size)))
    assert ear.heard == [binary(n)[:-2] for n in range(5)]


def test_listening_begins_in_the_middle_of_a_frame() -> None:
    for at in range(1, 32):
        ear = Ear(BINARY)
        ear.hear(binary(7)[at:] + binary(8))
        assert ear.heard == [binary(8)[:-2]]
        assert ear.rest == binary(7)[at:]


@pytest.mark.parametrize("byte", [0x00, 0x42, 0x4D, 0x03, 0xFF])
def test_one_junk_byte_costs_at_most_one_frame(byte: int) -> None:
    frames = [binary(n) for n in (1, 2, 3)]
    for at in range(32):
        damaged = frames[0][:at] + bytes([byte]) + frames[0][at:]
        ear = Ear(BINARY)
        ear.hear(*(bytes([b]) for b in damaged + frames[1] + frames[2]))
        assert ear.heard[-2:] == [frames[1][:-2], frames[2][:-2]]
        assert set(ear.heard) <= {f[:-2] for f in frames}


def test_a_length_that_is_wrong_does_not_wait_for_its_bytes() -> None:
    """The header's length says 796 bytes: the next whole frame with a right checksum shows that it is none."""
    ear = Ear(BINARY)
    ear.hear(b"\x42\x4d\x03\x1c" + binary(1)[4:] + binary(2))
    assert ear.heard == [binary(2)[:-2]]


def test_lines_and_what_is_none_of_them() -> None:
    ear = Ear(LINES, rb"C1=[0-9.]+ C3=[0-9.]+", b"C1=")
    ear.hear(b"C1=37.0 C3", b"=5.0\r\nER", b"ROR 7\r\n", b"C1=37.1 C3=5.1\r")
    assert ear.heard == [b"C1=37.0 C3=5.0", b"C1=37.1 C3=5.1"]
    assert ear.rest.strip() == b"ERROR 7"


def test_a_line_of_which_the_beginning_is_missing_is_no_line() -> None:
    """`6806` of which only `806` was heard fits the form: the first line is taken only where its beginning is known."""
    ear = Ear(LINES, rb"\d+, \d+")
    ear.hear(b"806, 1516\r\n6806, 1517\r\n")
    assert ear.heard == [b"6806, 1517"]
    ear.listener.reset()
    ear.hear(b"06, 1516\r\n6806, 1518\r\n")
    assert ear.heard == [b"6806, 1517", b"6806, 1518"]
    known = Ear(LINES, rb"N=\d+", b"N=")
    known.hear(b"N=5\r\n")
    assert known.heard == [b"N=5"]


def test_bytes_without_end_are_not_kept() -> None:
    ear = Ear(LINES, rb"\d+")
    ear.hear(b"1\r\n", *[b"7" * 1000] * 20)
    assert len(ear.listener._buffer) <= LONGEST
    ear.hear(b"7\r\n12\r\n")
    assert ear.heard == [b"12"], "what is left of an endless line is no line"


def test_what_is_released_is_taken_no_more() -> None:
    ear = Ear(LINES, rb"\d+, \d+")
    ear.hear(b"1, 2\r\n3, 4\r\n68")
    assert ear.listener.release() == b"68"
    ear.hear(b"06, 1\r\n7, 8\r\n")
    assert ear.heard == [b"3, 4", b"7, 8"]


def test_what_was_kept_before_a_request_is_no_part_of_its_reply() -> None:
    ear = Ear(LINES, rb"C\d+", b"C")
    ear.hear(b"half a li")
    ear.listener.asked()
    ear.hear(b"OK\r\n", b"C1")
    assert ear.rest == b"OK\r\n"
    ear.listener.asked()
    ear.hear(b"2\r\n")
    assert ear.heard == [b"C12"]


def test_the_first_kind_that_fits_has_the_frame() -> None:
    heard: list[str] = []
    kinds = [
        (StreamForm(LINES, re.compile(pattern).fullmatch, b"A"), lambda payload, now, name=name: heard.append(name))
        for name, pattern in (("short", rb"A\d"), ("long", rb"A\d+"))
    ]
    listener = Listener(kinds)
    listener.hear(b"A1\r\nA12\r\nA3\r\n", 0.0)
    assert heard == ["short", "long", "short"]


def test_a_frame_that_may_be_a_reply_is_neither() -> None:
    ear = Ear(LINES, rb"\d+", b"")
    ear.hear(b"1\r\n")
    rest, unclear = ear.listener.hear(b"12\r\n13\r\nOK\r\n", 0.0, lambda frame: frame.startswith(b"12"))
    assert (rest.strip(), unclear, ear.heard, ear.listener.unclear) == (b"OK", True, [b"13"], 1)


def test_forms_that_a_stream_cannot_have() -> None:
    for form in (FrameForm(Idle(0.1)), FrameForm(FixedLength(4))):
        with pytest.raises(ValueError, match=r"pause|begin with"):
            StreamForm(form, lambda payload: True)


def test_random_bytes_are_no_frames_and_cost_none(seed: int = 4) -> None:
    rng = random.Random(seed)
    ear = Ear(BINARY)
    for n in range(300):
        ear.hear(bytes(rng.choice((0x42, 0x4D, 0x00, 0x1C, rng.randrange(256))) for _ in range(rng.randrange(60))))
        ear.hear(binary(n))
    ear.hear(binary(999) * 40)
    assert set(ear.heard) <= {binary(n)[:-2] for n in (*range(300), 999)}
    assert len(set(ear.heard)) == 301


def test_listening_for_one_frame() -> None:
    asked = Listen(StreamForm(BINARY, re.compile(rb"(?s).{30}").fullmatch))
    assert asked.encode(1) == b""
    assert asked.match(b"\0\x42" + binary(5), 1) == binary(5)[:-2]
    assert asked.match(binary(5)[:9], 1) is None
    assert asked.begins(binary(5)[:9], 1)
    with pytest.raises(Exception, match="no frame"):
        asked.match(binary(5, words=2), 1)

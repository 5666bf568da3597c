"""Modbus protocol data units: what is asked, and what the reply to exactly that looks like. Free of framing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadDiscreteInputsRequest,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

ReadFunction = Literal[1, 2, 3, 4]

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
"""Names of the exception codes (Modbus Application Protocol V1.1b3, section 7)."""

_IDENTIFICATION = 0x2B
_READ_IDENTIFICATION = 0x0E
_MAX_PDU = 253
_READS = {
    1: (ReadCoilsRequest, 2000),
    2: (ReadDiscreteInputsRequest, 2000),
    3: (ReadHoldingRegistersRequest, 125),
    4: (ReadInputRegistersRequest, 125),
}


@dataclass(frozen=True, slots=True)
class Pdu:
    """A request and the shape of its only valid reply.

    `head` is what the reply begins with: function and byte count, or function, address and value of a write's echo.
    `size` is the reply's whole length, None where the reply itself says it (device identification).
    """

    request: bytes
    head: bytes
    size: int | None
    strip: int
    """Leading bytes of the reply that are no payload."""

    @property
    def largest(self) -> int:
        """Upper bound of the reply's length."""
        return _MAX_PDU if self.size is None else self.size

    def reply_size(self, buffer: bytes, at: int) -> int | None:
        """Length of the reply whose function code stands at `at`; None while `buffer` does not say it yet."""
        return self.size if self.size is not None else _identification_size(buffer, at)


def read(function: ReadFunction, address: int, count: int) -> Pdu:
    """Read `count` coils (1), discrete inputs (2), holding (3) or input registers (4) from the 0-based `address`.

    Raises ValueError outside of 1..2000 bits, 1..125 registers, addresses 0..65535.
    """
    if function not in _READS:
        raise ValueError(f"function {function} is no read; 1, 2, 3 and 4 are")
    kind, most = _READS[function]
    if not 1 <= count <= most:
        raise ValueError(f"function {function} reads 1..{most} at once, not {count}")
    if address < 0 or address + count > 0x10000:
        raise ValueError(f"addresses {address}..{address + count - 1} are outside of 0..65535")
    length = 2 * count if function >= 3 else (count + 7) // 8
    request = bytes([function]) + kind(address=address, count=count).encode()
    return Pdu(request, bytes([function, length]), 2 + length, 2)


def write_register(address: int, value: int) -> Pdu:
    """Write one holding register (6) at the 0-based `address`; the reply must repeat address and value.

    Raises ValueError when either is outside of 0..65535.
    """
    if not 0 <= address <= 0xFFFF or not 0 <= value <= 0xFFFF:
        raise ValueError(f"register {address} := {value}: both must be within 0..65535")
    request = b"\x06" + WriteSingleRegisterRequest(address=address, registers=[value]).encode()
    return Pdu(request, request, len(request), 1)


def write_coil(address: int, value: bool) -> Pdu:
    """Write one coil (5) at the 0-based `address`; the reply must repeat address and value.

    Raises ValueError for an address outside of 0..65535.
    """
    if not 0 <= address <= 0xFFFF:
        raise ValueError(f"coil {address} is outside of 0..65535")
    request = b"\x05" + WriteSingleCoilRequest(address=address, bits=[value]).encode()
    return Pdu(request, request, len(request), 1)


def write_registers(address: int, values: Sequence[int]) -> Pdu:
    """Write several holding registers (16) from the 0-based `address`; the reply must repeat address and number.

    Raises ValueError outside of 1..123 registers, addresses or values 0..65535.
    """
    if not 1 <= len(values) <= 123:
        raise ValueError(f"function 16 writes 1..123 registers at once, not {len(values)}")
    if address < 0 or address + len(values) > 0x10000 or not all(0 <= v <= 0xFFFF for v in values):
        raise ValueError(f"registers from {address} := {list(values)}: all must be within 0..65535")
    request = b"\x10" + WriteMultipleRegistersRequest(address=address, registers=list(values)).encode()
    return Pdu(request, request[:5], 5, 1)


def write_coils(address: int, values: Sequence[bool]) -> Pdu:
    """Write several coils (15) from the 0-based `address`; the reply must repeat address and number.

    Raises ValueError outside of 1..1968 coils, addresses 0..65535.
    """
    if not 1 <= len(values) <= 1968:
        raise ValueError(f"function 15 writes 1..1968 coils at once, not {len(values)}")
    if address < 0 or address + len(values) > 0x10000:
        raise ValueError(f"coils from {address} are outside of 0..65535")
    request = b"\x0f" + WriteMultipleCoilsRequest(address=address, bits=list(values)).encode()
    return Pdu(request, request[:5], 5, 1)


def device_identification(code: int, first: int) -> Pdu:
    """Read device identification (0x2B/0x0E): `code` 1 basic, 2 regular, 3 extended, 4 the one object `first`.

    Raises ValueError on another code, or an object outside of 0..255.
    """
    if code not in (1, 2, 3, 4) or not 0 <= first <= 0xFF:
        raise ValueError(f"device identification: code {code} must be 1..4 and object {first} 0..255")
    request = bytes([_IDENTIFICATION]) + ReadDeviceInformationRequest(read_code=code, object_id=first).encode()
    return Pdu(request, bytes([_IDENTIFICATION, _READ_IDENTIFICATION, code]), None, 3)


def _identification_size(buffer: bytes, at: int) -> int | None:
    # Function, 0x0E, code, conformity, more follows, next object, number of objects; then id, length, text each.
    if len(buffer) < at + 7:
        return None
    if buffer[at + 4] not in (0x00, 0xFF):  # whether more follows
        return 0  # an echo, or another frame: no reply looks so
    end = at + 7
    for _ in range(buffer[at + 6]):
        if len(buffer) < end + 2:
            return None
        end += 2 + buffer[end + 1]
    return end - at


@dataclass(frozen=True, slots=True)
class Identification:
    """Parsed payload of a device identification reply."""

    conformity: int
    objects: dict[int, bytes]
    next_object: int | None
    """Where to go on; None when this was all."""


def parse_identification(payload: bytes) -> Identification:
    """Take the payload of a `device_identification` exchange apart. Raises ValueError when it is malformed."""
    if len(payload) < 4:
        raise ValueError(f"device identification of {len(payload)} bytes")
    conformity, more, following, number = payload[:4]
    objects: dict[int, bytes] = {}
    rest = payload[4:]
    for _ in range(number):
        if len(rest) < 2 or len(rest) < 2 + rest[1]:
            raise ValueError("device identification: an object is cut")
        objects[rest[0]] = rest[2 : 2 + rest[1]]
        rest = rest[2 + rest[1] :]
    if rest:
        raise ValueError(f"device identification: {len(rest)} bytes after the last object")
    return Identification(conformity, objects, following if more else None)

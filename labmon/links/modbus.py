"""Modbus requests in the three framings: RTU, ASCII and TCP (RTU also over a TCP connection)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from labmon.links import pdu
from labmon.links.errors import Garbled
from labmon.links.framing import AsciiRequest, RtuRequest, TcpRequest
from labmon.links.link import Link, Request
from labmon.links.pdu import EXCEPTIONS, Identification, Pdu, ReadFunction, parse_identification

__all__ = [
    "EXCEPTIONS",
    "Identification",
    "ModbusFraming",
    "device_identification",
    "identify",
    "parse_identification",
    "read",
    "write_coil",
    "write_coils",
    "write_register",
    "write_registers",
]

ModbusFraming = Literal["modbus-rtu", "modbus-ascii", "modbus-tcp"]

_MOST_IDENTIFICATION = 32


def read(framing: ModbusFraming, unit: int, function: ReadFunction, address: int, count: int) -> Request:
    """Read `count` bits (functions 1, 2) or registers (3, 4) from the 0-based `address`.

    The payload is exactly (count + 7) // 8 or 2 * count bytes. Raises ValueError on a request that Modbus cannot say.
    """
    return _framed(framing, unit, pdu.read(function, address, count))


def write_register(framing: ModbusFraming, unit: int, address: int, value: int) -> Request:
    """Write one holding register (FC 06) at the 0-based `address`. The payload repeats address and value, checked.

    The reply equals the request, so an adapter that echoes must be declared (`local_echo`): an echo not removed by the
    transport would pass for the confirmation. Raises ValueError on a request that Modbus cannot say.
    """
    return _framed(framing, unit, pdu.write_register(address, value))


def write_coil(framing: ModbusFraming, unit: int, address: int, value: bool) -> Request:
    """Write one coil (FC 05). As `write_register`: the reply equals the request, so an echo must be declared."""
    return _framed(framing, unit, pdu.write_coil(address, value))


def write_registers(framing: ModbusFraming, unit: int, address: int, values: Sequence[int]) -> Request:
    """Write 1..123 registers (FC 16). The payload is address and number, checked. Raises ValueError."""
    return _framed(framing, unit, pdu.write_registers(address, values))


def write_coils(framing: ModbusFraming, unit: int, address: int, values: Sequence[bool]) -> Request:
    """Write 1..1968 coils (FC 15). The payload is address and number, checked. Raises ValueError."""
    return _framed(framing, unit, pdu.write_coils(address, values))


def device_identification(framing: ModbusFraming, unit: int, code: int = 1, first: int = 0) -> Request:
    """Read device identification (FC 0x2B/0x0E) from object `first`: `code` 1 basic, 2 regular, 3 extended, 4 only it.

    The payload goes to `parse_identification`; `identify` does both and follows "more follows".
    """
    return _framed(framing, unit, pdu.device_identification(code, first))


async def identify(
    link: Link, framing: ModbusFraming, unit: int, objects: tuple[int, ...], timeout: float, *, gap: float = 0.0
) -> dict[int, bytes]:
    """Ask for the identification objects named, as a stream; those that the device does not have are missing.

    Raises Silent, Garbled, Refused, LinkLost.
    """
    highest = max(objects)
    code = 1 if highest < 3 else 2 if highest < 0x80 else 3
    found: dict[int, bytes] = {}
    following: int | None = 0
    for _ in range(_MOST_IDENTIFICATION):
        if following is None or all(number in found for number in objects):
            break
        payload = await link.exchange(device_identification(framing, unit, code, following), timeout, gap=gap)
        try:
            part = parse_identification(payload)
        except ValueError as error:
            raise Garbled(str(error)) from None
        found |= part.objects
        following = part.next_object
    else:
        raise Garbled(f"device identification does not end within {_MOST_IDENTIFICATION} replies")
    return {number: found[number] for number in objects if number in found}


def _framed(framing: ModbusFraming, unit: int, asked: Pdu) -> Request:
    # 0 is broadcast, which nobody answers; 248..255 are reserved on serial lines but in use (Thermo TDE: 0..255).
    lowest = 0 if framing == "modbus-tcp" else 1
    if not lowest <= unit <= 255:
        raise ValueError(f"unit {unit} is outside of {lowest}..255")
    if framing == "modbus-rtu":
        return RtuRequest(unit, asked)
    if framing == "modbus-ascii":
        return AsciiRequest(unit, asked)
    if framing == "modbus-tcp":
        return TcpRequest(unit, asked)
    raise ValueError(f"no Modbus framing is called {framing!r}")

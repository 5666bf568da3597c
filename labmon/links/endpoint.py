"""Where an instrument is reached: a serial port with its settings, or a TCP endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# "Character" of the Modbus serial line specification V1.02 (2.5.1): 11 bits also where the parity bit is left out.
_RTU_CHARACTER_BITS = 11
_FAST = 19200
_T35_FAST = 0.00175


@dataclass(frozen=True, slots=True)
class SerialEndpoint:
    """A serial port. `local_echo`: the adapter returns what is sent, and the transport removes it."""

    port: str
    baud: int = 9600
    bits: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stop: Literal[1, 2] = 1
    rtscts: bool = False
    local_echo: bool = False

    @property
    def character(self) -> float:
        """Seconds that one character takes on the wire."""
        return (1 + self.bits + (self.parity != "N") + self.stop) / self.baud

    @property
    def t35(self) -> float:
        """The silence between RTU frames: 3.5 characters, fixed at 1.75 ms above 19200 baud (same, 2.5.1.1)."""
        return _T35_FAST if self.baud > _FAST else 3.5 * _RTU_CHARACTER_BITS / self.baud

    def __str__(self) -> str:
        return f"{self.port} {self.baud} {self.bits}{self.parity}{self.stop}"


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A TCP endpoint, however many unit ids stand behind it."""

    host: str
    port: int = 502

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


Endpoint = SerialEndpoint | TcpEndpoint

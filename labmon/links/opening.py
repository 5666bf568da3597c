"""A link to an endpoint in a framing."""

from __future__ import annotations

from typing import Literal, get_args

from labmon.links.conversation import Conversation
from labmon.links.endpoint import Endpoint, SerialEndpoint, TcpEndpoint
from labmon.links.serial_port import SerialTransport
from labmon.links.tcp import TcpTransport
from labmon.links.timing import Timing

Framing = Literal["modbus-rtu", "modbus-ascii", "modbus-tcp", "text", "binary"]

# Behind a transparent RTU gateway stands a serial line whose speed is not known here: t3.5 at 9600 baud.
_T35_UNKNOWN = SerialEndpoint("", 9600).t35
# ASCII and text demand none, but whoever repeats a reply, or needs to turn its line around, does it at once; the
# shortest pause that a manual asks for is 10 ms (Watson-Marlow, Julabo).
_PAUSE = 0.01


def make_link(
    endpoint: Endpoint,
    framing: Framing,
    *,
    quiet: float = 0.0,
    latest_reply: float | None = None,
    least_quiet: float = 0.1,
    open_timeout: float = 5.0,
    trace: int = 0,
) -> Conversation:
    """Make a link, not yet open. Touches nothing.

    `quiet`: silence before each request in seconds, where it shall be longer than the framing's own. `latest_reply`:
    the bound after which no instrument on the line answers any more (see Conversation); `least_quiet`: what ends a
    settling at the earliest. `trace`: how many sent and received pieces to keep for a failure report. Raises
    ValueError on a framing that does not exist, and for Modbus TCP on a serial port.
    """
    if framing not in get_args(Framing):
        raise ValueError(f"no framing is called {framing!r}; known are {', '.join(get_args(Framing))}")
    gap = {"modbus-tcp": 0.0, "modbus-rtu": _T35_UNKNOWN}.get(framing, _PAUSE)
    if isinstance(endpoint, SerialEndpoint):
        if framing == "modbus-tcp":
            raise ValueError(f"modbus-tcp does not run on the serial port {endpoint.port}")
        timing = Timing(
            gap=max(quiet, endpoint.t35 if framing == "modbus-rtu" else gap),
            character=endpoint.character,
            latest_reply=latest_reply,
            least_quiet=least_quiet,
        )
        return Conversation(SerialTransport(endpoint, open_timeout), timing, trace=trace)
    timing = Timing(
        gap=max(quiet, gap),
        identified=framing == "modbus-tcp",
        latest_reply=latest_reply,
        least_quiet=least_quiet,
    )
    return Conversation(TcpTransport(endpoint, open_timeout), timing, trace=trace)


async def open_link(
    endpoint: Endpoint,
    framing: Framing,
    *,
    quiet: float = 0.0,
    latest_reply: float | None = None,
    least_quiet: float = 0.1,
    open_timeout: float = 5.0,
    trace: int = 0,
) -> Conversation:
    """Make a link (see `make_link`) and open it. Raises LinkLost, ValueError."""
    link = make_link(
        endpoint,
        framing,
        quiet=quiet,
        latest_reply=latest_reply,
        least_quiet=least_quiet,
        open_timeout=open_timeout,
        trace=trace,
    )
    await link.open()
    return link


__all__ = ["Endpoint", "Framing", "SerialEndpoint", "TcpEndpoint", "make_link", "open_link"]

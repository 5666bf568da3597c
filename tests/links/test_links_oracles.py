"""pymodbus as oracle: its server answers our links, and its client is answered by replies that our matchers accept."""

from __future__ import annotations

import asyncio
from typing import Any

import peers
import pytest
from peers import PtyPeer, Say, TcpPeer
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from labmon.links import modbus
from labmon.links.endpoint import TcpEndpoint
from labmon.links.errors import Refused
from labmon.links.opening import open_link

UNIT = 17
FRAMERS = {"modbus-rtu": FramerType.RTU, "modbus-ascii": FramerType.ASCII, "modbus-tcp": FramerType.SOCKET}
VALUES = [(i * 773 + 5) & 0xFFFF for i in range(130)]


@pytest.mark.parametrize("framing", FRAMERS)
async def test_pymodbus_server_answers_us(framing: Any) -> None:
    device = SimDevice(UNIT, simdata=[SimData(0, values=VALUES, datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, framer=FRAMERS[framing], address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    port = server.transport.sockets[0].getsockname()[1]
    link = await open_link(TcpEndpoint("127.0.0.1", port), framing, least_quiet=0.01)
    for address, count in ((0, 1), (3, 125), (129, 1), (10, 20)):
        payload = await link.exchange(modbus.read(framing, UNIT, 3, address, count), 2.0)
        assert payload == b"".join(v.to_bytes(2, "big") for v in VALUES[address : address + count])
    assert await link.exchange(modbus.write_register(framing, UNIT, 24, 0xFFFF), 2.0) == b"\x00\x18\xff\xff"
    assert await link.exchange(modbus.read(framing, UNIT, 3, 24, 1), 2.0) == b"\xff\xff"
    with pytest.raises(Refused) as refused:
        await link.exchange(modbus.read(framing, UNIT, 3, 500, 1), 2.0)
    assert refused.value.error == 2
    found = await modbus.identify(link, framing, UNIT, (0, 1, 2), 2.0)
    assert set(found) <= {0, 1, 2}
    await link.close()
    await server.shutdown()


@pytest.mark.parametrize("framing", FRAMERS)
async def test_our_matchers_accept_what_pymodbus_client_accepts(framing: Any) -> None:
    """The peers' frames, which the other tests are built on, are good enough for pymodbus' client."""
    split = {"modbus-rtu": peers.split_rtu, "modbus-ascii": peers.split_line, "modbus-tcp": peers.split_tcp}[framing]

    def answer(request: bytes, number: int) -> peers.Script:
        if framing == "modbus-tcp":
            pdu = request[7:]
            reply = peers.tcp(int.from_bytes(request[:2], "big"), UNIT, peers.reply_pdu(UNIT, pdu))
        elif framing == "modbus-rtu":
            pdu = request[1:-2]
            reply = peers.rtu(UNIT, peers.reply_pdu(UNIT, pdu))
        else:
            pdu = bytes.fromhex(request[3:-4].decode())
            reply = peers.ascii_frame(UNIT, peers.reply_pdu(UNIT, pdu))
        ours = modbus.read(framing, UNIT, 3, int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big"))
        transaction = int.from_bytes(request[:2], "big")
        assert ours.encode(transaction) == request  # byte for byte what pymodbus sends
        accepted.append(ours.match(reply, transaction))
        return [Say(reply)]

    accepted: list[bytes | None] = []
    client: AsyncModbusTcpClient | AsyncModbusSerialClient
    if framing == "modbus-tcp":
        async with TcpPeer(split, answer) as peer:
            client = AsyncModbusTcpClient("127.0.0.1", port=peer.port, retries=0, reconnect_delay=0)
            await ask(client, accepted)
    else:
        async with PtyPeer(split, answer) as pty:
            client = AsyncModbusSerialClient(pty.port, framer=FRAMERS[framing], retries=0, reconnect_delay=0)
            await ask(client, accepted)


async def ask(client: Any, accepted: list[bytes | None]) -> None:
    assert await client.connect()
    for address, count in ((0, 1), (300, 125), (65530, 6)):
        response = await client.read_holding_registers(address, count=count, device_id=UNIT)
        expected = peers.registers(UNIT, 3, address, count)
        assert b"".join(v.to_bytes(2, "big") for v in response.registers) == expected
        assert accepted[-1] == expected
    client.close()
    await asyncio.sleep(0)

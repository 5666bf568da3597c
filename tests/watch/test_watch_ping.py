"""The outbound ping against a real HTTP server: it comes while all is well, and its address is nobody's business."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from servers.mail import make_authority
from servers.webhook import WebhookServer

from labmon.config.secrets import SecretError
from labmon.config.site import PingConfig
from labmon.watch.ping import Pinger

SECRET = "token-4711-hunter2"


@dataclass
class Bench:
    well: bool = True
    asked: int = 0
    told: list[tuple[bool, str]] = field(default_factory=list)

    def look(self) -> bool:
        self.asked += 1
        return self.well

    @property
    def problem(self) -> str:
        return self.told[-1][1] if self.told else ""


@asynccontextmanager
async def pinging(address: Callable[[], str], **config: Any) -> AsyncIterator[Bench]:
    bench = Bench()
    made = PingConfig.model_validate({"url": {"file": "unused"}, "every": "20 ms", "timeout": "200 ms"} | config)
    pinger = Pinger(made, address, bench.look, lambda *told: bench.told.append(told))
    task = asyncio.create_task(pinger.run())
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_calls_while_all_is_well_and_not_otherwise(eventually: Any) -> None:
    async with WebhookServer() as server, pinging(lambda: server.url) as bench:
        await eventually(lambda: len(server.posts) >= 3)
        assert {post.path for post in server.posts} == {"/notices?plant=1"}
        bench.well = False
        asked, connections = bench.asked, server.connections
        await eventually(lambda: bench.asked > asked + 5)
        assert server.connections <= connections + 1
        bench.well = True
        told = len(bench.told)
        await eventually(lambda: len(bench.told) > told + 1)
        assert bench.told[-1] == (False, "")


@pytest.mark.parametrize("status", [301, 404, 500])
async def test_whatever_is_no_success_is_a_failure_and_over_with_the_next_one(status: int, eventually: Any) -> None:
    async with WebhookServer() as server, pinging(lambda: server.url) as bench:
        server.status, server.location = status, f"/{SECRET}"
        await eventually(lambda: (True, f"is answered with {status}") in bench.told)
        server.status = 200
        await eventually(lambda: bench.told[-1] == (False, ""))


async def test_a_server_that_hangs_or_is_gone_holds_up_nothing(eventually: Any) -> None:
    async with WebhookServer() as server:
        async with pinging(lambda: server.url) as bench:
            server.hang = True
            await eventually(lambda: bench.problem == "no answer within 0.2 s")
            await server.kill()
            await eventually(lambda: bench.problem == "Connection refused")
        await server.start()
        async with pinging(lambda: server.url, timeout="30 s") as bench:
            await eventually(lambda: server.connections)  # the end does not wait for the answer


async def test_the_certificate_is_verified(tmp_path: Path, eventually: Any) -> None:
    ca, context = await asyncio.to_thread(make_authority, tmp_path)
    async with WebhookServer(tls=context) as server:
        async with pinging(lambda: server.url, timeout="2 s") as bench:
            await eventually(lambda: "the certificate is not valid" in bench.problem)
            assert not server.posts
        async with pinging(lambda: server.url, timeout="2 s", ca=str(ca)):
            await eventually(lambda: server.posts)
        async with pinging(lambda: server.url.replace("127.0.0.1", "127.0.0.2"), timeout="2 s", ca=str(ca)) as bench:
            await eventually(lambda: bench.told)
            assert bench.problem
            assert "127.0.0.2" not in bench.problem


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (f"ftp://{SECRET}.example/x", "the address is no http or https URL"),
        (f"no address {SECRET}", "the address is no http or https URL"),
        (f"https://[{SECRET}", "the address is no http or https URL"),
        (f"http://127.0.0.1:{SECRET}/", "the address is no http or https URL"),
        (f"http://127.0.0.1:1/{SECRET}", "Connection refused"),
        (f"http://127.0.0.1:1/{SECRET} \r\nX: y", "the address is no http or https URL"),
        (f"http://{SECRET}.invalid/", None),
        (f"http://{'x' * 80}.{SECRET}/", None),
        (f"http://user:{SECRET}@127.0.0.1:1/", None),
    ],
)
async def test_the_address_is_told_to_nobody(
    address: str, problem: str | None, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with pinging(lambda: address, timeout="5 s") as bench:
        await eventually(lambda: bench.told)
    active, words = bench.told[0]
    assert active
    assert problem is None or words == problem
    assert words
    assert SECRET not in words + caplog.text


async def test_an_address_that_cannot_be_read_is_tried_again(eventually: Any) -> None:
    readable = False

    async with WebhookServer() as server:

        def address() -> str:
            if not readable:
                raise SecretError("credential ping-url: cannot be read: Permission denied")
            return server.url

        async with pinging(address) as bench:
            await eventually(lambda: bench.problem == "credential ping-url: cannot be read: Permission denied")
            readable = True
            await eventually(lambda: server.posts)

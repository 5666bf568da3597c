"""A real SMTP server (aiosmtpd) on 127.0.0.1 in the test's own event loop, that can misbehave and be killed."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def free_port() -> int:
    """A port below those that the kernel gives to outgoing connections, so that a killed server finds it free again."""
    while True:
        port = random.randrange(12_000, 30_000)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass
class Mail:
    """One message that the server answered with 250."""

    to: list[str]
    message: EmailMessage
    tls: bool
    user: str | None

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        return self.message.get_content().replace("\r\n", "\n")


class MailServer:
    """`async with MailServer() as server`. `hang` and `drop` name a stage: greeting, rcpt, data or accepted.

    `drop: accepted` keeps the message and closes without an answer: the sender cannot know.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, implicit: bool = False, login: tuple[str, str] | None = None
    ):
        self.mails: list[Mail] = []
        self.recipients: dict[str, str] = {}
        """What is answered to an address, such as `550 no such user`."""
        self.hang = ""
        self.drop = ""
        self.drip = False
        """Say something ever so often, and never come to the point."""
        self.content_reply = ""
        self.before_reply: Callable[[], None] | None = None
        self.connections = 0
        self.port = free_port()
        self._tls = tls
        self._implicit = implicit
        self._login = login
        self._server: asyncio.Server | None = None
        self._protocols: set[SMTP] = set()
        self._transports: set[Any] = set()
        self._released = asyncio.Event()

    async def __aenter__(self) -> MailServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Listen on `port`, also again after a kill."""
        self._released = asyncio.Event()
        loop = asyncio.get_running_loop()
        context = self._tls if self._implicit else None
        self._server = await loop.create_server(self._protocol, "127.0.0.1", self.port, ssl=context)

    async def kill(self) -> None:
        """Stop listening and abort every connection, as a killed process does."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self._released.set()
        handlers = [p._handler_coroutine for p in self._protocols if p._handler_coroutine is not None]
        for transport in list(self._transports):
            transport.abort()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await server.wait_closed()
        self._protocols.clear()
        self._transports.clear()

    def release(self) -> None:
        """Let hanging conversations go on."""
        self.hang = ""
        self._released.set()
        self._released = asyncio.Event()

    def _protocol(self) -> asyncio.Protocol:
        self.connections += 1
        starttls = self._tls if not self._implicit else None
        options: dict[str, Any] = {"tls_context": starttls, "require_starttls": starttls is not None}
        if self._login is not None:
            options |= {"authenticator": self._authenticate, "auth_required": True}
            options["auth_require_tls"] = not self._implicit
        protocol = _Smtp(self, **options)
        self._protocols.add(protocol)
        return protocol

    def _authenticate(
        self, _server: object, _session: object, _envelope: object, _mech: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = (data.login.decode(), data.password.decode()) == self._login
        return AuthResult(success=good, handled=False, auth_data=data.login.decode())

    async def misbehave(self, stage: str, protocol: SMTP) -> None:
        if self.hang == stage:
            await self._released.wait()
        if self.drop == stage:
            protocol.transport.abort()
            raise ConnectionResetError("dropped on purpose")

    # aiosmtpd's hooks

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        await self.misbehave("rcpt", server)
        if reply := self.recipients.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        await self.misbehave("data", server)
        if self.content_reply:
            return self.content_reply
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        tls = session.ssl is not None or self._implicit
        self.mails.append(Mail(list(envelope.rcpt_tos), message, tls, session.auth_data))
        if self.before_reply is not None:
            self.before_reply()
        await self.misbehave("accepted", server)
        return "250 2.0.0 OK"


class _Smtp(SMTP):
    def __init__(self, owner: MailServer, **options: Any) -> None:
        self._owner = owner
        with warnings.catch_warnings():
            # aiosmtpd warns of AUTH without STARTTLS also where the whole connection is TLS.
            warnings.simplefilter("ignore", UserWarning)
            super().__init__(owner, hostname="mail.test", loop=asyncio.get_running_loop(), **options)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self._owner._server is None:
            transport.abort()  # Accepted just before the kill.
        self._owner._transports.add(transport)

    async def _handle_client(self) -> None:
        try:
            while self._owner.drip:
                self.transport.write(b"220-wait\r\n")
                await asyncio.sleep(0.02)
            await self._owner.misbehave("greeting", self)
            await super()._handle_client()
        except ConnectionError:
            return

    async def handle_exception(self, error: Exception) -> str:
        if isinstance(error, ConnectionError):
            raise error
        return "451 " + repr(error)


def make_authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority's certificate, and a server context with one of its certificates for localhost and 127.0.0.1."""
    run = lambda *args: subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)  # noqa: E731
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    run("req", "-x509", *ec, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=labmon test", "-days", "2", *usage)
    run("req", *ec, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    run("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signing)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return folder / "ca.pem", context

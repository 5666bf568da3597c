"""Secrets are planted in every place that takes one; nothing that a gateway shows, writes or sends holds any of them.

The daemon and ingest run as processes with their most talkative log, against peers that refuse and repeat what they
were sent, and against peers that accept.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from joined_gateway import room
from servers.mail import MailServer, make_authority
from servers.mosquitto import Authority, Mosquitto
from servers.scripted_http import Answer, ScriptedHttp
from servers.webhook import WebhookServer

import labmon
from labmon.cli import main
from labmon.config.secrets import command_proof, pin_key
from labmon.model.messages import ChannelTag, Command, RecordEntry, RecordRange
from labmon.mqtt import BrokerSettings, Connection, Tls

TOP = Path(labmon.__file__).parent.parent
PREFIX = "labmon/lab/gw-1"
ACTION = "probe-1.co2.action-high"


@dataclass
class Planted:
    """Secrets by name, and everything that was seen of the gateway, by where."""

    secrets: dict[str, str] = field(default_factory=dict)
    seen: dict[str, bytes] = field(default_factory=dict)

    def plant(self, name: str) -> str:
        self.secrets[name] = f"planted-{name}-{os.urandom(6).hex()}"
        return self.secrets[name]

    def found(self) -> list[str]:
        """`what in where` for every secret that shows in any form in what was seen."""
        return [
            f"{name} in {where}"
            for where, content in self.seen.items()
            for name, secret in self.secrets.items()
            if any(form in content for form in forms(secret))
        ]


def forms(secret: str) -> Iterator[bytes]:
    """A secret as it may show: as it is, in base64 by itself and as logins carry it, in hex, in a URL, cut short."""
    raw = secret.encode()
    yield raw
    yield raw[:24]
    yield raw.hex().encode()
    yield quote(secret, safe="").encode()
    for before in (b"", b"\0labmon\0", b"\0mailer\0", b"gateway:", b"ingest:"):
        yield base64.b64encode(before + raw).rstrip(b"=")[: 4 * (len(before + raw) // 3)]
    yield base64.urlsafe_b64encode(raw).rstrip(b"=")[: 4 * (len(raw) // 3)]


def test_the_search_finds_what_it_is_to_find() -> None:
    planted = Planted()
    secret = planted.plant("x")
    for shown in (
        secret, secret.encode().hex(), base64.b64encode(f"\0labmon\0{secret}".encode()).decode(),
        base64.b64encode(secret.encode()).decode(), secret[:30],
    ):  # fmt: skip
        planted.seen = {"log": f"before {shown} after".encode()}
        assert planted.found() == ["x in log"], shown
    planted.seen = {"log": b"planted-x-nothing"}
    assert planted.found() == []


async def pin_hash(planted: Planted, pin: str) -> str:
    """What `labmon user pin` prints for a PIN typed at a terminal."""

    def typed() -> bytes:
        child, terminal = pty.fork()
        if child == 0:  # pragma: no cover
            os.chdir(TOP)
            os.execv(sys.executable, [sys.executable, "-m", "labmon", "user", "pin"])
        said = b""
        try:
            for prompt in (b"PIN: ", b"again: "):
                while prompt not in said:
                    said += os.read(terminal, 1000)
                os.write(terminal, pin.encode() + b"\n")
            with contextlib.suppress(OSError):  # EIO: the other end is closed
                while more := os.read(terminal, 1000):
                    said += more
        finally:
            os.close(terminal)
            os.waitpid(child, 0)
        return said

    said = await asyncio.to_thread(typed)
    hashed = said.split()[-1]
    planted.seen["labmon user pin"] = said.replace(hashed, b"")  # which it is there to print
    return hashed.decode()


class Talkative:
    """A mail server and a webhook that refuse, and repeat what they were sent."""

    async def __aenter__(self) -> Talkative:
        self.asked = 0
        self._mail = await asyncio.start_server(self._smtp, "127.0.0.1", 0)
        self._http = await asyncio.start_server(self._post, "127.0.0.1", 0)
        self.mail = self._mail.sockets[0].getsockname()[1]
        self.http = self._http.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in (self._mail, self._http):
            server.close()
            await server.wait_closed()

    async def _smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"220 hello\r\n")
            while line := await reader.readline():
                if line.upper().startswith(b"EHLO"):
                    writer.write(b"250-me\r\n250 AUTH PLAIN\r\n")
                    continue
                given = base64.b64decode(line.split()[-1]) if line.upper().startswith(b"AUTH") else b""
                writer.write(b"535 5.7.8 no such login: " + line.strip() + given.replace(b"\0", b" ") + b"\r\n")
                self.asked += 1
        writer.close()

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            told = b" ".join(head.split(b"\r\n"))
            writer.write(b"HTTP/1.1 500 " + told + b"\r\nContent-Length: %d\r\n\r\n" % len(head) + head)
            await writer.drain()
        writer.close()


def secret_file(folder: Path, name: str, text: str) -> dict[str, str]:
    (folder / name).write_text(text + "\n")
    (folder / name).chmod(0o600)
    return {"file": str(folder / name)}


@contextlib.asynccontextmanager
async def process(planted: Planted, log: Path, environ: dict[str, str], *arguments: object) -> AsyncIterator[Path]:
    """A labmon process; what it says, its command line and its environment are seen."""
    with log.open("ab") as stream:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "labmon", *map(str, arguments), "--log", "debug"),
            cwd=TOP, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        yield log
        for what in ("cmdline", "environ"):
            planted.seen[f"{what} of {arguments[0]}"] = Path(f"/proc/{running.pid}/{what}").read_bytes()
    finally:
        if running.returncode is None:
            running.terminate()
        await running.wait()
        planted.seen[f"log {log.name}"] = log.read_bytes()
    assert running.returncode == 0
    assert b"Traceback" not in log.read_bytes()


async def said(planted: Planted, *arguments: object) -> tuple[int, str]:
    """What a command of labmon says in all."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "labmon", *map(str, arguments)),
        cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output = (await running.communicate())[0]
    planted.seen[" ".join(map(str, arguments))] = output
    return running.returncode or 0, output.decode()


def order(name: str, pin: str, key: bytes, occurrence: str) -> Command:
    made = Command(name, "qa-officer", "", time.time_ns(), ACTION, occurrence, "", f"seen by {name}")
    made.proof = command_proof(
        key, gateway=PREFIX, verb="alarm-ack", id=made.id, user=made.user, time=made.time, alarm=made.alarm,
        occurrence=made.occurrence, reason=made.reason,
    )  # fmt: skip
    return made


async def test_no_planted_secret_shows_anywhere(tmp_path: Path, eventually: Any) -> None:
    planted = Planted()
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    names = ("broker", "ingest", "token", "smtp", "smtp-bad", "hook", "hook-bad", "wrong-broker", "wrong-token", "pin")
    value = {name: planted.plant(name) for name in names}
    hashed = await pin_hash(planted, value["pin"])
    planted.secrets["hash"] = hashed.rpartition("$")[2]
    authority = Authority.make(tmp_path / "ca", days=900)
    certificate, key = authority.sign("gateway", days=900)
    for number, line in enumerate(key.read_text().splitlines()[1:-1]):
        planted.secrets[f"key-{number}"] = line
    broken = "-----BEGIN PRIVATE KEY-----\n" + planted.plant("broken-key") + "\n-----END PRIVATE KEY-----"
    secret_file(credentials, "broker", value["broker"])
    secret_file(credentials, "hook", value["hook"])
    (tmp_path / "mail").mkdir()
    mail_authority, context = make_authority(tmp_path / "mail")
    users = {"gateway": value["broker"], "ingest": value["ingest"], "spy": "spy-spy"}
    refusal = json.dumps({"message": f"unauthorized: Token {value['wrong-token']}"}).encode()

    async with contextlib.AsyncExitStack() as stack:
        mails = await stack.enter_async_context(MailServer(tls=context, login=("mailer", value["smtp"])))
        hooks = await stack.enter_async_context(WebhookServer())
        talkative = await stack.enter_async_context(Talkative())
        influx = stack.enter_context(ScriptedHttp(Answer(401, refusal, {"X-Token": value["wrong-token"]})))
        broker = stack.enter_context(Mosquitto(tmp_path, users=users, authority=authority))
        spy = Connection(
            BrokerSettings("localhost", broker.port, Tls(str(authority.certificate)), "spy", "spy-spy"), "spy"
        )
        heard: list[bytes] = []
        await spy.subscribe("#", lambda topic, payload, _: heard.append(topic.encode() + b" " + payload))
        await stack.enter_async_context(spy)

        def parts(key: dict[str, str], password: dict[str, str], token: dict[str, str]) -> dict[str, Any]:
            people = [{"id": "duty", "name": "On duty", "email": "duty@plant.example"}]
            channels: list[dict[str, Any]] = [
                {"id": "mail", "email": {
                    "host": "127.0.0.1", "port": mails.port, "ca": str(mail_authority), "from": "a@plant.example",
                    "user": "mailer", "password": secret_file(tmp_path, "smtp", value["smtp"]),
                }},
                {"id": "mail-bad", "email": {
                    "host": "127.0.0.1", "port": talkative.mail, "tls": "none", "from": "a@plant.example",
                    "user": "labmon", "password": secret_file(tmp_path, "smtp-bad", value["smtp-bad"]),
                }},
                {"id": "hook", "webhook": {"url": hooks.url, "secret": {"credential": "hook"}}},
                {"id": "hook-bad", "webhook": {
                    "url": f"http://127.0.0.1:{talkative.http}/",
                    "secret": secret_file(tmp_path, "hook-bad", value["hook-bad"]),
                }},
            ]  # fmt: skip
            everything = [c["id"] for c in channels]
            return {
                "users": [
                    {"id": "duty", "name": "On Duty", "role": "engineer"},
                    {"id": "qa-officer", "name": "QA", "role": "qa", "pin": secret_file(tmp_path, "pin", hashed)},
                ],
                "mqtt": {
                    "host": "localhost", "port": broker.port,
                    "tls": {"ca": str(authority.certificate), "certificate": str(certificate), "key": key},
                    "user": "gateway", "password": password,
                    "ingest-user": "ingest", "ingest-password": secret_file(tmp_path, "ingest", value["ingest"]),
                },
                "stores": [
                    {"id": "influx", "influxdb": {"url": influx.url, "bucket": "b", "token": token, "timeout": "2 s"}}
                ],
                "notices": {
                    "channels": channels, "people": people,
                    "routes": [{"classes": ["action", "technical"], "to": ["duty"], "by": everything}],
                },
            }  # fmt: skip

        broken_key = parts(secret_file(tmp_path, "key", broken), {"credential": "broker"}, {"credential": "broker"})
        made = await stack.enter_async_context(room(tmp_path, "probe-1", **broken_key))
        site = made.site
        text = json.loads(site.read_text())
        made.probes["probe-1"].jump("co2", 120_000.0)
        socket = ("--socket", site.with_name("control.sock"))

        # Everything refuses.
        async with process(planted, tmp_path / "broken-key.log", environ, "run", site) as log:
            await eventually(lambda: "damaged, or encrypted" in log.read_text(), 10)
            await eventually(lambda: mails.mails and hooks.posts and talkative.asked, 10)
        wrong = parts(
            {"file": str(key)},
            secret_file(tmp_path, "wrong-broker", value["wrong-broker"]),
            secret_file(tmp_path, "wrong-token", value["wrong-token"]),
        )
        site.write_text(json.dumps(text | wrong))
        async with (
            process(planted, tmp_path / "wrong-password.log", environ, "run", site) as log,
            process(planted, tmp_path / "wrong-token.log", environ, "ingest", site),
        ):
            await eventually(lambda: "Not authorized" in log.read_text(), 10)
            assert (await said(planted, "status", "--json", *socket))[0] == 0
            tags = (ChannelTag("a.b", "room", "a", "b", "temperature", "Cel"),)
            record = RecordRange("j", 1, 1, tags, [RecordEntry(1, 1, 1, (0,), [1.0], [None], [0], [None])])

            async def refused() -> bool:  # sent again until ingest listens
                await spy.publish(f"{PREFIX}/record", record.encode())
                return any(b"/stored/influx" in one and b"401" in one for one in heard)

            await eventually(refused, 10)

        # Everything is right.
        right = parts({"file": str(key)}, {"credential": "broker"}, wrong["stores"][0]["influxdb"]["token"])
        site.write_text(json.dumps(text | right))
        (tmp_path / "wrong-token").write_text(value["token"])
        async with (
            process(planted, tmp_path / "daemon.log", environ, "run", site),
            process(planted, tmp_path / "ingest.log", environ, "ingest", site) as log,
        ):
            await eventually(lambda: len(influx.requests) > 2, 10)  # one of them before
            status, listed = await said(planted, "alarm", "list", *socket)
            assert status == 0
            occurrence = listed.split(f"{ACTION}\n")[1].split("occurrence ")[1].split(",")[0].strip()
            for name, used in (("wrong", b"x" * 32), ("right", pin_key(hashed))):
                command = order(name, value["pin"], used, occurrence)
                await spy.publish(f"{PREFIX}/command/alarm-ack", command.encode())
                topic = f"{PREFIX}/reply/{name} ".encode()
                await eventually(lambda topic=topic: any(one.startswith(topic) for one in heard), 10)
            assert any('reply/right {"v":1,"id":"right","ok":true' in one.decode() for one in heard)
            for verb in (("status", "--json"), ("status",), ("alarm", "list")):
                assert (await said(planted, *verb, *socket))[0] == 0
        assert (await said(planted, "check", site))[0] == 0

        for file in tmp_path.glob("journal.db*"):
            planted.seen[file.name] = file.read_bytes()
        planted.seen["mqtt"] = b"\n".join(heard)
        planted.seen["mails"] = b"\n".join(mail.message.as_bytes() + mail.text.encode() for mail in mails.mails)
        planted.seen["webhooks"] = b"\n".join(repr(post.headers).encode() + post.body for post in hooks.posts)
        planted.seen["influx"] = b"\n".join(body for _, _, body in influx.requests)

    assert {"journal.db", "mqtt", "mails", "log daemon.log", "environ of run", "cmdline of ingest"} <= set(planted.seen)
    assert all(planted.seen.values()), "nothing was empty"
    logs = b"".join(content for where, content in planted.seen.items() if where.startswith("log "))
    for refusal in ("refuses the login", "Not authorized", "401", "500", "damaged, or encrypted", "wrong proof"):
        assert refusal.encode() in logs + planted.seen["mqtt"], f"no peer refused with {refusal}: nothing was shown"
    assert planted.secrets["token"] in repr(influx.requests), "the right one was used"
    assert planted.found() == []


WRONG = {
    "password as text": "mqtt: {host: b, user: u, password: SECRET}",
    "value in the place of a file": "mqtt: {host: b, user: u, password: {value: SECRET}}",
    "a key misspelt": "mqtt: {host: b, user: u, pasword: SECRET}",
    "token as text": "stores: [{id: i, influxdb: {url: 'https://i', bucket: b, token: SECRET}}]",
    "in the URL": "stores: [{id: i, influxdb: {url: 'https://labmon:SECRET@i/', bucket: b, token: {credential: t}}}]",
    "key in place": "mqtt: {host: b, tls: {certificate: c, key: SECRET}}",
    "pin as text": "users: [{id: q, name: Q, role: qa, pin: SECRET}]",
    "pin as a list": "users: [{id: q, name: Q, role: qa, pin: [SECRET]}]",
    "secret of a hook": "notices: {channels: [{id: h, webhook: {url: 'https://h/', secret: SECRET}}]}",
    "in the port": "mqtt: {host: b, port: SECRET}",
    "in the host": "mqtt: {host: 'user:SECRET@b'}",
    "two keys alike": "mqtt: {host: b, password: SECRET, password: SECRET}",
    "not closed": "mqtt: {host: b, password: 'SECRET",
    "a tab": "mqtt:\n\thost: SECRET",
    "a tag": "mqtt: {host: b, password: !secret SECRET}",
    "an anchor": "mqtt: {host: b, password: &SECRET x}",
    "an alias": "mqtt: {host: b, password: *SECRET}",
    "as a key": "mqtt: {host: b, SECRET: x}",
    "at the top": "SECRET: x",
    "broken line": "mqtt:\n  password\n  SECRET: [}",
}


@pytest.mark.parametrize("case", WRONG)
def test_a_secret_in_the_wrong_place_of_a_site_file_is_refused_and_not_repeated(case: str, tmp_path: Path) -> None:
    planted = Planted()
    secret = planted.plant("literal")
    site = tmp_path / "site.yaml"
    head = "labmon: 1\nsite: {id: lab, name: L}\ngateway: {id: g}\nareas: []\nlines: []\n"
    site.write_text(head + WRONG[case].replace("SECRET", secret) + "\n")
    told = CliRunner().invoke(main, ["check", str(site)])  # `run`, `ingest` and `watch` begin with the same
    planted.seen["check"] = told.output.encode()
    assert told.exit_code == 2, told.output
    assert "site.yaml:" in told.output
    assert isinstance(told.exception, SystemExit)
    assert planted.found() == []
    assert not list(tmp_path.glob("journal*")), "a refused file is written nowhere"

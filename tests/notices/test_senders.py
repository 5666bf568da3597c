"""E-mail and webhook senders against real servers: TLS, login, signature, refusals."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import ssl
from pathlib import Path
from typing import Any

import pytest
from notice_bench import FAST, NOON, Bench, configure, event, hook_channel, mail_channel
from servers.mail import MailServer, make_authority
from servers.webhook import WebhookServer

from labmon.model.event import Event
from labmon.notices.channel import Timing
from labmon.notices.condition import ChannelCondition

BOTH = ("mail.duty", "mail.lead")
HOOK = ("hook.duty", "hook.lead")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return make_authority(tmp_path_factory.mktemp("authority"))


async def failure(bench: Bench, eventually: Any, raised: Event | None = None) -> str:
    """What the channel's alarm says after a notice could not be sent."""
    bench.happen(raised or event("raised"))
    await eventually(lambda: any(active for _, active, _ in bench.conditions))
    assert not bench.settled(*(f"{channel}.{person}" for channel, person in _targets(bench)))
    return bench.condition[2]


def _targets(bench: Bench) -> list[tuple[str, str]]:
    return [(c.id, p.id) for c in bench.config.channels for p in bench.config.people]


@pytest.mark.parametrize("implicit", [False, True])
async def test_mail_over_tls_with_login(implicit: bool, authority: Any, eventually: Any) -> None:
    ca, context = authority
    async with MailServer(tls=context, implicit=implicit, login=("labmon", "secret of /pw")) as server:
        settings = {
            "tls": "tls" if implicit else "starttls",
            "ca": str(ca),
            "user": "labmon",
            "password": {"file": "/pw"},
        }
        async with Bench(configure([mail_channel(server.port, **settings)])) as bench:
            bench.happen(event("raised"))
            await eventually(lambda: bench.settled(*BOTH))
    assert [(mail.tls, mail.user) for mail in server.mails] == [(True, "labmon")]


async def test_a_wrong_password_is_the_channels_failure(authority: Any, eventually: Any) -> None:
    ca, context = authority
    async with MailServer(tls=context, login=("labmon", "another")) as server:
        settings = {"tls": "starttls", "ca": str(ca), "user": "labmon", "password": {"file": "/pw"}}
        async with Bench(configure([mail_channel(server.port, **settings)])) as bench:
            text = await failure(bench, eventually)
    assert text.startswith(f"mail server 127.0.0.1:{server.port} refuses the login: 535")
    assert "secret of" not in text
    assert not server.mails


async def test_a_secret_that_cannot_be_read_is_the_channels_failure(eventually: Any) -> None:
    async with WebhookServer() as hook, Bench(configure([hook_channel(hook.url, secret={"file": "/gone"})])) as bench:
        bench.locked = True
        assert await failure(bench, eventually) == "secret file /gone: cannot be read"
        assert not hook.posts
        bench.locked = False
        await eventually(lambda: bench.settled(*HOOK))


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_of_a_stranger_is_refused(implicit: bool, authority: Any, eventually: Any) -> None:
    _, context = authority
    async with MailServer(tls=context, implicit=implicit) as server:
        config = configure([mail_channel(server.port, tls="tls" if implicit else "starttls")])
        async with Bench(config) as bench:
            text = await failure(bench, eventually)
    assert "certificate is not valid" in text
    assert not server.mails


async def test_starttls_is_never_given_up_for_plain_text(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port, tls="starttls")])) as bench:
        text = await failure(bench, eventually)
    assert "STARTTLS" in text
    assert not server.mails


async def test_a_missing_authority_file_is_named(eventually: Any) -> None:
    async with MailServer() as server:
        config = configure([mail_channel(server.port, tls="starttls", ca="/nowhere/ca.pem")])
        async with Bench(config) as bench:
            text = await failure(bench, eventually)
    assert "/nowhere/ca.pem" in text


async def test_nobody_listening(eventually: Any) -> None:
    server = MailServer()
    async with Bench(configure([mail_channel(server.port)])) as bench:
        assert "refused" in await failure(bench, eventually)


async def test_names_from_the_plant_cannot_write_headers(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        bench.happen(event("raised", channel="x\r\nBcc: thief@example.org", occurrence="o>\r\nX-Evil: 1"))
        await eventually(lambda: bench.settled(*BOTH))
    message = server.mails[0].message
    assert message["Bcc"] is None
    assert message["X-Evil"] is None
    assert "thief" in str(message["Subject"])


async def test_a_subject_beyond_ascii_arrives_as_it_was_written(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        bench.happen(event("raised", channel="incubator-1.co2", unit="%{CO2}", value=2.9, limit=4.0, direction="low"))
        await eventually(lambda: bench.settled(*BOTH))
    assert server.mails[0].subject == "ACTION incubator-1 co2 2.9 % CO₂ < 4.0 % CO₂ · Cell culture B"


async def test_a_mail_says_that_a_machine_wrote_it_and_for_whom(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port)])) as bench:
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled(*BOTH))
    message = server.mails[0].message
    assert message["From"] == "labmon <labmon@example.org>"
    assert message["To"] == "On Call <duty@example.org>, Shift Lead <lead@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"] == "Sun, 22 Nov 2026 03:00:00 +0000"
    assert message.get_content_type() == "text/plain"


async def test_webhook_is_signed_and_complete(eventually: Any) -> None:
    async with WebhookServer() as hook, Bench(configure([hook_channel(hook.url, secret={"file": "/hook"})])) as bench:
        raised = event("raised")
        bench.happen(raised)
        await eventually(lambda: bench.settled(*HOOK))
    (post,) = hook.posts
    assert post.path == "/notices?plant=1"
    stamp = post.headers["x-labmon-timestamp"]
    expected = hmac.new(b"secret of /hook", stamp.encode() + b"." + post.body, "sha256").hexdigest()
    assert post.headers["x-labmon-signature"] == f"sha256={expected}"
    assert post.headers["idempotency-key"] == post.json["id"] == f"{raised.uid}.raised"
    assert {k: v for k, v in post.json.items() if k not in ("text", "subject", "id", "event")} == {
        "v": 1,
        "why": "raised",
        "late": False,
        "earlier": 0,
        "journaled": True,
        "site": "site-1",
        "gateway": "gw-1",
        "sent": NOON,
        "to": [{"id": "duty", "name": "On Call"}, {"id": "lead", "name": "Shift Lead"}],
    }
    assert Event.from_dict(post.json["event"]) == raised


async def test_webhook_without_a_secret_is_not_signed(eventually: Any) -> None:
    async with WebhookServer() as hook, Bench(configure([hook_channel(hook.url)])) as bench:
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled(*HOOK))
    assert "x-labmon-signature" not in hook.posts[0].headers


async def test_webhook_over_tls(authority: Any, eventually: Any) -> None:
    ca, context = authority
    async with WebhookServer(context) as hook, Bench(configure([hook_channel(hook.url, ca=str(ca))])) as bench:
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled(*HOOK))
    assert len(hook.posts) == 1


async def test_webhook_with_a_strangers_certificate(authority: Any, eventually: Any) -> None:
    _, context = authority
    async with WebhookServer(context) as hook, Bench(configure([hook_channel(hook.url)])) as bench:
        assert "certificate is not valid" in await failure(bench, eventually)
    assert not hook.posts


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_webhook_that_fails_is_tried_until_it_accepts(status: int, eventually: Any) -> None:
    async with WebhookServer() as hook, Bench(configure([hook_channel(hook.url)])) as bench:
        hook.status = status
        assert await failure(bench, eventually) == f"webhook 127.0.0.1 answers {status} Answered"
        hook.status = 202
        await eventually(lambda: bench.settled(*HOOK))
        await eventually(lambda: bench.condition == ("gateway.notices.hook", False, ""))
    assert len(hook.accepted()) == 1


async def test_webhook_that_refuses_the_message_is_recorded_and_passed(eventually: Any) -> None:
    async with WebhookServer() as hook, Bench(configure([hook_channel(hook.url)])) as bench:
        hook.status = 422
        bench.happen(event("raised"))
        await eventually(lambda: bench.settled(*HOOK))
        assert {r.outcome for r in bench.records} == {"refused"}
        await eventually(lambda: bench.condition[1])
    assert len(hook.posts) == 1


async def test_webhook_redirect_is_not_followed(eventually: Any) -> None:
    async with WebhookServer() as other, WebhookServer() as hook, Bench(configure([hook_channel(hook.url)])) as bench:
        hook.status, hook.location = 307, other.url
        assert "redirects (307)" in await failure(bench, eventually)
    assert not other.posts


async def test_webhook_killed_in_the_middle_and_back(eventually: Any) -> None:
    async with WebhookServer() as hook, Bench(configure([hook_channel(hook.url)])) as bench:
        hook.hang = True
        bench.happen(event("raised"))
        await eventually(lambda: hook.connections)
        await hook.kill()
        hook.hang = False
        await eventually(lambda: any(active for _, active, _ in bench.conditions))
        await hook.start()
        await eventually(lambda: bench.settled(*HOOK))
    assert len(hook.accepted()) == 1


async def test_webhook_that_hangs_ends_by_its_timeout(eventually: Any) -> None:
    async with WebhookServer() as hook, Bench(configure([hook_channel(hook.url, timeout="100 ms")])) as bench:
        hook.hang = True
        assert await failure(bench, eventually) == "webhook 127.0.0.1 does not answer within 0.1 s"
        hook.hang = False
        await eventually(lambda: bench.settled(*HOOK))


async def test_a_server_that_drips_is_cut_off(eventually: Any) -> None:
    async with MailServer() as server, Bench(configure([mail_channel(server.port, timeout="100 ms")])) as bench:
        server.drip = True
        assert "no end within 0.3 s" in await failure(bench, eventually)
        server.drip = False
        await eventually(lambda: bench.settled(*BOTH))
    assert len(server.mails) == 1


@pytest.mark.parametrize("said", [b"250-" + b"x" * 1000 + b"\r\n", b"250-\r\n"], ids=["long lines", "short lines"])
async def test_a_server_that_talks_without_end_is_not_listened_to(said: bytes, eventually: Any) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            writer.write(b"220 hello\r\n")
            await reader.readline()
            while True:
                writer.write(said * 100)
                sent += len(said) * 100
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Bench(configure([mail_channel(port)])) as bench:
            assert "says more than 262144 bytes" in await failure(bench, eventually)
            tries = bench.conditions
    assert tries
    assert sent < 200 * 2**20


@pytest.mark.parametrize("form", ["as it is", "login", "plain", "cut"])
async def test_a_server_that_repeats_the_login_is_not_quoted(form: str, eventually: Any) -> None:
    password = "secret of /pw"  # as the bench gives it
    repeated = {
        "as it is": password,
        "login": base64.b64encode(password.encode()).decode(),
        "plain": base64.b64encode(f"\0labmon\0{password}".encode()).decode(),
        "cut": "x" * 180 + password,
    }[form]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"220 hello\r\n")
            while line := await reader.readline():
                verb = line.split()[0].upper()
                said = "250-a\r\n250 AUTH PLAIN LOGIN" if verb == b"EHLO" else f"535 no: {repeated}"
                writer.write(said.encode() + b"\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        config = configure([mail_channel(port, user="labmon", password={"file": "/pw"})])
        async with Bench(config) as bench:
            text = await failure(bench, eventually)
    assert "refuses the login: 535 no:" in text
    assert "secret" not in text
    assert "***" in text
    assert form == "cut" or repeated not in text


def test_a_failure_is_an_alarm_only_when_it_lasts() -> None:
    condition = ChannelCondition(60.0)
    condition.failed(100.0, "refused")
    assert condition.trouble(159.9) == {}
    assert condition.next_due(100.0) == 160.0
    condition.failed(150.0, "timed out")
    assert condition.trouble(160.0) == {"": "timed out"}
    condition.worked()
    assert condition.trouble(161.0) == {}
    condition.failed(200.0, "refused")
    assert condition.trouble(259.0) == {}, "a new failure begins anew"


def test_the_defaults_that_a_site_gets() -> None:
    assert (Timing().first_retry, Timing().longest_retry, Timing().failing_after) == (5.0, 300.0, 60.0)
    assert Timing() != FAST

"""Notices by e-mail: one SMTP conversation per notice, with an answer for each recipient."""

from __future__ import annotations

import base64
import contextlib
import smtplib
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, formataddr, parseaddr
from typing import BinaryIO

from labmon.config.site import EmailChannel, Person
from labmon.config.types import Secret
from labmon.notices.attempt import Wire, trust
from labmon.notices.notice import Answer, ChannelFailed, Notice, Outcome
from labmon.notices.words import utc

MAX_REPLIES = 256 * 1024
"""Bytes of all that a mail server may say in one conversation."""
_DIALOGUE = (smtplib.SMTPException, OSError)
_CONVERSATION = frozenset({421, 500, 501, 502, 503, 504, 521, 530, 534, 535, 538})
"""Replies to a recipient that are not about this recipient: closing, syntax, no mail service, login wanted."""


class EmailSender:
    """Sends notices through one mail server (RFC 5321).

    A recipient is told when the server has answered the whole message with 250. 4xx for a recipient or the message
    puts it off, 5xx refuses it for good; whatever concerns the conversation (connection, TLS, login, sender address)
    fails the channel. With `starttls` and `tls` the certificate is verified and plain text is never fallen back to.
    """

    def __init__(self, settings: EmailChannel, secret: Callable[[Secret], str], domain: str) -> None:
        self._settings = settings
        self._secret = secret
        self._domain = domain
        self._hidden: tuple[str, ...] = ()

    @property
    def timeout(self) -> float:
        """Seconds that one step of a conversation may take."""
        return self._settings.timeout

    def send(self, wire: Wire, notice: Notice, people: Sequence[Person]) -> Mapping[str, Answer]:
        """Send to everybody who has an address. Raises ChannelFailed."""
        answers: dict[str, Answer] = {}
        by_address: dict[str, list[Person]] = {}
        for person in people:
            if person.email and (address := parseaddr(person.email)[1]):
                by_address.setdefault(address, []).append(person)
            else:
                answers[person.id] = Answer(Outcome.REFUSED, "no e-mail address is configured")
        if by_address:
            told = self._converse(wire, notice, by_address)
            for address, answer in told.items():
                answers.update((person.id, answer) for person in by_address[address])
        return answers

    def probe(self, wire: Wire) -> str:
        """Connect, secure and log in as for a notice, and send nothing; what was done. Raises ChannelFailed."""
        smtp: smtplib.SMTP | None = None
        try:
            smtp = self._login(wire)
            code, text = smtp.noop()
            if code != 250:
                raise smtplib.SMTPResponseException(code, text)
        except _DIALOGUE as exc:
            server = f"mail server {self._settings.host}:{self._settings.port}"
            raise ChannelFailed(f"{server}{self._why(exc)}", reached=smtp is not None) from exc
        finally:
            if smtp is not None:
                _leave(smtp)
        secured = "" if self._settings.tls == "none" else " with TLS"
        return f"answers{secured}{', takes the login' if self._settings.user is not None else ''}"

    def _converse(self, wire: Wire, notice: Notice, by_address: Mapping[str, Sequence[Person]]) -> dict[str, Answer]:
        smtp: smtplib.SMTP | None = None
        try:
            smtp = self._login(wire)
            answers, wanted = self._envelope(smtp, list(by_address))
            if wanted:
                message = self._message(notice, [by_address[address][0] for address in wanted])
                code, text = _data(smtp, message)
                answers.update((address, _answer(code, text)) for address in wanted)
            return {address: Answer(answer.outcome, self._hide(answer.text)) for address, answer in answers.items()}
        except _DIALOGUE as exc:
            server = f"mail server {self._settings.host}:{self._settings.port}"
            why = self._hide(f"{server}{self._why(exc)}")
            raise ChannelFailed(why, reached=smtp is not None) from None  # the cause has the server's own words
        finally:
            if smtp is not None:
                _leave(smtp)

    def _why(self, exc: Exception) -> str:
        """What went wrong with the conversation, to follow the server's name."""
        match exc:
            case smtplib.SMTPAuthenticationError():
                return f" refuses the login: {_reply(exc.smtp_code, exc.smtp_error)}"
            case smtplib.SMTPSenderRefused():
                return f" refuses the sender {self._settings.from_}: {_reply(exc.smtp_code, exc.smtp_error)}"
            case smtplib.SMTPResponseException():
                return f" answers {_reply(exc.smtp_code, exc.smtp_error)}"
            case ssl.SSLCertVerificationError():
                return f": its certificate is not valid: {exc.verify_message}"
        # smtplib calls a server that says nothing a closed connection.
        if isinstance(exc, TimeoutError) or isinstance(exc.__context__, TimeoutError):
            return f" does not answer within {self._settings.timeout:g} s"
        text = exc.strerror if isinstance(exc, OSError) and exc.errno and exc.strerror else str(exc)
        return f": {' '.join(text.split())[:200] or type(exc).__name__}"

    def _login(self, wire: Wire) -> smtplib.SMTP:
        settings = self._settings
        context = trust(settings.ca) if settings.tls != "none" else None
        smtp = _Conversation(wire, context if settings.tls == "tls" else None, settings.timeout)
        try:
            code, text = smtp.connect(settings.host, settings.port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, text)
            # The server's name is checked against its certificate; smtplib takes it from here.
            smtp._host = settings.host  # type: ignore[attr-defined]
            smtp.ehlo_or_helo_if_needed()
            if settings.tls == "starttls":
                assert context is not None
                smtp.starttls(context=context)
                smtp.ehlo()
            if settings.user is not None:
                password = self._secret(settings.password) if settings.password else ""
                self._hidden = _forms(settings.user, password)
                smtp.login(settings.user, password)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _hide(self, text: str) -> str:
        """A text of the server's without the password, which some repeat, as it is or as it was sent."""
        for form in self._hidden:
            text = text.replace(form, "***")
        return text[:300]

    def _envelope(self, smtp: smtplib.SMTP, addresses: Sequence[str]) -> tuple[dict[str, Answer], list[str]]:
        """Name sender and recipients; the answers of those refused, and the addresses that were taken."""
        sender = parseaddr(self._settings.from_)[1]
        code, text = smtp.mail(sender)
        if code != 250:
            raise smtplib.SMTPSenderRefused(code, text, sender)
        answers, wanted = {}, []
        for address in addresses:
            code, text = smtp.rcpt(address)
            if code in (250, 251):
                wanted.append(address)
            elif code in _CONVERSATION:
                raise smtplib.SMTPResponseException(code, text)
            else:
                answers[address] = _answer(code, text)
        return answers, wanted

    def _message(self, notice: Notice, people: Sequence[Person]) -> bytes:
        message = EmailMessage(policy=SMTP_POLICY)
        message["From"] = self._settings.from_
        message["To"] = ", ".join(formataddr((_one_line(p.name), parseaddr(p.email or "")[1])) for p in people)
        message["Date"] = format_datetime(utc(notice.sent))
        message["Message-ID"] = f"<{notice.id}@{self._domain}>"
        if notice.occurrence:
            # Mail programs show one occurrence as one conversation.
            message["References"] = f"<{_one_word(notice.occurrence)}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"
        if notice.kind == "raised":
            message["Importance"] = "high"
        message.set_content(notice.text, cte="quoted-printable")
        # The new email package drops or doubles spaces where it folds a subject beside a character beyond ASCII.
        subject = Header(_one_line(notice.subject), "utf-8", header_name="Subject").encode(linesep="\r\n")
        return b"Subject: " + subject.encode("ascii") + b"\r\n" + message.as_bytes()


class _Conversation(smtplib.SMTP):
    """smtplib over a connection that another thread can cut."""

    def __init__(self, wire: Wire, tls: ssl.SSLContext | None, timeout: float) -> None:
        # A local name of our own: smtplib would ask the name service for one, which cannot be cut.
        super().__init__(local_hostname="[127.0.0.1]", timeout=timeout)
        self._wire = wire
        self._tls = tls

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        # smtplib's own place for other kinds of connection: SMTP_SSL overrides it too.
        sock = self._wire.connect(host, port, timeout)
        own = sock.getsockname()[0]
        self.local_hostname = f"[IPv6:{own}]" if sock.family == socket.AF_INET6 else f"[{own}]"
        if self._tls is None:
            return sock
        try:
            return self._tls.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise

    def getreply(self) -> tuple[int, bytes]:
        """The server's reply. smtplib bounds each of its lines, but not how many there are."""
        if self.file is None:
            assert self.sock is not None
            self.file = _Bounded(self.sock.makefile("rb"))
        return super().getreply()


class _Bounded:
    """What a mail server says, of which no more than MAX_REPLIES bytes are heard."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = MAX_REPLIES

    def readline(self, most: int) -> bytes:
        line = self._stream.readline(most)
        self._left -= len(line)
        if self._left < 0:
            raise OSError(f"it says more than {MAX_REPLIES} bytes")
        return line

    def close(self) -> None:
        self._stream.close()


def _forms(user: str, password: str) -> tuple[str, ...]:
    """A password as it may come back: as it is, and as AUTH LOGIN and AUTH PLAIN (RFC 4616) carry it."""
    if len(password) < 4:
        return ()  # it would be found in words that have nothing to do with it
    plain = f"\0{user}\0{password}"
    return password, *(base64.b64encode(text.encode()).decode() for text in (password, plain))


def _data(smtp: smtplib.SMTP, message: bytes) -> tuple[int, bytes]:
    try:
        return smtp.data(message)
    except smtplib.SMTPDataError as exc:
        if exc.smtp_code in _CONVERSATION:
            raise
        error = exc.smtp_error
        return exc.smtp_code, error.encode() if isinstance(error, str) else error


def _leave(smtp: smtplib.SMTP) -> None:
    # The message's fate is known by now: the server has no need to be waited for.
    with contextlib.suppress(*_DIALOGUE):
        smtp.putcmd("quit")
    smtp.close()


def _answer(code: int, text: bytes) -> Answer:
    if code == 250:
        return Answer(Outcome.ACCEPTED, _reply(code, text))
    return Answer(Outcome.REFUSED if code >= 500 else Outcome.DEFERRED, _reply(code, text))


def _reply(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}"[:4000]  # cut for people when the password is out of it


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _one_word(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in "-._") or "occurrence"

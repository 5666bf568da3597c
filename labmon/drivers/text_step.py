"""One text or binary request for one device: the link's Request, and the fields of its reply both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labmon.drivers import grammar
from labmon.drivers.given import applies
from labmon.drivers.hex_reply import HexReply
from labmon.drivers.placeholders import filled, filled_hex
from labmon.drivers.reply import Reply, reply_of
from labmon.drivers.setting import Setting
from labmon.drivers.text_field import TextField
from labmon.drivers.words import ByteBlock
from labmon.links import text
from labmon.links.checksum import Checksum
from labmon.links.errors import Garbled
from labmon.links.frame import FrameForm
from labmon.links.link import Link, Request
from labmon.links.pattern import Pattern
from labmon.links.stream import Listen, StreamForm
from labmon.links.transform import Escape, Transform, sent
from labmon.model.reading import Raw


class Text:
    """A text or binary request and its reply, or what comes unasked (then `stream` says how it is known).

    `answered` is false for one to which nothing comes back.
    """

    answered = True

    def __init__(self, request: text.TextRequest | Listen, block: Reply, frame: grammar.Frame) -> None:
        self.request: Request = request
        self.form: FrameForm = request.form
        self.fields = block.fields
        self.block = block
        self.frame = frame
        self.encode = block.encode
        self.stream: StreamForm | None = request.stream if isinstance(request, Listen) else None

    async def ask(self, link: Link, timeout: float, gap: float) -> Sequence[Raw]:
        """Exchange once; raises what the link raises."""
        return self.decode(await link.exchange(self.request, timeout, gap=gap))

    def decode(self, payload: bytes) -> Sequence[Raw]:
        """Raw values of the fields. Raises Garbled for text that is none of what the reply may be."""
        try:
            return self.block.decode(payload)
        except ValueError as error:
            raise Garbled(str(error)) from None

    def framed(self, payload: bytes) -> bytes:
        """The reply on the wire: echo, payload, checksums, terminator."""
        echo = self.request.encode(0) if self.frame.echo != "none" else b""
        return echo + self.form.closed(payload)


class Untold:
    """A request to which nothing comes back."""

    answered = False
    fields: tuple[TextField, ...] = ()

    def __init__(self, request: text.Command) -> None:
        self.request: Request = request

    async def ask(self, link: Link, timeout: float, gap: float) -> Sequence[Raw]:
        """Send once; raises LinkLost."""
        return self.decode(await link.exchange(self.request, timeout, gap=gap))

    def decode(self, payload: bytes) -> Sequence[Raw]:
        """Nothing."""
        return ()

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """Nothing."""
        return b""

    def framed(self, payload: bytes) -> bytes:
        """Nothing."""
        return b""


def text_step(request: grammar.Request, fields: Mapping[str, grammar.Field], setting: Setting) -> Text | Untold:
    """A `send` for one device. Raises ValueError where the file or the device's settings do not allow it."""
    asked = sendable(request.send or "", setting)
    if request.answer == "none":
        return Untold(text.Command(framed_request(asked, setting)))
    block = reply_of(request, fields, setting)
    estimate = len(request.reply or setting.value(request.pattern) or "")
    return Text(made_request(asked, block, setting, estimate=estimate), block, frame_of(setting))


def listen_step(request: grammar.Request, fields: Mapping[str, grammar.Field], setting: Setting) -> Text:
    """A `listen` for one device. Raises ValueError where nothing tells where in a stream its frames are."""
    block, frame, replied = reply_of(request, fields, setting), frame_of(setting), checks(setting, "reply")
    if request.ends is not None:
        end: text.ReplyEnd = text.Terminated(tuple(setting.literal(one) for one in request.ends))
    else:
        end = _end(frame, block, setting, sum(c.width for c in replied if not c.inside))
    form = FrameForm(end, replied, reply_starts(setting), _transforms(frame))
    if setting.binary and not replied and not isinstance(end, text.Terminated):
        raise ValueError("a binary stream without checksum or end: its header may stand in its data")
    stream = StreamForm(form, block.expect.fullmatch, block.prefix)
    return Text(
        Listen(stream, len(str(setting.value(request.reply) or setting.value(request.pattern) or "")) + 16),
        block,
        frame,
    )


def sendable(template: str, setting: Setting) -> bytes:
    """A `send` with its placeholders filled in, as bytes. Raises ValueError."""
    return (
        filled_hex(template, setting.values) if setting.binary else filled(template, setting.values).encode("latin-1")
    )


def frame_of(setting: Setting) -> grammar.Frame:
    """The file's frame. Raises ValueError where it has none."""
    if setting.file.frame is None:
        raise ValueError("a text request needs the frame block")
    return setting.file.frame


def framed_request(asked: bytes, setting: Setting) -> bytes:
    """What is sent for a request: with all that the frame adds. Raises ValueError."""
    frame = frame_of(setting)
    starts, transforms = setting.literal(frame.starts), _transforms(frame)
    form = FrameForm(text.FixedLength(1, setting.literal(frame.end)), checks(setting, "request"), starts, transforms)
    return sent(form.closed(starts + asked, inserted=True), transforms)


def made_request(asked: bytes, block: Reply, setting: Setting, *, estimate: int) -> text.TextRequest:
    """The link's request for what is asked and the reply that must come. Raises ValueError."""
    frame = frame_of(setting)
    replied = checks(setting, "reply")
    end = _end(frame, block, setting, sum(c.width for c in replied if not c.inside))
    begins = reply_starts(setting) or block.prefix
    length = frame.reply_length
    if length is not None and not frame.reply_starts:
        # An error has another length; what stands before the length is the same.
        begins = begins[: length.at]
    elif not frame.reply_starts and (not isinstance(end, text.FixedLength) or frame.error):
        begins = b""
    error = None if frame.error is None else Pattern(frame.error.encode("latin-1"))
    return text.TextRequest(
        asked,
        end,
        terminator=setting.literal(frame.end),
        starts=setting.literal(frame.starts),
        request_check=checks(setting, "request"),
        reply_check=replied,
        begins_with=begins,
        transforms=_transforms(frame),
        echo=frame.echo,
        between=setting.file.timing.between_characters,
        expect=block.expect,
        error=error,
        reply_size=estimate + 16,
        alone=tuple(setting.literal(given) for given in frame.reply_alone),
    )


def reply_starts(setting: Setting) -> bytes:
    """What every reply of the device begins with; empty where the frame does not say. Raises ValueError."""
    given = frame_of(setting).reply_starts
    return b"" if given is None else sendable(given, setting)


def _end(frame: grammar.Frame, block: Reply, setting: Setting, checks_at_end: int) -> text.ReplyEnd:
    ends = [setting.literal(end) for end in frame.reply_ends or ([] if frame.end is None else [frame.end])]
    ends = [end for end in ends if end]
    # With a length, an end that the reply must also have is one that the file says for replies.
    last = ends[0] if ends and (frame.reply_ends or not setting.binary) else b""
    if frame.reply_length is not None:
        length = frame.reply_length
        return text.LengthField(length.at, length.size, length.encoding, length.plus, last)
    if frame.reply_size is not None:
        return text.FixedLength(frame.reply_size, last if frame.reply_ends else b"")
    if frame.reply_idle is not None:
        return text.Idle(frame.reply_idle)
    if ends:
        return text.Terminated(tuple(ends))
    if isinstance(block, (HexReply, ByteBlock)) and block.length is not None:
        return text.FixedLength(block.length + checks_at_end)
    raise ValueError("how does the reply end? give one of reply-ends, reply-length, reply-size and reply-idle")


def checks(setting: Setting, of: str) -> tuple[text.Check, ...]:
    """The checksums of requests or replies of one device. Raises ValueError for parameters that do not go together."""
    return tuple(
        checksum_of(one, setting)
        for one in frame_of(setting).checksum
        if one.of in ("both", of) and applies(one.when, setting.params)
    )


def checksum_of(one: grammar.Checksum, setting: Setting) -> text.Check:
    """One checksum of a frame. Raises ValueError for parameters that do not go together."""
    checksum = Checksum(
        one.name, one.encoding, one.poly, one.init, one.reflected, one.xor_out, one.inverted, one.high_bit, one.plus
    )
    uncovered = setting.literal(one.uncovered or None)
    after = one.place == "after-end"
    inside = one.stop is not None and one.stop >= 0
    if uncovered and (after or inside):
        raise ValueError("`uncovered` goes with a checksum before the end")
    if inside and (after or (one.stop or 0) < one.start):
        raise ValueError("a checksum within the frame stands behind its start, and not after the end")
    return text.Check(checksum, one.start, uncovered, one.stop, after)


def _transforms(frame: grammar.Frame) -> tuple[Transform, ...]:
    return tuple(
        Escape(t.escape, t.xor, frozenset(t.of)) if isinstance(t, grammar.Escape) else t for t in frame.transforms
    )

"""Queries that listen: how their frames are known, and whether they can be told from the replies of the same port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from labmon.config.errors import Path
from labmon.drivers import grammar
from labmon.drivers.setting import Setting
from labmon.drivers.steps import Step
from labmon.drivers.text_step import Text
from labmon.links.errors import Garbled, LinkError
from labmon.links.frame import pieces
from labmon.links.stream import StreamForm

Report = Callable[..., None]


def form(query: grammar.Query, steps: Sequence[Step]) -> StreamForm | None:
    """How the frames of a query are known; None for one that asks. Raises ValueError for several forms."""
    if query.kind != "stream":
        return None
    if len(steps) != 1:
        raise ValueError("a query of kind stream has one request; another kind of line is another query")
    return steps[0].stream if isinstance(steps[0], Text) else None


def addressed(query: grammar.Query, setting: Setting) -> bool:
    """Whether each frame says whose it is."""
    frame = setting.file.frame
    given = [frame.reply_starts if frame is not None else None]
    given += [text for r in query.requests for text in (r.starts, *(setting.value(t) for t in (r.reply, r.pattern)))]
    return any("{address" in str(text) for text in given if text is not None)


def check_streams(
    file: grammar.DriverFile,
    asked: Mapping[str, Sequence[Step]],
    setting: Setting,
    report: Report,
) -> None:
    """Report streams whose frames may be replies, and replies that may be frames of a stream, by the examples.

    `asked` are the steps of each query (and of the identity, as an empty name) for a device with these settings.
    """
    listening = {
        name: step.stream
        for name, steps in asked.items()
        for step in steps
        if isinstance(step, Text) and step.stream is not None
    }
    if listening and file.frame is not None and file.frame.echo == "characters":
        report(("frame", "echo"), "characters that are repeated one by one cannot be told from a stream", at_key=True)
    for number, example in enumerate(file.examples if listening else []):
        name = example.query or ""
        if example.params != {} or (example.framing or setting.framing) != setting.framing:
            continue
        for place, exchange in enumerate(example.exchanges):
            try:
                got = bytes.fromhex(exchange.got) if setting.binary else exchange.got.encode("latin-1")
            except ValueError:
                continue  # told where the examples are run
            path: Path = ("examples", number, "exchanges", place, "got")
            if name in listening:
                for other in _takers(got, asked, listening):
                    report(path, f"fits a reply in query {other} too: nothing tells this line from a reply")
            else:
                for other in _hearers(got, listening):
                    report(path, f"fits the stream of query {other} too: nothing tells this reply from a line of it")


def _takers(got: bytes, asked: Mapping[str, Sequence[Step]], listening: Mapping[str, StreamForm]) -> Iterator[str]:
    for name, steps in asked.items():
        for step in steps if name not in listening else ():
            try:
                if isinstance(step, Text) and step.request.match(got, 1) is not None:
                    yield name or "identity"
                    break
            except LinkError:
                continue


def _hearers(got: bytes, listening: Mapping[str, StreamForm]) -> Iterator[str]:
    for name, stream in listening.items():
        try:
            if any(stream.fits(payload) for payload in pieces(stream.frame, got)):
                yield name
        except Garbled:
            continue

"""`labmon driver new`: begin a driver file, from questions or from flags."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from labmon.cli.driver_options import SAID_NO, WRONG_INPUT, fail, pairs, typed_address

if TYPE_CHECKING:
    from labmon.drivers.drafting import Draft, Point

_FRAMINGS = ("modbus-rtu", "modbus-ascii", "modbus-tcp", "text")


@click.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--maker", help="Who makes the instrument.")
@click.option("--model", help="Its model.")
@click.option("--title", help="Its name for people; left out, maker and model.")
@click.option("--class", "class_", help="What kind: incubator, freezer, co2-probe, particle-counter, ...")
@click.option("--manual", "document", help="Title of the manual that the numbers come from.")
@click.option("--revision", help="Revision or date of that manual.")
@click.option("--pages", help="Its pages.")
@click.option("--framing", type=click.Choice(_FRAMINGS), help="What the instrument speaks.")
@click.option("--serial", help="Serial settings as delivered: 9600 8N1.")
@click.option("--address", help="Modbus unit id as delivered.")
@click.option("--base", type=click.Choice(["0", "1", "modicon"]), default="0", help="The manual's first register: 0.")
@click.option(
    "--order", type=click.Choice(["ABCD", "CDAB", "BADC", "DCBA"]), default="ABCD", help="Of bytes and words."
)
@click.option("--every", default="10 s", show_default=True, help="How often it is to be asked.")
@click.option(
    "--channel", "channels", multiple=True,
    help="Modbus: 'temperature Cel input 1 i16 0.1' (id, unit, table, number, type, scale); text: 'temperature Cel'. "
    "May be given again.",
)  # fmt: skip
@click.option("--send", help="Text: the command.")
@click.option("--reply", help="Text: its reply, as in 'T={temperature}'.")
@click.option("--end", default="\\r", show_default=True, help="Text: what ends a command, with \\r and \\n.")
@click.option("--sent", default="", help="Bytes of the request as the manual prints them: hex, or characters for text.")
@click.option("--got", default="", help="Bytes of the reply to it.")
@click.option("--value", "values", multiple=True, callback=pairs, metavar="CHANNEL=VALUE", help="What they mean.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; asks no questions.")
def new_driver(
    file: Path,
    maker: str | None,
    model: str | None,
    title: str | None,
    class_: str | None,
    document: str | None,
    revision: str | None,
    pages: str | None,
    framing: str | None,
    serial: str | None,
    address: str | None,
    base: str,
    order: str,
    every: str,
    channels: tuple[str, ...],
    send: str | None,
    reply: str | None,
    end: str,
    sent: str,
    got: str,
    values: dict[str, str],
    as_json: bool,
) -> None:
    """Begin a driver FILE (maker/model.yaml in a folder of yours). What no flag says is asked.

    The file passes labmon driver check but for what is still to be said, which is told at the end. An existing file is
    never overwritten.
    """
    if file.exists():
        fail(f"{file} is there already, and is left as it is", SAID_NO)
    ask = _Asker(asks=on_terminal() and not as_json)
    made = ask.draft(
        maker=maker, model=model, title=title, class_=class_, document=document, revision=revision, pages=pages,
        framing=framing, serial=serial, address=address, channels=channels, send=send, reply=reply,
    )  # fmt: skip
    made.base = base if base == "modicon" else int(base)
    made.order, made.every = order, every
    made.end = _characters(end)
    made.sent, made.got = (_characters(sent), _characters(got)) if made.framing != "modbus-rtu" else (sent, got)
    try:
        made.values = {name: float(text) for name, text in values.items()}
    except ValueError as error:
        fail(f"--value: {error}", WRONG_INPUT)
    if bool(sent) is not bool(got) or bool(sent) is not bool(values):
        fail("an example is --sent, --got and what they mean by --value: give all three, or none", WRONG_INPUT)
    _write(file, made, as_json=as_json)


def on_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def _characters(text: str) -> str:
    """Control characters as a person types them."""
    return text.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t")


class _Asker:
    """Asks for what no flag says, or says what is missing."""

    def __init__(self, *, asks: bool) -> None:
        self.asks = asks
        self.missing: list[str] = []

    def text(self, given: str | None, flag: str, question: str, default: str | None = None) -> str:
        if given:
            return given
        if self.asks:
            return str(click.prompt(question, default=default))
        if default is not None:
            return default
        self.missing.append(flag)
        return ""

    def draft(
        self,
        *,
        maker: str | None,
        model: str | None,
        title: str | None,
        class_: str | None,
        document: str | None,
        revision: str | None,
        pages: str | None,
        framing: str | None,
        serial: str | None,
        address: str | None,
        channels: tuple[str, ...],
        send: str | None,
        reply: str | None,
    ) -> Draft:
        from labmon.drivers.drafting import Draft

        maker = self.text(maker, "--maker", "Maker")
        model = self.text(model, "--model", "Model")
        made = Draft(
            maker=maker,
            model=model,
            title=title or self.text(None, "--title", "Name for people", f"{maker} {model}"),
            class_=self.text(class_, "--class", "Kind of instrument (incubator, freezer, co2-probe, ...)"),
            document=self.text(document, "--manual", "Title of its manual"),
            revision=self.text(revision, "--revision", "Revision of the manual"),
            pages=self.text(pages, "--pages", "Pages with registers or commands"),
            framing=self.text(framing, "--framing", f"What does it speak ({', '.join(_FRAMINGS)})"),
        )
        if made.framing not in (*_FRAMINGS, ""):
            fail(f"{made.framing} is none of {', '.join(_FRAMINGS)}", WRONG_INPUT)
        if made.framing != "modbus-tcp":
            made.serial = self.text(serial, "--serial", "Serial settings as delivered", "9600 8N1")
        if made.framing != "text":
            made.address = typed_address(self.text(address, "--address", "Unit id as delivered", "1"))
        made.points = self._points(channels, modbus=made.framing != "text")
        if made.framing == "text":
            made.send = self.text(send, "--send", "Command, without its end")
            default = " ".join(f"{{{point.id}}}" for point in made.points)
            made.reply = self.text(reply, "--reply", "Its reply, with {channel} where a value stands", default)
        if self.missing:
            fail(f"say also {', '.join(self.missing)}; on a terminal you are asked", WRONG_INPUT)
        return made

    def _points(self, channels: tuple[str, ...], *, modbus: bool) -> list[Point]:
        from labmon.drivers.drafting import point

        found = []
        for text in channels:
            try:
                found.append(point(text, modbus=modbus))
            except ValueError as error:
                fail(f"--channel {error}", WRONG_INPUT)
        form = "id unit table number type [scale]" if modbus else "id unit"
        while self.asks and (not channels or not found):
            text = click.prompt(f"Channel {len(found) + 1} ({form}; empty: no more)", default="", show_default=False)
            if not text and found:
                break
            try:
                found.append(point(text, modbus=modbus))
            except ValueError as error:
                click.echo(str(error), err=True)
        if not found:
            self.missing.append("--channel")
        return found


def _write(file: Path, made: Draft, *, as_json: bool) -> None:
    from labmon.drivers import examples
    from labmon.drivers.branches import without_example
    from labmon.drivers.drafting import draft_text
    from labmon.drivers.load import load_driver

    text = draft_text(made)
    loaded = load_driver(file, text=text)
    if loaded.driver is None:
        for error in loaded.errors:
            click.echo(f"labmon: {error.path}: {error.message}{f'; {error.hint}' if error.hint else ''}", err=True)
        fail("nothing was written", WRONG_INPUT)
    problems = [problem for one in examples.run(loaded.driver) for problem in one.problems]
    if problems:
        for problem in problems:
            click.echo(f"labmon: the manual's example: {problem}", err=True)
        fail("nothing was written: channels or example are not as the manual says", WRONG_INPUT)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        fail(f"{file} is there already, and is left as it is", SAID_NO)
    except OSError as error:
        fail(f"{file}: {error.strerror}", SAID_NO)
    notices = without_example(loaded)
    if as_json:
        told = {"file": str(file), "id": loaded.driver.id, "notices": [str(notice) for notice in notices]}
        click.echo(orjson.dumps(told).decode())
        return
    click.echo(f"{file} is written; its id is {loaded.driver.id}")
    for notice in notices:
        click.echo(f"still to do: {notice}")
    click.echo(f"next: labmon driver probe {file} --port /dev/ttyUSB0 --record" if notices else
               f"next: labmon driver test {file}")  # fmt: skip

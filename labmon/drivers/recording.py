"""Putting what an instrument said into its driver file as an example, and nothing else of the file changed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from labmon.config.parse import parse
from labmon.drivers import examples
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import Answer, Outcome
from labmon.drivers.load import load_driver
from labmon.drivers.probing import Probe, QueryProbe
from labmon.drivers.query import CompiledQuery
from labmon.drivers.setting import Setting
from labmon.drivers.watched import Seen
from labmon.model.reading import Flag

_BINARY = ("modbus-rtu", "modbus-tcp", "binary")
_TCP_TRANSACTION = b"\x00\x01"
"""Transaction id that Modbus TCP examples are written with."""


class NotRecorded(Exception):
    """The file was not changed; the text says why."""


def blocks(driver: CompiledDriver, setting: Setting, found: Probe, origin: str) -> list[str]:
    """Each answer of a probe as an example of the file, in its YAML, without indentation.

    Silence, garbled replies and what the file shows already are left out.
    """
    known = {
        (e.query, tuple((x.sent, x.got) for x in e.exchanges)) for e in driver.file.examples if e.readings or e.found
    }
    made = []
    if found.identity is not None and not found.identity_error and _whole(found.identity_exchanges):
        texts = _texts(found.identity_exchanges, setting.framing)
        if (None, texts) not in known:
            ending = [f"found: {_scalar(found.identity)}"]
            made.append(_block(["identity: true"], texts, ending, driver, setting, origin))
    for one in found.queries:
        texts = _texts(one.exchanges, setting.framing)
        if not one.exchanges or (one.name, texts) in known:
            continue
        if one.answer is not None and _whole(one.exchanges):
            query = driver.query(one.name, setting)
            if len(one.exchanges) == len(query.steps):
                ending = _readings(query, one.answer)
                made.append(_block([f"query: {one.name}"], texts, ending, driver, setting, origin))
        elif one.refused:
            made.append(_block([f"query: {one.name}"], texts, ["fails: refused"], driver, setting, origin))
    return made


def _whole(seen: Sequence[Seen]) -> bool:
    return bool(seen) and all(not one.error and one.got for one in seen)


def _texts(seen: Sequence[Seen], framing: str) -> tuple[tuple[str, str], ...]:
    return tuple((_text(one.sent, framing), _text(one.got, framing)) for one in seen)


def _text(data: bytes, framing: str) -> str:
    if framing == "modbus-tcp":
        data = _TCP_TRANSACTION + data[2:]
    return data.hex(" ").upper() if framing in _BINARY else data.decode("latin-1")


def _block(
    head: Sequence[str],
    texts: Sequence[tuple[str, str]],
    ending: Sequence[str],
    driver: CompiledDriver,
    setting: Setting,
    origin: str,
) -> str:
    lines = [*head, f"origin: {{recorded: {_scalar(origin)}}}"]
    if setting.framing != driver.framings[0]:
        lines.append(f"framing: {setting.framing}")
    default = driver.file.address.default if driver.file.address is not None else None
    if setting.address is not None and setting.address != default:
        lines.append(f"address: {_scalar(setting.address)}")
    changed = {
        name: value
        for name, value in setting.params.items()
        if name not in driver.file.params or driver.file.params[name].default != value
    }
    if changed:
        lines.append(f"params: {{{', '.join(f'{name}: {_scalar(value)}' for name, value in changed.items())}}}")
    lines.append("exchanges:")
    for sent, got in texts:
        lines += [f"  - sent: {json.dumps(sent)}", f"    got: {json.dumps(got)}"]
    lines += ending
    return "\n".join(f"{'- ' if number == 0 else '  '}{line}" for number, line in enumerate(lines)) + "\n"


def _readings(query: CompiledQuery, answer: Answer) -> list[str]:
    lines = ["readings:"]
    warned = []
    for spec, outcome in zip(query.channels, answer.outcomes, strict=True):
        lines.append(f"  {spec.id}: {_expected(outcome)}")
        if outcome.flags & Flag.WARNING:
            warned.append(spec.id)
    if warned:
        lines.append(f"warned: [{', '.join(warned)}]")
    if answer.time is not None:
        lines.append(f"time: {answer.time // 1_000_000_000}")
    if answer.key is not None:
        lines.append(f"key: {_scalar(answer.key)}")
    return lines


def _expected(outcome: Outcome) -> str:
    if outcome.value is None:
        return _scalar(outcome.reason or "")
    for digits in (6, 9, 12, 15, 17):
        text = f"{outcome.value:.{digits}g}"
        if "e" not in text and examples.agrees(float(text), outcome):
            return text
    return repr(outcome.value)


def _scalar(value: object) -> str:
    """A value as YAML takes it; text always in quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def with_examples(text: str, made: Sequence[str]) -> str:
    """The text of a driver file with examples after those that it has; all else stays as it is.

    Raises NotRecorded where they cannot be put into it as lines.
    """
    parsed = parse(text, "driver")
    data = parsed.data
    if not isinstance(data, Mapping):
        raise NotRecorded("the file is no driver file")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if "examples" not in data:
        return "".join(lines) + "examples:\n" + _indented(made, "  ")
    here = parsed.positions.key(("examples",))
    given = data["examples"]
    if not isinstance(given, list) or not given or parsed.positions.value(("examples", 0)).line == here.line:
        raise NotRecorded("examples stand in one line, as [...]; write each on lines of its own, beginning with `- `")
    first = lines[parsed.positions.value(("examples", 0)).line - 1]
    indent = first[: len(first) - len(first.lstrip())]
    following = [mark.line for key in data if (mark := parsed.positions.key((key,))).line > here.line]
    end = min(following, default=len(lines) + 1) - 1
    while end > here.line and not lines[end - 1].strip():
        end -= 1
    return "".join(lines[:end]) + _indented(made, indent) + "".join(lines[end:])


def _indented(made: Sequence[str], indent: str) -> str:
    return "".join(f"{indent}{line}\n" for block in made for line in block.splitlines())


def append(path: Path, made: Sequence[str]) -> None:
    """Put examples into a driver file. It is written whole or not at all, and only when it still loads and they hold.

    Raises NotRecorded.
    """
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise NotRecorded(f"{path}: {error}") from None
    changed = with_examples(text, made)
    loaded = load_driver(path, text=changed)
    if loaded.driver is None:
        raise NotRecorded("with the examples the file would have mistakes:\n" + "\n".join(map(str, loaded.errors)))
    results = examples.run(loaded.driver)[-len(made) :]
    if problems := [f"{one.title}: {problem}" for one in results for problem in one.problems]:
        raise NotRecorded("the examples would not hold:\n" + "\n".join(problems))
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as stream:
            stream.write(changed)
            stream.flush()
            os.fsync(stream.fileno())
        Path(stream.name).chmod(mode & 0o7777)
        Path(stream.name).replace(path)
    except OSError as error:
        raise NotRecorded(f"{path}: {error.strerror}") from None


def names(found: Probe) -> list[QueryProbe]:
    """Queries of a probe that were answered, or refused by the instrument itself."""
    return [one for one in found.queries if one.answer is not None or one.refused]

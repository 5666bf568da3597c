"""Write the exchanges of a driver file's composed examples, and its bad ones, by the independent encoder.

`python tests/drivers/compose.py FILE` prints the bytes of every example that gives `raws`; with `--write` it puts them
into the file, in the place of those that stand there. `--bad` prints examples to paste, of what the file lacks: a cut
frame, a wrong checksum, an exception, each made of the first good example.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import encoder
from ruamel.yaml import YAML

HEX = ("modbus-rtu", "modbus-tcp", "binary")
Exchanges = Sequence[tuple[bytes, bytes]]


def framing_of(document: dict[str, Any], example: dict[str, Any]) -> str:
    framing: str = example.get("framing", document["framings"][0])
    return framing


def shown(data: bytes, framing: str) -> str:
    """Bytes as an example writes them, in double quotes."""
    if framing in HEX:
        return f'"{data.hex(" ").upper()}"'
    text = data.decode("latin-1")
    special = {"\r": "\\r", "\n": "\\n", "\\": "\\\\", '"': '\\"'}
    return '"' + "".join(special.get(c) or (c if " " <= c <= "~" else f"\\x{ord(c):02X}") for c in text) + '"'


def lines_of(exchanges: Exchanges, framing: str) -> Iterator[str]:
    yield "    exchanges:"
    for sent, got in exchanges:
        yield f"      - sent: {shown(sent, framing)}"
        yield f"        got: {shown(got, framing)}"


def rewritten(path: Path) -> str:
    """The file's text with the exchanges of its composed examples made anew."""
    document = YAML(typ="rt").load(path)
    plain = encoder.read(path)
    lines = path.read_text().splitlines()
    starts = [document["examples"].lc.item(n)[0] for n in range(len(document["examples"]))]
    ends = [*starts[1:], len(lines)]
    for number, example in reversed(list(enumerate(plain["examples"]))):
        if "raws" not in example:
            continue
        new = list(lines_of(encoder.compose(plain, example), framing_of(plain, example)))
        first, last = starts[number], ends[number]
        at = next((n for n in range(first, last) if lines[n].startswith("    exchanges:")), None)
        if at is None:
            at = next(n for n in range(first, last) if lines[n].startswith("    raws:")) + 1
            stop = at
        else:
            stop = next((n for n in range(at + 1, last) if not lines[n].startswith("     ")), last)
        lines[at:stop] = new
    return "\n".join(lines) + "\n"


def spoiled(document: dict[str, Any], example: dict[str, Any]) -> Iterator[tuple[str, Exchanges, str]]:
    """Bad exchanges made of a good example: what it is, its bytes, how it fails."""
    framing = framing_of(document, example)
    good = encoder.compose(document, example)
    (sent, got), *_ = good
    unit = encoder.Composer(document, example).address
    yield "a reply cut short", [(sent, got[: max(1, 2 * len(got) // 3)])], "silent"
    if framing == "modbus-tcp":
        yield "the reply of another unit", [(sent, got[:6] + bytes([got[6] ^ 1]) + got[7:])], "garbled"
    else:
        end = {"modbus-rtu": 0, "modbus-ascii": 2}.get(framing)
        checks = document.get("frame", {}).get("checksum", [])
        composer = encoder.Composer(document, example)
        check = [one for one in (checks if isinstance(checks, list) else [checks]) if composer.applies(one)]
        if end is None and check:
            ends = document["frame"].get("reply-ends") or [document["frame"].get("end", "")]
            end = len(composer.value(ends[0]))
        if end is not None:
            at = len(got) - end - 1
            digits = framing in ("modbus-ascii", "text")
            # Another digit; in bytes, not one that would begin a reply.
            wrong = (b"1" if got[at : at + 1] == b"0" else b"0") if digits else bytes([got[at] ^ 2])
            if not digits and wrong[0] == unit:
                wrong = bytes([got[at] ^ 4])
            yield "a wrong checksum", [(sent, got[:at] + wrong + got[at + 1 :])], "garbled"
    if framing.startswith("modbus"):
        pdu = struct.pack(">BB", (sent[7] if framing == "modbus-tcp" else _function(sent, framing)) | 0x80, 2)
        yield "illegal data address", [(sent, encoder.frame(framing, unit, pdu))], "refused"


def _function(sent: bytes, framing: str) -> int:
    return int(sent[3:5], 16) if framing == "modbus-ascii" else sent[1]


def bad(document: dict[str, Any]) -> Iterator[str]:
    """The lines of the bad examples that the file lacks, made of its first good one."""
    example = next(e for e in document["examples"] if "raws" in e and "query" in e and "fails" not in e)
    there = {e.get("fails") for e in document["examples"] if "query" in e}
    for what, exchanges, fails in spoiled(document, example):
        if fails in there:
            continue
        yield f"  - query: {example['query']}"
        yield f"    origin: {{composed: {what}}}"
        for key in ("framing", "address"):
            if key in example:
                yield f"    {key}: {example[key]}"
        if "params" in example:
            params = ", ".join(f"{k}: {_scalar(v)}" for k, v in example["params"].items())
            yield f"    params: {{{params}}}"
        yield from lines_of(exchanges, framing_of(document, example))
        yield f"    fails: {fails}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", action="store_true", help="put the exchanges into the file")
    parser.add_argument("--bad", action="store_true", help="print bad examples to paste")
    given = parser.parse_args()
    document = encoder.read(given.file)
    if given.write:
        given.file.write_text(rewritten(given.file))
    elif given.bad:
        print("\n".join(bad(document)))
    else:
        for number, example in enumerate(document.get("examples", []), 1):
            if "raws" in example:
                print(f"# example {number} ({example.get('query', 'identity')})")
                print("\n".join(lines_of(encoder.compose(document, example), framing_of(document, example))))


if __name__ == "__main__":
    main()

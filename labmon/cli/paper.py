"""Printing of styled lines: colours on a terminal, plain text elsewhere, and never anything cut off."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text


def show(lines: Iterable[Text]) -> None:
    """Print to stdout; a terminal wraps what is longer than it is wide."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a unit's symbol that this terminal cannot show is no reason to fail
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for line in lines:
        line.rstrip()
        console.print(line)


def printable(found: Any) -> Any:
    """The same without what a terminal would act on: texts of instruments and servers are among it."""
    if isinstance(found, str):
        return found if found.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in found)
    if isinstance(found, dict):
        return {key: printable(value) for key, value in found.items()}
    return [printable(value) for value in found] if isinstance(found, list) else found

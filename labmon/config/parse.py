"""YAML 1.2 text to plain data, with the position of every key and value.

ruamel.yaml has the word on what is YAML 1.2, and on every mistake and its place; but it is pure Python, and a third of
the daemon's start. So libyaml reads first, and only what it reads without a mistake, and what both see alike, stands.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import yaml
from yaml import events

from labmon.config.builder import Builder, Parsed, mark_of
from labmon.config.errors import ConfigError, Mark, Positions

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError

MAX_CHARACTERS = 4_000_000

CBaseLoader = getattr(yaml, "CBaseLoader", None)
# libyaml was made for YAML 1.1. What it takes otherwise than ruamel.yaml:
_UNUSUAL = re.compile(
    # Line ends other than \n; tabs; marks of byte order; what may not stand in YAML.
    r"[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    r"|^(?:%|\.\.\.)",  # directives; ends of a document
    re.MULTILINE,
)
_UNUSUAL_BLOCK = re.compile(
    r"[|>][-+0-9]*"
    r"(?:#"  # no comment without a blank before it
    r"| *(?:#[^\n]*)?\n *\n)"  # empty lines before the first one may set the indentation
)

# What the parser says -> what the writer of the file can do about it. The parser's own words quote the file, which may
# hold what should have been a secret: only these texts are passed on.
_SYNTAX = (
    (r"found character '\\t'", "a tab stands where only blanks may", "indent with blanks"),
    (r"mapping values are not allowed", "`: ` is not expected here", "indent differently, or put the text in quotes"),
    (r"expected <block end>", "this does not line up with what stands above", "check the indentation"),
    (r"could not find expected ':'", "a `:` is missing after a key", ""),
    (r"found unexpected end of stream", "a quote is not closed", ""),
    (r"expected the node content, but found '<stream end>'|expected ',' or '[]}]'", "a bracket is not closed", ""),
    (
        r"found character '.+' that cannot start",
        "a text that begins with this character must be put in quotes",
        "or a quote further up is not closed",
    ),
    (r"unknown escape", "unknown escape after `\\`", "use single quotes for text with backslashes"),
    (r"undefined tag handle|found duplicate", "tags are not used in labmon's files", "put the text in quotes"),
)


def parse(text: str, file: str) -> Parsed:
    """Read a text. Every mistake is in `errors`; never raises."""
    if len(text) > MAX_CHARACTERS:
        mistake = ConfigError(file, 1, 1, "", f"the file is longer than {MAX_CHARACTERS} characters")
        return Parsed(None, Positions(), [mistake])
    return read_by_libyaml(text, file) or read_by_ruamel(text, file)


def read_by_libyaml(text: str, file: str) -> Parsed | None:
    """What ruamel.yaml makes of a text, 25 times sooner; None where only ruamel.yaml can tell, or without libyaml."""
    if CBaseLoader is None or _UNUSUAL.search(text):
        return None
    builder = Builder(file, events)
    try:
        for event in yaml.parse(text, Loader=CBaseLoader):
            if _doubtful(event, text) or not builder.take(event):
                return None
    except yaml.YAMLError:
        return None
    return builder.result() if builder.faultless and isinstance(builder.data, (dict, list)) else None


def _doubtful(event: Any, text: str) -> bool:
    """Whether ruamel.yaml may see an event otherwise, or elsewhere."""
    if not isinstance(event, events.NodeEvent):
        return False
    if event.anchor is not None:
        return True
    if isinstance(event, events.ScalarEvent):
        if event.style == "":
            return not event.value  # nothing at all: each has it in another place
        return event.style in "|>" and _UNUSUAL_BLOCK.match(text, event.start_mark.index) is not None
    # A pair as in `[a: b]`.
    return isinstance(event, events.MappingStartEvent) and event.flow_style and text[event.start_mark.index] != "{"


def read_by_ruamel(text: str, file: str) -> Parsed:
    """Read a text, however long it takes: the last word on what is YAML 1.2, and where a mistake stands."""
    from ruamel.yaml import YAML, events
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    builder = Builder(file, events)
    reached = Mark(1, 1)
    try:
        for event in YAML(typ="safe", pure=True).parse(io.StringIO(text)):
            if not builder.take(event):
                break
            reached = mark_of(event.end_mark)
    except ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        builder.report(mark, (), "a control character, which may not stand in a YAML file")
        builder.data = None
    except MarkedYAMLError as error:
        found = error.problem_mark or error.context_mark
        builder.report(mark_of(found) if found else Mark(1, 1), (), *_syntax(error))
        builder.data = None
    except YAMLError:
        builder.report(Mark(1, 1), (), "is not YAML")
        builder.data = None
    except (ValueError, OverflowError):
        # A number that is no character (`"\\U00110000"`), or one of thousands of digits in a directive.
        builder.report(reached, (), "a number that is too large, in what follows here", "put it in single quotes")
        builder.data = None
    return builder.result()


def _syntax(error: MarkedYAMLError) -> tuple[str, str]:
    said = f"{error.context or ''}: {error.problem or ''}"
    for pattern, message, hint in _SYNTAX:
        if re.search(pattern, said):
            return message, hint
    return "is not valid YAML here", "put text with special characters in quotes"

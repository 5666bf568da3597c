"""`P/command/<verb>` and `P/reply/<id>`: what operators ask for, and the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import orjson

from labmon.model.ids import is_id
from labmon.model.wire import MAX_SMALL_BYTES, MAX_TEXT, VERSION, Fields, MessageError, dumps, loads

MAX_COMMAND_BYTES: Final = 8 * 1024


def command_id(payload: bytes) -> str | None:
    """The id of a command, where one can be read from it although the rest may be wrong; else None."""
    if len(payload) > MAX_COMMAND_BYTES:
        return None
    try:
        data = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    name = data.get("id") if isinstance(data, dict) else None
    return name if isinstance(name, str) and is_id(name) else None


@dataclass(slots=True)
class Command:
    """`P/command/<verb>`: what an operator asks for. `id` is used once; `time` is UTC ns.

    `proof` shows that the user's PIN was known to whoever made it, without carrying the PIN. Which of alarm,
    occurrence, device and until are needed is the verb's to say.
    """

    id: str
    user: str
    proof: str
    time: int
    alarm: str = ""
    occurrence: str = ""
    device: str = ""
    reason: str = ""
    until: int | None = None

    path: ClassVar[str] = "command"

    def encode(self) -> bytes:
        """JSON bytes; empty fields are left out."""
        item: dict[str, Any] = {"v": VERSION, "id": self.id, "user": self.user, "proof": self.proof, "time": self.time}
        for name in ("alarm", "occurrence", "device", "reason", "until"):
            if getattr(self, name) not in ("", None):
                item[name] = getattr(self, name)
        return dumps(item, self.path)

    @classmethod
    def decode(cls, payload: bytes) -> Command:
        """The inverse of encode. Raises MessageError."""
        fields = loads(payload, cls.path, MAX_COMMAND_BYTES)
        name = fields.text("id", 64)
        if not is_id(name):
            raise MessageError("command.id", "only a-z, 0-9 and - are read, at most 64 characters")
        command = cls(
            name,
            fields.text("user", 64),
            fields.text("proof", 200),
            fields.time("time"),
            fields.optional_text("alarm", 200),
            fields.optional_text("occurrence", 100),
            fields.optional_text("device", 64),
            fields.optional_text("reason", MAX_TEXT),
            fields.time("until") if fields.has("until") else None,
        )
        fields.done()
        return command


@dataclass(slots=True)
class Pin:
    """`P/pin/<user>`: how the key that proves a user's commands is derived from the PIN (scrypt)."""

    user: str
    salt: bytes
    cost: int
    block: int
    parallel: int

    path: ClassVar[str] = "pin"

    def encode(self) -> bytes:
        """JSON bytes."""
        scrypt = {"salt": self.salt.hex(), "n": self.cost, "r": self.block, "p": self.parallel}
        return dumps({"v": VERSION, "user": self.user, "scrypt": scrypt}, self.path)

    @classmethod
    def decode(cls, payload: bytes) -> Pin:
        """The inverse of encode. Raises MessageError."""
        fields = loads(payload, cls.path, MAX_SMALL_BYTES)
        scrypt = Fields(fields.take("scrypt"), "pin.scrypt")
        text = scrypt.text("salt", 128)
        if not re.fullmatch("([0-9a-f]{2})+", text):
            raise MessageError("pin.scrypt.salt", "is not bytes in hexadecimal digits")
        pin = cls(
            fields.text("user", 64),
            bytes.fromhex(text),
            scrypt.integer("n", 2, 2**20),
            scrypt.integer("r", 1, 64),
            scrypt.integer("p", 1, 64),
        )
        scrypt.done()
        fields.done()
        return pin


@dataclass(slots=True)
class Reply:
    """`P/reply/<id>`: whether the command was carried out, and why not."""

    id: str
    ok: bool
    text: str
    time: int

    path: ClassVar[str] = "reply"

    def encode(self) -> bytes:
        """JSON bytes; a long text is cut."""
        item = {"v": VERSION, "id": self.id, "ok": self.ok, "text": self.text[:MAX_TEXT], "time": self.time}
        return dumps(item, self.path)

    @classmethod
    def decode(cls, payload: bytes) -> Reply:
        """The inverse of encode. Raises MessageError."""
        fields = loads(payload, cls.path, MAX_SMALL_BYTES)
        reply = cls(
            fields.text("id", 64), fields.boolean("ok"), fields.optional_text("text", MAX_TEXT), fields.time("time")
        )
        fields.done()
        return reply

"""Secrets: read by reference when they are needed, kept out of every message; PINs, and proofs made with them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labmon.config.types import Secret

MAX_BYTES = 64 * 1024
MIN_PIN = 6
FOLDER = "labmon"
"""What the units call the folder of credentials: `LoadCredential=labmon:...`."""
_SCHEME = "scrypt"
_COST, _BLOCK, _PARALLEL = 2**15, 8, 1
_MAX_COST = 2**17
_SALT_BYTES = 16
_KEY_BYTES = 32
_DOMAIN = b"labmon command 1"


class SecretError(Exception):
    """A secret that cannot be had. The text names the reference, never the value."""


def secret_path(secret: Secret, folder: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Where a secret's file is: a relative `file` counts from `folder` (that of the site file).

    A credential has its own name, or `labmon_` before it, as systemd names those of a folder that it was given whole
    (labmon.service). Raises SecretError when a credential is asked for and systemd gave none.
    """
    if secret.file is not None:
        return folder / secret.file
    name = secret.credential or ""
    directory = (os.environ if environ is None else environ).get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise SecretError(f"credential {name}: there is no CREDENTIALS_DIRECTORY (LoadCredential= of the unit sets it)")
    if "/" in name or name in ("", ".", ".."):
        raise SecretError(f"credential {name}: is not the name of a credential")
    whole = Path(directory) / f"{FOLDER}_{name}"
    return whole if os.path.lexists(whole) else Path(directory) / name


def read_secret(secret: Secret, folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """The secret's text, without the line end at its end. Raises SecretError."""
    path, name = secret_path(secret, folder, environ), _name(secret)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not a path"
        if isinstance(error, FileNotFoundError) and secret.file is None:
            reason = f"{reason}; put it into /etc/labmon/credentials/{secret.credential} and restart the service"
        raise SecretError(f"{name}: cannot be read: {reason}") from None
    if len(content) > MAX_BYTES:
        raise SecretError(f"{name}: is longer than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        # The error holds the content: it must not become the cause of what is shown.
        text = None
    if text is None:
        raise SecretError(f"{name}: is not UTF-8 text")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SecretError(f"{name}: is empty")
    return text


def secret_warning(secret: Secret, folder: Path, environ: Mapping[str, str] | None = None) -> str | None:
    """What is wrong with the permissions of a secret's file; None when nothing is, or there is no file to look at."""
    try:
        mode = secret_path(secret, folder, environ).stat().st_mode
    except (OSError, ValueError, SecretError):
        return None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return f"{_name(secret)}: everybody on this machine can read or write it (mode {stat.S_IMODE(mode):04o})"
    return None


def _name(secret: Secret) -> str:
    return f"credential {secret.credential}" if secret.file is None else f"secret file {secret.file}"


# ---------------------------------------------------------------- PINs


@dataclass(frozen=True, slots=True)
class PinParameters:
    """How a key is derived from a PIN: public, so that whoever holds the PIN can derive the same key."""

    salt: bytes
    cost: int = _COST
    block: int = _BLOCK
    parallel: int = _PARALLEL

    def __str__(self) -> str:
        return f"{_SCHEME}${self.cost}${self.block}${self.parallel}${_b64(self.salt)}"

    @classmethod
    def parse(cls, text: str) -> PinParameters:
        """The inverse of str(). Raises ValueError, without the text, for anything else or for a cost out of bounds."""
        parts = text.strip().split("$")
        if len(parts) != 5 or parts[0] != _SCHEME or not all(p.isascii() and p.isdecimal() for p in parts[1:4]):
            raise ValueError("not the parameters of a PIN hash")
        cost, block, parallel = (int(p[:9]) for p in parts[1:4])
        if not (2**14 <= cost <= _MAX_COST and cost & (cost - 1) == 0 and block == _BLOCK and parallel == _PARALLEL):
            raise ValueError("a PIN hash with parameters out of bounds")
        salt = _unb64(parts[4])
        if len(salt) < _SALT_BYTES:
            raise ValueError("a PIN hash with a short salt")
        return cls(salt, cost, block, parallel)


def derive_key(pin: str, parameters: PinParameters) -> bytes:
    """The key of a PIN, 32 bytes; takes some 0.1 s on purpose. Composed and decomposed spellings give one key."""
    return hashlib.scrypt(
        unicodedata.normalize("NFC", pin).encode(),
        salt=parameters.salt,
        n=parameters.cost,
        r=parameters.block,
        p=parameters.parallel,
        maxmem=256 * parameters.cost * parameters.block,
        dklen=_KEY_BYTES,
    )


def hash_pin(pin: str) -> str:
    """What the site keeps of a PIN: parameters and key. It proves commands as the PIN does, so it is a secret itself.

    Raises ValueError for a PIN of fewer than six characters.
    """
    if len(pin) < MIN_PIN:
        raise ValueError(f"a PIN has at least {MIN_PIN} characters")
    parameters = PinParameters(os.urandom(_SALT_BYTES))
    return f"{parameters}${_b64(derive_key(pin, parameters))}"


def pin_parameters(pin_hash: str) -> PinParameters:
    """The public part of a hash. Raises ValueError."""
    return PinParameters.parse(pin_hash.strip().rpartition("$")[0])


def pin_key(pin_hash: str) -> bytes:
    """The key in a hash. Raises ValueError, without the hash in its text, for what is none."""
    pin_parameters(pin_hash)
    key = _unb64(pin_hash.strip().rpartition("$")[2])
    if len(key) != _KEY_BYTES:
        raise ValueError("not a PIN hash")
    return key


def pin_matches(pin: str, pin_hash: str) -> bool:
    """Whether a PIN is the one that was hashed; compared in constant time. Raises ValueError for what is no hash."""
    return hmac.compare_digest(derive_key(pin, pin_parameters(pin_hash)), pin_key(pin_hash))


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not a PIN hash") from None


# ---------------------------------------------------------------- proofs


def command_proof(
    key: bytes,
    *,
    gateway: str,
    verb: str,
    id: str,
    user: str,
    time: int,
    alarm: str = "",
    occurrence: str = "",
    device: str = "",
    reason: str = "",
    until: int | None = None,
) -> str:
    """Proof that whoever made a command holds the user's key: HMAC-SHA256, in hex, over every field of the command.

    `gateway` is the topic prefix `labmon/<site>/<gateway>`, so that a command recorded at one gateway proves nothing at
    another; times are UTC ns; a field that the command leaves out is empty. Each field goes in with its length before
    it, in the order of the parameters, so that no two commands are the same bytes.
    """
    fields = (
        gateway,
        verb,
        id,
        user,
        str(time),
        alarm,
        occurrence,
        device,
        reason,
        "" if until is None else str(until),
    )
    digest = hmac.new(key, _DOMAIN, hashlib.sha256)
    for text in fields:
        content = text.encode()
        digest.update(len(content).to_bytes(4, "big") + content)
    return digest.hexdigest()


def proof_matches(proof: str, expected: str) -> bool:
    """Compare two proofs in constant time."""
    return hmac.compare_digest(proof.encode(), expected.encode())

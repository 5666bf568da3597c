"""Secrets by reference, PIN hashes, and proofs of commands."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import traceback
from pathlib import Path

import pytest

from labmon.config.secrets import (
    PinParameters,
    SecretError,
    command_proof,
    derive_key,
    hash_pin,
    pin_key,
    pin_matches,
    pin_parameters,
    proof_matches,
    read_secret,
    secret_path,
    secret_warning,
)
from labmon.config.types import Secret


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b"s3cret", "s3cret"),
        (b"a b\n\n", "a b\n"),
        (" ü ".encode(), " ü "),
    ],
)
def test_a_secret_is_its_file_without_the_line_end(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "token").write_bytes(content)
    assert read_secret(Secret(file="token"), tmp_path) == text
    assert read_secret(Secret(file=str(tmp_path / "token")), Path("/elsewhere")) == text


def test_a_credential_comes_from_the_directory_that_systemd_names(tmp_path: Path) -> None:
    (tmp_path / "broker").write_text("s3cret\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_secret(Secret(credential="broker"), Path("/"), environ) == "s3cret"
    assert secret_path(Secret(credential="broker"), Path("/"), environ) == tmp_path / "broker"
    with pytest.raises(SecretError, match="there is no CREDENTIALS_DIRECTORY"):
        read_secret(Secret(credential="broker"), Path("/"), {})
    for name in ("../broker", "a/b", "..", ""):
        with pytest.raises(SecretError, match="is not the name of a credential"):
            read_secret(Secret(credential=name), Path("/"), environ)


def test_a_credential_of_a_whole_folder_has_the_folders_name_before_its_own(tmp_path: Path) -> None:
    (tmp_path / "labmon_broker").write_text("s3cret\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_secret(Secret(credential="broker"), Path("/"), environ) == "s3cret"


def test_a_missing_credential_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(SecretError) as found:
        read_secret(Secret(credential="smtp"), Path("/"), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert str(found.value) == (
        "credential smtp: cannot be read: No such file or directory; "
        "put it into /etc/labmon/credentials/smtp and restart the service"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"hunter2\xff", "is not UTF-8"), (b"\n", "is empty"), (b"hunter2" * 10_000, "is longer"), (None, "No such file")],
)
def test_an_error_says_what_is_wrong_and_never_the_secret(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(SecretError, match=why) as caught:
        read_secret(Secret(file="token"), tmp_path)
    assert "token" in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_everybody_can_read_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    for mode, wrong in ((0o600, False), (0o640, False), (0o644, True), (0o602, True)):
        path.chmod(mode)
        warning = secret_warning(Secret(file="token"), tmp_path)
        assert (warning is not None) is wrong
        assert warning is None or ("token" in warning and f"{mode:04o}" in warning)
    assert secret_warning(Secret(file="absent"), tmp_path) is None


def test_a_pin_matches_its_hash_and_no_other() -> None:
    hashed = hash_pin("271828")
    assert "271828" not in hashed
    assert hashed != hash_pin("271828"), "two hashes of one PIN share no salt"
    assert pin_matches("271828", hashed + "\n")
    assert not pin_matches("271829", hashed)
    assert not pin_matches("", hashed)


def test_the_key_is_scrypt_by_its_definition() -> None:
    parameters = PinParameters(b"0123456789abcdef", cost=2**14)
    expected = hashlib.scrypt("pä55wd".encode(), salt=b"0123456789abcdef", n=2**14, r=8, p=1, dklen=32)
    assert derive_key("pä55wd", parameters) == expected
    assert derive_key("pa\u03085wd".replace("5wd", "55wd"), parameters) == expected, "a decomposed spelling is the same"


def test_whoever_holds_the_pin_and_the_public_part_derives_the_key() -> None:
    hashed = hash_pin("271828")
    public = str(pin_parameters(hashed))
    assert hashed.startswith(public)
    assert derive_key("271828", PinParameters.parse(public)) == pin_key(hashed)


@pytest.mark.parametrize(
    "wrong",
    ["", "hunter2", "scrypt$1$8$1$AAAA$AAAA", f"scrypt${2**40}$8$1$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
     "md5$32768$8$1$AAAA$AAAA",
     "scrypt$32768$8$1$AAAAAAAAAAAAAAAAAAAAAA$AAAA", "scrypt$32768$8$1$!!!!$AAAA", "scrypt$32768$8$1$AAAA",
     "scrypt$32768$99999$1$AAAAAAAAAAAAAAAAAAAAAA$AAAA", "scrypt$²²²$8$1$AAAAAAAAAAAAAAAAAAAAAA$AAAA"],
)  # fmt: skip
def test_what_is_no_hash_is_refused_without_being_shown(wrong: str) -> None:
    with pytest.raises(ValueError, match="PIN hash") as caught:
        pin_key(wrong)
    assert not wrong or wrong not in str(caught.value)


def test_a_short_pin_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 6"):
        hash_pin("12345")


COMMAND = {
    "gateway": "labmon/berlin/gw1", "verb": "acknowledge", "id": "c1", "user": "u1", "time": 1_790_000_000_000_000_000,
    "alarm": "incubator-1.temperature.action-high", "occurrence": "o1", "device": "", "reason": "seen", "until": None,
}  # fmt: skip


def test_a_proof_is_hmac_over_the_fields_with_their_lengths() -> None:
    key = b"k" * 32
    fields = [
        "labmon/berlin/gw1",
        "acknowledge",
        "c1",
        "u1",
        "1790000000000000000",
        COMMAND["alarm"],
        "o1",
        "",
        "seen",
        "",
    ]
    message = b"labmon command 1" + b"".join(len(f.encode()).to_bytes(4, "big") + f.encode() for f in fields)
    assert command_proof(key, **COMMAND) == hmac.new(key, message, hashlib.sha256).hexdigest()


def test_every_field_and_the_key_change_the_proof() -> None:
    proofs = {command_proof(b"k" * 32, **COMMAND), command_proof(b"x" * 32, **COMMAND)}
    for name, value in COMMAND.items():
        other = 5 if name in ("time", "until") else f"{value}x"
        proofs.add(command_proof(b"k" * 32, **{**COMMAND, name: other}))
    assert len(proofs) == 2 + len(COMMAND)


def test_text_cannot_move_from_one_field_to_another() -> None:
    texts = ["verb", "id", "user", "alarm", "occurrence", "device", "reason"]
    proofs = {
        command_proof(b"k" * 32, **{**COMMAND, **dict.fromkeys(texts, ""), a: "x", b: "y"})
        for a, b in itertools.permutations(texts, 2)
    }
    assert len(proofs) == len(texts) * (len(texts) - 1)


def test_proofs_compare_whatever_they_hold() -> None:
    assert proof_matches("ab", "ab")
    assert not proof_matches("ä", "ab")
    assert not proof_matches("", "ab")

"""The site file and the secrets that it refers to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from labmon.config.secrets import SecretError, read_secret, secret_warning
from labmon.config.types import Secret
from labmon.doctor.account import READ, SERVICE
from labmon.doctor.case import Case, secrets_in
from labmon.doctor.finding import Finding, fault, ok, unknown, warning

SHOWN = 5
"""Mistakes of a site file that are told here."""


def site_file(case: Case) -> Iterator[Finding]:
    """Whether it is there, valid, readable for the daemon, and the one that the daemon runs with."""
    loaded, path = case.loaded, case.loaded.path
    if loaded.errors:
        for error in loaded.errors[:SHOWN]:
            yield fault(str(error), f"labmon check {path} shows every mistake" if path.exists() else _restore(path))
        if len(loaded.errors) > SHOWN:
            yield fault(f"and {len(loaded.errors) - SHOWN} more mistakes", f"labmon check {path} shows them")
        return
    for told in loaded.warnings:
        yield warning(str(told), "correct it when you next change the file")
    if not case.account.may(path, READ):
        yield fault(
            f"{case.account.name} may not read {path}: it will not start again",
            f"sudo chgrp {SERVICE} {path} && sudo chmod 640 {path}",
        )
    applied = case.status["configuration"] if case.status is not None else None
    if applied is not None and applied != hashlib.sha256(loaded.text.encode()).hexdigest():
        yield warning(f"the daemon runs with an earlier text of {path}", "sudo labmon reload applies this one")
    yield ok(f"{path}: no errors, {len(case.lines)} lines")


def _restore(path: Path) -> str:
    return f"put {path} back: from a backup, or from the journal, which keeps every text that was applied"


def secrets(case: Case) -> Iterator[Finding]:
    """Whether each secret is there and readable for those who need it, and for nobody else."""
    if case.site is None or case.loaded.site is None:
        return
    for at, secret in secrets_in(case.loaded.site):
        yield _secret(case, at, secret)


def _secret(case: Case, at: str, secret: Secret) -> Finding:
    path = case.secret_file(secret)
    name = f"{at}: credential {secret.credential}" if secret.file is None else f"{at}: {secret.file}"
    try:
        there = path.exists()
    except PermissionError:
        there = True
    if there and not os.access(path, os.R_OK):
        if secret.file is not None and not _may_read(case, path):
            return fault(f"{name} cannot be read by {case.account.name}", _give(case, path))
        return unknown(f"{name}: only root may look at {path}", "sudo labmon doctor")
    if not there:
        if (case.folder / "credentials.encrypted" / path.name).exists():
            return fault(f"{name} is encrypted and was not loaded", "sudo systemctl restart labmon-credentials labmon")
        if at.startswith(("stores:", "mqtt: ingest", "mqtt: tls: ingest")):
            return unknown(f"{name} is not here", f"where ingest runs it has to be in {path}")
        return fault(f"{name} is not there", f"write it into {path} and restart labmon")
    file = Secret(file=str(path))
    try:
        read_secret(file, case.folder)
    except SecretError as error:
        return fault(f"{at}: {error}", f"write the secret, one line of text, into {path}")
    if secret.file is not None and not _may_read(case, path):
        return fault(f"{name} cannot be read by {case.account.name}", _give(case, path))
    if told := secret_warning(file, case.folder):
        return warning(f"{at}: {told}", f"sudo chmod o-rwx {path}, and change the secret")
    return ok(f"{name} is there")


def _may_read(case: Case, path: Path) -> bool:
    try:
        return case.account.may(path, READ)
    except OSError:
        return True  # not to be seen from here: no reason to say no


def _give(case: Case, path: Path) -> str:
    return f"sudo chown {case.account.name} {path} && sudo chmod 400 {path}"

"""The stores of the site file: reached, and writable. Nothing is written that stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from labmon.config.secrets import SecretError
from labmon.config.site import StoreConfig
from labmon.doctor.account import ENTER, READ, WRITE
from labmon.doctor.case import PATIENCE, Case
from labmon.doctor.finding import Finding, fault, ok, unknown, warning
from labmon.ingest.influx import InfluxStore
from labmon.ingest.process import make_store
from labmon.ingest.store import StoreError

LATE = 120.0
"""Seconds that readings may wait for a store's confirmation before it is told."""


def stores(case: Case) -> Iterator[Finding]:
    """Each store, and whether the daemon's readings arrive there."""
    if case.site is None:
        return
    for config in case.site.stores:
        if config.influxdb is not None:
            yield _influx(config)
        elif config.sqlite is not None:
            yield _sqlite(case, config.id, case.folder / config.sqlite.path)
        yield from _backlog(case, config.id)


def _influx(config: StoreConfig) -> Finding:
    influx = config.influxdb
    assert influx is not None
    name = f"store {config.id}: {influx.url}"
    quick = config.model_copy(update={"influxdb": influx.model_copy(update={"timeout": min(influx.timeout, PATIENCE)})})
    try:
        store = make_store(quick, Path())
    except SecretError as error:
        return unknown(f"{name}: {error}", "where ingest runs on another machine, ask there: sudo labmon doctor")
    assert isinstance(store, InfluxStore)
    try:
        store.probe()
    except StoreError as error:
        return fault(f"{name}: {error.text}", _remedy(error))
    finally:
        store.close()
    return ok(f"{name}: takes writes into {influx.bucket}")


def _remedy(error: StoreError) -> str:
    for code, remedy in (
        ("401", "correct the token (`token` of the store), then restart labmon-ingest"),
        ("403", "give the token the right to write into this bucket"),
        ("404", "make the bucket, or correct `bucket`, `org` and `url` of the store"),
    ):
        if error.text.startswith(code):
            return remedy
    if error.kind == "denied":
        return "correct `url` of the store: it is the address that people's browsers use, without a path"
    return "start the database, and check the network from where ingest runs"


def _sqlite(case: Case, store: str, path: Path) -> Finding:
    name = f"store {store}: {path}"
    if not path.parent.is_dir():
        return fault(f"{name}: its folder is not there", f"sudo install -d -o {case.account.name} {path.parent}")
    writable = case.account.may(path.parent, READ | WRITE | ENTER)
    if not writable or (path.exists() and not case.account.may(path, READ | WRITE)):
        return fault(
            f"{name}: {case.account.name} may not write it", f"sudo chown -R {case.account.name} {path.parent}"
        )
    return ok(f"{name}: can be written")


def _backlog(case: Case, store: str) -> Iterator[Finding]:
    if case.status is None:
        return
    for row in case.status["stores"]:
        if row["store"] != store or row["oldest"] is None:
            continue
        late = (case.status["time"] - row["oldest"]) / 1e9
        if late > LATE:
            yield warning(
                f"store {store}: {row['behind']:,} entries wait, the oldest for {late / 60:.0f} min",
                "start ingest (systemctl status labmon-ingest), or repair broker or store",
            )
        if row["quarantined"]:
            yield warning(f"store {store}: it refused {row['quarantined']:,} entries", "read why: labmon alarm list")

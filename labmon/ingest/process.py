"""`labmon ingest`: one process that joins a broker and a store, from a site file."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from labmon.config.secrets import SecretError, read_secret
from labmon.config.site import MqttConfig, Site, StoreConfig
from labmon.delivery.broker import broker_settings, watched_files
from labmon.health.notify import READY, STOPPING, WATCHDOG, notify, reloading, status, watchdog_interval
from labmon.ingest.influx import InfluxStore
from labmon.ingest.ingest import Ingest
from labmon.ingest.sqlite_store import SqliteStore
from labmon.ingest.store import Store
from labmon.mqtt import BrokerSettings, Connection
from labmon.mqtt.certificate import Watched, look
from labmon.mqtt.topics import client_id
from labmon.tasks.faults import faults_to
from labmon.tasks.kept import kept
from labmon.tasks.terminal import on_hang_up

log = logging.getLogger(__name__)

STORE_HANGS = 600.0
"""Seconds that one call of the store may last; its client's own timeouts are far below."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


_CERTIFICATES = 3600.0
"""Seconds between two looks at the files of certificates."""


class IngestNotConfigured(Exception):
    """The site file does not say what this process needs; the text says what is missing."""


async def run_ingest(
    site: Site,
    store_id: str | None = None,
    *,
    folder: Path,
    stop: asyncio.Event | None = None,
    again: Callable[[], Site | None] | None = None,
) -> None:
    """Write what the site's broker carries into one of its stores until SIGTERM, SIGINT or `stop`.

    Starts without broker and store, and ends within about two seconds whatever they do. `store_id` may be left out
    where the site has one store only. On SIGHUP it begins anew, within the process, with the site that `again` gives
    (called in a thread) and with its secrets as they are then; None, or what cannot be made of it, changes nothing and
    is in the log. With `stop` the signals are left alone. Raises IngestNotConfigured and SecretError, at the start.
    """
    work = _Work(site, store_id, folder)
    until, hung_up = stop or asyncio.Event(), asyncio.Event()
    with _signals(None if stop else until, hung_up), faults_to(_fault):
        alive = kept("watchdog", lambda: _tell_alive(lambda: work.ingest))
        try:
            await work.start()
            while await _first(until, hung_up) is hung_up:
                hung_up.clear()
                notify(reloading())
                if (new := await _anew(again, store_id, folder)) is not None:
                    await work.stop()
                    work = new
                    await work.start()
                notify(READY, status(f"writes into store {work.store_id}"))
        finally:
            notify(STOPPING, status("stopping"))
            alive.cancel()
            await asyncio.gather(alive, return_exceptions=True)
            await work.stop()


class _Work:
    """One store and one connection to the broker. Raises IngestNotConfigured and SecretError when it is made."""

    def __init__(self, site: Site, store_id: str | None, folder: Path) -> None:
        if site.mqtt is None:
            raise IngestNotConfigured("the site file names no broker (mqtt)")
        config = choose_store(site, store_id)
        self.store_id = config.id
        settings = ingest_settings(site.mqtt, folder)
        store = make_store(config, folder)
        self._connection = Connection(settings, client_id(f"labmon-{config.id}", "ingest"))
        self.ingest = Ingest(config.id, store, self._connection, shared=site.mqtt.protocol == "5")
        self._files = watched_files(site.mqtt, folder, ingest=True)
        self._certificates: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._certificates = kept("certificates", lambda: _watch_certificates(self._files))
        await self.ingest.start()
        await self._connection.start()
        log.info("ingest into store %s started", self.store_id)
        notify(READY, status(f"writes into store {self.store_id}"))

    async def stop(self) -> None:
        if self._certificates is not None:
            self._certificates.cancel()
            await asyncio.gather(self._certificates, return_exceptions=True)
        await self.ingest.stop()
        await self._connection.stop()


async def _first(*events: asyncio.Event) -> asyncio.Event:
    """The first of these events that is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return next(event for event in events if event.is_set())


async def _anew(again: Callable[[], Site | None] | None, store_id: str | None, folder: Path) -> _Work | None:
    """What is to be done from now on; None to go on with what is done."""
    if again is None:
        log.warning("ingest does not read its site file again: restart it")
        return None
    try:
        if (site := await asyncio.to_thread(again)) is not None:
            return _Work(site, store_id, folder)
    except (IngestNotConfigured, SecretError) as error:
        log.error("ingest: %s", error)
    except Exception as error:
        log.critical("ingest: fault in labmon while the site file was read again", exc_info=error)
    log.error("ingest goes on with the site file and the secrets of before")
    return None


async def _tell_alive(ingest: Callable[[], Ingest]) -> None:
    """Tell the service manager that the event loop turns, unless the store's client is lost in a call.

    Ingest keeps nothing of its own, so that a restart costs a repetition and nothing else.
    """
    interval = watchdog_interval()
    while True:
        if ingest().store_busy < STORE_HANGS:
            notify(WATCHDOG)
        await asyncio.sleep(1.0 if interval is None else min(1.0, interval / 4))


def _fault(part: str, what: str, error: BaseException | None) -> None:
    log.critical("%s: %s", part, what, exc_info=error)


def choose_store(site: Site, store_id: str | None) -> StoreConfig:
    """The store with this id, or the only one. Raises IngestNotConfigured."""
    known = ", ".join(store.id for store in site.stores)
    if store_id is None:
        if len(site.stores) == 1:
            return site.stores[0]
        raise IngestNotConfigured(f"say which store: {known}" if known else "the site file names no store")
    for store in site.stores:
        if store.id == store_id:
            return store
    raise IngestNotConfigured(f"no store {store_id!r}; the site file names {known or 'none'}")


def make_store(config: StoreConfig, folder: Path) -> Store:
    """The store that `config` describes; it connects to nothing yet. Raises IngestNotConfigured, SecretError."""
    if config.influxdb is not None:
        influx = config.influxdb
        return InfluxStore(
            url=influx.url,
            org=influx.org,
            bucket=influx.bucket,
            token=read_secret(influx.token, folder),
            timeout=influx.timeout,
        )
    if config.sqlite is not None:
        return SqliteStore(folder / config.sqlite.path)
    raise IngestNotConfigured(f"store {config.id} is neither influxdb nor sqlite")


def ingest_settings(config: MqttConfig, folder: Path) -> BrokerSettings:
    """How ingest reaches the broker: with credentials of its own where the site gives them (it should).

    Only ingest's user may confirm, and only it may read every gateway's records. Raises SecretError.
    """
    if config.ingest_user is None:
        return broker_settings(config, config.user, config.password, folder, ingest=True)
    return broker_settings(config, config.ingest_user, config.ingest_password, folder, ingest=True)


async def _watch_certificates(files: Sequence[Watched]) -> None:
    """Log what ends soon. The alarm is the gateway's, which sees the same broker; ingest has nobody to tell."""
    told: list[str] = []
    while True:
        lines = await look(files, None, time.time())
        for line in lines:
            if line not in told:
                log.warning("%s", line)
        told = lines
        await asyncio.sleep(_CERTIFICATES)


@contextmanager
def _signals(stop: asyncio.Event | None, hung_up: asyncio.Event) -> Iterator[None]:
    if stop is None:
        yield
        return
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, on_hang_up(stop.set, hung_up.set))
    try:
        yield
    finally:
        for number in (*_SIGNALS, signal.SIGHUP):
            loop.remove_signal_handler(number)

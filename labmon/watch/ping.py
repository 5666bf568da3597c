"""The outbound ping: somebody else's dead man's switch on the watch and all that it sees."""

from __future__ import annotations

import asyncio
import http.client
import logging
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from labmon.config.secrets import SecretError
from labmon.config.site import PingConfig
from labmon.notices.attempt import Attempt, Wire
from labmon.notices.http import HttpConnection

log = logging.getLogger("labmon.watch")

LOOK = 1.0
"""Seconds after which somebody who was not well is looked at again."""


class PingFailed(Exception):
    """It was not taken; the text says why, and never the address, of which any part may be a secret."""


class Pinger:
    """Calls an address by GET every so often while `well()`; in a thread of its own, one call at a time.

    The address is read anew for each call. `on_condition(active, detail)` is told how each call went.
    """

    def __init__(
        self,
        config: PingConfig,
        address: Callable[[], str],
        well: Callable[[], bool],
        on_condition: Callable[[bool, str], None],
    ) -> None:
        self._config = config
        self._address = address
        self._well = well
        self._on_condition = on_condition
        self._problem = ""

    async def run(self) -> None:
        """Call for ever."""
        while True:
            well = self._well()
            if well:
                await self._call()
            await asyncio.sleep(self._config.every if well else min(LOOK, self._config.every))

    async def _call(self) -> None:
        attempt = Attempt(self._get, "labmon-ping")
        problem = ""
        try:
            # Each step has its time; a server that drips has no more than three of them in all.
            async with asyncio.timeout(3 * self._config.timeout):
                await asyncio.shield(attempt.result)
        except TimeoutError:
            problem = f"no end within {3 * self._config.timeout:g} s"
        except (PingFailed, SecretError) as failed:
            problem = str(failed)
        except Exception as error:
            log.error("watch: fault while pinging", exc_info=error)
            problem = f"fault in labmon: {type(error).__name__}"
        finally:
            attempt.abandon()
        if problem != self._problem:
            log.log(logging.WARNING if problem else logging.INFO, "ping: %s", problem or "works again")
            self._problem = problem
        self._on_condition(bool(problem), problem)

    def _get(self, wire: Wire) -> None:
        address = self._address()
        try:
            status = self._status(wire, address)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Without what it came from, which may hold the address.
            if isinstance(error, ValueError | http.client.InvalidURL) and not isinstance(error, OSError):
                raise PingFailed("the address is no http or https URL") from None
            raise PingFailed(self._why(error, address)) from None
        if not 200 <= status < 300:
            raise PingFailed(f"is answered with {status}")

    def _status(self, wire: Wire, address: str) -> int:
        connection = HttpConnection(wire, address, self._config.ca, self._config.timeout)
        try:
            connection.request("GET", connection.target, headers={"User-Agent": "labmon"})
            with connection.getresponse() as response:
                return response.status
        finally:
            connection.close()

    def _why(self, error: Exception, address: str) -> str:
        """What went wrong, in words that hold nothing of the address."""
        words = self._words(error)
        try:
            host = urlsplit(address).hostname
        except ValueError:
            host = None
        return words if host is not None and host not in words.lower() else type(error).__name__

    def _words(self, error: Exception) -> str:
        match error:
            case TimeoutError():
                return f"no answer within {self._config.timeout:g} s"
            case http.client.RemoteDisconnected():
                return "the connection was closed without an answer"
            case ssl.SSLCertVerificationError():
                return f"the certificate is not valid: {error.verify_message}"
            case OSError() if error.strerror:
                return error.strerror
        return type(error).__name__

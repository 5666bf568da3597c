"""An HTTP connection of one attempt."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from labmon.notices.attempt import Wire, trust


class HttpConnection(http.client.HTTPConnection):
    """An HTTP connection that another thread can cut; https is verified. Raises ValueError for an unusable URL."""

    def __init__(self, wire: Wire, url: str, ca: str | None, timeout: float) -> None:
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("the URL must begin with http:// or https:// and name a host")
        self._secure = address.scheme == "https"
        self._limit = timeout
        self._ca = ca
        self._wire = wire
        self.target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        port = address.port or (443 if self._secure else 80)
        self.default_port = 443 if self._secure else 80
        super().__init__(address.hostname, port, timeout=timeout)

    def connect(self) -> None:
        """Connect, and for https make sure that it is who it should be. Raises OSError."""
        context = trust(self._ca) if self._secure else None
        sock = self._wire.connect(self.host, self.port, self._limit)
        try:
            self.sock = context.wrap_socket(sock, server_hostname=self.host) if context is not None else sock
        except BaseException:
            sock.close()
            raise

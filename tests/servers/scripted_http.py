"""An HTTP server on loopback that answers what the test says: for answers that no real server gives on demand."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    """Take the request and say nothing until the server stops."""


class ScriptedHttp:
    """Answers in the order of `script`, then `otherwise`; keeps the requests it got as (path, headers, body)."""

    def __init__(self, *script: Answer, otherwise: Answer | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.script = deque(script)
        self.otherwise = otherwise or Answer(204)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._released = threading.Event()
        self._connections: list[socket.socket] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                scripted._connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                scripted.requests.append((self.path, dict(self.headers.items()), body))
                answer = scripted.script.popleft() if scripted.script else scripted.otherwise
                if answer.hang:
                    scripted._released.wait()
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._server.block_on_close = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01))

    def __enter__(self) -> ScriptedHttp:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
        self._server.shutdown()
        for connection in self._connections:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self._thread.join()
        self._server.server_close()

    def release(self) -> None:
        """Let the requests that hang end."""
        self._released.set()

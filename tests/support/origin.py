"""An HTTP origin whose content has versions, and a plain client: a cache that answers an old version is stale."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit


class Response(NamedTuple):
    status: int
    body: str
    headers: dict[str, str]
    """Names in lower case."""


def fetch(url: str, method: str = "GET", headers: dict[str, str] | None = None) -> Response:
    """One request on a connection of its own; nothing is followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request(
            method, f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", headers=headers or {}
        )
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
        return Response(answer.status, body, {name.lower(): value for name, value in answer.getheaders()})
    finally:
        connection.close()


class Origin:
    """Serves `PATH vVERSION` for every path, cacheable for an hour, with the path's tags in the `xkey` header."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._tags: dict[str, str] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.origin = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def change(self, path: str) -> str:
        """A new version of `path`; the body that is right from now on."""
        self._versions[path] += 1
        return self.body(path)

    def body(self, path: str) -> str:
        return f"{path} v{self._versions[path]}"

    def tag(self, path: str, *tags: str) -> None:
        self._tags[path] = " ".join(tags)

    def tags(self, path: str) -> str:
        return self._tags.get(path, "")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a cache keeps its connections open for as long as it likes
    origin: Origin


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def do_GET(self) -> None:
        origin = self.server.origin
        origin.hits[self.path] += 1
        body = origin.body(self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=3600")
        if tags := origin.tags(self.path):
            self.send_header("xkey", tags)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        del format, args

"""Calls to the fakes of CDNs' APIs as any client would make them, and a clock that only a test moves."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from invalidator.testing.bucket import TokenBucket
from invalidator.testing.cloudflare import FakeCloudflare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTRACT = {"requests": "60/s", "burst": 25, "urls": "8000/s"}
"""The `plan` of `at_its_limit`."""


@contextmanager
def at_its_limit() -> Iterator[FakeCloudflare]:
    """60 calls and 8,000 URLs a second: both limits bite, and let a test end within seconds."""
    with FakeCloudflare() as fake:
        fake.requests, fake.urls = TokenBucket(60, 25), TokenBucket(8_000, 8_000)
        yield fake


class Clock:
    """Seconds, which pass when the test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    api: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 5.0
) -> Reply:
    """One call on a connection of its own. `path` follows the path of `api`; `body` is bytes, or made to JSON."""
    parts = urlsplit(api)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, parts.path + path, data, dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def say(api: str, data: bytes) -> bytes:
    """These very bytes on a connection of their own; all that is answered until the server closes."""
    parts = urlsplit(api)
    with socket.create_connection((parts.hostname, parts.port), timeout=5.0) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer

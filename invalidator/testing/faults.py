"""What goes wrong between a client and an API, on demand: `fake.fail(server_error(502), hang())`, for two calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from invalidator.testing.http_framing import Answer, html_answer, json_answer

if TYPE_CHECKING:
    from invalidator.testing.http_server import Line

Delivery = Callable[["Line", bytes], None]
"""Sends the bytes of the answer, or some of them, or none."""


def _whole(line: Line, data: bytes) -> None:
    line.send(data)


@dataclass(frozen=True, slots=True)
class Fault:
    """One call's misfortune. `answer` is said instead of the real one and nothing is purged; None: the call is done as
    always, and only the way of its answer is troubled. `deliver` is that way.
    """

    name: str
    answer: Answer | None = None
    deliver: Delivery = _whole


def server_error(status: int = 502) -> Fault:
    """An HTML page from something in front of the API. Nothing was purged, as far as anybody knows."""
    return Fault(f"server error {status}", html_answer(status, HTTPStatus(status).phrase))


def too_many(seconds: float, *, date: bool = False) -> Fault:
    """429 with Retry-After: in whole seconds, or as an HTTP date of this machine's clock."""
    after = formatdate(time.time() + seconds, usegmt=True) if date else str(round(seconds))
    return Fault("too many", html_answer(429, "Too many requests", headers=(("Retry-After", after),)))


def unsuccessful() -> Fault:
    """200 OK with `success: false` and `status: error` in the body: neither vendor's client may take it for a purge."""
    errors = [{"code": 1016, "message": "Unable to purge any urls"}]
    body = {"success": False, "status": "error", "errors": errors, "messages": [], "result": None}
    return Fault("unsuccessful", json_answer(200, body))


def saying(status: int, body: bytes | dict[str, Any], *, headers: tuple[tuple[str, str], ...] = ()) -> Fault:
    """Any answer at all instead of the real one."""
    if isinstance(body, bytes):
        return Fault(f"saying {status}", Answer(status, body, headers))
    return Fault(f"saying {status}", json_answer(status, body, headers=headers))


def hang() -> Fault:
    """The request is read, and nothing is ever said. Nothing is purged."""
    return Fault("hang", Answer(0, b""), lambda line, _: line.hang())


def half_an_answer(*, of_the_head: bool = False) -> Fault:
    """The call is done; its answer breaks off, in the middle of the body or already of the head, by an orderly end."""

    def deliver(line: Line, data: bytes) -> None:
        body = data.index(b"\r\n\r\n") + 4
        line.send(data[: body // 2 if of_the_head else (body + len(data)) // 2])
        line.close()

    return Fault("half an answer", None, deliver)


def reset(*, after_the_purge: bool = False) -> Fault:
    """The connection is reset without a byte of an answer; the call was done or was not."""
    return Fault("reset", None if after_the_purge else Answer(0, b""), lambda line, _: line.reset())


def slow(seconds: float) -> Fault:
    """The call is done; its answer drips in ten pieces over so many seconds."""

    def deliver(line: Line, data: bytes) -> None:
        step = len(data) // 10 + 1
        for start in range(0, len(data), step):
            line.wait(seconds / 10)
            line.send(data[start : start + step])

    return Fault("slow", None, deliver)


def huge(size: int = 64 * 1024 * 1024) -> Fault:
    """200 OK, and `size` bytes of spaces that a client must not gather in memory. Nothing is purged."""
    piece = b" " * 65536

    def deliver(line: Line, _: bytes) -> None:
        line.send(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode())
        for _start in range(0, size, len(piece)):
            line.send(piece)

    return Fault("huge", Answer(200, b""), deliver)

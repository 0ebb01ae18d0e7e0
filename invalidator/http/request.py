"""A request, and the one function that turns it into bytes. Nothing reaches the wire but through it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_TARGET = re.compile(r"/[!-~]*", re.ASCII)
_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?", re.ASCII)
_HOST = re.compile(r"(?:[0-9A-Za-z_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)

# These say where a message ends and to whom it goes: two opinions about that are how requests are smuggled.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"})

_WITH_A_BODY = frozenset({"POST", "PUT", "PATCH"})

MAX_TARGET = 8000
"""The longest path and query, in bytes. Varnish and nginx take lines of 8 KiB; the former just hangs up on more."""


class Request(NamedTuple):
    """One request: `target` is path and query (`/users:42?a=1`), sent byte for byte; `host` the object's host."""

    method: str
    target: str
    host: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def encode_request(request: Request) -> bytes:
    """The request's bytes. Raises ValueError if any part of it could be read as something else than that part."""
    before, after = _around(request.method, request.host, request.headers)
    if not _TARGET.fullmatch(request.target):
        raise ValueError("the request target must start with `/` and hold nothing but visible ASCII")
    if len(request.target) > MAX_TARGET:
        raise ValueError(f"the request target is longer than {MAX_TARGET} bytes")
    if request.body or request.method in _WITH_A_BODY:
        after += f"Content-Length: {len(request.body)}\r\n"
    return f"{before}{request.target}{after}\r\n".encode("ascii") + request.body


@lru_cache(maxsize=64)
def _around(method: str, host: str, headers: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """What stands before and after the target. One request mostly has all of it in common with the next."""
    if not _TOKEN.fullmatch(method):
        raise ValueError("the method is no token")
    if not _HOST.fullmatch(host):
        raise ValueError("the host is no host")
    for name, value in headers:
        check_header(name, value)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{method} ", f" HTTP/1.1\r\nHost: {host}\r\n{lines}"


def check_header(name: str, value: str) -> None:
    """Raise ValueError unless this is a header of one line that does not say where the message ends or goes."""
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header's name is made of letters, digits and `-`")
    if name.lower() in _OURS:
        raise ValueError(f"{name} is not yours to set")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} must be one line of visible ASCII")

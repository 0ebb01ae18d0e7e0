"""A request, and the one function that turns it into bytes. Nothing reaches the wire but through it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_TARGET = re.compile(r"/[!-~]*", re.ASCII)
_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?", re.ASCII)
_HOST = re.compile(r"(?:[0-9A-Za-z_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)

# These say where a message ends and to whom it goes: two opinions about that are how requests are smuggled.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"})

MAX_TARGET = 8000
"""The longest path and query, in bytes. Varnish and nginx take lines of 8 KiB; the former just hangs up on more."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `target` is path and query (`/users:42?a=1`), sent byte for byte; `host` the object's host."""

    method: str
    target: str
    host: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def encode_request(request: Request) -> bytes:
    """The request's bytes. Raises ValueError if any part of it could be read as something else than that part."""
    if not _TOKEN.fullmatch(request.method):
        raise ValueError("the method is no token")
    if not _TARGET.fullmatch(request.target):
        raise ValueError("the request target must start with `/` and hold nothing but visible ASCII")
    if len(request.target) > MAX_TARGET:
        raise ValueError(f"the request target is longer than {MAX_TARGET} bytes")
    if not _HOST.fullmatch(request.host):
        raise ValueError("the host is no host")
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.host}"]
    for name, value in request.headers:
        check_header(name, value)
        lines.append(f"{name}: {value}")
    if request.body:
        lines.append(f"Content-Length: {len(request.body)}")
    elif request.method in {"POST", "PUT", "PATCH"}:
        lines.append("Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + request.body


def check_header(name: str, value: str) -> None:
    """Raise ValueError unless this is a header of one line that does not say where the message ends or goes."""
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header's name is made of letters, digits and `-`")
    if name.lower() in _OURS:
        raise ValueError(f"{name} is not yours to set")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} must be one line of visible ASCII")

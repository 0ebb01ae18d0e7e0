"""A response, and what of its head the parser and the glance agree on. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9]\d\d)(?: " + TEXT + rb")?((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:" + TEXT + rb")*)"
)
"""A head without its end: the minor version, the status, and the lines of headers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes: a head (or the trailers) longer than `head` is an error; of a body no more than `body` is read."""

    head: int = 16 * 1024
    body: int = 64 * 1024


class Response(NamedTuple):
    """A final answer; `lines` are its headers as they came. `reusable`: the connection may carry another request.

    `truncated`: the body went on beyond the limit and was left unread.
    """

    status: int
    lines: bytes = b""
    body: bytes = b""
    reusable: bool = True
    truncated: bool = False

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names in lower case, and values. Taken apart when somebody asks: of most answers the status says it all."""
        pairs = (line.partition(":") for line in self.lines.decode("latin-1").split("\r\n")[1:])
        return tuple((name.lower(), value.strip(" \t")) for name, _, value in pairs)

    def header(self, name: str) -> str:
        """The first value of a header (name in lower case), or ""."""
        return next((value for known, value in self.headers if known == name), "")

"""URLs that messages bring. They choose the object, never the server: the host only becomes a header."""

from __future__ import annotations

import re
from dataclasses import dataclass

from invalidator.http.origin import DEFAULT_PORTS, format_authority, parse_authority
from invalidator.http.safety import hazard

_URL = re.compile(r"(https?)://([^/?#]+)((?:/[^?#]*)?)((?:\?[^#]*)?)", re.ASCII)
_VISIBLE = re.compile(r"[!-~]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Url:
    """`authority`: the canonical `Host`, lower case, without a default port. `target`: path and query, untouched."""

    scheme: str
    authority: str
    target: str


def parse_url(url: str) -> Url:
    """Take an absolute http(s) URL apart. Raises ValueError for whatever a request line must not carry.

    Refused: user names, fragments, anything but visible ASCII, and dot segments however they are written.
    """
    if not _VISIBLE.fullmatch(url):
        raise ValueError("has characters that a URL holds only percent-encoded")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("is not an absolute http or https URL without a fragment")
    scheme, rest, path, query = match.groups()
    host, port = parse_authority(rest, DEFAULT_PORTS[scheme])
    if "\\" in path or (found := hazard(path)):
        raise ValueError("has a backslash" if "\\" in path else found)
    return Url(scheme, format_authority(host, port, scheme), (path or "/") + query)

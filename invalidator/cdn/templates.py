"""What a message's keys, prefixes and URLs are at the edge: URLs, made from the operator's templates. Pure.

Whoever writes a message chooses a path below a host that the operator has named, and nothing else. Everything here
raises ValueError, with the reason, for what must not be sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.http import encode, hazard, parse_url

if TYPE_CHECKING:
    from collections.abc import Collection

KEY = "{key}"
LONGEST_URL = 8000
_TAG = re.compile(r"[!-~]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """`https://shop.example/{key}`: the URL of a key is `before`, the key percent-encoded, `after`."""

    before: str
    after: str

    @property
    def host(self) -> str:
        """The host, with its port if that is not the scheme's own."""
        return parse_url(f"{self.before}x{self.after}").authority

    @property
    def takes_prefixes(self) -> bool:
        """Whether all keys with a prefix share a beginning of their path."""
        return "?" not in self.before

    def url(self, key: str) -> str:
        """The URL of a key."""
        url = f"{self.before}{_safe(key)}{self.after}"
        path = url.partition("://")[2].partition("?")[0]
        if why := hazard(path):
            raise ValueError(why)
        return _bounded(url)

    def beginning(self, prefix: str) -> str:
        """How the URLs of all keys with this prefix begin: `https://shop.example/users:`. More may begin so."""
        if not prefix:
            raise ValueError("an empty prefix is everything: ask for all")
        url = f"{self.before}{_safe(prefix)}"
        # Encoded, a key's `?` and `#` are no query and no fragment, so that the path ends where the prefix does.
        if why := hazard(url.partition("://")[2]):
            raise ValueError(why)
        return _bounded(url)

    def __str__(self) -> str:
        return f"{self.before}{KEY}{self.after}"


def parse_template(text: str) -> UrlTemplate:
    """A template from its text: an absolute URL with `{key}` once, in its path or its query."""
    before, found, after = text.partition(KEY)
    if not found or KEY in after:
        raise ValueError("needs {key} in it, once")
    if "{" in before + after or "}" in before + after:
        raise ValueError("knows no other placeholder than {key}")
    if before.count("/") < 3:
        raise ValueError("is a whole URL with {key} in its path, like https://shop.example/{key}")
    parse_url(f"{before}x{after}")
    return UrlTemplate(before, after)


def own_url(url: str, hosts: Collection[str]) -> str:
    """A message's URL, with its host in canonical form, if the host is among `hosts`."""
    parsed = parse_url(url)
    if parsed.authority not in hosts:
        raise ValueError("its host is not among `hosts`")
    return _bounded(f"{parsed.scheme}://{parsed.authority}{parsed.target}")


def tag(value: str, longest: int, forbidden: str = "") -> str:
    """A tag, if a header of tags can hold it: visible ASCII without spaces, nor what separates tags."""
    if not _TAG.fullmatch(value) or any(char in value for char in forbidden):
        also = f" and {' '.join(forbidden)}" if forbidden else ""
        raise ValueError(f"a tag is made of visible ASCII without spaces{also}")
    if len(value) > longest:
        raise ValueError(f"is longer than {longest} characters")
    return value


def _safe(value: str) -> str:
    if why := hazard(value):
        raise ValueError(why)
    return encode(value)


def _bounded(url: str) -> str:
    if len(url) > LONGEST_URL:
        raise ValueError(f"its URL is longer than {LONGEST_URL} bytes")
    return url

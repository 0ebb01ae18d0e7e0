"""A model of a CDN's cache, to see what a purge really did: put a URL in, and look whether it is still there."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@dataclass(slots=True)
class _Entry:
    host: str
    path: str  # with the query
    tags: frozenset[str]
    stale: bool = False


class EdgeCache:
    """What one account has in its cache, by URL. `key` and `tag` say what the vendor takes for the same URL or tag.

    Thread-safe. A purge of what is not there is a success, as with every vendor.
    """

    def __init__(self, key: Callable[[str], str], tag: Callable[[str], str] = str) -> None:
        self._key, self._tag = key, tag
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._tagged: dict[str, set[str]] = {}

    def put(self, url: str, *, tags: Iterable[str] = (), headers: Mapping[str, str] | None = None) -> None:
        """Cache `url`, fresh, with the tags of its origin's answer. `headers`: those that are part of its cache key."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not an absolute URL: {url!r}")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        name = self._name(url, headers)
        entry = _Entry(parts.hostname, path, frozenset(map(self._tag, tags)))
        with self._lock:
            self._forget(name)
            self._entries[name] = entry
            for tag in entry.tags:
                self._tagged.setdefault(tag, set()).add(name)

    def has(self, url: str, headers: Mapping[str, str] | None = None) -> bool:
        """Whether the cache would answer, be it with something stale."""
        with self._lock:
            return self._name(url, headers) in self._entries

    def is_stale(self, url: str, headers: Mapping[str, str] | None = None) -> bool:
        """Whether it is there and was purged softly: it would be asked of the origin again."""
        with self._lock:
            entry = self._entries.get(self._name(url, headers))
            return entry is not None and entry.stale

    def is_fresh(self, url: str, headers: Mapping[str, str] | None = None) -> bool:
        """Whether it is there and was not purged softly."""
        return self.has(url, headers) and not self.is_stale(url, headers)

    def clear(self) -> None:
        """Forget everything, as a cache that begins."""
        with self._lock:
            self._entries.clear()
            self._tagged.clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    # What the vendors' calls do to it. Each gives the number of entries that it found.

    def purge_url(self, url: str, headers: Mapping[str, str] | None = None, *, soft: bool = False) -> int:
        """That one entry."""
        with self._lock:
            return self._drop({self._name(url, headers)}, soft=soft)

    def purge_tag(self, tag: str, *, domain: str = "", soft: bool = False) -> int:
        """`domain`: of this zone alone; without it, of all."""
        with self._lock:
            names = set(self._tagged.get(self._tag(tag), ()))
            return self._drop({name for name in names if _within(self._entries[name].host, domain)}, soft=soft)

    def purge_host(self, host: str, *, soft: bool = False) -> int:
        """Everything of that very host."""
        return self._purge_where(lambda entry: entry.host == host.lower(), soft=soft)

    def purge_prefix(self, prefix: str, *, soft: bool = False) -> int:
        """`host`, or `host/path`: the host is that very one, the path is how the entry's path begins."""
        host, slash, path = prefix.partition("/")
        return self._purge_where(
            lambda entry: entry.host == host.lower() and entry.path.startswith(slash + path), soft=soft
        )

    def purge_domain(self, domain: str, *, soft: bool = False) -> int:
        """The domain itself and all below it: a zone."""
        return self._purge_where(lambda entry: _within(entry.host, domain), soft=soft)

    def purge_all(self, *, soft: bool = False) -> int:
        """Everything."""
        return self._purge_where(lambda _: True, soft=soft)

    def _purge_where(self, condition: Callable[[_Entry], bool], *, soft: bool) -> int:
        with self._lock:
            return self._drop({name for name, entry in self._entries.items() if condition(entry)}, soft=soft)

    def _drop(self, names: set[str], *, soft: bool) -> int:
        found = names & self._entries.keys()
        for name in found:
            if soft:
                self._entries[name].stale = True
            else:
                self._forget(name)
        return len(found)

    def _forget(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        for tag in entry.tags if entry else ():
            self._tagged[tag].discard(name)
            if not self._tagged[tag]:
                del self._tagged[tag]

    def _name(self, url: str, headers: Mapping[str, str] | None) -> str:
        variant = sorted((name.lower(), value) for name, value in (headers or {}).items())
        return "\n".join([self._key(url), *(f"{name}: {value}" for name, value in variant)])


def _within(host: str, domain: str) -> bool:
    return not domain or host == domain.lower() or host.endswith(f".{domain.lower()}")


def with_scheme(url: str) -> str:
    """The cache key of a vendor to whom http and https are two: the host in small letters, the path as it is."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{without_scheme(url)}"


def without_scheme(url: str) -> str:
    """The cache key of a vendor to whom they are one: host, path and query. The fragment never reaches a server."""
    parts = urlsplit(url)
    return parts.netloc.lower() + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

"""The caches as the application sees them: what each holds, and how it is refilled without keeping what is stale."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Protocol

from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from invalidator.stage.truth import Truth

_TIMEOUT = 5.0
_ANSWER = re.compile(rb"HTTP/1\.1 (\d+) (?:[^\r]+\r\n)+\r\n(\d*)-?\n")
_END_OF_BODY = re.compile(rb"[^\r]\n")


class Store(Protocol):
    """A cache of versions by key."""

    def held(self, keys: Sequence[str]) -> Mapping[str, int]:
        """What the cache would answer with now, for those of these keys that it holds."""

    def refill(self, keys: Sequence[str], truth: Truth) -> None:
        """Load those that it does not hold."""

    def close(self) -> None:
        """Hang up."""


class SharedStore:
    """A store that the application fills itself.

    A refill has a race that no daemon can win: the application loads version 1, the product changes, its invalidation
    finds nothing to purge, and then the application stores version 1, for good. So it looks again *after* it stored. If
    the version is still the same, its change is yet to come, and so is its invalidation, which will find the entry. If
    not, the entry is deleted, which at worst costs a miss.
    """

    def held(self, keys: Sequence[str]) -> Mapping[str, int]:
        """See Store."""
        raise NotImplementedError

    def refill(self, keys: Sequence[str], truth: Truth) -> None:
        """See Store."""
        held = self.held(keys)
        loaded = {key: truth.version(key) for key in keys if key not in held}
        if loaded:
            self._put(loaded)
            if outdated := [key for key, version in loaded.items() if truth.version(key) != version]:
                self._delete(outdated)

    def _put(self, versions: Mapping[str, int]) -> None:
        raise NotImplementedError

    def _delete(self, keys: Sequence[str]) -> None:
        raise NotImplementedError


class RedisStore(SharedStore):
    """A secondary Redis."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=_TIMEOUT, decode_responses=True)

    def held(self, keys: Sequence[str]) -> Mapping[str, int]:
        """See Store."""
        values = self._redis.mget(keys)
        return {key: int(value) for key, value in zip(keys, values, strict=True) if value is not None}

    def close(self) -> None:
        """See Store."""
        self._redis.close()

    def _put(self, versions: Mapping[str, int]) -> None:
        self._redis.mset(dict(versions))

    def _delete(self, keys: Sequence[str]) -> None:
        self._redis.unlink(*keys)


class MemcachedStore(SharedStore):
    """A memcached, spoken to in its text protocol."""

    def __init__(self, address: str) -> None:
        self._line = _Line(address)

    def held(self, keys: Sequence[str]) -> Mapping[str, int]:
        """See Store."""
        answer = self._line.ask(f"get {' '.join(keys)}\r\n".encode(), lambda seen: seen.endswith(b"END\r\n"))
        return {key.decode(): int(value) for key, value in re.findall(rb"VALUE (\S+) 0 \d+\r\n(\d+)\r\n", answer)}

    def close(self) -> None:
        """See Store."""
        self._line.close()

    def _put(self, versions: Mapping[str, int]) -> None:
        commands = "".join(f"set {key} 0 0 {len(str(version))}\r\n{version}\r\n" for key, version in versions.items())
        self._line.ask(commands.encode(), lambda seen: seen.count(b"\n") == len(versions))

    def _delete(self, keys: Sequence[str]) -> None:
        commands = "".join(f"delete {key}\r\n" for key in keys)
        self._line.ask(commands.encode(), lambda seen: seen.count(b"\n") == len(keys))


class HttpStore:
    """The HTTP cache. It fills itself from its origin when it is asked, and has to win the race itself, as it does."""

    def __init__(self, address: str) -> None:
        self._line = _Line(address)

    def held(self, keys: Sequence[str]) -> Mapping[str, int]:
        """See Store."""
        answers = self._get(keys, "Cache-Control: only-if-cached\r\n")
        return {key: version for key, version in zip(keys, answers, strict=True) if version is not None}

    def refill(self, keys: Sequence[str], truth: Truth) -> None:
        """See Store."""
        del truth
        self._get(keys, "")

    def close(self) -> None:
        """See Store."""
        self._line.close()

    def _get(self, keys: Sequence[str], header: str) -> list[int | None]:
        requests = "".join(f"GET /{key} HTTP/1.1\r\nHost: shop\r\n{header}\r\n" for key in keys)
        # Its bodies end with a bare line feed, which nothing else there does.
        answer = self._line.ask(requests.encode(), lambda seen: len(_END_OF_BODY.findall(seen)) == len(keys))
        return [int(body) if status == b"200" else None for status, body in _ANSWER.findall(answer)]


class _Line:
    """A connection for questions whose answers' ends can be seen."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), _TIMEOUT)

    def ask(self, question: bytes, complete: Callable[[bytes], bool]) -> bytes:
        self._socket.sendall(question)
        answer = b""
        while not complete(answer):
            if not (chunk := self._socket.recv(65536)):
                raise ConnectionError("a cache has hung up")
            answer += chunk
        return answer

    def close(self) -> None:
        self._socket.close()

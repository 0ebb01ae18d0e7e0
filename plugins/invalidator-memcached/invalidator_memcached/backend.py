"""One memcached node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator import Backend, BackendError, Failure, PurgeResult, Target
from invalidator_memcached.connection import Connection
from invalidator_memcached.protocol import (
    END,
    FLUSH,
    HELD,
    KEYS_PER_CHUNK,
    MISSING,
    PING,
    STORED,
    KeyTemplate,
    OneLine,
    Replies,
    deletes,
    is_error,
    is_gone,
    looks,
    shown,
    soft_flags,
    stores,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from invalidator import Batch
    from invalidator_memcached.options import MemcachedOptions


class MemcachedBackend(Backend):
    """Forgets keys on one node, over one connection that is opened when it is first needed and after every error."""

    canary = "hold"

    def __init__(self, address: str, options: MemcachedOptions) -> None:
        self.node = address
        self._options = options
        self._template = KeyTemplate(options.key)
        self._connection: Connection | None = None

    def purge(self, batch: Batch) -> PurgeResult:
        """See Backend. What the deadline, or an error, leaves unanswered is a failure; what was answered is purged."""
        if batch.all:
            self._flush(batch.deadline)
            return PurgeResult()
        keys = self._template.holdable(batch.keys)
        flags = soft_flags(self._options.soft_ttl) if batch.soft else ""
        return PurgeResult(tuple(self._delete(keys, flags, batch.deadline))) if keys else PurgeResult()

    def connect(self) -> None:
        """See Backend. The no-op that ends each chunk proves that the node knows the meta commands."""
        line = self._ask(PING, time.monotonic() + self._options.timeout)
        if line != END:
            is_error(line)
            raise BackendError("server_error", shown(line))

    def plant(self, key: str, seconds: float) -> None:
        """See Backend."""
        line = self._ask(stores(self._template, key, seconds), time.monotonic() + self._options.timeout)
        if line != STORED:
            is_error(line)
            raise BackendError("server_error", shown(line))

    def holds(self, key: str) -> bool:
        """See Backend."""
        line = self._ask(looks(self._template, key), time.monotonic() + self._options.timeout)
        if line not in (HELD, MISSING):
            is_error(line)
            raise BackendError("server_error", shown(line))
        return line == HELD

    def preview(self, batch: Batch) -> Iterator[str]:
        """See Backend."""
        if batch.all:
            yield f"flush_all on {self.node}"
            return
        word = "mark stale" if batch.soft and self._options.soft_ttl else "delete"
        for key in self._template.holdable(batch.keys):
            yield f"{word} {self._template.before}{key}{self._template.after} on {self.node}"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _flush(self, deadline: float) -> None:
        line = self._ask(FLUSH, deadline)
        if line == b"OK":
            return
        self.close()
        if line.startswith(b"CLIENT_ERROR flush_all"):
            raise BackendError("unsupported", "the node was started with -F: it refuses flush_all", retry=False)
        is_error(line)
        raise BackendError("server_error", shown(line))

    def _delete(self, keys: Sequence[str], flags: str, deadline: float) -> list[Failure]:
        chunks = [keys[start : start + KEYS_PER_CHUNK] for start in range(0, len(keys), KEYS_PER_CHUNK)]
        replies = Replies(len(chunks))
        wire = b"".join(deletes(self._template, chunk, f"{flags} q") for chunk in chunks)
        failures: list[Failure] = []
        try:
            self._exchange(wire, replies, deadline)
        except BackendError as error:
            if not replies.chunks:
                raise
            failures += _failed(keys[len(replies.chunks) * KEYS_PER_CHUNK :], error)
        for chunk, lines in zip(chunks, replies.chunks, strict=False):
            if not all(map(is_gone, lines)):
                failures += self._delete_one_by_one(chunk, flags, deadline)
        return failures

    def _delete_one_by_one(self, keys: Sequence[str], flags: str, deadline: float) -> list[Failure]:
        # A quiet chunk says that something failed, not which key. Asked aloud, each delete has a line of its own.
        replies = Replies(1, lines_each=len(keys))
        try:
            self._exchange(deletes(self._template, keys, flags), replies, deadline)
        except BackendError as error:
            return _failed(keys, error)
        return [_verdict(key, line) for key, line in zip(keys, replies.chunks[0], strict=True) if not is_gone(line)]

    def _ask(self, wire: bytes, deadline: float) -> bytes:
        answer = OneLine()
        self._exchange(wire, answer, deadline)
        return answer.line

    def _exchange(self, wire: bytes, replies: Replies | OneLine, deadline: float) -> None:
        try:
            self._connected(deadline).exchange(wire, replies.feed, deadline)
        except BaseException:
            # Answers to what was sent may still come: the next question would take them for its own.
            self.close()
            raise

    def _connected(self, deadline: float) -> Connection:
        if self._connection is not None and not self._connection.is_idle():
            self.close()
        if self._connection is None:
            if time.monotonic() >= deadline:
                raise BackendError("timeout", "the deadline has passed")
            self._connection = Connection(self.node, deadline, self._options.timeout)
        return self._connection


def _failed(keys: Iterable[str], error: BackendError) -> list[Failure]:
    return [Failure(Target("key", key), error.reason, retry=error.retry, detail=error.detail) for key in keys]


def _verdict(key: str, line: bytes) -> Failure:
    target = Target("key", key)
    if line.startswith(b"CLIENT_ERROR"):
        return Failure(target, "rejected", retry=False, detail=shown(line))
    return Failure(target, "server_error", detail=shown(line))

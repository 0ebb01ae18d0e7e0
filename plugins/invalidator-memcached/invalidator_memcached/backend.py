"""One memcached node."""

from __future__ import annotations

import time
from contextlib import contextmanager
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

_AT_ONCE = 1 << 16
"""Bytes that a connection on which nothing is under way takes without a wait."""


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

    def send(self, batch: Batch) -> UnderWay | None:
        """See Backend. Only over a connection that is there, and only one chunk, which it takes as a whole."""
        connection = self._connection
        if batch.all or connection is None or not connection.is_idle():
            return None
        keys = self._template.holdable(batch.keys)
        if not 0 < len(keys) <= KEYS_PER_CHUNK:
            return None
        flags = soft_flags(self._options.soft_ttl) if batch.soft else ""
        wire = deletes(self._template, keys, f"{flags} q")
        if len(wire) > _AT_ONCE:
            return None
        try:
            sent = connection.send(wire)
        except BackendError:
            sent = 0
        if sent < len(wire):
            self.close()  # it may be in the middle of a line
            return None
        return UnderWay(self, connection, keys, flags, batch.deadline)

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
            failures += self.deleted(chunk, lines, flags, deadline)
        return failures

    def deleted(self, keys: Sequence[str], lines: Sequence[bytes], flags: str, deadline: float) -> list[Failure]:
        """What the lines mean that a quiet chunk was answered with. Asks once more where there are any."""
        return [] if all(map(is_gone, lines)) else self._delete_one_by_one(keys, flags, deadline)

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
        with self.in_step():
            self._connected(deadline).exchange(wire, replies.feed, deadline)

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Hang up after any error. Answers to what was sent may still come: the next question would take them for its
        own."""
        try:
            yield
        except BaseException:
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


class UnderWay:
    """One chunk of quiet deletes that was sent: see invalidator.Sent."""

    def __init__(
        self, backend: MemcachedBackend, connection: Connection, keys: Sequence[str], flags: str, deadline: float
    ) -> None:
        self._backend = backend
        self._connection = connection
        self._keys = keys
        self._flags = flags
        self._deadline = deadline
        self._replies = Replies(1)

    def fileno(self) -> int:
        """See Sent."""
        return self._connection.fileno()

    def is_answered(self) -> bool:
        """See Sent. A line about one of the keys names none: which it is, `purge` asks."""
        try:
            if not self._replies.feed(self._connection.receive()):
                return False
        except BaseException:
            self._backend.close()
            raise
        (lines,) = self._replies.chunks
        if not all(map(is_gone, lines)):
            raise BackendError("server_error", "one of the keys")
        return True

    def wait(self) -> PurgeResult:
        """See Sent."""
        with self._backend.in_step():
            self._connection.exchange(b"", self._replies.feed, self._deadline)
        (lines,) = self._replies.chunks
        return PurgeResult(tuple(self._backend.deleted(self._keys, lines, self._flags, self._deadline)))


def _failed(keys: Iterable[str], error: BackendError) -> list[Failure]:
    return [Failure(Target("key", key), error.reason, retry=error.retry, detail=error.detail) for key in keys]


def _verdict(key: str, line: bytes) -> Failure:
    target = Target("key", key)
    if line.startswith(b"CLIENT_ERROR"):
        return Failure(target, "rejected", retry=False, detail=shown(line))
    return Failure(target, "server_error", detail=shown(line))

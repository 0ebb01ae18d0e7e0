"""A secondary Redis or Valkey."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import hiredis

from invalidator import Backend, BackendError, PurgeResult, Target
from invalidator_redis.commands import KEYS_PER_COMMAND, KeyTemplate, encodable, outermost, unlink
from invalidator_redis.connection import Connection
from invalidator_redis.outcome import Outcome
from invalidator_redis.places import shown
from invalidator_redis.refusals import code_of, refusal
from invalidator_redis.walks import ask, walk_keyspace, walk_tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator import Batch
    from invalidator.messages import Kind
    from invalidator_redis.connection import Reply
    from invalidator_redis.options import RedisOptions

_NOT_UTF8 = BackendError("rejected", "cannot be written in UTF-8")


class RedisBackend(Backend):
    """Forgets on one server, over one connection that is opened when it is first needed and after every error."""

    canary = "hold"

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._template = KeyTemplate(options.key)
        self._connection: Connection | None = None

    def purge(self, batch: Batch) -> PurgeResult:
        """See Backend. The first error ends it: what was done by then is purged, the rest are failures."""
        outcome = Outcome(batch)
        try:
            if batch.all and self._options.all_by == "flushdb":
                self._flush(batch.deadline)
                return PurgeResult()
            self._purge_keys(batch.keys, outcome, batch.deadline)
            self._purge_tags(batch.tags, outcome, batch.deadline)
            self._purge_by_walking(batch, outcome)
        except BackendError as error:
            self.close()
            return outcome.broken_off(error)
        except BaseException:
            self.close()
            raise
        return outcome.result()

    def connect(self) -> None:
        """See Backend. It unlinks a name that nobody has: a replica, a cluster's node, a lack of rights show in it."""
        deadline = time.monotonic() + 2 * self._options.timeout
        nobodys = self._template.names([f"invalidator:nobody:{secrets.token_hex(8)}"])
        try:
            ask(self._connected(deadline), [unlink(nobodys)], deadline)
        except BaseException:
            self.close()
            raise

    def plant(self, key: str, seconds: float) -> None:
        """See Backend."""
        self._ask_of("SET", key, "1", "EX", max(1, round(seconds)))

    def holds(self, key: str) -> bool:
        """See Backend."""
        return bool(self._ask_of("EXISTS", key) == 1)

    def preview(self, batch: Batch) -> Iterator[str]:
        """See Backend. What is marked as stale elsewhere is removed here."""
        where = f"on {shown(self._options.url)}"
        if batch.all and self._options.all_by == "flushdb":
            yield f"FLUSHDB ASYNC {where}"
            return
        yield from (f"UNLINK {name} {where}" for name in self._template.names(encodable(batch.keys)[0]))
        if self._options.tag_key:
            places = [self._options.tag_key.replace("{tag}", tag) for tag in encodable(batch.tags)[0]]
            yield from (f"SSCAN {place}, UNLINK each of its names {where}" for place in places)
        patterns = [self._template.prefix(prefix) for prefix in outermost(encodable(batch.prefixes)[0])]
        patterns += [self._template.pattern(pattern) for pattern in encodable(batch.patterns)[0]]
        patterns += [self._template.prefix("")] if batch.all else []
        yield from (f"SCAN MATCH {pattern}, UNLINK each name {where}" for pattern in patterns)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask_of(self, command: str, key: str, *more: str | int) -> Reply:
        deadline = time.monotonic() + 2 * self._options.timeout
        try:
            return ask(self._connected(deadline), [(command, *self._template.names([key]), *more)], deadline)[0]
        except BaseException:
            self.close()
            raise

    def _flush(self, deadline: float) -> None:
        # ASYNC: the keys are gone at once, and their memory is given back without anybody waiting for it.
        (reply,) = ask(self._connected(deadline), [("FLUSHDB", "ASYNC")], deadline)
        if reply != b"OK":
            raise BackendError("protocol", "not an answer to FLUSHDB")

    def _purge_keys(self, keys: Sequence[str], outcome: Outcome, deadline: float) -> None:
        writable = self._writable("key", keys, outcome)
        chunks = [writable[start : start + KEYS_PER_COMMAND] for start in range(0, len(writable), KEYS_PER_COMMAND)]
        if not chunks:
            return
        connection = self._connected(deadline)
        replies: list[Reply] = []
        try:
            connection.collect([unlink(self._template.names(chunk)) for chunk in chunks], replies, deadline)
        finally:  # also when an error ended it: what had been answered by then is purged
            for chunk, reply in zip(chunks, replies, strict=False):
                if isinstance(reply, int):
                    outcome.purged("key", chunk)
        for chunk, reply in zip(chunks, replies, strict=True):
            if not isinstance(reply, int):
                self._purge_refused(chunk, reply, outcome, deadline)

    def _purge_refused(self, keys: Sequence[str], reply: Reply, outcome: Outcome, deadline: float) -> None:
        # One key that our user may not touch makes Redis refuse a thousand: asked one by one, it costs only itself.
        if not isinstance(reply, hiredis.ReplyError):
            raise BackendError("protocol", "not an answer to UNLINK")
        if code_of(str(reply)) != "NOPERM":
            raise refusal(str(reply))
        names = self._template.names(keys)
        replies = self._connected(deadline).ask([unlink([name]) for name in names], deadline)
        if not any(isinstance(each, int) for each in replies):
            raise refusal(str(reply))
        for key, each in zip(keys, replies, strict=True):
            if isinstance(each, int):
                outcome.purged("key", [key])
            else:
                outcome.failed(Target("key", key), refusal(str(each)))

    def _purge_tags(self, tags: Sequence[str], outcome: Outcome, deadline: float) -> None:
        template = self._options.tag_key
        for tag in self._writable("tag", tags, outcome) if template else ():
            try:
                walk_tag(self._connected(deadline), (template or "").replace("{tag}", tag), deadline)
            except BackendError as error:
                if error.reason != "rejected":
                    raise
                outcome.failed(Target("tag", tag), error)
            else:
                outcome.purged("tag", [tag])

    def _purge_by_walking(self, batch: Batch, outcome: Outcome) -> None:
        groups = outermost(self._writable("prefix", batch.prefixes, outcome))
        for prefix, covered in groups.items():
            self._walk(self._template.prefix(prefix), batch.deadline)
            outcome.purged("prefix", covered)
        for pattern in self._writable("pattern", batch.patterns, outcome):
            self._walk(self._template.pattern(pattern), batch.deadline)
            outcome.purged("pattern", [pattern])
        if batch.all:
            self._walk(self._template.prefix(""), batch.deadline)
            outcome.purged("all", [""])

    def _walk(self, pattern: str, deadline: float) -> None:
        walk_keyspace(self._connected(deadline), pattern, self._options.scan_count, deadline)

    def _writable(self, kind: Kind, values: Sequence[str], outcome: Outcome) -> Sequence[str]:
        good, bad = encodable(values)
        for value in bad:
            outcome.failed(Target(kind, value), _NOT_UTF8)
        return good

    def _connected(self, deadline: float) -> Connection:
        if self._connection is not None and not self._connection.is_idle():
            self.close()
        if self._connection is None:
            self._connection = Connection(self._options, deadline)
        return self._connection

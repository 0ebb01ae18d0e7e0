"""Publisher: what an application calls."""

from __future__ import annotations

import math
import os
import secrets
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Self, TypeVar

from invalidator.envelope import JOURNAL_KEEP, JOURNAL_STREAM, MAX_PAYLOAD, Head, check_channel, envelopes, ids_of
from invalidator.errors import InvalidatorError, PublishError, UnreachableError
from invalidator.journal.script import ROOM
from invalidator.messages import EVERYTHING, Target
from invalidator.presence import INDEX
from invalidator.publisher.client import open_client, shown_url, user_of
from invalidator.publisher.refusals import explained
from invalidator.publisher.sending import Journaled, Outlet, Plain, Sent, slices
from invalidator.publisher.waiting import RIGHTS, Patience, Roll

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from invalidator.messages import Kind
    from invalidator.presence import Presence
    from invalidator.publisher.client import Server
    from invalidator.publisher.cluster import Cluster
    from invalidator.reply import Reply

T = TypeVar("T")

DEFAULT_TIMEOUT = 2.0
"""Seconds that a write may be held up by a Redis that does not answer."""
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Published:
    """What was sent. `receivers` is how many subscriptions got every one of the messages.

    No receiver is no error by itself: in a Cluster, Redis counts only those of the node that was asked. `journal` has
    the id of each message's entry, `receipts` what was answered in the time that a caller waited.
    """

    id: str
    targets: int
    messages: int
    receivers: int
    journal: tuple[str, ...] = ()
    receipts: tuple[Reply, ...] = ()


class NotAppliedError(InvalidatorError):
    """It is `published`, and not known to be applied everywhere. `missing` says who has not, a line for each."""

    exit_code = 1

    def __init__(self, text: str, published: Published, missing: Sequence[str] = ()) -> None:
        self.published = published
        self.missing = tuple(missing)
        super().__init__(text)


class Publisher:
    """Publishes invalidations to one Redis. Safe between threads, and after a fork; connects when first used.

    `url` is redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; a `password` given here replaces the
    URL's. `timeout` (seconds) bounds what a call costs when Redis does not answer; only a resolver that hangs can hold
    it up for longer.
    `source` says who publishes; by default host and pid. With `journal`, each message is also kept in `stream`, which
    holds about `keep` of them, in the URL's database: workers with `delivery: journal` read there what they missed.
    """

    def __init__(
        self,
        url: str,
        *,
        journal: bool = False,
        stream: str = JOURNAL_STREAM,
        keep: int = JOURNAL_KEEP,
        password: str | None = None,
        source: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        if not stream or keep < 1:
            raise PublishError("the journal needs the name of a stream, and at least one entry to keep")
        self._outlet: Outlet = Journaled(stream, keep) if journal else Plain()
        self._url = url
        self._password = password
        self._source = source
        self._timeout = timeout
        self._lock = threading.Lock()
        self._server: Server | Cluster | None = None

    def invalidate(  # noqa: PLR0913 -- one argument for each member of the message
        self,
        channel: str,
        keys: Iterable[str] = (),
        *,
        tags: Iterable[str] = (),
        prefixes: Iterable[str] = (),
        patterns: Iterable[str] = (),
        urls: Iterable[str] = (),
        all: bool = False,  # noqa: A002 -- the message's own word
        soft: bool = False,
        id: str | None = None,  # noqa: A002 -- the message's own word
        source: str | None = None,
        traceparent: str | None = None,
        hops: int = 0,
        wait: float | None = None,
    ) -> Published:
        """Publish that these targets are stale, in as few messages as hold them.

        With `wait`, returns once every worker that is there and hears the channel has applied it in all of its
        backends, and raises NotAppliedError when that is not so after so many seconds: it is published all the same.
        `hops` is for who passes on what it has heard: one more than that message had.

        Raises PublishError, with nothing sent, for what no worker would take, and UnreachableError when Redis did not
        confirm all of it within the timeout; to call again is then safe, as forgetting twice is forgetting.
        """
        check_channel(channel)
        if wait is not None and not 0 < wait < math.inf:
            raise PublishError("wait: a number of seconds, more than 0")
        targets = [
            *_targets("key", keys),
            *_targets("tag", tags),
            *_targets("prefix", prefixes),
            *_targets("pattern", patterns),
            *_targets("url", urls),
            *((EVERYTHING,) if all else ()),
        ]
        head = Head(
            id=secrets.token_urlsafe(9) if id is None else id,
            ts=time.time(),
            source=source or self._source or _whoami(os.getpid()),
            soft=soft,
            traceparent=traceparent or "",
            hops=hops,
        )
        if wait is None:
            return self._publish(channel, targets, head)
        return self._publish_and_wait(channel, targets, head, wait)

    def close(self) -> None:
        """Give back the connections. A later call opens new ones."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _publish(self, channel: str, targets: Sequence[Target], head: Head) -> Published:
        limit = MAX_PAYLOAD - (ROOM if self._outlet.stream else 0)
        payloads = envelopes(targets, head, limit)
        sent = [one for part in slices(payloads) for one in self._send(channel, part)]
        journal = tuple(one.journal for one in sent if one.journal)
        return Published(head.id, len(set(targets)), len(payloads), min(one.receivers for one in sent), journal)

    def _publish_and_wait(self, channel: str, targets: Sequence[Target], head: Head, wait: float) -> Published:
        from redis import exceptions  # noqa: PLC0415 -- see client.py

        trouble = ""
        audience: list[Presence] = []
        with ExitStack() as stack:
            try:
                patience, audience = self._once_more(lambda: self._attended(channel, stack))
                head = replace(head, reply=patience.channel)
            except (exceptions.RedisError, OSError) as error:
                # To know what became of it is worth less than that it happens.
                trouble = _words(error)
            published = self._publish(channel, targets, head)
            roll = Roll(audience, ids_of(head.id, published.messages))
            if audience and not trouble:
                try:
                    patience.collect(roll, time.monotonic() + wait)
                except (exceptions.RedisError, OSError) as error:
                    trouble = _words(error)
            published = replace(published, receipts=roll.receipts())
        self._judge(channel, published, roll, wait, trouble)
        return published

    def _judge(self, channel: str, published: Published, roll: Roll, wait: float, trouble: str) -> None:
        """Raises NotAppliedError unless all is well."""
        missing = roll.missing()
        if trouble:
            advice = f": ACL SETUSER {user_of(self._url)} {RIGHTS}" if "permission" in trouble else ""
            raise NotAppliedError(
                f"published, but what became of it cannot be heard: {trouble}{advice}", published, missing
            )
        if not roll.audience:
            raise NotAppliedError(
                f"published, but no worker that hears {channel} says in {shown_url(self._url)} that it is there: none"
                " runs, or its url names another database, or its Redis user may not write there (`invalidator status`"
                " says so)",
                published,
            )
        if missing:
            more = len(missing) - _MOST_NAMED
            lines = [*missing[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]
            when = "" if roll.is_complete else f" within {wait:g} s"
            text = "".join(f"\n  {line}" for line in lines)
            raise NotAppliedError(f"published, but not applied everywhere{when}:{text}", published, missing)

    def _attended(self, channel: str, stack: ExitStack) -> tuple[Patience, list[Presence]]:
        """Where receipts will arrive, and from whom."""
        patience = stack.enter_context(Patience(self._connected().at(INDEX), self._timeout))
        return patience, patience.audience(channel)

    def _once_more(self, attempt: Callable[[], T]) -> T:
        from redis import exceptions  # noqa: PLC0415 -- an application that never publishes never pays for it

        began = time.monotonic()
        try:
            return attempt()
        except exceptions.TimeoutError:
            self._connected().look_again(soon=False)
            raise  # the time that a caller gives us is spent
        except (exceptions.ConnectionError, exceptions.MovedError):
            # Mostly a connection that idled while Redis restarted. Once more, if it cost nothing to find out.
            if time.monotonic() - began > self._timeout / 4:
                raise
            self._connected().look_again()
            return attempt()

    def _send(self, channel: str, payloads: Sequence[bytes]) -> list[Sent]:
        from redis import exceptions  # noqa: PLC0415 -- see above

        try:
            return self._once_more(lambda: self._send_once(channel, payloads))
        except (exceptions.RedisError, OSError) as error:
            why = explained(_words(error), user_of(self._url), channel, self._outlet.stream)
            raise UnreachableError(f"could not publish to {shown_url(self._url)}: {why}") from error

    def _send_once(self, channel: str, payloads: Sequence[bytes]) -> list[Sent]:
        from redis.exceptions import AskError, MovedError  # noqa: PLC0415 -- see above

        server = self._connected()
        try:
            return self._outlet.send(server.at(self._outlet.stream), channel, payloads)
        except MovedError:
            raise
        except AskError as move:
            # The stream is moving, and for these it is there already. What was taken before is said twice.
            return self._outlet.send(server.node(move.host, move.port), channel, payloads, asking=True)

    def _connected(self) -> Server | Cluster:
        with self._lock:
            if self._server is None:
                self._server = open_client(self._url, self._password, self._timeout)
            return self._server


def _words(error: Exception) -> str:
    return str(error).partition(" : <")[0][:200] or type(error).__name__  # behind it, the repr of whole objects


def _targets(kind: Kind, values: Iterable[str]) -> Iterator[Target]:
    if isinstance(values, str):  # or each of its letters would be one
        raise PublishError(f"{kind}: give a list of texts, not one text")
    return (Target(kind, value) for value in values)


@cache
def _whoami(pid: int) -> str:
    return f"{socket.gethostname()}-{pid}"

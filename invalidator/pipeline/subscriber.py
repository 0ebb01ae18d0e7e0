"""Arrives: subscribes, reads what Redis sends, reconnects for ever, and says so when something may have been missed.

A subscription is one connection. It is thrown away at the first doubt: an error, the end of the stream, no byte within
the deadline, a second confirmation. From then until the next confirmation nothing is known, and that time is one Gap,
however many attempts it took. Reading comes first: everything that the socket holds is taken in before any of it is
parsed, as Redis disconnects a subscriber that reads too slowly.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Literal

import hiredis

from invalidator.backoff import full_jitter
from invalidator.messages import Gap, GapCause, Message
from invalidator.topology.patterns import is_glob
from invalidator.wire.connection import Connector, Link, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.logs import Logger
    from invalidator.topology.models import RedisSettings

State = Literal["waiting", "connecting", "confirming", "live"]

READS_AT_ONCE = 512
CHUNKS_AT_ONCE = 4
BACKLOG_LIMIT = 256 << 20
"""Bytes read and not yet parsed; at this bound we stop reading, and Redis decides."""
AUTH_BACKOFF = 30.0
PING = b"*1\r\n$4\r\nPING\r\n"
_TIMER_SLACK = 0.05
"""Seconds by which the PING may have gone out late; without it, that would be added to the deadline."""


class Subscriber:
    """One subscription to one pattern, for as long as the worker lives. Each call takes `now`, in monotonic seconds."""

    def __init__(
        self,
        settings: RedisSettings,
        pattern: str,
        connect: Callable[[], Link],
        wake: Callable[[], None],
        log: Logger,
        now: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._heartbeat = settings.heartbeat
        self._backoff = settings.backoff
        self._command = subscribe_command(pattern)
        self._pattern = pattern.encode()
        self._connector = Connector(connect, wake)
        self._log = log
        self._chance = chance
        self.state: State = "waiting"
        self.trouble: tuple[str, str] = ("", "")
        self._link: Link | None = None
        self._reader = hiredis.Reader()
        self._backlog: deque[tuple[float, bytes]] = deque()  # each chunk with the second of its arrival
        self._backlog_size = 0
        self._outage: tuple[GapCause, float] | None = ("start", now)
        self._attempts = 0
        self._due = now
        self._last_byte = now
        self._last_ping = now
        self._asked: float | None = None
        self._live_since = now

    def fileno(self) -> int | None:
        """The socket to wait for, if there is one and there is room for what it holds."""
        return self._link.fileno() if self._link and self._backlog_size < BACKLOG_LIMIT else None

    @property
    def behind(self) -> int:
        """Bytes that have been read and not been handed on."""
        return self._backlog_size

    def alive_until(self) -> float:
        """Until when the subscription is proven to be alive; 0.0 if it is not."""
        return self._last_byte + self._heartbeat.deadline if self.state == "live" else 0.0

    def current_until(self) -> float:
        """The same for whoever must have heard everything: counted from the oldest bytes that we have not handed on."""
        oldest = self._backlog[0][0] if self._backlog else self._last_byte
        return oldest + self._heartbeat.deadline if self.state == "live" else 0.0

    def next_due(self, now: float) -> float:
        """Seconds until `turn` should be called though nothing was received."""
        if self._backlog:
            return 0.0
        if self.state == "connecting":
            return self._heartbeat.deadline
        if self.state == "waiting":
            return max(0.0, self._due - now)
        ping = max(self._last_byte, self._last_ping) + self._heartbeat.interval
        verdict = self._last_byte + self._heartbeat.deadline
        return max(0.001, (min(ping, verdict) if verdict > now else ping) - now)

    def turn(self, now: float) -> Sequence[Gap | list[Message]]:
        """Do what is due, and hand on what has arrived, in the order in which it did."""
        if self._link is None:
            arrived = self._parse(now)  # what the last connection left, a slice at a time: the loop must go on beating
            self._pursue(now)
            return arrived
        self._absorb(now)
        arrived = self._parse(now)
        self._check_heartbeat(now)
        return arrived

    def close(self) -> None:
        """Hang up, for good."""
        if self._link:
            self._link.close()
            self._link = None
        self.state = "waiting"
        self._due = float("inf")

    def _pursue(self, now: float) -> None:
        """One step towards a new connection."""
        if self.state == "waiting" and now >= self._due:
            self.state = "connecting"
            self._connector.start()
        if self._backlog:
            return  # the new connection is heard only after the last word of the old one
        outcome = self._connector.outcome()
        if isinstance(outcome, Refused):
            self._log.warning(
                "redis.refused", detail=outcome.detail, attempt=self._attempts + 1, auth_failed=outcome.auth
            )
            self.trouble = ("auth" if outcome.auth else "unreachable", outcome.detail)
            self._retry(now, longest=AUTH_BACKOFF if outcome.auth else self._backoff.longest)
        elif outcome:
            self._link = outcome
            self._reader = hiredis.Reader()
            self._last_byte = self._last_ping = self._asked = now
            self.state = "confirming"
            # A Redis that loads its data confirms a subscription, and answers a PING with an error. Asked only later,
            # it would be lost and found again, and all be flushed, with each heartbeat until it has loaded.
            self._write(PING + self._command, now)

    def _write(self, data: bytes, now: float) -> None:
        if self._link is None:
            return
        try:
            self._link.write(data)
        except OSError as error:
            self._lose("disconnect", now, str(error))

    def _absorb(self, now: float) -> None:
        # Not one byte is parsed before the socket is empty: parsing takes longer than reading.
        link = self._link
        if link is None:
            return
        try:
            for _ in range(READS_AT_ONCE):
                if self._backlog_size >= BACKLOG_LIMIT or (chunk := link.read()) is None:
                    return
                if not chunk:
                    self._lose("disconnect", now, "Redis closed the connection")
                    return
                self._last_byte = now
                if self.state == "live":  # until then it is the confirmation that was asked for, and no pong is one
                    self._asked = None
                self._backlog.append((now, chunk))
                self._backlog_size += len(chunk)
        except OSError as error:
            self._lose("disconnect", now, str(error))

    def _parse(self, now: float) -> Sequence[Gap | list[Message]]:
        # The parser gets a chunk at a time: it moves all that it holds to the front again and again.
        events: list[Gap | list[Message]] = []
        messages: list[Message] = []
        for _ in range(min(CHUNKS_AT_ONCE, len(self._backlog))):
            _, chunk = self._backlog.popleft()
            self._backlog_size -= len(chunk)
            try:
                self._reader.feed(chunk)
                while (reply := self._reader.gets()) is not False:
                    if type(reply) is list and len(reply) == 4 and reply[0] == b"pmessage":
                        messages.append(Message(reply[2], reply[3]))
                    elif type(reply) is list and len(reply) == 3 and reply[0] == b"message":
                        messages.append(Message(reply[1], reply[2]))
                    elif gap := self._control(reply, now):
                        events += [messages, gap] if messages else [gap]
                        messages = []
            except hiredis.HiredisError as error:
                self._backlog.clear()
                self._backlog_size = 0
                self._lose("disconnect", now, f"garbage: {error}")
                break
        return [*events, messages] if messages else events

    def _control(self, reply: object, now: float) -> Gap | None:
        """A reply that is no message: a confirmation, a pong, or a reason to give this connection up."""
        match reply:
            case [b"psubscribe" | b"subscribe", self._pattern, int()] if self.state == "confirming":
                return self._confirmed(now)
            case [b"psubscribe" | b"subscribe", *_] if self.state == "live":
                # Somebody between us and Redis subscribed again: what was published before that is gone.
                self._lose("resubscribed", now, "a second confirmation")
            case [b"pong", *_] | b"PONG":
                pass
            case _:
                self._lose("disconnect", now, f"an unexpected reply: {str(reply)[:200]}")
        return None

    def _confirmed(self, now: float) -> Gap | None:
        cause, began = self._outage or ("resubscribed", now)
        self._outage = self._asked = None
        self.state = "live"
        self.trouble = ("", "")
        self._live_since = now
        self._log.info("redis.subscribed", after=cause, seconds=now - began, attempts=self._attempts + 1)
        return Gap(cause, began, now)

    def _check_heartbeat(self, now: float) -> None:
        if self._link is None:
            return
        interval, deadline = self._heartbeat.interval, self._heartbeat.deadline
        if is_silent(now, self._last_byte, self._asked, interval, deadline):
            self._lose("deadline", now, f"no byte for {now - self._last_byte:.1f} s")
        elif self.state == "live" and now - max(self._last_byte, self._last_ping) >= interval:
            self._last_ping = now
            self._asked = self._asked or now
            self._write(PING, now)

    def _lose(self, cause: GapCause, now: float, detail: str) -> None:
        if self._link is None:
            return
        if self.state == "live":
            # Only a connection that has held for a while proves that connecting is cheap again.
            if now - self._live_since > self._backoff.longest:
                self._attempts = 0
            self._outage = (cause, now if cause == "resubscribed" else self._last_byte)
        self.trouble = (cause, detail)
        self._log.warning("redis.lost", cause=cause, detail=detail)
        self._link.close()
        self._link = None
        self._retry(now, longest=self._backoff.longest)

    def _retry(self, now: float, longest: float) -> None:
        self._attempts += 1
        self.state = "waiting"
        self._due = now + full_jitter(self._attempts, self._backoff.first, longest, self._chance())


def is_silent(now: float, last_byte: float, asked: float | None, interval: float, deadline: float) -> bool:
    """Whether to stop believing in a connection: no byte for `deadline`, though we have asked for one in time.

    Any byte is a sign of life, so a busy stream costs no PING. A process that was itself stopped for a while has not
    asked, and does so before it judges.
    """
    return asked is not None and now - last_byte >= deadline and now - asked >= deadline - interval - _TIMER_SLACK


def subscribe_command(pattern: str) -> bytes:
    """PSUBSCRIBE, or SUBSCRIBE for a name without glob characters: each pattern slows down every PUBLISH."""
    name = b"PSUBSCRIBE" if is_glob(pattern) else b"SUBSCRIBE"
    argument = pattern.encode()
    return b"*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(name), name, len(argument), argument)

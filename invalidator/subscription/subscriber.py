"""Arrives: subscribes, reads what Redis sends, reconnects for ever, and says so when something may have been missed.

A subscription is one connection. It is thrown away at the first doubt: an error, the end of the stream, no byte within
the deadline, an echo that has not come, a second confirmation. From then until the next confirmation nothing is known,
and that time is one Gap, however many attempts it took.
"""

from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import hiredis

from invalidator.backoff import full_jitter
from invalidator.messages import Gap, GapCause, Messages
from invalidator.subscription.commands import PING, numbered_ping, pong, subscribe_command
from invalidator.subscription.heartbeat import TIMER_SLACK, Path, Silence, Verdict
from invalidator.subscription.inbox import Inbox
from invalidator.subscription.proof import Proof, Shown
from invalidator.topology.patterns import overlap
from invalidator.wire.connection import NEWS_SECONDS, Connector, Link, Refused
from invalidator.wire.identity import ECHO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from invalidator.logs import Logger
    from invalidator.topology.models import RedisSettings
    from invalidator.wire.sideline import Sideline

State = Literal["waiting", "connecting", "confirming", "live"]

CHUNKS_AT_ONCE = 4
AUTH_BACKOFF = 30.0
_FOR_CONNECTING = 0.1
"""Of the wait before an attempt: left for connecting and flushing, so that all of it takes no longer than `longest`."""
_NOT_OURS = ("NOAUTH", "NOPERM", "WRONGPASS")


class Subscriber:
    """One subscription to one pattern, for as long as the worker lives. Each call takes `now`, in monotonic seconds.

    `sideline` publishes its echoes; without one, PINGs alone tell whether the connection is alive.
    """

    def __init__(
        self,
        settings: RedisSettings,
        pattern: str,
        connector: Connector,
        sideline: Sideline | None,
        log: Logger,
        now: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._heartbeat = settings.heartbeat
        self._backoff = settings.backoff
        self._named = settings.url.scheme == "redis+sentinel"
        self._pattern = pattern
        self._connector = connector
        self._sideline = sideline
        self._log = log
        self._chance = chance
        self._overhears = overlap(pattern, f"{ECHO}*")
        self.state: State = "waiting"
        self.trouble: tuple[str, str] = ("", "")
        self._link: Link | None = None
        self._inbox = Inbox()
        self._silence = Silence(self._heartbeat.interval, self._heartbeat.deadline, now)
        self._proof: Proof | None = None
        self._channel = b""
        self._outage: tuple[GapCause, float] | None = ("start", now)
        self._attempts = self._denied = self._sounded = 0
        self._tried = self._due = self._live_since = now
        self._spread = self._checked = 0.0
        self._refused_us = self._holds = False

    def fileno(self) -> int | None:
        """The socket to wait for, if there is one and there is room for what it holds."""
        return self._link.fileno() if self._link and not self._inbox.is_full else None

    @property
    def behind(self) -> int:
        """Bytes that have been read and not been handed on."""
        return self._inbox.size

    @property
    def shown(self) -> Shown:
        """By what the subscription is known to be alive."""
        return self._proof.shown if self._proof and self.state == "live" else Shown()

    @property
    def server(self) -> str:
        """The run id of the one server through which all is heard; empty if it is not known, or there are several."""
        return self._link.server.run_id if self._link and self.state == "live" and not self._link.relays else ""

    def alive_until(self) -> float:
        """Until when the subscription is proven to be alive; 0.0 if it is not."""
        return self._silence.last_byte + self._heartbeat.deadline if self.state == "live" else 0.0

    def current_until(self) -> float:
        """The same for whoever must have heard everything: counted from the oldest that has not been handed on.

        That is bytes which wait here, or what is known to be on its way.
        """
        oldest = self._inbox.oldest(self._silence.last_byte)
        oldest = min(oldest, self._proof.behind_since) if self._proof else oldest
        return oldest + self._heartbeat.deadline if self.state == "live" else 0.0

    def next_due(self, now: float) -> float:
        """Seconds until `turn` should be called though nothing was received."""
        if self._inbox.size and not self._holds:
            return 0.0
        if self.state == "connecting":
            return self._heartbeat.deadline
        if self.state == "waiting":
            return max(0.0, min(self._due - now, NEWS_SECONDS if self._refused_us else float("inf")))
        echo = self._proof.next_due(now) if self._proof else float("inf")
        return min(self._silence.next_due(now), echo)

    def head_start(self, now: float, patience: float) -> None:
        """Subscribe before anything else is done, and wait so long for a connection. What comes is kept for `turn`."""
        self._pursue(now, patience)

    def turn(self, now: float, *, hold: bool = False, looked: bool = False) -> Sequence[Gap | Messages]:
        """Do what is due, and hand on what has arrived, in the order in which it did.

        `hold`: hand on nothing now. What arrives is kept, as bytes. `looked`: `fileno` had nothing to read just now.
        """
        self._holds = hold
        if self._link is None:
            arrived = self._parse(now)  # what the last connection left, a slice at a time: the loop must go on beating
            self._pursue(now)
            return arrived
        self._absorb(now, looked=looked)
        arrived = self._parse(now) if self._inbox.size else ()
        # A connection that brings messages is doubted no sooner than a PING may be late: the next would wait for it.
        if not arrived or now >= self._checked + TIMER_SLACK:
            self._check(now)
        return arrived

    def close(self) -> None:
        """Hang up, for good."""
        self._hang_up()
        self.state = "waiting"
        self._due = float("inf")

    def sound_out(self, now: float) -> None:
        """Ask for a PONG: what has been published by now comes before it."""
        if self.state == "live":
            self._sounded = self._silence.pinged(now)
            self._write(numbered_ping(self._sounded), now)

    def is_sounding(self) -> bool:
        """Whether that answer may still come."""
        return self._link is not None and self._silence.pongs < self._sounded

    @property
    def is_heard_out(self) -> bool:
        """Whether it has come, on the connection that was asked."""
        return 0 < self._sounded <= self._silence.pongs

    def _pursue(self, now: float, patience: float = 0.0) -> None:
        """One step towards a new connection."""
        if self.state == "waiting" and (now >= self._due or (self._refused_us and self._connector.has_news())):
            self.state = "connecting"
            self._tried = now
            self._connector.start()
        if self._inbox.size:
            return  # the new connection is heard only after the last word of the old one
        outcome = self._connector.outcome(patience)
        if isinstance(outcome, Refused):
            self._log.warning(
                "redis.refused", detail=outcome.detail, attempt=self._attempts + 1, auth_failed=outcome.auth
            )
            self.trouble = ("auth" if outcome.auth else "unreachable", outcome.detail)
            # Its own count: after an outage of many attempts, the first wrong password would cost up to half a minute.
            self._denied = self._denied + 1 if outcome.auth else 0
            self._retry(now, longest=AUTH_BACKOFF if outcome.auth else self._backoff.longest)
            self._refused_us = outcome.auth
        elif outcome:
            self._begin(outcome, now)

    def _begin(self, link: Link, now: float) -> None:
        self._link = link
        self._denied = 0
        self._inbox.begin()
        self._silence = Silence(self._heartbeat.interval, self._heartbeat.deadline, now)
        self.state = "confirming"
        # A Redis that loads its data confirms a subscription, and answers a PING with an error. Asked only later,
        # it would be lost and found again, and all be flushed, with each heartbeat until it has loaded.
        commands = PING + subscribe_command(self._pattern)
        if self._sideline:
            path: Path = "relayed" if link.relays else "named" if self._named else "one server"
            self._proof = Proof(self._sideline, self._heartbeat, self._pattern, path, link.server, now)
            self._channel = self._proof.channel
            commands += self._proof.subscribe()
        self._write(commands, now)

    def _write(self, data: bytes, now: float) -> None:
        if self._link is None:
            return
        try:
            self._link.write(data)
        except OSError as error:
            self._lose("disconnect", now, str(error))

    def _absorb(self, now: float, *, looked: bool = False) -> None:
        if self._link is None or (looked and self._inbox.is_drained):
            return
        before, lost = self._inbox.size, None
        try:
            self._inbox.absorb(self._link, now)
        except (OSError, EOFError) as error:
            lost = str(error)
        if self._inbox.size > before:
            # Until it is confirmed, the confirmation is what was asked for, and no other byte is an answer.
            self._silence.heard(now, sign=self.state == "live")
        if lost is not None:
            self._lose("disconnect", now, lost)

    def _parse(self, now: float) -> Sequence[Gap | Messages]:
        events: list[Any] = [Messages([], [])]
        try:
            for replies in islice(self._inbox.replies(), 0 if self._holds else CHUNKS_AT_ONCE):
                self._sort(replies, events, now)
        except hiredis.HiredisError as error:
            self._inbox.forget()
            self._lose("disconnect", now, f"garbage: {error}")
        return [event for event in events if event]

    def _sort(self, replies: Iterable[Any], events: list[Any], now: float) -> None:
        # The last of the events is always Messages. A million in a second come here: nothing is made of each of them.
        channels, payloads = events[-1].channels, events[-1].payloads
        for reply in replies:
            match reply:
                case [b"pmessage", _, channel, payload]:
                    # A pattern so wide hears every worker's echoes, too.
                    if not (self._overhears and channel.startswith(ECHO.encode())):
                        channels.append(channel)
                        payloads.append(payload)
                case [b"message", self._channel, text] if self._proof:
                    self._proof.heard(text)
                case [b"message", channel, payload]:
                    channels.append(channel)
                    payloads.append(payload)
                case _ if gap := self._control(reply, now):
                    events += [gap, Messages([], [])]
                    channels, payloads = events[-1].channels, events[-1].payloads

    def _control(self, reply: object, now: float) -> Gap | None:
        """A reply that is no message: a confirmation, a pong, or a reason to give this connection up."""
        match reply:
            case [b"subscribe", self._channel, int(count)] if self._proof and self._proof.confirmed(count):
                pass
            case [b"psubscribe" | b"subscribe", bytes(name), int()] if (
                self.state == "confirming" and name == self._pattern.encode()
            ):
                return self._confirmed(now)
            case [b"psubscribe" | b"subscribe", *_] if self.state == "live":
                # Somebody between us and Redis subscribed again: what was published before that is gone.
                self._lose("resubscribed", now, "a second confirmation")
            case _ if (text := pong(reply)) is not None:
                self._silence.ponged(text, now)
            case hiredis.ReplyError() if self.state == "live" and self._proof and self._proof.is_open is None:
                self._proof.denied(str(reply))  # answers come in order, and the pattern's has come
            case _:
                self._lose("disconnect", now, f"an unexpected reply: {str(reply)[:200]}")
                if str(reply).startswith(_NOT_OURS):
                    self.trouble = ("auth", str(reply)[:200])
        return None

    def _confirmed(self, now: float) -> Gap | None:
        cause, began = self._outage or ("resubscribed", now)
        if cause != "start" and self._sideline and self._sideline.was_astray():
            cause = "role"  # found meanwhile: one outage is one Gap, and this one no journal makes up for
        self._outage = None
        self._silence.confirmed()
        self.state = "live"
        self.trouble = ("", "")
        self._live_since = now
        self._log.info("redis.subscribed", after=cause, seconds=now - began, attempts=self._attempts + 1)
        return Gap(cause, began, now, self._spread)

    def _check(self, now: float) -> None:
        """Do what keeps the connection proven, or give it up."""
        self._checked = now
        if self._link is None:
            return
        verdict = self._silence.verdict(now)
        if self.state == "confirming" and self._silence.unanswered(now):
            verdict = Verdict("deadline", "the subscription has not been confirmed")
        if self.state == "live" and self._proof and not verdict:
            verdict = self._proof.verdict(self._silence.pongs)
        if verdict:
            self._lose(verdict.cause, now, verdict.detail)
        elif self.state == "live":
            self._keep_proven(now)

    def _keep_proven(self, now: float) -> None:
        if self._proof and (data := self._proof.turn(now)):
            self._write(data, now)
        fence = self._proof is not None and self._proof.wants_fence(now)
        if fence or self._silence.ping_due(now):
            number = self._silence.pinged(now)
            if self._proof and fence:
                self._proof.fenced(number)
            self._write(numbered_ping(number), now)

    def _lose(self, cause: GapCause, now: float, detail: str) -> None:
        if self._link is None:
            return
        if self.state == "live":
            # Only a connection that has held for a while proves that connecting is cheap again.
            if now - self._live_since > min(self._backoff.longest, self._heartbeat.deadline):
                self._attempts = 0
            self._outage = (cause, self._doubtful_since(cause, now))
        self._sounded = 0
        self._tried = now
        self.trouble = (cause, detail)
        self._log.warning("redis.lost", cause=cause, detail=detail)
        self._hang_up()
        self._retry(now, longest=self._backoff.longest)

    def _doubtful_since(self, cause: GapCause, now: float) -> float:
        """Since when messages may have been missed: bytes prove it no longer where it is the path that was broken."""
        if cause == "resubscribed":
            return now
        if self._silence.is_torn:
            return self._silence.whole_at
        if self._proof and self._proof.is_broken:
            return self._proof.proven_at
        return self._silence.last_byte

    def _hang_up(self) -> None:
        if self._proof:
            self._proof.end()
        if self._link:
            self._link.close()
            self._link = None

    def _retry(self, now: float, longest: float) -> None:
        self._attempts += 1
        self.state = "waiting"
        self._refused_us = False
        attempt = self._denied or self._attempts
        bound = full_jitter(attempt, self._backoff.first, longest, 1.0)
        self._spread = bound * (1 - _FOR_CONNECTING)
        # From the start of the last attempt: one that was never answered has been a wait by itself.
        self._due = max(now, self._tried + self._spread * self._chance())

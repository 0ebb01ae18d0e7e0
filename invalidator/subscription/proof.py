"""Proves one connection of a subscription, end to end: with an echo, and by asking what it is subscribed to.

The connection also hears a channel that nobody else knows. What the sideline publishes there, as any publisher would,
has to arrive. Where the user may not publish, or the sideline has no answer, PINGs on the connection itself remain.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from redis.exceptions import NoPermissionError

from invalidator.slots import clock
from invalidator.subscription.audit import Audit
from invalidator.subscription.commands import command
from invalidator.subscription.heartbeat import COMPANY, Echoes, Verdict
from invalidator.wire.connection import Refused
from invalidator.wire.identity import ECHO

if TYPE_CHECKING:
    from invalidator.subscription.heartbeat import Path
    from invalidator.topology.settings import Heartbeat
    from invalidator.wire.identity import Command, Identity
    from invalidator.wire.sideline import Answered, Sideline


_COLLECTED = 0.25
"""Seconds after which it is looked for an answer: what follows from it is not to come later than that."""


class Shown(NamedTuple):
    """By what the subscription is known to be alive, and, where it is only a PING, why."""

    by: Literal["", "echo", "ping"] = ""
    detail: str = ""


class Proof:
    """Of one connection. `now` is in monotonic seconds."""

    def __init__(
        self, sideline: Sideline, heartbeat: Heartbeat, pattern: str, path: Path, ours: Identity, now: float
    ) -> None:
        self.channel = f"{ECHO}{secrets.token_hex(16)}".encode()
        self.shown = Shown()
        self.proven_at = now
        self._whole_at = now
        self._sideline = sideline
        self._heartbeat = heartbeat
        self._echoes = Echoes(heartbeat.interval, heartbeat.deadline, path, ours, now)
        self._audit = Audit(ours, pattern)
        self._audited = self._counted = now
        self._hears: bool | None = None
        self._publishes = True
        self._recounts = 0
        self._recounting = 0.0
        self._doubt: Verdict | None = None
        self._over = False
        self._is_new = True
        self._is_asking = self._is_auditing = False

    @property
    def is_open(self) -> bool | None:
        """Whether the connection hears our channel; None: Redis has not said yet."""
        return self._hears

    def subscribe(self) -> bytes:
        """The command that has the connection hear our channel."""
        return command(b"SUBSCRIBE", self.channel)

    def denied(self, why: str) -> None:
        """Redis does not let the connection hear our channel."""
        self._hears = False
        self.shown = Shown("ping", f"SUBSCRIBE {ECHO}*: {why}")

    def confirmed(self, subscriptions: int) -> bool:
        """Redis has confirmed our channel, and counts this connection's subscriptions; False: nobody had asked."""
        if self._hears is None:
            self._hears = True
            self._audit.joined(ECHO)
        elif self._recounts:
            self._recounts -= 1
            self._recounting += self._heartbeat.deadline  # the next one was asked for that much later at least
        else:
            return False
        if subscriptions < 2:
            self._forgotten("Redis has forgotten the subscription, and keeps the connection")
        else:
            self._whole_at = self._counted
        return True

    def heard(self, nonce: object) -> None:
        """Something has come on our channel."""
        if not isinstance(nonce, bytes) or self._doubt:
            return
        self.proven_at = clock()
        self._echoes.heard(nonce.decode("ascii", "replace"))
        if self.shown.by != "echo":
            self.shown = Shown("echo")

    @property
    def behind_since(self) -> float:
        """Since when something that was asked for has not come: what was published then may not have come either.

        Infinite if nothing is awaited. A connection may carry a byte now and then, and be ever farther behind.
        """
        return min(self._recounting if self._recounts else float("inf"), self._echoes.unheard_since)

    def turn(self, now: float) -> bytes:
        """Ask beside the connection what is due; what to send on the connection itself."""
        if self._hears is None:
            return b""
        self._ask(now)
        if self._echoes.is_stuck(now):
            self.shown = Shown("ping", "nobody has answered PUBLISH within the deadline")
        if not self._hears or now - self._counted < self._heartbeat.deadline:
            return b""
        # A channel that is there already is only counted again. Besides, it shows Redis that we are alive.
        self._recounting = self._recounting if self._recounts else now
        self._counted = now
        self._recounts += 1
        return self.subscribe()

    def wants_fence(self, now: float) -> bool:
        """See Echoes."""
        return self._echoes.wants_fence(now)

    def fenced(self, ping: int) -> None:
        """See Echoes."""
        self._echoes.fenced(ping)

    def verdict(self, pongs: int) -> Verdict | None:
        """Why not to believe in this connection any more."""
        if self._sideline.was_astray():
            # Told once, and the strongest: what it took stands in no journal that could be read again.
            self._doubt = Verdict("role", "a former master has taken messages until now")
        self._doubt = self._doubt or self._echoes.verdict(pongs)
        return self._doubt

    @property
    def is_broken(self) -> bool:
        """Whether there has been a verdict: nothing is known of the time since `proven_at`."""
        return self._doubt is not None

    def next_due(self, now: float) -> float:
        """Seconds until `turn` should be called."""
        due = self._echoes.next_due(now) if self._hears and self._publishes else float("inf")
        # An answer by itself does not wake us, but for one that is news. Behind an echo that has come there is none.
        awaited = self._is_asking and (self._is_auditing or self._echoes.is_out)
        return min(due, _COLLECTED, self._heartbeat.interval * COMPANY) if awaited else due

    def end(self) -> None:
        """The connection is gone: what is still on its way concerns nobody."""
        self._over = True

    def _ask(self, now: float) -> None:
        commands: list[Command] = []
        nonce = ""
        echoes = self._hears and self._publishes
        if echoes and self._echoes.due(now):
            nonce = secrets.token_hex(8)
            self._echoes.asked(nonce, now)
            commands.append(("PUBLISH", self.channel, nonce))
        question = None
        if now - self._audited >= self._heartbeat.deadline and (nonce or not echoes):
            self._audited = now
            question = self._audit.question()
            commands += [question] if question else []
        # What the sideline knows of its server's role may be older than this connection: a promotion in between would
        # be taken for one of now, again and again.
        then, anew = partial(self._answered, nonce, question), self._is_new
        if commands:
            self._is_asking = self._sideline.ask(commands, then, urgent=False, anew=anew)
            self._is_auditing = question is not None
        if commands and not self._is_asking:
            self._refused(nonce, Refused("too much is asked of Redis beside the subscription, and not answered"))
        self._is_new = self._is_new and not commands

    def _answered(self, nonce: str, question: Command | None, outcome: Answered | Refused) -> None:
        self._is_asking = False
        if self._over:
            return
        if isinstance(outcome, Refused):
            if nonce:
                self._refused(nonce, outcome)
            return
        *echo, audited = (*outcome.replies, None) if question is None else outcome.replies
        if echo:
            self._taken(nonce, echo[0], outcome)
        if question and (finding := self._audit.finding(question, audited, outcome.server)):
            self._forgotten(finding)

    def _forgotten(self, finding: str) -> None:
        # Echoes have come all the while: when the pattern went, only the last count can say.
        self.proven_at = min(self.proven_at, self._whole_at)
        self._doubt = Verdict("deadline", finding)

    def _taken(self, nonce: str, reply: object, outcome: Answered) -> None:
        if not isinstance(reply, int):
            # Not on this connection any more: each try would be a line in the ACL's log.
            self._publishes = not isinstance(reply, NoPermissionError)
            self._refused(nonce, Refused(f"PUBLISH {ECHO}*: {reply}"))
        elif self._echoes.proves_nothing(outcome.server):
            self._refused(nonce, Refused("a replica answers PUBLISH: what it takes, no other server hears"))
        else:
            self._doubt = self._echoes.taken(nonce, clock(), reply, outcome.server) or self._doubt

    def _refused(self, nonce: str, why: Refused) -> None:
        self._echoes.refused(nonce, clock(), auth=why.auth)
        self.shown = Shown("ping", why.detail)

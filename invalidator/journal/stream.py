"""The Stream as a worker asks for it: beside its loop, again after a failure, and a bounded part of it at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.backoff import full_jitter
from invalidator.journal.reading import Look, Unreadable, ask_end, ask_from, seen
from invalidator.logs import Logger, Occasionally
from invalidator.wire.connection import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.journal.position import Position
    from invalidator.topology.models import Backoff
    from invalidator.wire.identity import Command
    from invalidator.wire.sideline import Answered, Sideline

RIGHTS = "+xrange +xrevrange +xinfo|stream"
"""What it takes beside a subscription, and the Stream's key."""
FIRST_ENTRIES = 250
MOST_ENTRIES = 1000
LARGEST_CHUNK = 256 << 10
"""Bytes. The worker's loop decodes a chunk in one go: of large entries, fewer are asked for at once."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A look that succeeded: at most `count` entries, asked at this monotonic second of the server of this run id."""

    look: Look
    count: int
    asked: float
    server: str


class Stream:
    """One worker's. `trouble` is why it cannot be read, `since` from when on; both are empty while it can."""

    def __init__(
        self, name: str, sideline: Sideline, backoff: Backoff, log: Logger, chance: Callable[[], float]
    ) -> None:
        self.name = name
        self.trouble: tuple[str, str] = ("", "")
        self.since: float | None = None
        self.due = 0.0
        """The monotonic second before which nothing is asked."""
        self._sideline = sideline
        self._backoff = backoff
        self._log = log
        self._chance = chance
        self._seldom = Occasionally(10.0)
        self._count = FIRST_ENTRIES
        self._attempts = 0
        self._anew = False
        self._gaps = 0
        self._now = 0.0

    def look(self, position: Position | None, then: Callable[[Sight | None], None], *, urgent: bool = True) -> bool:
        """Ask for what comes after a position, or for the end. `turn` calls `then`, with None if that has failed.

        False: not now, and `then` is not called. `urgent` as for the sideline.
        """
        if self._now < self.due:
            return False
        if position is None:
            return self._ask(ask_end(self.name), 1, then, urgent=urgent)
        return self._ask(ask_from(self.name, position, self._count), self._count, then, urgent=urgent)

    def turn(self, now: float) -> None:
        """Tell those who have asked."""
        self._now = now
        self._sideline.turn()

    def hand_over(self) -> None:
        """See Sideline."""
        self._sideline.hand_over()

    def renew(self) -> None:
        """A Gap: it may be read again, and perhaps at another server. Ask over a new connection, and at once.

        What was asked before may yet be answered by the server that was the right one then: that has failed.
        """
        self.due = 0.0
        self._anew = True
        self._gaps += 1

    def close(self) -> None:
        """Ask nothing any more."""
        self._sideline.close()

    def _ask(
        self, commands: Sequence[Command], count: int, then: Callable[[Sight | None], None], *, urgent: bool
    ) -> bool:
        gaps = self._gaps

        def answered(outcome: Answered | Refused) -> None:
            then(self._sight(outcome, count) if gaps == self._gaps else None)

        asked = self._sideline.ask(commands, answered, urgent=urgent, anew=self._anew)
        self._anew = self._anew and not asked
        return asked

    def _sight(self, outcome: Answered | Refused, count: int) -> Sight | None:
        if isinstance(outcome, Refused):
            self._failed("auth" if outcome.auth else "unreachable", outcome.detail)
            return None
        look = seen(outcome.replies)
        if isinstance(look, Unreadable):
            self._failed(look.reason, look.detail)
            return None
        if self.trouble[0]:
            self._log.info("journal.readable", stream=self.name)
        self.trouble, self.since, self._attempts = ("", ""), None, 0
        self._learn(look, count)
        return Sight(look, count, outcome.asked, outcome.server.run_id)

    def _learn(self, look: Look, count: int) -> None:
        if look.facts == "hidden" and (held := self._seldom.due("hidden", self._now)) is not None:
            said = "XINFO is refused: a deletion of the Stream before its first entry was read cannot be told"
            self._log.warning("journal.half_blind", stream=self.name, detail=said, held_back=held)
        if look.size > LARGEST_CHUNK:
            self._count = max(2, count // 2)  # the entry that it stands on is one of them
        elif len(look.entries) == count:
            self._count = min(MOST_ENTRIES, count * 2)

    def _failed(self, reason: str, detail: str) -> None:
        self._attempts += 1
        self.due = self._now + full_jitter(self._attempts, self._backoff.first, self._backoff.longest, self._chance())
        grant = f"; grant {RIGHTS}" if reason == "denied" else ""
        self.trouble = (reason, f"the journal {self.name} cannot be read: {detail}{grant}")
        self.since = self.since or self._now
        if (held := self._seldom.due(reason, self._now)) is not None:
            self._log.warning("journal.unreadable", stream=self.name, reason=reason, detail=detail, held_back=held)

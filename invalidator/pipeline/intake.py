"""Taken in: messages are decoded, and what is wrong with them is counted and, once in a while, said.

So is what is right and not for this worker: what it ignores, and what it has heard before.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from invalidator.errors import DecodeError
from invalidator.logs import Logger, Occasionally
from invalidator.messages import Invalidation, Keys, Message, Messages
from invalidator.pipeline.declined import Declined, place_in
from invalidator.pipeline.envelope import message_of
from invalidator.pipeline.repeats import Repeats, keys_of
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from invalidator.messages import IgnoreReason, RejectReason
    from invalidator.pipeline.envelope import Envelope, Envelopes
    from invalidator.pipeline.formats import InBulk
    from invalidator.pipeline.ignoring import Ignoring
    from invalidator.pipeline.tap import Tap
    from invalidator.reply import Outcome
    from invalidator.slots import WorkerSlots


_TOGETHER = 64
"""Messages that are looked at together, where not all are bare keys: of a mixture, what is one stays cheap."""


class Intake:
    """The same for all messages of a worker, on whichever way they come.

    `declined` is told of each one that was heard and is not acted on: an outcome and a reason. `given_up` says how many
    targets the worker has given up by now.
    """

    def __init__(
        self,
        decode: Callable[[Message], Invalidation],
        ignoring: Ignoring,
        given_up: Callable[[], int],
        declined: Callable[[Invalidation, Outcome, str], None],
        slots: WorkerSlots,
        tap: Tap,
        log: Logger,
    ) -> None:
        self._decode = decode
        self._in_bulk: InBulk | None = None
        self._is_only_way = False
        self._ignoring = ignoring
        self._given_up = given_up
        self._gave_up = given_up()
        self._repeats = Repeats()
        self._turned_away = Declined()
        self._declined = declined
        self._slots = slots
        self._tap = tap
        self._log = log
        self._seldom = Occasionally(10.0)

    def hear_alone(self, in_bulk: InBulk | None) -> None:
        """Messages come on no other way, so that none need be known by itself once it was taken: repeats end here."""
        self._is_only_way = True
        self._in_bulk = in_bulk

    def take(self, messages: Messages) -> list[Invalidation]:
        """What these ask for. Those that ask for keys and no more than that become one Invalidation, many at once."""
        if self._in_bulk and messages and not self._tap.on:  # who looks on is to see each message
            invalidations = self._many(self._in_bulk, messages, len(messages))
        else:
            invalidations = self._one_by_one(messages)
        self._slots.add("received", len(messages))
        self._slots.last_message(time.time())
        return invalidations

    def _many(self, bulk: InBulk, messages: Messages, size: int) -> list[Invalidation]:
        invalidations: list[Invalidation] = []
        for start in range(0, len(messages), size):
            part = messages[start : start + size]
            if (keys := bulk.keys(part.payloads)) is not None:
                invalidations.append(Invalidation(keys))
            elif (said := bulk.envelopes(part.payloads)) and not self._may_ignore(said.envelopes):
                invalidations.append(Invalidation(self._new_keys(said, clock())))
            elif size > _TOGETHER:
                invalidations += self._many(bulk, part, _TOGETHER)
            else:
                invalidations += self._one_by_one(part)
        return invalidations

    def _may_ignore(self, envelopes: Iterable[Envelope]) -> bool:
        return self._ignoring.is_choosy and any(envelope.source for envelope in envelopes)

    def _new_keys(self, said: Envelopes, now: float) -> Keys:
        envelopes, names = said
        if not self._repeats.all_new(keys_of(envelopes), now):
            envelopes = self._without_repeats(envelopes, now)
            names = [key for one in envelopes for key in one.keys]
        if len(names) == len(envelopes):
            return Keys(names, [one.ts for one in envelopes])
        return Keys(names, [one.ts for one in envelopes for _ in one.keys])

    def _without_repeats(self, envelopes: Sequence[Envelope], now: float) -> Sequence[Envelope]:
        # Only what is in doubt is looked at: a few that were sent twice must not make all the others as slow.
        named = [one for one in envelopes if one.id]
        keys = keys_of(named)
        doubtful = self._repeats.doubtful(keys)
        again = {
            id(one)
            for one, key in zip(named, keys, strict=True)
            if key in doubtful and self.is_repeat(message_of(one), now)
        }
        self._repeats.all_new([key for key in keys if key not in doubtful], now)
        return [one for one in envelopes if id(one) not in again]

    def _one_by_one(self, messages: Iterable[Message]) -> list[Invalidation]:
        taken = self._decoded(messages)
        return [one for one in taken if not self.is_repeat(one, clock())] if self._is_only_way else taken

    def _decoded(self, messages: Iterable[Message]) -> list[Invalidation]:
        invalidations = []
        for message in messages:
            try:
                invalidation = self._decode(message)
            except DecodeError as error:
                if self._is_new(error.message.journal if error.message else place_in(message.payload)):
                    self._refuse(message, error)
                if self._tap.on:
                    self._tap.heard(message, Invalidation((), rejected=(error.reason,)))
                continue
            if ignored := self._ignoring.reason(invalidation):
                if self._is_new(invalidation.journal):
                    self._ignore(invalidation, ignored)
                if self._tap.on:
                    self._tap.heard(message, invalidation, ignored=ignored)
                continue
            invalidations.append(invalidation)
            if self._tap.on:
                self._tap.heard(message, invalidation)
            for reason in invalidation.rejected:
                self.reject(reason, message, f"one target: {reason}")
        return invalidations

    def read(self, message: Message, at: str, *, again: bool) -> Invalidation | None:
        """What one from the journal asks for, which stands there at `at`; None if that is nothing.

        One that was not heard is received here. `again`: that has been done before.
        """
        try:
            invalidation = self._decode(message)
        except DecodeError as error:
            if not again and self._turned_away.read(at):
                self._slots.add("received")
                self._refuse(message, error)
            return None
        ignored = self._ignoring.reason(invalidation)
        if ignored and not again and self._turned_away.read(at):
            self._slots.add("received")
            self._ignore(invalidation, ignored)
        return None if ignored else replace(invalidation, journal=at)

    def is_repeat(self, invalidation: Invalidation, now: float) -> bool:
        """Whether the same has been taken in a moment ago. `now` is in monotonic seconds."""
        if not self._repeats.is_repeat(invalidation, now):
            return False
        if (given_up := self._given_up()) != self._gave_up:
            # It may be its publisher's second try. Which message it was is not known: all are forgotten.
            self._gave_up = given_up
            self._repeats = Repeats()
            return self._repeats.is_repeat(invalidation, now)
        self._ignore(invalidation, "duplicate")
        return True

    def _is_new(self, at: str) -> bool:
        """Whether one that is not acted on has not been read before; it is a duplicate, if it has."""
        if self._turned_away.heard(at):
            return True
        self._slots.add("ignored:duplicate")
        return False

    def _refuse(self, message: Message, error: DecodeError) -> None:
        self.reject(error.reason, message, str(error))
        if error.message:
            self._declined(error.message, "rejected", error.reason)

    def _ignore(self, invalidation: Invalidation, reason: IgnoreReason) -> None:
        self._slots.add(f"ignored:{reason}")
        self._declined(invalidation, "ignored", reason)

    def reject(self, reason: RejectReason, message: Message, detail: str) -> None:
        """A message, or one of its targets, is not taken."""
        self._slots.add(f"rejected:{reason}")
        held = self._seldom.due(reason, clock())
        if held is not None:
            channel = message.channel.decode("utf-8", "backslashreplace")
            self._log.warning("message.rejected", reason=reason, channel=channel, detail=detail, held_back=held)

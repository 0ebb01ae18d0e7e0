"""Messages that were heard before: known again by their ids, for a while. Pure: takes `now`, in monotonic seconds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from invalidator.messages import Keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from invalidator.messages import Invalidation
    from invalidator.pipeline.envelope import Envelope

WINDOW = 60.0
"""Seconds for which a message is known, at least; at most twice as long."""
MOST = 100_000
"""Messages that are known, and what one turn brings more. With more in a window, the oldest are forgotten, and purged
for twice."""


class _Generation:
    """What was taken in during some time: as a number each, and with its place where it came from the journal."""

    __slots__ = ("heard", "places")

    def __init__(self) -> None:
        self.heard: set[int] = set()
        self.places: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.heard) + len(self.places)

    def has_none_of(self, keys: set[int]) -> bool:
        return self.heard.isdisjoint(keys) and self.places.keys().isdisjoint(keys)

    def some_of(self, keys: set[int]) -> set[int]:
        return keys & self.heard | keys & self.places.keys()


class Repeats:
    """What one worker has taken in.

    A message is a repetition when all that it says is what another one of its id has said: who uses an id twice for
    different targets loses none of them. What comes again from the journal, with the same place there, is none: it is
    read again because it may not have been done.
    """

    def __init__(self, window: float = WINDOW, most: int = MOST) -> None:
        self._window = window
        self._most = most // 2
        # Two generations, and no time for each message: this is looked at for each one that comes.
        self._now = _Generation()
        self._before = _Generation()
        self._turned = 0.0

    def __len__(self) -> int:
        return len(self._now) + len(self._before)

    def is_repeat(self, message: Invalidation, now: float) -> bool:
        """Whether it has come before. If not, it is known from now on."""
        if not message.id:
            return False
        self._turn_if_due(now)
        key = key_of(message)
        for known in (self._now, self._before):
            if key in known.heard:
                return True
            if place := known.places.get(key):
                return place != message.journal
        if message.journal:
            self._now.places[key] = message.journal
        else:
            self._now.heard.add(key)
        return False

    def all_new(self, keys: Collection[int], now: float) -> bool:
        """Whether none of these has come before, in no journal, and no two are one. Known from now on, if it is so."""
        self._turn_if_due(now)
        new = set(keys)
        if len(new) < len(keys) or not (self._now.has_none_of(new) and self._before.has_none_of(new)):
            return False
        self._now.heard |= new
        return True

    def doubtful(self, keys: Collection[int]) -> set[int]:
        """Those of these that have come before, or stand here more than once."""
        known = set(keys)
        twice = {key for key, times in Counter(keys).items() if times > 1} if len(known) < len(keys) else set()
        return twice | self._now.some_of(known) | self._before.some_of(known)

    def _turn_if_due(self, now: float) -> None:
        if now - self._turned >= self._window or len(self._now) >= self._most:
            self._turn(now)

    def _turn(self, now: float) -> None:
        self._before = self._now if now - self._turned < 2 * self._window else _Generation()
        self._now = _Generation()
        self._turned = now


def key_of(message: Invalidation) -> int:
    """Of a message with an id: of all that it asks for, and its source.

    Hashes of texts are keyed anew in each process, so that nobody can make two of them meet. By chance one message in
    10^14 meets one of those that are known.
    """
    targets = message.targets
    if message.soft or not (isinstance(targets, Keys) or all(kind == "key" for kind, _ in targets)):
        return hash((message.id, targets, message.source, message.soft))
    names = targets.names if isinstance(targets, Keys) else [name for _, name in targets]
    return hash((message.id, tuple(names), message.source))


def keys_of(envelopes: Iterable[Envelope]) -> list[int]:
    """The same for those of many that have an id, and ask for the removal of keys alone."""
    return [hash((one.id, one.keys, one.source or "")) for one in envelopes if one.id]

"""Messages that are sound, and that a worker is not to act on: from itself, or going round in a circle. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.messages import IgnoreReason, Invalidation

MOST_HOPS = 8
"""How often a message may be passed on, from one Redis to the next, before it is taken to go round in a circle."""


class Ignoring:
    """What one worker ignores: messages of these sources (`web-*` means all that begin so), and those passed on."""

    def __init__(self, sources: Iterable[str] = ()) -> None:
        sources = tuple(sources)
        self._names = frozenset(name for name in sources if not name.endswith("*"))
        self._beginnings = tuple(name[:-1] for name in sources if name.endswith("*"))

    @property
    def is_choosy(self) -> bool:
        """Whether it matters where a message comes from."""
        return bool(self._names or self._beginnings)

    def reason(self, message: Invalidation) -> IgnoreReason | None:
        """Why this message is not acted on; None if it is."""
        if message.hops >= MOST_HOPS:
            return "hops"
        source = message.source
        if source and (source in self._names or source.startswith(self._beginnings)):
            return "source"
        return None

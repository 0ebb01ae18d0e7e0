"""What of the journal is one worker's: the entries of its channels, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from invalidator.journal.entry import Entry, EntryId
    from invalidator.journal.glob import Glob
    from invalidator.messages import Invalidation
    from invalidator.pipeline.intake import Intake

_NO_MESSAGE = Message(b"", b"")


class Excerpt:
    """One journal keeps the messages of all channels: a worker steps over those of others."""

    def __init__(self, glob: Glob, intake: Intake) -> None:
        self._glob = glob
        self._intake = intake

    def of(self, entries: Iterable[Entry], *, again: bool) -> Iterator[tuple[EntryId, Invalidation]]:
        """What these ask for. `again`: they have been read before, and what is wrong with them has been counted."""
        for at, message in entries:
            if message is None:
                if not again:
                    self._intake.reject("shape", _NO_MESSAGE, f"the entry {at} of the journal is no message")
            elif self._glob.matches(message.channel):
                decoded = self._intake.read(message, str(at), again=again)
                if decoded:
                    yield at, decoded

"""Dead letters, summed up lane by lane: how many, why, since when, and the latest. Pure, in bounded memory."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from invalidator.letters import Letter, decode
from invalidator.screen.paint import Line, Piece, line
from invalidator.screen.text import ago, by, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LATEST = 5
_MOST_REASONS = 100
"""What somebody has written into a file by hand may have any number."""
_OTHER = "other"


@dataclass(slots=True)
class Pile:
    """The letters of one lane. `garbage` counts lines that are none; `trying` says that some are being tried again."""

    worker: str
    backend: str
    node: str = ""
    letters: int = 0
    garbage: int = 0
    bytes: int = 0
    trying: bool = False
    oldest: float = 0.0
    newest: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    latest: deque[Letter] = field(default_factory=lambda: deque(maxlen=LATEST))

    def add(self, lines: Iterable[str]) -> None:
        """These stand in its box, too."""
        for text in lines:
            if letter := decode(text):
                self._add(letter)
            else:
                self.garbage += bool(text.strip())

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "worker": self.worker,
            "backend": self.backend,
            "node": self.node,
            "letters": self.letters,
            "reasons": dict(self.reasons.most_common()),
            "oldest": self.oldest,
            "newest": self.newest,
            "latest": [msgspec.to_builtins(letter) for letter in self._newest_first()],
            "garbage": self.garbage,
            "bytes": self.bytes,
            "trying": self.trying,
        }

    def lines(self, now: float) -> Iterator[Line]:
        """For a person; `now` is in wall seconds."""
        name = " ".join(filter(None, (self.worker, self.backend, self.node)))
        since = f", from {ago(self.oldest, now)} to {ago(self.newest, now)}" if self.letters else ""
        trying = ("  being tried again", "warning") if self.trying else ("", "")
        yield line(Piece(name, "bold"), f"  {plural(self.letters, 'dead letter')}{since}", Piece(*trying))  # type: ignore[arg-type]
        if self.letters:
            yield line(f"  {by(dict(self.reasons.most_common()))}")
        for letter in self._newest_first():
            what = f"{letter.kind} {letter.target}".rstrip()
            yield line(Piece(f"  {ago(letter.at, now)}  {letter.reason}  {what}", "dim"))
        if self.garbage:
            none = "is no letter" if self.garbage == 1 else "are no letters"
            yield line(Piece(f"  {plural(self.garbage, 'line')} that {none}: kept apart, never tried again", "warning"))

    def _add(self, letter: Letter) -> None:
        self.letters += 1
        known = letter.reason in self.reasons or len(self.reasons) < _MOST_REASONS
        self.reasons[letter.reason if known else _OTHER] += 1
        self.oldest = min(self.oldest or letter.at, letter.at)
        self.newest = max(self.newest, letter.at)
        self.latest.append(letter)

    def _newest_first(self) -> list[Letter]:
        return sorted(self.latest, key=lambda letter: -letter.at)

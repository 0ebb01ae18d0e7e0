"""A finding: what was measured, what that means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Level = Literal["wrong", "warning", "note", "ok"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""wrong: something does not work, or is about to stop; warning: it may; note: worth knowing; ok: it is fine."""


@dataclass(frozen=True, slots=True)
class Kind:
    """All findings of one sort. `id` is stable; `fix` may have `{names}` in it that `found` fills in."""

    id: str
    level: Level
    title: str
    meaning: str = ""
    fix: str = ""

    def found(self, subject: str, evidence: str, **names: object) -> Finding:
        """A finding of this kind, at `subject`. What stands for `names` is shown as it is: clean it before."""
        return Finding(self, subject, evidence, self.fix.format_map(names) if names else self.fix)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `subject` says where: a server, a backend, the topology, the daemon."""

    kind: Kind
    subject: str
    evidence: str
    fix: str

    @property
    def level(self) -> Level:
        """How bad it is."""
        return self.kind.level

"""What a fault is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from invalidator.drill.promises import Check
    from invalidator.drill.scene import Scene


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` breaks something under load, sees to it that it is mended, and checks what is particular to it.

    `spares`: the worker that has nothing to do with it must not notice. `kills`: a process is killed in the middle of
    its counting. `replayed`: a journal worker reads again what it has missed, and flushes nothing. `delivery`: only
    where messages are delivered so; empty: everywhere. `needs`: this kind of cache.
    """

    name: str
    about: str
    strike: Callable[[Scene], Sequence[Check]]
    spares: bool = True
    kills: bool = False
    replayed: bool = False
    delivery: str = ""
    needs: str = ""

    def applies(self, delivery: str, kinds: Iterable[str]) -> bool:
        """Whether it can be tried with this delivery and these caches."""
        return self.delivery in ("", delivery) and (not self.needs or self.needs in kinds)

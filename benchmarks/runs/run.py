"""What every run gets, and what it gives back."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from benchmarks.contenders import Scene
from invalidator.embedded import memcached_server, redis_server
from tests.support import experiment
from tests.support.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from benchmarks.contenders import CacheKind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task(experiment.Task):
    """One run to do. `at_most`: so many rounds, where a machine is too busy for what each would like; 0: those."""

    at_most: int = 0

    def rounds(self, full: int) -> int:
        """How many rounds to do."""
        return 1 if self.short else min(full, self.at_most or full)

    def in_turn(self, rounds: int, parts: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
        """Each part once in each round, another one first each time: all share what else happens on the machine.

        The n-th of one belongs to the n-th of another: they are minutes apart at most.
        """
        found: dict[str, list[T]] = {name: [] for name in parts}
        names = list(parts)
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                found[name].append(parts[name]())
        return found

    def scene(self, stack: ExitStack, cache: CacheKind = "", payload: int = 0) -> Scene:
        """Servers of its own for each measurement: nobody inherits what another has left in a buffer."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        broker = stack.enter_context(redis_server(folder))
        if cache == "memcached":
            return Scene(stack, folder, broker, stack.enter_context(memcached_server(folder, "-m", "1024")), payload)
        if cache == "redis":
            return Scene(stack, folder, broker, stack.enter_context(redis_server(folder)), payload)
        return Scene(stack, folder, broker, None, payload)


class Found(NamedTuple):
    """How many rounds there were, and what was seen in each."""

    rounds: int
    values: Mapping[str, Any]


class Run(Experiment[Task, Found]):
    """One of them."""

    __slots__ = ()

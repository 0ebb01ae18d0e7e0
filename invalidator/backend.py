"""A Backend: one place to purge, seen from its lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from invalidator.messages import EVERYTHING, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from invalidator.messages import Batch, Kind, PurgeResult


Canary = Literal["none", "purge", "hold"]
"""What `invalidator doctor` may do to prove that purges work, see Backend.canary."""


@dataclass(frozen=True, slots=True)
class BackendContext:
    """For whom a backend is made: the worker's name, the backend's name in the topology, and where files may be kept.

    `state_dir` is the daemon's own, the same for all workers of a host, and stays over a restart. None: keep nothing.
    `asked` has the kinds of target that some worker may ask of this backend, for a message or as a flush: `connect`
    proves that those can be purged. Empty: nobody has said.
    """

    worker: str
    backend: str
    state_dir: Path | None = None
    asked: frozenset[Kind] = frozenset()


class Sent(Protocol):
    """A batch that is under way: see Backend.send."""

    def fileno(self) -> int:
        """What becomes readable when there is some answer."""

    def is_answered(self) -> bool:
        """Whether it is, and all of it is purged. Never waits.

        Raises BackendError for any other answer: then the same batch is given to `purge`, which may ask for more.
        """

    def wait(self) -> PurgeResult:
        """The answer, by the batch's deadline, as `purge` gives it."""


class Backend:
    """One server (or file, or table) that forgets what it is told to. Made in the worker's process, after the fork.

    Each backend has a lane of its own, which calls `purge` from one thread, one call at a time. What several servers
    must each forget is several backends: `make_backend` returns one for each, and a server that is away then holds up
    no other.
    """

    inline: ClassVar[bool] = False
    """True only if no call ever blocks (memory, no I/O): then the lane runs on the worker's loop, with no hand-off."""

    memory: ClassVar[bool] = False
    """True only for the memory of applications, which is served while `subscribed` vouches for it, and may outlive the
    daemon: it is flushed at every start, whatever the topology says of starts, and even where a journal is replayed."""

    node: str = ""
    """Which of several servers this is, for logs and metrics: `127.0.0.1:11211`. Empty when there is only one."""

    canary: Canary = "none"
    """How far `invalidator doctor` may go, with a key that nobody has. "none": it calls `connect` and no more, as is
    right wherever a purge costs money, or takes more than its key. "purge": it purges the key. "hold": it also calls
    `plant` before, and `holds` around it, and so sees that the key is gone."""

    def purge(self, batch: Batch) -> PurgeResult:
        """Forget the targets of `batch`, all of them, by `batch.deadline`; the same batch may come again.

        Raises BackendError when none of them could be purged. Any other exception counts as one with reason `error`.
        """
        raise NotImplementedError

    def send(self, batch: Batch) -> Sent | None:
        """Begin to purge `batch`, if that can be done without any wait; None: give it to `purge`.

        What is small and goes over a connection that is open saves the hand-off to a thread, which takes longer than
        most servers do. Called from the worker's loop, while no `purge` is going on; not at all where a plugin's
        wrapper stands around `purge`, or a subclass has changed it alone. One batch is under way at a time.
        """
        del batch
        return None

    def connect(self) -> None:
        """Prove that `purge` could work, and purge nothing; for `check --connect` and `doctor`. Raises BackendError."""

    def plant(self, key: str, seconds: float) -> None:
        """Store something under `key`, named as an application would, that is gone after so many seconds.

        For `canary = "hold"`; called by the doctor, never by a worker. Raises BackendError.
        """
        raise NotImplementedError

    def holds(self, key: str) -> bool:
        """Whether an application that asks for `key` now would be given something. As `plant`. Raises BackendError."""
        raise NotImplementedError

    def preview(self, batch: Batch) -> Iterable[str]:
        """What `purge` would send for this batch, a line for each call, for `dry_run: true`. Contacts nothing."""
        words = (f"{target.kind} {target.value}".rstrip() for target in targets_of(batch))
        return (f"{'soft ' if batch.soft else ''}purge {word}" for word in words)

    def subscribed(self, until: float) -> None:
        """The subscription is proven to be alive until this monotonic second unless it is renewed; 0.0: it is not.

        Called from the worker's loop, for inline backends alone, and only after everything that arrived was purged.
        """

    def close(self) -> None:
        """Give back what `purge` opened. Called once, from the lane, when the worker stops."""


def targets_of(batch: Batch) -> Iterator[Target]:
    """The targets of a batch, one by one."""
    yield from (Target("key", value) for value in batch.keys)
    yield from (Target("tag", value) for value in batch.tags)
    yield from (Target("prefix", value) for value in batch.prefixes)
    yield from (Target("pattern", value) for value in batch.patterns)
    yield from (Target("url", value) for value in batch.urls)
    if batch.all:
        yield EVERYTHING

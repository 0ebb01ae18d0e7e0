"""One process's delivery from a journal, turned by hand: a real Redis, real lanes, a real file of cursors."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from invalidator import BackendError, PurgeResult, Target
from invalidator.channel import pair
from invalidator.journal.cursors import CursorFile
from invalidator.journal.glob import Glob
from invalidator.journal.keeper import Keeper
from invalidator.journal.stream import Stream
from invalidator.lanes.policy import Policy
from invalidator.logs import get_logger
from invalidator.messages import KINDS, Gap, Messages
from invalidator.pipeline.decoder import decode
from invalidator.pipeline.dispatcher import Dispatcher
from invalidator.pipeline.ignoring import Ignoring
from invalidator.pipeline.intake import Intake
from invalidator.pipeline.tap import Tap
from invalidator.replay.book import Book, letters_first
from invalidator.replay.exact import Journal, Journaled
from invalidator.replay.excerpt import Excerpt
from invalidator.slots import Region, clock
from invalidator.topology.models import RedisSettings
from invalidator.wire.sideline import sideline_to
from tests.support.journals import CHANNEL, STREAM, payload
from tests.support.lanes import Rig, Scripted
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from invalidator import Batch
    from invalidator.messages import GapCause
    from tests.support.stores import RedisServer

PATTERN = "cache:invalidate:users:*"


class Store(Scripted):
    """Purges what it is asked for, while it is well; else it hangs, or fails."""

    def __init__(self, node: str, *, well: bool = True) -> None:
        super().__init__(self._answer)
        self.node = node
        self.error: BackendError | None = None
        self.free = threading.Event()
        if well:
            self.free.set()

    def _answer(self, _: Batch) -> PurgeResult:
        assert self.free.wait(20)
        if self.error:
            raise self.error
        return PurgeResult()

    @property
    def purged(self) -> list[str]:
        """The keys, as often as they were asked for."""
        return [key for batch in self.batches for key in batch.keys]

    @property
    def flushed(self) -> list[str]:
        """Why, for each flush."""
        return [batch.cause for batch in self.batches if batch.cause]


def keys(first: int, last: int) -> list[str]:
    return [f"users:{number}" for number in range(first, last)]


class Process:
    """Ends without a word when it is let go, as after a SIGKILL; `stop` ends it in order."""

    def __init__(
        self,
        server: RedisServer,
        folder: Path,
        *backends: Scripted,
        limit: int = 100,
        flush_on_start: bool = False,
        policies: Sequence[Policy] = (),
    ) -> None:
        settings = RedisSettings.model_validate(
            {
                "url": server.url,
                "heartbeat": {"interval": "50ms", "deadline": "300ms"},
                "backoff": {"first": "10ms", "longest": "50ms"},
            }
        )
        log = get_logger()
        policy = Policy("users", "objects", on_gap=True, flush=(Target("all"),), limit=limit, journal=True)
        of_each = policies or [policy] * len(backends)
        self.rigs = [Rig(backend, folder, own) for backend, own in zip(backends, of_each, strict=True)]
        self.region = Region([])
        self.gaps: list[Gap] = []
        self._channel, self._other = pair()
        tap = Tap(self._channel, "users")
        dispatcher = Dispatcher([rig.lane for rig in self.rigs], log, chance=lambda: 0.0)
        slots = self.region.worker()
        self._intake = Intake(
            lambda message: decode(message.payload, KINDS, 8192),
            Ignoring(),
            lambda: 0,
            lambda *_: None,
            slots,
            tap,
            log,
        )
        self.file = CursorFile(folder, "users", log)
        self._sideline = sideline_to(settings, "users", lambda: None, key=STREAM)
        self._keeper = Keeper(letters_first(dispatcher.lanes, self.file.write), lambda: None, log)
        journal = Journal(
            Stream(STREAM, self._sideline, settings.backoff, log, random.random),
            Excerpt(Glob(PATTERN), self._intake),
            Book(self._keeper, STREAM, PATTERN, {}),
            self.file.read(STREAM, PATTERN),
        )
        self.delivery = Journaled(
            journal, dispatcher, self._intake.is_repeat, slots, settings.heartbeat, log, flush_on_start=flush_on_start
        )
        self._dispatcher = dispatcher

    def start(self) -> None:
        """The subscription is confirmed, and the worker ready."""
        self.gap("start")
        self.until(self.delivery.is_settled)

    def gap(self, cause: GapCause) -> None:
        """Messages may have been missed."""
        self.delivery.gap(Gap(cause, clock(), clock()), clock())

    def hear(self, *keys: str, journal: str = "") -> None:
        """A message has come from Pub/Sub."""
        text = payload(*keys)
        if journal:
            text = text[:-1] + f', "journal": "{journal}"}}'
        self.delivery.heard(self._intake.take(Messages([CHANNEL.encode()], [text.encode()])), clock())

    def turn(self) -> None:
        self.gaps += self.delivery.turn(clock())
        self._dispatcher.turn()

    def until(self, condition: Callable[[], object], deadline: float = 5.0) -> None:
        """Turn until this is so."""

        def turned() -> object:
            self.turn()
            return condition()

        wait_until(turned, deadline, lambda: f"{self.counts()} {self.cursors()}")

    def counts(self) -> dict[str, int]:
        """What the worker has counted."""
        return {name: count for name, count in self.region.snapshot().worker.items() if count}

    def cursors(self) -> dict[str, tuple[str, str]]:
        """What is kept: of each lane its position, and the flush that it owes."""
        kept = self.file.read(STREAM, PATTERN)
        return {name: (cursor.at, cursor.owes) for name, cursor in kept.lanes.items()} if kept else {}

    def behind(self) -> list[str]:
        """The nodes of the lanes that are behind."""
        reports = self.delivery.describe(self._dispatcher.describe())
        return [report.node for report in reports if report.behind is not None]

    def close(self) -> None:
        """Gone, as after a SIGKILL: nothing more is asked, purged or written."""
        self._sideline.close()
        self._keeper.close(clock() + 1)
        self._channel.close()
        self._other.close()
        self._dispatcher.stop(clock())

    def stop(self) -> None:
        """In order."""
        self._dispatcher.stop(clock() + 2)
        self.delivery.stop(clock() + 2)
        self._channel.close()
        self._other.close()


def started(cleanup: ExitStack, process: Process) -> Process:
    """The same, subscribed. It ends with the test."""
    cleanup.callback(process.close)
    process.start()
    return process

"""500 clients publish 100,000 messages, and Redis hardly has to keep any of them for us.

Redis cuts off a subscriber for which it has to keep more than its output-buffer limit, 32 MB by default. `omem` in
CLIENT LIST is what counts against it: its high-water mark has to stay below a tenth of the lower one of both limits,
hard and soft, though such a flood is over long before the soft one's time.

`redis-benchmark -t publish`, as one finds it in an article, knows no such test, runs none, and ends with 0: the command
itself has to be given. Each flood has one subscriber, and servers of its own:

- the daemon, of which also nothing may be missing: all received, no gap, the same connection;
- a bare loop: if Redis has to keep as much for that, the machine is not ours to judge by;
- the bare loop, stopped by SIGSTOP: it has to cross the line, or the line shows nothing.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from benchmarks import load as flood
from benchmarks.contenders import PATTERN, Ours, Scene, lru
from gates.buffers import High, watching
from gates.gate import Verdict
from invalidator.embedded import find_redis, redis_server
from invalidator.stage.process import Child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLIENTS, MESSAGES = 500, 100_000
SHARE = 10
"""A tenth of the limit."""
_KEYS = 50_000
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Flood:
    """What became of one: how much Redis had to keep, how many were received, and gaps."""

    high: High
    received: int
    gaps: int


class Subscriber(Protocol):
    """Who hears the flood. `patience`: seconds without another message after which no more are expected."""

    patience: float

    def received(self) -> int: ...

    def gaps(self) -> int: ...


def judged(limit: int, ours: Flood, bare: Flood, stopped: Flood, messages: int = MESSAGES) -> Verdict:
    """Pure. `limit` is the lower one."""
    line = limit // SHARE
    marks = {"ours": ours, "bare": bare, "stopped": stopped}
    figures = {
        "limit": limit,
        "line": line,
        "received": ours.received,
        "gaps": ours.gaps,
        **{name: {**flood.high.marks, "samples": flood.high.samples} for name, flood in marks.items()},
    }
    said = (
        f"{ours.received:,} of {messages:,} received, {ours.gaps} gaps; omem at most {_shown(ours.high.omem)}"
        f" of {_shown(line)} in {ours.high.samples:,} samples; bare loop {_shown(bare.high.omem)},"
        f" stopped {_shown(stopped.high.omem)}"
    )
    if stopped.high.omem < line:
        return Verdict(
            "failed", f"shows nothing, as a subscriber that stands still stays below the line: {said}", figures
        )
    if ours.high.omem < line and ours.received == messages and not ours.gaps and len(ours.high.ids) == 1:
        return Verdict("passed", said, figures)
    well = bare.high.omem < line and bare.received == messages
    return Verdict("failed" if well else "busy", said, figures)


def load(folder: Path, messages: int = MESSAGES) -> Verdict:
    """Three floods, one after the other."""
    outcomes = [flooded(folder, begin, messages) for begin in (daemon, bare, stopped)]
    limits, (ours, other, still) = {limit for limit, _ in outcomes}, [flood for _, flood in outcomes]
    return judged(min(limits), ours, other, still, messages)


def flooded(folder: Path, begin: Callable[[Scene, int], Subscriber], messages: int) -> tuple[int, Flood]:
    """The lower limit of this Redis, and what became of the flood."""
    with ExitStack() as stack:
        broker = stack.enter_context(redis_server(folder))
        subscriber = begin(Scene(stack, folder, broker), messages)
        watch = stack.enter_context(watching(broker.port))
        hard, soft, _ = watch.limit()
        high = High()
        began = time.monotonic()
        process = flood.begin_flood(stack, broker, flood.envelope(), messages, clients=CLIENTS, pipeline=1)
        while process.poll() is None:
            high.take(watch.subscribers())
            if time.monotonic() - began > _PATIENCE:
                raise TimeoutError(f"redis-benchmark has not ended after {_PATIENCE:g} s")
        assert process.returncode == 0, f"redis-benchmark has ended with {process.returncode}"
        received = _rest(subscriber, messages, lambda: high.take(watch.subscribers()))
        return min(filter(None, (hard, soft))), Flood(high, received, subscriber.gaps())


def _rest(subscriber: Subscriber, messages: int, look: Callable[[], None]) -> int:
    """All is published: wait for what is still under way, and look on. How many were received."""
    look()
    received, last = subscriber.received(), time.monotonic()
    while received < messages and time.monotonic() - last < subscriber.patience:
        look()
        if (now := subscriber.received()) > received:
            received, last = now, time.monotonic()
    return received


def missing() -> str:
    """The programs that it takes."""
    return flood.missing() if find_redis() else "redis-server is not on this machine"


class Daemon(Ours):
    """The daemon with an LRU."""

    patience = 5.0

    def received(self) -> int:
        return int(self.daemon.metrics().value("invalidator_messages_received_total"))


class Loop:
    """A bare loop, which says when it has heard all."""

    patience = 5.0

    def __init__(self, scene: Scene, messages: int) -> None:
        self._all = messages
        self._is_done = False
        words = [str(scene.broker.port), PATTERN, str(messages), str(scene.folder / "heard")]
        self._child = Child(["benchmarks.hearer", *words], scene.folder / "hearer.log")
        scene.stack.callback(self._child.close)
        self._child.listen()

    def stop(self) -> None:
        """SIGSTOP: its connection stands, and nobody reads from it."""
        self._child.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.patience = 0.0

    def received(self) -> int:
        if not self._is_done and self._child.has_answered:
            self._is_done = self._child.listen() == '"done"'  # not its end, which can be read as well
        return self._all if self._is_done else 0

    def gaps(self) -> int:
        return 0


def daemon(scene: Scene, messages: int) -> Subscriber:
    """Ours."""
    del messages
    return Daemon(scene, lru(scene))


def bare(scene: Scene, messages: int) -> Subscriber:
    """The bare loop."""
    return Loop(scene, messages)


def stopped(scene: Scene, messages: int) -> Subscriber:
    """The negative control."""
    loop = Loop(scene, messages)
    loop.stop()
    return loop


def _shown(size: int) -> str:
    return f"{size / 2**20:.2f} MiB"

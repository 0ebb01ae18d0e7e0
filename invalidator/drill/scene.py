"""What a fault can see and do: the stage, the path to Redis, and the daemon's own account of itself."""

from __future__ import annotations

import socket
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from redis import Redis

from invalidator.control.client import Client
from invalidator.control.protocol import GetStatus, Restart
from invalidator.drill.topology import BYSTANDER, WORKER
from invalidator.errors import InvalidatorError
from invalidator.screen.words import is_well
from invalidator.stage.rest import at_rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from random import Random

    from invalidator.stage.building import Stage
    from invalidator.stage.proxy import Proxy
    from invalidator.status import Status, Worker

PATIENCE = 15.0
"""Seconds after which what has not happened is taken to never happen."""
QUIET = 1.2
"""Seconds without any change: longer than a heartbeat with its deadline, and than a lane's own report is old."""
_POLL = 0.005
_ANSWERED = 5.0
"""Seconds in which the daemon is to say how it is. On a busy machine that takes long, and is no answer of its own."""


class Scene:
    """`topology` is what the daemon runs with: a fault may write another one, and puts it back."""

    def __init__(self, stage: Stage, proxy: Proxy, chance: Random, topology: Mapping[str, Any]) -> None:
        self.stage = stage
        self.proxy = proxy
        self.chance = chance
        self._topology = topology

    def write_topology(self) -> None:
        """The topology that the drill began with."""
        self.stage.write_topology(self._topology)

    def status(self) -> Status | None:
        """The daemon at this moment; None when nobody answers."""
        try:
            with Client(self.stage.control, patience=_ANSWERED) as client:
                return client.ask(GetStatus()).status
        except InvalidatorError:
            return None

    def worker(self, name: str = WORKER) -> Worker | None:
        """One worker at this moment; None when nobody answers."""
        status = self.status()
        return next((worker for worker in status.workers if worker.name == name), None) if status else None

    def pid(self) -> int:
        """The process of the worker; 0 if there is none."""
        worker = self.worker()
        return (worker.pid or 0) if worker else 0

    def bystander(self) -> tuple[int, int]:
        """The process of the worker that nothing is to touch, and how many gaps it had."""
        worker = self.worker(BYSTANDER)
        return (worker.pid or 0, sum(worker.gaps.values())) if worker else (0, 0)

    def gaps(self) -> dict[str, int]:
        """The gaps of the worker so far, by cause."""
        worker = self.worker()
        return dict(worker.gaps) if worker else {}

    def subscribed(self, *, other_than: int = 0) -> bool:
        """Whether the worker is known to be subscribed; as another process than this one, if one is given."""
        worker = self.worker()
        return worker is not None and is_well(worker) and worker.pid != other_than

    def is_alone(self) -> bool:
        """Whether the worker is one process: no other one takes over from it, or works on beside it."""
        worker = self.worker()
        return worker is not None and worker.handover is None

    @property
    def delivery(self) -> str:
        """How messages are delivered."""
        return str(self._topology["workers"][0].get("delivery", "pubsub"))

    def purged(self) -> dict[str, int]:
        """How many targets each cache has been purged of."""
        worker = self.worker()
        return {lane.backend: lane.ends.get("purged", 0) for lane in worker.lanes} if worker else {}

    def flushes(self) -> int:
        """How many flushes the caches have had, those that a message asked for left out."""
        worker = self.worker()
        lanes = worker.lanes if worker else ()
        return sum(count for lane in lanes for cause, count in lane.flushes.items() if cause != "unsupported")

    def ask_for_restart(self) -> None:
        """What `invalidator restart` asks for. Raises UnreachableError."""
        with Client(self.stage.control) as client:
            client.ask(Restart(workers=(WORKER,)))

    @contextmanager
    def redis(self) -> Iterator[Callable[..., Any]]:
        """One connection to Redis, not through the proxy: called with a command's words. Raises RedisError."""
        with closing(Redis.from_url(self.stage.broker.url, socket_timeout=2)) as client:
            yield client.execute_command

    def round_trip(self) -> float | None:
        """Seconds that a word to Redis and its answer take on the path. None if there is no answer."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE) as connection:
            began = time.monotonic()
            connection.sendall(b"PING\r\n")
            if connection.recv(1):
                return time.monotonic() - began
        return None

    @contextmanager
    def reading_paused(self) -> Iterator[None]:
        """The application reads nothing, so that no refill is under way into a cache that is about to go.

        A cache that is stopped would carry it out when it goes on, perhaps after the purge: the application's own race.
        """
        self.stage.shop.ask("pause")
        yield
        self.stage.shop.ask("read")

    @staticmethod
    def passes(seconds: float) -> None:
        """Time goes by."""
        time.sleep(seconds)

    def seconds_until(self, condition: Callable[[], bool], patience: float = PATIENCE) -> float | None:
        """How long it took until `condition` held; None when it still does not after `patience` seconds."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > patience:
                return None
            time.sleep(_POLL)
        return time.monotonic() - began

    def come_to_rest(self) -> bool:
        """Wait until nothing has changed, and nothing is owed, for QUIET seconds."""
        since = time.monotonic()
        before: object = None

        def quiet() -> bool:
            nonlocal since, before
            if (now := at_rest(self.status())) is None or now != before:
                before, since = now, time.monotonic()
            return before is not None and time.monotonic() - since >= QUIET

        return self.seconds_until(quiet) is not None

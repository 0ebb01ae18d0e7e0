"""Does what a topology names answer? For `check --connect`: nothing is purged, and nobody is kept waiting for ever."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from invalidator.errors import BackendError, PluginError
from invalidator.pipeline.assembly import make_backends
from invalidator.topology.models import LaneSpec
from invalidator.wire.connection import explain, open_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from invalidator.backend import Backend
    from invalidator.topology.load import Loaded
    from invalidator.topology.models import RedisSettings, WorkerSpec

PATIENCE = 10.0
"""Seconds for all probes together. DNS and TLS can each take longer, and neither can be cancelled."""


@dataclass(slots=True)
class Probe:
    """One thing that was tried: `what` is redis or backend, `error` is empty if it answered as it should."""

    what: str
    name: str
    where: str
    error: str = f"no answer within {PATIENCE:g} s"

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        return f"{self.what} {self.name}{place}: {self.error or 'ok'}"


def probe(loaded: Loaded, patience: float = PATIENCE) -> list[Probe]:
    """Try the Redis of every worker and every backend, all at once; returns within `patience` seconds."""
    tried = list(_probes(loaded))
    threads = []
    for outcome, attempt in tried:
        thread = threading.Thread(target=_try, args=(outcome, attempt, loaded), name=str(outcome), daemon=True)
        thread.start()
        threads.append(thread)
    until = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return [outcome for outcome, _ in tried]


def _try(outcome: Probe, attempt: Callable[[], None], loaded: Loaded) -> None:
    try:
        attempt()
    except BackendError as error:
        text = str(error)
    except Exception as error:  # noqa: BLE001  a backend's code may raise anything
        text = explain(error).detail
    else:
        text = ""
    outcome.error = loaded.redacted(text)


def _probes(loaded: Loaded) -> Iterator[tuple[Probe, Callable[[], None]]]:
    topology = loaded.topology
    for worker in topology.workers:
        settings = topology.redis_of(worker)
        shown = Probe("redis", worker.name, loaded.redacted(str(settings.url)))
        yield shown, partial(_subscribe, worker, settings)
    for name in topology.backends:
        user = next(
            (worker.name for worker in topology.workers for lane in worker.backends if lane.backend == name), ""
        )
        try:
            backends = make_backends(topology, user, LaneSpec(backend=name), loaded.plugins)
        except Exception as error:  # noqa: BLE001  a plugin's code may raise anything
            yield Probe("backend", name, ""), partial(_fail, error)
            continue
        for backend in backends:
            yield Probe("backend", name, loaded.redacted(backend.node)), partial(_connect, backend)


def _subscribe(worker: WorkerSpec, settings: RedisSettings) -> None:
    """As the worker will: the same connection, the same command; only so is a missing right seen."""
    connection: Any = open_connection(settings, client_name="invalidator-check")
    try:
        connection.connect()
        connection.send_command("PING")
        connection.read_response()
        connection.send_command("PSUBSCRIBE", worker.pattern)
        connection.read_response()
    finally:
        connection.disconnect()


def _connect(backend: Backend) -> None:
    try:
        backend.connect()
    finally:
        backend.close()


def _fail(error: Exception) -> None:
    raise error if isinstance(error, PluginError) else PluginError(f"{type(error).__name__}: {error}")

"""Makes the backends that are to be tried, as a worker makes them, and leads their purges through the plugins' hooks.

A plugin that answers in a backend's place, or stands in its way, does so here too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.doctor.canary import Candidate, Trial, failed
from invalidator.doctor.wording import shown
from invalidator.errors import BackendError
from invalidator.messages import Batch, PurgeResult
from invalidator.pipeline.assembly import Purger, make_backends, purge_caller
from invalidator.topology.models import LaneSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.backend import Backend
    from invalidator.plugins import Plugins
    from invalidator.topology.models import BackendSpec, Topology

PURGE_SECONDS = 4.0


def candidates(topology: Topology, plugins: Plugins) -> tuple[list[Candidate], list[Trial]]:
    """One for each backend, or each of its servers; and what came of those that cannot be made. Contacts nothing."""
    found: list[Candidate] = []
    broken: list[Trial] = []
    purgers: list[_Purger] = []
    for spec in topology.backends.values():
        try:
            found += _made(topology, spec, plugins, purgers)
        except Exception as error:  # noqa: BLE001  a plugin's code may raise anything
            broken.append(failed(Trial(spec.name, spec.type, ""), "broken", error))
    # All of them before any is tried: pluggy's lists are not made for threads.
    for purger in purgers:
        plugins.register(purger)
    for purger in purgers:
        purger.through = purge_caller(plugins, purger, purgers)
    return found, broken


def _made(topology: Topology, spec: BackendSpec, plugins: Plugins, purgers: list[_Purger]) -> list[Candidate]:
    lanes = [
        (worker.name, lane) for worker in topology.workers for lane in worker.backends if lane.backend == spec.name
    ]
    user = lanes[0][0] if lanes else "doctor"
    workers = make_backends(topology, user, LaneSpec(backend=spec.name), plugins)
    holding = any(backend.canary == "hold" for backend in workers)
    applications = make_backends(topology, user, LaneSpec(backend=spec.name), plugins) if holding else workers
    own = [_Purger(backend, user, spec.name) for backend in workers]
    purgers += own
    return [
        Candidate(
            blank=Trial(spec.name, spec.type, shown(worker.node)),
            worker=worker,
            application=application,
            forget=purger.forget,
            canary=worker.canary if "key" in spec.options.kinds() else "none",
            dry=spec.dry_run or (bool(lanes) and all(lane.dry_run for _, lane in lanes)),
        )
        for worker, application, purger in zip(workers, applications, own, strict=True)
    ]


class _Purger(Purger):
    """With the way to it. `through`: the hook, as the lane of this backend calls it."""

    def __init__(self, backend: Backend, worker: str, name: str) -> None:
        super().__init__(backend)
        self.through: Callable[..., object] = self.purge
        self._worker = worker
        self._name = name

    def forget(self, key: str) -> PurgeResult:
        deadline = time.monotonic() + PURGE_SECONDS
        answer = self.through(batch=Batch(worker=self._worker, backend=self._name, keys=(key,), deadline=deadline))
        if not isinstance(answer, PurgeResult):
            raise BackendError("error", f"purge gave {type(answer).__name__}, not a PurgeResult")
        return answer

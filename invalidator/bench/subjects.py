"""Who is measured: workers of a running daemon, their lanes, and what stands in the way. Pure but for `costly`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invalidator.bench.load import channel_of
from invalidator.errors import InvalidatorError, UnreachableError
from invalidator.pipeline.assembly import make_backends
from invalidator.screen.text import plural
from invalidator.screen.words import by_backend, failure, is_well, standing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from invalidator.status import Status, Worker
    from invalidator.topology.load import Loaded
    from invalidator.topology.models import RedisSettings, Topology, WorkerSpec

_MOST_PENDING = 10_000


class UnsuitableError(InvalidatorError):
    """Nobody is left to be measured, or one who was named is not there."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """One worker: where it hears us, and its lanes: the type of each backend. `delay`: what it waits, as it is told."""

    worker: str
    channel: bytes
    settings: RedisSettings
    lanes: dict[str, str]
    delay: float = 0.0
    stream: str = ""
    keep: int = 0


def choose(status: Status, loaded: Loaded, wanted: Collection[str]) -> tuple[list[Subject], dict[str, str]]:
    """The workers to be measured, and why others are not. Whoever is `wanted` by name is, whatever it costs.

    Raises UnsuitableError for a name that nobody has, and UnreachableError with all that stands in the way.
    """
    running = {worker.name: worker for worker in status.workers}
    specs = {spec.name: spec for spec in loaded.topology.workers}
    if unknown := [name for name in wanted if name not in running]:
        raise UnsuitableError(f"the daemon has no worker {unknown[0]!r}; it has {', '.join(running)}")
    if changed := sorted(running.keys() ^ specs.keys()):
        raise UnsuitableError(f"the daemon has not read this topology yet ({changed[0]}): invalidator reload")
    names = [name for name in running if not wanted or name in wanted]
    left_out = {} if wanted else {name: why for name in names if (why := reluctance(specs[name], loaded))}
    names = [name for name in names if name not in left_out]
    if not names:
        raise UnsuitableError("; ".join(f"{name}: {why}" for name, why in left_out.items()))
    if found := [text for name in names for text in obstacles(running[name])]:
        raise UnreachableError("nothing was published: " + "; ".join(found))
    return [_subject(specs[name], running[name], loaded.topology) for name in names], left_out


def reluctance(spec: WorkerSpec, loaded: Loaded) -> str:
    """Why it is not measured unless somebody wants it by name; empty: nothing speaks against it."""
    consent = f"--worker {spec.name} measures it all the same"
    if dear := [lane.backend for lane in spec.backends if costly(loaded, spec, lane.backend)]:
        return f"a purge of {dear[0]} may cost money, or more than its key; {consent}"
    return f"its journal would keep our messages; {consent}" if spec.delivery == "journal" else ""


def costly(loaded: Loaded, spec: WorkerSpec, backend: str) -> bool:
    """Whether a purge of a key that nobody has may do more than that: by the backend's own word, as for the doctor."""
    lane = next(lane for lane in spec.backends if lane.backend == backend)
    if lane.dry_run or loaded.topology.backends[backend].dry_run:
        return False
    try:
        made = make_backends(loaded.topology, spec.name, lane, loaded.plugins)
    except Exception:  # noqa: BLE001  a plugin's code may raise anything; then nothing vouches for it
        return True
    for one in made:
        with suppress(Exception):
            one.close()
    return any(one.canary == "none" and not one.inline for one in made)


def obstacles(worker: Worker) -> Iterator[str]:
    """What would keep messages from being heard, or from being purged."""
    if not is_well(worker):
        why = f" ({failure(worker.trouble)})" if worker.trouble else ""
        yield f"{worker.name} is {standing(worker)[1]}{why}"
        return
    if worker.paused:
        yield f"{worker.name} is paused, and purges nothing: invalidator resume"
    for lanes in by_backend(worker):
        for lane in lanes:
            if lane.breaker != "closed":
                why = f" ({failure(lane.last_failure)})" if lane.last_failure else ""
                yield f"{worker.name} → {lane.backend} {lane.node}".rstrip() + f": breaker {lane.breaker}{why}"
        if lanes[0].pending > _MOST_PENDING:
            yield f"{worker.name} → {lanes[0].backend} has {plural(lanes[0].pending, 'target')} to purge already"
    if all(lane.dry_run for lane in worker.lanes):
        yield f"{worker.name} is on a dry run in all of its backends"


def silence(worker: Worker, backend: str) -> str:
    """Why this backend has not answered: what is known of it."""
    for why in obstacles(worker):
        return why
    lane = next((lane for lane in worker.lanes if lane.backend == backend), None)
    if lane and lane.last_failure and lane.last_failure.at > lane.last_purge:
        return f"{worker.name} → {backend}: {failure(lane.last_failure)}"
    if worker.unheard:
        return f"{worker.name}: {worker.unheard}"
    return f"{worker.name} → {backend}: no receipt, and no reason for it; invalidator doctor may find one"


def _subject(spec: WorkerSpec, worker: Worker, topology: Topology) -> Subject:
    journal = topology.journal if spec.delivery == "journal" else None
    return Subject(
        worker=spec.name,
        channel=channel_of(spec.pattern),
        settings=topology.redis_of(spec),
        lanes={lanes[0].backend: lanes[0].type for lanes in by_backend(worker) if not lanes[0].dry_run},
        delay=sum(lane.delay for lane in spec.backends),
        stream=journal.stream if journal else "",
        keep=journal.keep if journal else 0,
    )

"""Whether each worker's subscription is there, and alive. Pure.

Redis counts patterns (NUMPAT) and the subscribers of a channel (NUMSUB), but tells of no pattern who hears it. Our
connections call themselves `invalidator:WORKER`, so CLIENT LIST says it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.doctor.finding import Finding, Kind
from invalidator.doctor.standing import identity
from invalidator.doctor.wording import lasting, shown
from invalidator.screen.text import listed, plural
from invalidator.topology.patterns import is_glob

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.doctor.daemon import Daemon
    from invalidator.doctor.facts import Client, Facts
    from invalidator.doctor.servers import Server
    from invalidator.topology.models import WorkerSpec

THERE = Kind("subscription.there", "ok", "A worker's subscription is there")
COUNTED = Kind("subscription.counted", "ok", "As many subscriptions are counted as there should be, or more")
NO_DAEMON = Kind(
    "subscription.no_daemon",
    "wrong",
    "Nobody is subscribed: no daemon is running",
    "Redis keeps no message for who is away. What is published now is lost, and its caches stay stale until a daemon"
    " starts and flushes them.",
    "invalidator run -c {file}, or systemctl start of its unit.",
)
MISSING = Kind(
    "subscription.missing",
    "wrong",
    "A daemon runs, but this subscription is not there",
    "What is published on this pattern reaches no cache. The worker is dead or starting, is refused, hears another"
    " Redis, or its daemon has not read this topology.",
    "invalidator status -c {file} and the daemon's log (redis.refused, worker.restarting) say which; after a change of"
    " the topology: invalidator reload -c {file} --wait.",
)
ELSEWHERE = Kind(
    "subscription.elsewhere",
    "wrong",
    "A worker is subscribed to something else",
    "Its connection is there, but not for the pattern that stands in this topology: its daemon runs with another one.",
    "invalidator reload -c {file} --wait has the daemon read its topology again, and says whether it took effect.",
)
SILENT = Kind(
    "subscription.silent",
    "wrong",
    "Nobody pings on this subscription",
    "Each worker says something on its own connection once every heartbeat interval. This one is stopped or hangs, or"
    " the connection is dead and Redis has not noticed: messages pile up for nobody.",
    "On its host see whether the worker is stopped (ps: T); its supervisor replaces it after heartbeat_timeout. CLIENT"
    " KILL ADDR {address} ends a dead connection.",
)
TOO_FEW = Kind(
    "subscription.too_few",
    "wrong",
    "Fewer patterns are subscribed than there are workers for",
    "At least one worker hears nothing; which one could not be seen, as CLIENT LIST was refused.",
    "invalidator status, or the daemon's /readyz, names the workers that are not subscribed; ACL SETUSER {user}"
    " +client|list lets the doctor see them.",
)
UNSEEN = Kind(
    "subscription.unseen",
    "note",
    "Whose subscriptions these are cannot be seen",
    "Those that could be counted are enough, but without CLIENT LIST nobody can say whether they are the workers'.",
    "ACL SETUSER {user} +client|list",
)
KINDS = (THERE, COUNTED, NO_DAEMON, MISSING, ELSEWHERE, SILENT, TOO_FEW, UNSEEN)

_GRAIN = 1.0
"""Seconds: Redis counts idle time in whole ones."""


def findings(server: Server, facts: Facts, daemon: Daemon, file: str) -> Iterator[Finding]:
    """One for each worker, or one for all where there is no daemon at all."""
    counts = _counts(server, facts)
    if facts.clients is None:
        yield from _by_numbers(server, facts, counts)
        return
    connections = {worker.name: _of(worker, facts.clients) for worker in server.workers}
    if not any(connections.values()) and not daemon.runs:
        names = ", ".join(worker.client_name for worker in server.workers[:4])
        yield NO_DAEMON.found(server.subject, f"no connection is named {names}; {counts}; {daemon.said}", file=file)
        return
    if not _too_few(server, facts):
        yield COUNTED.found(server.subject, counts)
    others = [name for name, there in connections.items() if there]
    known = f"subscribed: {listed(others) or 'none'}; {counts}; {daemon.said}"
    for worker, settings in server.hears:
        there = connections[worker.name]
        heard = f"worker {worker.name}, pattern {worker.pattern}: "
        if not there:
            yield MISSING.found(
                server.subject, f"{heard}no connection is named {worker.client_name}; {known}", file=file
            )
        elif elsewhere := _elsewhere(worker, there, server, facts):
            yield ELSEWHERE.found(server.subject, f"{heard}{elsewhere}; {counts}", file=file)
        else:
            yield from _alive(server, worker, there, settings.heartbeat.deadline)


def _alive(server: Server, worker: WorkerSpec, there: Sequence[Client], deadline: float) -> Iterator[Finding]:
    silent = [client for client in there if client.idle > deadline + _GRAIN]
    for client in silent:
        evidence = (
            f"worker {worker.name}: idle for {client.idle} s, heartbeat deadline {deadline:g} s; from {client.address},"
            f" subscribed for {lasting(client.age)}"
        )
        yield SILENT.found(server.subject, evidence, address=client.address)
    if not silent:
        places = listed([f"{each.address}, {lasting(each.age)} old, idle {each.idle} s" for each in there], 2)
        number = plural(len(there), "connection")
        yield THERE.found(server.subject, f"worker {worker.name}: {number} ({places})")


def _elsewhere(worker: WorkerSpec, there: Sequence[Client], server: Server, facts: Facts) -> str:
    """Why these connections, which have the worker's name, cannot be hearing its pattern; empty if they may."""
    if is_glob(worker.pattern):
        if not any(client.psub for client in there):
            return f"{worker.client_name} has psub=0"
        all_there = all(_of(other, facts.clients or ()) for other in server.workers)
        if all_there and facts.numpat is not None and facts.numpat < len(server.globs):
            return "all connections are there, and fewer patterns than they should have"
        alone = {trial.worker for trial in facts.trials if trial.alone}
        # Of a Cluster that is one node's number, and the worker may well listen at another.
        at_any = any(settings.url.scheme == "redis+cluster" for _, settings in server.hears)
        if worker.name in alone and _counts_distinct(facts) and not at_any:
            return "NUMPAT grew when the doctor subscribed to it too, so nobody else had"
        return ""
    if (facts.numsub or {}).get(worker.pattern) == 0:
        return f"PUBSUB NUMSUB {worker.pattern} is 0"
    return ""


def _counts_distinct(facts: Facts) -> bool:
    """Whether NUMPAT counts a pattern once, however many have it: before 6.2 it counted subscriptions."""
    name, version = identity(facts)
    return name == "Valkey" or (name == "Redis" and version >= (6, 2))


def _by_numbers(server: Server, facts: Facts, counts: str) -> Iterator[Finding]:
    if _too_few(server, facts):
        yield TOO_FEW.found(server.subject, counts, user=server.user)
    else:
        yield UNSEEN.found(server.subject, counts, user=server.user)


def _too_few(server: Server, facts: Facts) -> bool:
    deaf = 0 in (facts.numsub or {}).values()
    return deaf or (facts.numpat is not None and facts.numpat < len(server.globs))


def _of(worker: WorkerSpec, clients: Sequence[Client]) -> list[Client]:
    name = worker.client_name
    return [client for client in clients if client.name == name]


def _counts(server: Server, facts: Facts) -> str:
    """NUMPAT and NUMSUB against what should be subscribed."""
    parts = []
    if server.globs:
        seen = "could not be seen" if facts.numpat is None else f"is {facts.numpat}"
        parts.append(f"PUBSUB NUMPAT {seen}, {len(server.globs)} expected of this topology")
    parts += [f"PUBSUB NUMSUB {shown(channel)} is {count}" for channel, count in (facts.numsub or {}).items()][:4]
    return "; ".join(parts) or "PUBSUB could not be asked"

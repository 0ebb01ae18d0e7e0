"""Clients and memory: what is left before Redis turns somebody away or throws something out. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.doctor.finding import Finding, Kind
from invalidator.doctor.wording import lasting, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.doctor.facts import Facts
    from invalidator.doctor.servers import Server

_MIB = 1 << 20
WASTE = 32 * _MIB
"""Below this, a bad ratio costs nothing: a small instance is mostly its own program, and always shows one."""

_MORE_CLIENTS = (
    "CONFIG SET maxclients {more} (and its process's limit of open files); CLIENT LIST shows who holds them."
)
_MORE_MEMORY = "Raise maxmemory, or store less there; a Redis for messages alone needs hardly any memory."

CLIENTS_FINE = Kind("clients.fine", "ok", "There is room for more clients")
CLIENTS_FULL = Kind(
    "clients.full",
    "wrong",
    "There is no room for more clients",
    "A worker whose connection breaks does not get another one while others hold them all.",
    _MORE_CLIENTS,
)
CLIENTS_NEAR = Kind(
    "clients.near",
    "warning",
    "There is little room for more clients",
    "When they are all taken, a worker whose connection breaks cannot subscribe again.",
    _MORE_CLIENTS,
)
REJECTED = Kind(
    "clients.rejected",
    "warning",
    "Redis has turned clients away",
    "maxclients was reached at some time since its start, and publishers or workers found no room.",
    _MORE_CLIENTS + " CONFIG RESETSTAT sets the counter back.",
)
EVICTED_CLIENTS = Kind(
    "clients.evicted",
    "warning",
    "Redis has disconnected clients to save memory",
    "maxmemory-clients was reached; a subscriber that lags is among the first to go, and each time is a gap.",
    "CONFIG SET maxmemory-clients 0, or a larger share.",
)
MEMORY_FINE = Kind("memory.fine", "ok", "Memory is in order")
MEMORY_NEAR = Kind(
    "memory.near",
    "warning",
    "The memory of Redis is nearly used up",
    "At maxmemory it evicts keys or refuses writes; buffers of slow subscribers count as well.",
    _MORE_MEMORY,
)
EVICTED = Kind(
    "memory.evicted",
    "warning",
    "Redis has evicted keys",
    "maxmemory was reached. Messages themselves are no keys and are not lost by it; keys that coordinate (and caches on"
    " the same server) are, and under this pressure PUBLISH is slower.",
    _MORE_MEMORY + " CONFIG RESETSTAT sets the counter back.",
)
FRAGMENTED = Kind(
    "memory.fragmented",
    "warning",
    "The memory of Redis is fragmented",
    "It holds much more of the host's memory than it uses: much was stored and deleted, or many connections come and"
    " go.",
    "CONFIG SET activedefrag yes (where it is built in), or MEMORY PURGE, or a restart; find out who reconnects:"
    " total_connections_received.",
)
SWAPPED = Kind(
    "memory.swapped",
    "warning",
    "Redis seems to be swapped out",
    "Less of it is in memory than it uses; each access to the rest waits for a disk, PUBLISH too.",
    "Give its host more memory, or it less to store (maxmemory); see VmSwap in /proc/PID/status.",
)
KINDS = (
    CLIENTS_FINE, CLIENTS_FULL, CLIENTS_NEAR, REJECTED, EVICTED_CLIENTS,
    MEMORY_FINE, MEMORY_NEAR, EVICTED, FRAGMENTED, SWAPPED,
)  # fmt: skip


def findings(server: Server, facts: Facts) -> Iterator[Finding]:
    """From INFO clients, stats and memory."""
    found = list(_clients(server, facts))
    yield from found
    if not found and (connected := facts.number("connected_clients")) is not None:
        most = facts.number("maxclients")
        yield CLIENTS_FINE.found(
            server.subject, f"{connected:,} of {most or 0:,} connected; rejected_connections is {_said(facts)}"
        )
    found = list(_memory(server, facts))
    yield from found
    if not found and (used := facts.number("used_memory")) is not None:
        yield MEMORY_FINE.found(server.subject, f"{_bound(used, facts)}; {_ratio(facts)}{_why_no_matter(facts)}")


def _clients(server: Server, facts: Facts) -> Iterator[Finding]:
    connected, most = facts.number("connected_clients"), facts.number("maxclients")
    since = f"since its start {lasting(facts.number('uptime_in_seconds') or 0)} ago"
    more = max(10_000, 2 * (most or 0))
    if connected is not None and most:
        left = most - connected
        evidence = f"{connected:,} of {most:,} connected, room for {max(0, left):,} more"
        if connected >= 0.95 * most:
            yield CLIENTS_FULL.found(server.subject, evidence, more=more)
        elif connected >= 0.75 * most:
            yield CLIENTS_NEAR.found(server.subject, evidence, more=more)
    if rejected := facts.number("rejected_connections"):
        yield REJECTED.found(server.subject, f"rejected_connections is {rejected:,} {since}", more=more)
    if evicted := facts.number("evicted_clients"):
        yield EVICTED_CLIENTS.found(server.subject, f"evicted_clients is {evicted:,} {since}")


def _memory(server: Server, facts: Facts) -> Iterator[Finding]:
    used, most = facts.number("used_memory"), facts.number("maxmemory")
    if used is not None and most and used >= 0.9 * most:
        yield MEMORY_NEAR.found(server.subject, _bound(used, facts))
    if evicted := facts.number("evicted_keys"):
        policy = facts.info.get("maxmemory_policy", "?")
        yield EVICTED.found(
            server.subject, f"evicted_keys is {evicted:,}, maxmemory_policy {policy}; {_bound(used, facts)}"
        )
    resident, ratio = facts.number("used_memory_rss"), facts.ratio("mem_fragmentation_ratio")
    if used is None or resident is None or ratio is None:
        return
    if ratio >= 1.5 and resident - used >= WASTE:
        yield FRAGMENTED.found(server.subject, f"{_ratio(facts)}: {size(resident - used)} more than it uses")
    elif ratio < 0.9 and used - resident >= WASTE:
        yield SWAPPED.found(server.subject, _ratio(facts))


def _bound(used: int | None, facts: Facts) -> str:
    most = facts.number("maxmemory")
    return f"{size(used or 0)} used, maxmemory {size(most) if most else 'unbounded'}"


def _ratio(facts: Facts) -> str:
    used, resident = facts.number("used_memory") or 0, facts.number("used_memory_rss") or 0
    ratio = facts.info.get("mem_fragmentation_ratio", "unknown")
    inner = facts.info.get("allocator_frag_ratio")
    detail = f" ({size(resident)} resident, {size(used)} used{f', allocator_frag_ratio {inner}' if inner else ''})"
    return f"mem_fragmentation_ratio is {ratio}{detail}"


def _why_no_matter(facts: Facts) -> str:
    ratio = facts.ratio("mem_fragmentation_ratio")
    if ratio is None or ratio < 1.5:
        return ""
    return f", which means nothing below {size(WASTE)} of difference: a small instance is mostly its own program"


def _said(facts: Facts) -> str:
    rejected = facts.number("rejected_connections")
    return "unknown" if rejected is None else f"{rejected:,}"

"""Output buffers of subscribers against the limit at which Redis hangs up. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.doctor.facts import BufferLimit
from invalidator.doctor.finding import Finding, Kind
from invalidator.doctor.wording import size
from invalidator.screen.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.doctor.facts import Facts
    from invalidator.doctor.servers import Server

_KIB, _MIB = 1 << 10, 1 << 20
DEFAULT = BufferLimit(32 * _MIB, 8 * _MIB, 60)
MESSAGE = 256
"""Bytes that a message of a hundred takes in a buffer, about."""

_RESTORE = 'CONFIG SET client-output-buffer-limit "pubsub 33554432 8388608 60", and the same in its configuration file.'
_CUT = "Redis hangs up on a subscriber whose output buffer passes the limit, and throws away what is in it."

FINE = Kind("buffers.fine", "ok", "Output buffers are far from their limit")
FULL = Kind(
    "buffers.full",
    "wrong",
    "A subscription is about to be cut off",
    f"{_CUT} This worker does not read what it is sent: it is stopped or starved, or its network is.",
    "Look at the worker's host (CPU, stopped process, network). The limit only delays it: " + _RESTORE,
)
GROWING = Kind(
    "buffers.growing",
    "warning",
    "A subscription lags behind",
    f"{_CUT} This worker reads more slowly than it is sent, for now.",
    "Look at the worker's host (CPU, network), and at how much is published: invalidator_messages_received_total.",
)
RECENT = Kind(
    "buffers.recent",
    "warning",
    "Some client's output buffer has come near the limit of subscribers",
    "In the last seconds. It may be any client, as only those of subscribers have this limit: a worker that lags, or"
    " somebody's large answer.",
    "CLIENT LIST TYPE pubsub, and look at omem; if it is a worker's: its host's CPU and network.",
)
TINY = Kind(
    "buffers.limit_tiny",
    "wrong",
    "The output-buffer limit of subscribers is far too small",
    f"{_CUT} At this size a short burst, or a worker that is not scheduled for a moment, is enough: each time is a gap,"
    " and a gap is flushed.",
    _RESTORE,
)
SMALL = Kind(
    "buffers.limit_small",
    "warning",
    "The output-buffer limit of subscribers is smaller than the default",
    f"{_CUT} A burst fits less well than it would by default.",
    _RESTORE,
)
NONE = Kind(
    "buffers.limit_none",
    "note",
    "Subscribers have no output-buffer limit",
    "No subscriber is ever cut off; one that does not read fills the memory of Redis instead.",
    _RESTORE,
)
CUT = Kind(
    "buffers.cut",
    "warning",
    "Redis has cut clients off for their output buffer",
    'Since it was started, of any sort; if it were workers, invalidator_gaps_total{cause="disconnect"} shows it.',
    "CLIENT LIST TYPE pubsub while it happens: omem grows before.",
)
KINDS = (FINE, FULL, GROWING, RECENT, TINY, SMALL, NONE, CUT)


def findings(server: Server, facts: Facts) -> Iterator[Finding]:
    """The limit by itself, and how near to it our subscriptions and everybody are."""
    limit = facts.limit or DEFAULT
    told = _told(limit) + ("" if facts.limit else " (the default: what is set could not be seen)")
    found = [*_of_the_limit(server, limit, told), *_of_ours(server, facts, limit, told)]
    found += _of_anybody(server, facts, limit, told)
    yield from found
    if not found:
        largest = facts.number("client_recent_max_output_buffer")
        recent = f"client_recent_max_output_buffer is {size(largest)}" if largest is not None else "no recent maximum"
        worst = max((client.omem for client in facts.clients or ()), default=0)
        yield FINE.found(server.subject, f"{recent}, the largest omem of a subscriber {size(worst)}; {told}")


def _of_the_limit(server: Server, limit: BufferLimit, told: str) -> Iterator[Finding]:
    least = limit.hard or limit.soft
    if not least:
        yield NONE.found(server.subject, told)
        return
    room = f"{told}: room for about {least // MESSAGE:,} messages of 100 bytes"
    if 0 < limit.hard <= _MIB or 0 < limit.soft <= 512 * _KIB:
        yield TINY.found(server.subject, room)
    elif 0 < limit.hard < 8 * _MIB or 0 < limit.soft < 2 * _MIB:
        yield SMALL.found(server.subject, room)


def _of_ours(server: Server, facts: Facts, limit: BufferLimit, told: str) -> Iterator[Finding]:
    names = {worker.client_name: worker.name for worker in server.workers}
    for client in facts.clients or ():
        kind = _kind(client.omem, limit)
        if kind and client.name in names:
            evidence = f"worker {names[client.name]} from {client.address}: omem {size(client.omem)}; {told}"
            yield kind.found(server.subject, evidence)


def _kind(omem: int, limit: BufferLimit) -> Kind | None:
    """Past the soft limit a client has `seconds` left, whatever it does."""
    if (limit.soft and omem >= limit.soft) or (limit.hard and omem >= 0.75 * limit.hard):
        return FULL
    if (limit.soft and omem >= 0.25 * limit.soft) or (limit.hard and omem >= 0.25 * limit.hard):
        return GROWING
    return GROWING if omem >= 8 * _MIB else None


def _of_anybody(server: Server, facts: Facts, limit: BufferLimit, told: str) -> Iterator[Finding]:
    largest = facts.number("client_recent_max_output_buffer") or 0
    bounds = [bound for bound in (limit.hard, limit.soft) if bound]
    if bounds and largest >= 0.5 * min(bounds):
        yield RECENT.found(server.subject, f"client_recent_max_output_buffer is {size(largest)}; {told}")
    if cut := facts.number("client_output_buffer_limit_disconnections"):
        yield CUT.found(server.subject, f"client_output_buffer_limit_disconnections: {plural(cut, 'client')}")


def _told(limit: BufferLimit) -> str:
    hard = size(limit.hard) if limit.hard else "none"
    soft = f"{size(limit.soft)} for {limit.seconds} s" if limit.soft else "none"
    return f"client-output-buffer-limit pubsub: hard {hard}, soft {soft}"

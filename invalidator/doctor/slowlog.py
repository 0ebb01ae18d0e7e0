"""What SLOWLOG says: PUBLISH itself, and what keeps it waiting, as Redis does one thing at a time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.doctor.facts import SCRIPTS
from invalidator.doctor.finding import Finding, Kind
from invalidator.doctor.wording import lasting, micros
from invalidator.screen.text import listed, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.doctor.facts import Facts, SlowCall
    from invalidator.doctor.servers import Server

SLOW = 1_000
"""Microseconds. PUBLISH takes some ten; at a millisecond it does a thousand a second, and nothing else."""
_PUBLISH = ("PUBLISH", "SPUBLISH")

FINE = Kind("slowlog.fine", "ok", "No slow command in the slow log")
PUBLISH = Kind(
    "slowlog.publish",
    "warning",
    "PUBLISH is slow",
    "It is sent to every subscriber, and compared with every pattern, before anything else is done: many subscribers,"
    " many patterns, large payloads or a starved host make it slow.",
    "PUBSUB NUMPAT and NUMSUB show how many there are; send keys and no data; give Redis a core of its own.",
)
QUICK = Kind(
    "slowlog.publish_quick",
    "note",
    "PUBLISH stands in the slow log, and was not slow",
    "The threshold is so low that quick commands are logged: the log says nothing, and is soon full.",
    "CONFIG SET slowlog-log-slower-than 10000 (microseconds), and SLOWLOG RESET.",
)
SCRIPT = Kind(
    "slowlog.script",
    "note",
    "Scripts keep PUBLISH waiting",
    "While a script runs, nothing else does: no message is delivered for so long. A PUBLISH inside it is part of it.",
    "Shorten the scripts, or give messages a Redis of their own.",
)
COMMAND = Kind(
    "slowlog.command",
    "note",
    "Slow commands keep PUBLISH waiting",
    "Redis does one thing at a time: while one of these runs, no message is delivered.",
    "SCAN instead of KEYS, UNLINK instead of DEL, smaller collections and ranges; or a Redis of its own for messages.",
)
OFF = Kind(
    "slowlog.off",
    "note",
    "The slow log is off",
    "Nobody can see afterwards what kept PUBLISH waiting.",
    "CONFIG SET slowlog-log-slower-than 10000 (microseconds).",
)
KINDS = (FINE, PUBLISH, QUICK, SCRIPT, COMMAND, OFF)


def findings(server: Server, facts: Facts, now: float) -> Iterator[Finding]:
    """`now`: seconds since the epoch, by the server's clock if it told."""
    if facts.slow is None:
        return
    if facts.slower_than == -1:
        yield OFF.found(server.subject, "slowlog-log-slower-than is -1")
        return
    threshold = f"; slowlog-log-slower-than is {micros(facts.slower_than)}" if facts.slower_than is not None else ""
    slow = [call for call in facts.slow if call.micros >= SLOW]
    quick = [call for call in facts.slow if call.command in _PUBLISH and call.micros < SLOW]
    found = 0
    for kind, calls in (
        (PUBLISH, [call for call in slow if call.command in _PUBLISH]),
        (QUICK, quick),
        (SCRIPT, [call for call in slow if call.command in SCRIPTS]),
        (COMMAND, [call for call in slow if call.command not in (*_PUBLISH, *SCRIPTS)]),
    ):
        if calls:
            found += 1
            yield kind.found(server.subject, _summary(calls, now) + threshold)
    if not found:
        yield FINE.found(
            server.subject,
            f"{plural(len(facts.slow), 'recent call')} logged, none of {micros(SLOW)} or more{threshold}",
        )


def server_time(facts: Facts, otherwise: float) -> float:
    """Seconds since the epoch as the server counts them."""
    told = facts.number("server_time_usec")
    return told / 1e6 if told else otherwise


def _summary(calls: Sequence[SlowCall], now: float) -> str:
    groups: dict[str, list[SlowCall]] = {}
    for call in calls:
        groups.setdefault(f"{call.command} {call.channel}".rstrip(), []).append(call)
    worst_first = sorted(groups.items(), key=lambda group: -max(call.micros for call in group[1]))
    return listed([_line(name, of_it, now) for name, of_it in worst_first])


def _line(name: str, calls: Sequence[SlowCall], now: float) -> str:
    longest = micros(max(call.micros for call in calls))
    latest = lasting(max(0.0, now - max(call.when for call in calls)))
    return f"{name} ({plural(len(calls), 'time')}, the longest {longest}, the latest {latest} ago)"

"""What is promised, and how each number is measured: the rows of the README's table. Pure: results in, text out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chaos.results import Result


ANSWERS_AGAIN = 1.0
"""Seconds: an LRU that is shut is a cache that is not there, and the database behind it feels that."""


class Measured(NamedTuple):
    """One row's outcome. `samples` says in words how often; `kept` whether the promise was kept in all of them."""

    number: str
    samples: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Promise:
    """A row: what, the number, which runs it is made from (by the beginning of their names), and how."""

    what: str
    number: str
    runs: str
    measure: Callable[[Sequence[Result]], Measured]


def p99(seconds: Sequence[float]) -> float:
    """The value below which 99 of 100 lie; of fewer than 100, the largest. Raises ValueError when there is none."""
    if not seconds:
        raise ValueError("nothing was measured")
    return sorted(seconds)[ceil(0.99 * len(seconds)) - 1]


def _verdicts(results: Sequence[Result]) -> list[tuple[Result, dict[str, Any]]]:
    values = [(result, dict(result.values.get("verdict", result.values))) for result in results]
    return [(result, verdict) for result, verdict in values if "stale" in verdict]


def _stale(results: Sequence[Result]) -> Measured:
    verdicts = _verdicts(results)
    stale = sum(sum(verdict["stale"].values()) for _, verdict in verdicts)
    entries = sum(sum(verdict["held"].values()) for _, verdict in verdicts)
    faults = sum(result.samples for result, _ in verdicts)
    seen = all(all(verdict["held"].values()) and verdict["quiet"] for _, verdict in verdicts)
    return Measured(f"{stale}", f"{faults:,} faults; {entries:,} entries looked at", not stale and seen)


def _unapplied(results: Sequence[Result]) -> Measured:
    verdicts = [verdict for result, verdict in _verdicts(results) if result.mode == "journal"]
    missing = sum(sum(verdict["unapplied"].values()) for verdict in verdicts)
    published = sum(verdict["published"] for verdict in verdicts)
    return Measured(f"{missing}", f"{published:,} messages", bool(verdicts) and not missing)


def _gaps(results: Sequence[Result]) -> Measured:
    injected = [result for result in results if "injected" in result.values]
    each = ", ".join(f"{r.values['counted']} of {r.values['injected']} ({r.mode})" for r in injected)
    clean = [result for result in results if "false" in result.values]
    false = sum(result.values["false"] for result in clean)
    minutes = sum(result.values["minutes"] for result in clean)
    rate = min((result.values["rate"] for result in clean), default=0.0)
    kept = all(result.values["counted"] == result.values["injected"] for result in injected) and not false
    of_none = f"false: {false}" if clean else "false: not measured yet"
    number = f"{each}; {of_none}" if injected else of_none
    kinds: Counter[str] = Counter()
    for result in injected:
        kinds.update(result.values["kinds"])
    said = ", ".join(f"{count} by {kind}" for kind, count in kinds.most_common())
    samples = "; ".join([said] * bool(injected) + [f"{minutes:.0f} minutes at {rate:,.0f} a second"] * bool(clean))
    return Measured(number, samples, kept and bool(results))


def _killed(results: Sequence[Result]) -> Measured:
    seconds = [each for result in results for each in result.values["seconds"]]
    disturbed = sum(result.values["disturbed"] for result in results)
    worst = max(p99(result.values["seconds"]) for result in results)
    number = f"p99 {worst * 1000:.0f} ms; siblings disturbed: {disturbed}"
    return Measured(number, f"{len(seconds)} kills", worst <= 0.1 and not disturbed)


def _hang(results: Sequence[Result]) -> Measured:
    seconds = [each - result.values["deadline"] for result in results for each in result.values["seconds"]]
    return Measured(f"deadline + {max(0.0, *seconds):.2f} s", f"{len(seconds)} hangs", max(seconds) <= 0.5)


def _healed(results: Sequence[Result]) -> Measured:
    seconds = [each for result in results for each in result.values["seconds"]]
    return Measured(f"at most {max(seconds):.1f} s", f"{len(seconds)} outages", max(seconds) <= 5.0)


def _memory(results: Sequence[Result]) -> Measured:
    seconds = [each for result in results for each in result.values["shut"]]
    worst = max(p99(result.values["shut"]) for result in results)
    return Measured(f"p99 {worst:.2f} s", f"{len(seconds)} gaps", worst <= ANSWERS_AGAIN)


def _orphans(results: Sequence[Result]) -> Measured:
    alive = sum(result.values["alive"] for result in results)
    return Measured(f"{alive}", f"{sum(result.samples for result in results)} workers", not alive)


def _ready(results: Sequence[Result]) -> Measured:
    applied, asked = (sum(result.values[name] for result in results) for name in ("applied", "asked"))
    return Measured(f"{applied} of {asked}", f"{asked} starts", applied == asked)


def _isolation(results: Sequence[Result]) -> Measured:
    factor = max(result.values["factor"] for result in results)
    grown = max(result.values["grown_mib"] for result in results)
    minutes = sum(result.values["minutes"] for result in results)
    number = f"{factor:.2f}x; {grown:+.0f} MiB"
    return Measured(number, f"{minutes:.0f} minutes with one hanging", factor <= 1.2 and grown <= 64)


def _stopped(results: Sequence[Result]) -> Measured:
    seconds = [each for result in results for each in result.values["seconds"]]
    hanging = [each for result in results for each in result.values["hanging"]]
    codes = {code for result in results for code in result.values["codes"]}
    number = f"exit {', '.join(map(str, sorted(codes)))}; p99 {p99(seconds):.2f} s; hanging: {max(hanging):.1f} s"
    kept = codes == {0} and p99(seconds) <= 1.0 and max(hanging) <= results[0].values["stop_timeout"]
    return Measured(number, f"{len(seconds)} + {len(hanging)} stops", kept)


def _dying(results: Sequence[Result]) -> Measured:
    restarts = max(result.values["restarts"] for result in results)
    disturbed = sum(result.values["disturbed"] for result in results)
    degraded = all(result.values["degraded"] for result in results)
    number = f"{restarts} restarts; others disturbed: {disturbed}; {'degraded' if degraded else 'NOT degraded'}"
    return Measured(number, f"{len(results)} minutes", restarts <= 10 and not disturbed and degraded)


def _conserved(results: Sequence[Result]) -> Measured:
    accounts = [verdict["account"] for _, verdict in _verdicts(results) if "account" in verdict]
    if not accounts:
        return Measured("not measured yet", "", kept=True)
    killed = [account for account in accounts if any(account["killed"].values())]
    exact = [_worst(account) for account in accounts if account not in killed]
    kills = sum(sum(account["killed"].values()) for account in killed)
    tightest = min((allowed(account, worker) for account in killed for worker in _victims(account)), default=0)
    number = f"off by {max(exact, default=0)}"
    if killed:
        worst = max(map(_worst, killed))
        number += f"; after {kills} SIGKILLs a lane by at most {worst}, where {tightest:,} and more are allowed"
    return Measured(number, f"{len(exact)} + {len(killed)} runs", all(map(is_conserved, accounts)))


def allowed(account: Mapping[str, Any], worker: str) -> int:
    """By how much each lane of this worker may be off: a batch for each time that it was killed."""
    return int(account["killed"].get(worker, 0) * account["batch"].get(worker, 0))


def is_conserved(account: Mapping[str, Any]) -> bool:
    """Whether no lane is off by more than that. `account` is a chaos.conservation.Account, as JSON holds it."""
    return all(abs(off) <= allowed(account, lane.partition("/")[0]) for lane, off in account["off_by"].items())


def _worst(account: Mapping[str, Any]) -> int:
    return max(map(abs, account["off_by"].values()), default=0)


def _victims(account: Mapping[str, Any]) -> list[str]:
    return [worker for worker, kills in account["killed"].items() if kills]


def _controlled(results: Sequence[Result]) -> Measured:
    broken = sum(bool(result.values["broken"]) for result in results)
    return Measured(f"{broken} of {len(results)}", f"{len(results)} guards", broken == len(results))


PROMISES = (
    Promise("stale entries after any of these faults, once quiet, both modes", "0", "stale.", _stale),
    Promise(
        "unapplied messages, journal mode, of the entries that the surviving dataset holds", "0", "stale.", _unapplied
    ),
    Promise(
        "injected gaps detected; false gaps in 10 minutes of clean load at 10k/s", "500 of 500; 0", "gaps clean", _gaps
    ),
    Promise(
        "killed worker subscribed again, over 200 kills at 2,000 msg/s; siblings' pids unchanged",
        "p99 ≤ 100 ms",
        "kills",
        _killed,
    ),
    Promise("silent hang found, after the last byte", "≤ deadline + 0.5 s", "hang", _hang),
    Promise(
        "an LRU under 2,000 msg/s serves again after CLIENT KILL or SIGKILL of its worker",
        f"p99 ≤ {ANSWERS_AGAIN:g} s",
        "memory",
        _memory,
    ),
    Promise("staleness after the network heals", "≤ 5 s", "heal", _healed),
    Promise(
        "workers alive 1 s after SIGKILL of the supervisor (stopped, spinning, blocked, normal)",
        "0 in 100",
        "orphans",
        _orphans,
    ),
    Promise("READY, and a message published that instant applied", "200 of 200", "ready", _ready),
    Promise(
        "one hanging backend: the others' p99, and memory, in 5 minutes at 2,000 msg/s",
        "≤ 1.2x; ≤ +64 MiB",
        "isolation",
        _isolation,
    ),
    Promise(
        "SIGTERM under load; with a hanging backend",
        "exit 0, p99 ≤ 1 s; ≤ stop_timeout",
        "stop",
        _stopped,
    ),
    Promise(
        "a worker that dies at start, in the first minute; the others untouched, status degraded",
        "≤ 10 restarts",
        "dying",
        _dying,
    ),
    Promise(
        "conservation of the counters",
        "exact without SIGKILL; after one, within a batch a lane",
        "stale. kills gaps clean",
        _conserved,
    ),
    Promise(
        "negative controls: with its guard switched off, a promise is seen to be broken", "all", "control.", _controlled
    ),
)

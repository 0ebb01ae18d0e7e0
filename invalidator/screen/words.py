"""What is said of a worker and of a lane, in the same words on a terminal and on the page. Pure.

What is bad is told from what is merely not as usual: `bad` wants a person, `warn` may pass or is somebody's own doing.
The texts are as they came: whoever shows them makes them harmless.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from invalidator.screen.text import ago, by, count, duration, plural, rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.status import Failure, Handover, Lane, Status, Worker

Tone = Literal["ok", "warn", "bad", "idle"]
STATE_TONES: dict[str, Tone] = {"running": "ok", "starting": "idle", "degraded": "bad", "stopping": "warn"}
ORDINARY_WAIT = 5.0
"""Seconds at most, from one failure of a backend to the next attempt."""
_BREAKERS: dict[str, Tone] = {"open": "bad", "half-open": "warn"}


def standing(worker: Worker) -> tuple[Tone, str]:
    """The supervisor's word for its state, and what is to be added to it."""
    if worker.state != "RUNNING":
        tone: Tone = "bad" if worker.state == "BACKOFF" else "idle"
        return tone, worker.state + (f", next try in {duration(worker.next_try)}" if worker.next_try else "")
    if not worker.subscribed:
        return "bad", "RUNNING, not subscribed"
    if worker.paused:
        return "warn", "RUNNING, paused"
    if worker.handover:
        return "warn" if worker.handover.trouble else "ok", f"RUNNING, {handover(worker.handover)}"
    return "ok", "RUNNING"


def handover(replaced: Handover) -> str:
    """How far a worker is with being replaced."""
    match replaced.state:
        case "waiting":
            return "waits to be replaced"
        case "starting":
            return "successor starting" if replaced.trouble is None else "successor not ready"
        case "draining":
            return "predecessor draining"
        case "backoff":
            return "successor failed"  # a sentence says why, and when it is tried again


def lane_tone(lane: Lane) -> Tone:
    """How a lane does."""
    if lane.breaker != "closed":
        return _BREAKERS[lane.breaker]
    if lane.ends.get("lost"):
        return "bad"
    return "warn" if has_failed(lane) else "ok"


def breaker(lane: Lane, now: float) -> str:
    """`breaker open for 3 min`; nothing of one that is closed."""
    if lane.breaker == "closed":
        return ""
    return f"breaker {lane.breaker}" + (f" for {duration(now - lane.breaker_since)}" if lane.breaker_since else "")


def outcome(lane: Lane, now: float) -> str:
    """What came of its last attempt, or of all that was not tried."""
    if text := skipped(lane):
        return text
    if has_failed(lane) and lane.last_failure:
        return f"failed {ago(lane.last_failure.at, now)}: {failure(lane.last_failure)}"
    if lane.flush_owed:
        return "flush owed"
    return f"purged {ago(lane.last_purge, now)}" if lane.last_purge else "nothing purged yet"


def put_off(lane: Lane) -> str:
    """`asked again in 287 s`, of one that has to wait for longer than a lane does by itself."""
    return f"asked again in {lane.next_try:.0f} s" if (lane.next_try or 0.0) > ORDINARY_WAIT else ""


def skipped(lane: Lane) -> str:
    """`dry run, 20.0k skipped`, or `20.0k skipped` where a lane could purge nothing of it; nothing of one that purges.

    A dry run may have purged before it was one, and a lane that lacks the kinds that it is asked for is flushed.
    """
    number = lane.ends.get("skipped", 0)
    if lane.dry_run:
        return f"dry run, {count(number)} skipped"
    return f"{count(number)} skipped" if number and not lane.ends.get("purged") and not has_failed(lane) else ""


def has_failed(lane: Lane) -> bool:
    """Whether a failure was the last thing that happened: one that a purge has followed is over."""
    return lane.last_failure is not None and lane.last_failure.at >= lane.last_purge


def failure(failed: Failure) -> str:
    """`refused: connection refused`."""
    return f"{failed.reason}: {failed.detail}" if failed.detail else failed.reason


def behind(lane: Lane) -> str:
    """`12 min of the journal are still to come`: they are not among what is pending. Nothing of one that keeps up."""
    return "" if lane.behind is None else f"{duration(lane.behind)} of the journal are still to come"


def losses(lane: Lane) -> str:
    """`3 lost, 12 dead`: what it will not purge any more."""
    return ", ".join(f"{lane.ends[end]:,} {end}" for end in ("lost", "dead") if lane.ends.get(end))


def subscription(worker: Worker, now: float) -> str:
    """Since when it hears what is published."""
    if not worker.subscribed:
        return "no"
    return f"for {duration(now - worker.subscribed_since)}" if worker.subscribed_since else "yes"


def gaps(worker: Worker) -> str:
    """`2 (disconnect 1, start 1), 1 s in all`, or `0`."""
    return by(worker.gaps) + (f", {duration(worker.gap_seconds)} in all" if worker.gap_seconds >= 0.001 else "")


def by_backend(worker: Worker) -> list[list[Lane]]:
    """Its lanes, those of one backend together: they have one set of counts between them."""
    groups: dict[str, list[Lane]] = {}
    for lane in worker.lanes:
        groups.setdefault(lane.backend, []).append(lane)
    return list(groups.values())


def shortcomings(worker: Worker) -> list[str]:
    """What it lacks, and works without: a sentence for each."""
    ping = f"heartbeat ping only: {worker.heartbeat_detail}" if worker.heartbeat == "ping" else ""
    hindered = failure(worker.trouble) if worker.trouble and is_well(worker) else ""
    return [text for text in (ping, worker.unheard, hindered) if text]


def is_well(worker: Worker) -> bool:
    """Whether it runs and is subscribed: if it has a trouble all the same, it works with that."""
    return worker.state == "RUNNING" and worker.subscribed


def pending(worker: Worker) -> int:
    """Targets that it still has to purge, in all of its backends."""
    return sum(lanes[0].pending for lanes in by_backend(worker))


def is_troubled(worker: Worker) -> bool:
    """Whether it is one to look at first."""
    return standing(worker)[0] in ("bad", "warn") or any(lane_tone(lane) in ("bad", "warn") for lane in worker.lanes)


def troubled_first(workers: Sequence[Worker]) -> list[Worker]:
    """Those to look at come first, otherwise as the topology has them."""
    return sorted(workers, key=lambda worker: not is_troubled(worker))


def sentences(status: Status) -> list[str]:
    """Its troubles; what several workers have in common is said once: `edge: breaker open …, in 30 workers`."""
    lanes = Counter(what for _, arrow, what in (trouble.partition(" → ") for trouble in status.troubles) if arrow)
    told = set()
    said = []
    for trouble in status.troubles:
        what = trouble.partition(" → ")[2]
        if lanes[what] < 2:
            said.append(trouble)
        elif what not in told:
            told.add(what)
            said.append(f"{what}, in {plural(lanes[what], 'worker')}")
    return said


def summary(status: Status) -> str:
    """The whole daemon in a line."""
    workers = status.workers
    subscribed = sum(worker.subscribed for worker in workers)
    return (
        f"{subscribed:,} of {plural(len(workers), 'worker')} subscribed, "
        f"{rate(sum(worker.rate for worker in workers)).removesuffix('/s')} messages/s, "
        f"{count(sum(map(pending, workers)))} targets pending"
    )

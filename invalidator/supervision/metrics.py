"""The counters as Prometheus' text. Pure: what the regions held at one moment becomes lines.

Counters go on across the incarnations of a worker: what a dead one had counted is folded into its name's totals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from invalidator.messages import FAILURE_REASONS, FLUSH_CAUSES, GAP_CAUSES, REJECT_REASONS
from invalidator.slots import BACKEND_WORDS, ENDS, GAUGES, PURGE_BOUNDS, WORKER_WORDS, Snapshot, Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

RESTART_REASONS = ("crash", "signal", "hung", "early", "reload")


@dataclass(slots=True)
class WorkerView:
    """What the supervisor knows of one worker when it is asked."""

    name: str
    words: Snapshot
    up: bool
    subscribed: bool
    restarts: Mapping[str, int]


@dataclass(slots=True)
class Totals:
    """What the dead incarnations of one worker counted, by backend."""

    worker: Words = field(default_factory=lambda: dict.fromkeys(WORKER_WORDS, 0))
    backends: dict[str, Words] = field(default_factory=dict)

    def fold(self, last: Snapshot, can_flush: Mapping[str, bool]) -> None:
        """An incarnation has ended. What it had pending is covered by the flush at its successor's start, or lost."""
        _add(self.worker, last.worker)
        for name, words in last.backends.items():
            total = self.backends.setdefault(name, dict.fromkeys(BACKEND_WORDS, 0))
            _add(total, words)
            total["flushed" if can_flush.get(name) else "lost"] += words["pending"]

    def plus(self, live: Snapshot | None, backends: Iterable[str]) -> Snapshot:
        """The totals and what the living incarnation has counted; each backend has its words from the beginning."""
        worker = dict(self.worker)
        if live:
            _add(worker, live.worker)
        sums = {}
        for name in backends:
            words = dict(self.backends.get(name) or dict.fromkeys(BACKEND_WORDS, 0))
            if live and name in live.backends:
                _add(words, live.backends[name])
                words["pending"] = live.backends[name]["pending"]
            sums[name] = words
        return Snapshot(worker, sums)


def _add(total: Words, words: Words) -> None:
    for name, count in words.items():
        if name not in GAUGES:
            total[name] += count


def render(workers: Iterable[WorkerView], *, reload_ok: bool, version: str) -> str:
    """The whole exposition, in Prometheus' text format 0.0.4."""
    workers = list(workers)
    lines: list[str] = []
    for family in _families():
        lines += [f"# HELP {family.name} {family.text}", f"# TYPE {family.name} {family.type}"]
        for worker in workers:
            lines += family.samples(worker)
    lines += _own(reload_ok=reload_ok, version=version)
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, its type, what it means, and which words it shows."""

    name: str
    type: str
    text: str
    per: str
    label: str = ""
    values: tuple[str, ...] = ()
    word: str = ""
    scale: float = 1

    def samples(self, worker: WorkerView) -> Iterator[str]:
        """The lines of one worker."""
        if self.per == "worker":
            yield from self._lines({"worker": worker.name}, worker.words.worker)
        else:
            for backend, words in worker.words.backends.items():
                yield from self._lines({"worker": worker.name, "backend": backend}, words)

    def _lines(self, labels: dict[str, str], words: Words) -> Iterator[str]:
        if self.type == "histogram":
            yield from _histogram(self.name, labels, self.word, words)
        elif self.label:
            for value in self.values:
                yield _line(self.name, {**labels, self.label: value}, words[f"{self.word}{value}"])
        else:
            yield _line(self.name, labels, words[self.word] * self.scale if self.scale != 1 else words[self.word])


@dataclass(frozen=True, slots=True)
class ViewFamily(Family):
    """A metric that the supervisor knows by itself."""

    def samples(self, worker: WorkerView) -> Iterator[str]:
        """The lines of one worker."""
        labels = {"worker": worker.name}
        if self.label:
            for reason in RESTART_REASONS:
                yield _line(self.name, {**labels, self.label: reason}, worker.restarts.get(reason, 0))
        else:
            yield _line(self.name, labels, int(getattr(worker, self.word)))


def _families() -> tuple[Family, ...]:
    counter, worker, backend = "counter", "worker", "backend"
    return (
        Family(
            "invalidator_messages_received_total", counter, "Messages that Redis delivered.", worker, word="received"
        ),
        Family(
            "invalidator_messages_rejected_total",
            counter,
            "Messages or single targets that were refused.",
            worker,
            "reason",
            REJECT_REASONS,
            "rejected:",
        ),
        Family(
            "invalidator_messages_missed_total", counter, "Journal entries that were not heard.", worker, word="missed"
        ),
        Family("invalidator_targets_received_total", counter, "Targets handed to a lane.", backend, word="received"),
        Family("invalidator_targets_total", counter, "Targets by what became of them.", backend, "end", ENDS, ""),
        Family("invalidator_pending", "gauge", "Targets that a lane still has to purge.", backend, word="pending"),
        Family(
            "invalidator_purge_attempts_failed_total",
            counter,
            "Attempts in which a backend failed, wholly or in part.",
            backend,
            "reason",
            FAILURE_REASONS,
            "failed:",
        ),
        Family("invalidator_flushes_total", counter, "Flushes done.", backend, "cause", FLUSH_CAUSES, "flush:"),
        Family("invalidator_purge_seconds", "histogram", "From asking a backend to its answer.", backend, word="purge"),
        Family("invalidator_propagation_seconds", "histogram", "From publish to purged.", backend, word="propagation"),
        Family(
            "invalidator_gaps_total",
            counter,
            "Times in which messages may have been missed.",
            worker,
            "cause",
            GAP_CAUSES,
            "gap:",
        ),
        Family(
            "invalidator_gap_seconds_total", counter, "How long those times were.", worker, word="gap_ns", scale=1e-9
        ),
        Family(
            "invalidator_reconnects_total",
            counter,
            "Subscriptions made anew.",
            worker,
            "cause",
            GAP_CAUSES,
            "reconnect:",
        ),
        ViewFamily("invalidator_worker_restarts_total", counter, "Workers started anew.", worker, "reason"),
        ViewFamily(
            "invalidator_worker_up", "gauge", "Whether the worker's process runs and is ready.", worker, word="up"
        ),
        ViewFamily(
            "invalidator_subscribed",
            "gauge",
            "Whether the subscription is known to be alive.",
            worker,
            word="subscribed",
        ),
    )


def _own(*, reload_ok: bool, version: str) -> list[str]:
    reload, info = "invalidator_config_last_reload_successful", "invalidator_build_info"
    return [
        f"# HELP {reload} Whether the topology's file was good when it was last read.",
        f"# TYPE {reload} gauge",
        _line(reload, {}, int(reload_ok)),
        f"# HELP {info} What runs here.",
        f"# TYPE {info} gauge",
        _line(info, {"version": version}, 1),
    ]


def _histogram(name: str, labels: dict[str, str], prefix: str, words: Words) -> Iterator[str]:
    count = 0
    for bound in (*PURGE_BOUNDS, float("inf")):
        count += words[f"{prefix}:{bound:g}"]
        yield _line(f"{name}_bucket", {**labels, "le": "+Inf" if bound == float("inf") else f"{bound:g}"}, count)
    yield _line(f"{name}_sum", labels, words[f"{prefix}:sum_ns"] / 1e9)
    yield _line(f"{name}_count", labels, count)


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

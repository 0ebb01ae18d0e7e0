"""The counters as Prometheus' text. Pure: what the regions held at one moment becomes lines.

Counters go on across the incarnations of a worker: what a dead one had counted is folded into its name's totals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from invalidator.messages import (
    FAILURE_REASONS,
    FLUSH_CAUSES,
    GAP_CAUSES,
    IGNORE_REASONS,
    JOURNAL_BREAKS,
    REJECT_REASONS,
)
from invalidator.slots import (
    BACKEND_WORDS,
    ENDS,
    GAUGES,
    LATEST,
    PURGE_BOUNDS,
    WORKER_WORDS,
    Snapshot,
    Words,
)
from invalidator.supervision.remains import LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from invalidator.supervision.remains import Remains

PLANNED_RESTARTS = ("reload", "requested", "recycled")
"""By a new topology, by somebody at the control socket, and by a worker's own limits."""
RESTART_REASONS = ("crash", "signal", "hung", "early", *PLANNED_RESTARTS)


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

    def fold(self, last: Snapshot, ends: Mapping[str, Remains]) -> None:
        """An incarnation has ended. What it had pending has come to these ends, backend by backend; else it is lost."""
        _add(self.worker, last.worker)
        for name, words in last.backends.items():
            total = self.backends.setdefault(name, dict.fromkeys(BACKEND_WORDS, 0))
            _add(total, words)
            end, pending = ends.get(name, LOST), words["pending"]
            alone = min(words["pending_unjournaled"], pending)
            total[end.journaled] += pending - alone
            total[end.alone] += alone

    def plus(self, living: Sequence[Snapshot], backends: Iterable[str]) -> Snapshot:
        """The totals and what the living incarnations have counted.

        Every backend that one of them has, and these, have their words from the beginning.
        """
        worker = dict(self.worker)
        for live in living:
            _add(worker, live.worker)
        names = dict.fromkeys([*backends, *(name for live in living for name in live.backends)])
        return Snapshot(worker, {name: self._sum(name, [live.backends.get(name) for live in living]) for name in names})

    def _sum(self, name: str, living: Iterable[Words | None]) -> Words:
        words = dict(self.backends.get(name) or dict.fromkeys(BACKEND_WORDS, 0))
        for live in living:
            if live:
                _add(words, live)
                words["pending"] += live["pending"]
        return words


def _add(total: Words, words: Words) -> None:
    for name, count in words.items():
        if name in LATEST:
            total[name] = max(total[name], count)
        elif name not in GAUGES:
            total[name] += count


def render(workers: Iterable[WorkerView], *, reload_ok: bool, version: str) -> str:
    """The whole exposition, in Prometheus' text format 0.0.4."""
    workers = list(workers)
    lines: list[str] = []
    for family in FAMILIES:
        lines += family.head()
        for worker in workers:
            lines += [_line(family.name + suffix, labels, value) for suffix, labels, value in family.samples(worker)]
    lines += [*RELOAD.head(), _line(RELOAD.name, {}, int(reload_ok))]
    lines += [*BUILD.head(), _line(BUILD.name, {"version": version}, 1)]
    return "\n".join(lines) + "\n"


Labels = dict[str, str]
Sample = tuple[str, Labels, float]
"""What is added to the metric's name, the labels, the value."""


class Family(NamedTuple):
    """One metric: its name, its type, what it means, and its samples for one worker."""

    name: str
    type: str
    text: str
    samples: Callable[[WorkerView], Iterator[Sample]] = lambda _: iter(())

    def head(self) -> list[str]:
        """The two lines that introduce it."""
        return [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} {self.type}"]


def _worker(word: str, scale: float = 1) -> Callable[[WorkerView], Iterator[Sample]]:
    """One word of the worker's own."""

    def samples(view: WorkerView) -> Iterator[Sample]:
        value = view.words.worker[word]
        yield "", {"worker": view.name}, value if scale == 1 else value * scale

    return samples


def _worker_by(label: str, values: Iterable[str], prefix: str) -> Callable[[WorkerView], Iterator[Sample]]:
    """The worker's words that begin so, one for each value of the label."""

    def samples(view: WorkerView) -> Iterator[Sample]:
        for value in values:
            yield "", {"worker": view.name, label: value}, view.words.worker[prefix + value]

    return samples


def _backend(word: str) -> Callable[[WorkerView], Iterator[Sample]]:
    """One word of each backend."""

    def samples(view: WorkerView) -> Iterator[Sample]:
        for labels, words in _backends(view):
            yield "", labels, words[word]

    return samples


def _backend_by(label: str, values: Iterable[str], prefix: str) -> Callable[[WorkerView], Iterator[Sample]]:
    """The words of each backend that begin so, one for each value of the label."""

    def samples(view: WorkerView) -> Iterator[Sample]:
        for labels, words in _backends(view):
            for value in values:
                yield "", {**labels, label: value}, words[prefix + value]

    return samples


def _histogram(prefix: str) -> Callable[[WorkerView], Iterator[Sample]]:
    """A histogram of each backend: the words hold each bucket's own count, Prometheus wants those below it too."""

    def samples(view: WorkerView) -> Iterator[Sample]:
        for labels, words in _backends(view):
            count = 0
            for bound in (*PURGE_BOUNDS, float("inf")):
                count += words[f"{prefix}:{bound:g}"]
                yield "_bucket", {**labels, "le": "+Inf" if bound == float("inf") else f"{bound:g}"}, count
            yield "_sum", labels, words[f"{prefix}:sum_ns"] / 1e9
            yield "_count", labels, count

    return samples


def _restarts(view: WorkerView) -> Iterator[Sample]:
    for reason in RESTART_REASONS:
        yield "", {"worker": view.name, "reason": reason}, view.restarts.get(reason, 0)


def _up(view: WorkerView) -> Iterator[Sample]:
    yield "", {"worker": view.name}, int(view.up)


def _subscribed(view: WorkerView) -> Iterator[Sample]:
    yield "", {"worker": view.name}, int(view.subscribed)


def _backends(view: WorkerView) -> Iterator[tuple[Labels, Words]]:
    for backend, words in view.words.backends.items():
        yield {"worker": view.name, "backend": backend}, words


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_GAPS = "Times in which messages may have been missed."
_FAILED = "Attempts in which a backend failed, wholly or in part."
_IGNORED = "Messages that were understood, and left alone."
_REJECTED = "Messages or single targets that were refused."

FAMILIES = (
    Family("invalidator_messages_received_total", "counter", "Messages that Redis delivered.", _worker("received")),
    Family(
        "invalidator_messages_rejected_total", "counter", _REJECTED, _worker_by("reason", REJECT_REASONS, "rejected:")
    ),
    Family("invalidator_messages_missed_total", "counter", "Journal entries that were not heard.", _worker("missed")),
    Family(
        "invalidator_messages_unjournaled_total",
        "counter",
        "Messages heard by a journal worker that stand in no journal.",
        _worker("unjournaled"),
    ),
    Family("invalidator_messages_ignored_total", "counter", _IGNORED, _worker_by("reason", IGNORE_REASONS, "ignored:")),
    Family(
        "invalidator_journal_breaks_total",
        "counter",
        "Times in which the journal could not say what was missed.",
        _worker_by("reason", JOURNAL_BREAKS, "journal_break:"),
    ),
    Family("invalidator_targets_received_total", "counter", "Targets handed to a lane.", _backend("received")),
    Family("invalidator_targets_total", "counter", "Targets by what became of them.", _backend_by("end", ENDS, "")),
    Family("invalidator_pending", "gauge", "Targets that a lane still has to purge.", _backend("pending")),
    Family(
        "invalidator_purge_attempts_failed_total", "counter", _FAILED, _backend_by("reason", FAILURE_REASONS, "failed:")
    ),
    Family("invalidator_flushes_total", "counter", "Flushes done.", _backend_by("cause", FLUSH_CAUSES, "flush:")),
    Family("invalidator_purge_seconds", "histogram", "From asking a backend to its answer.", _histogram("purge")),
    Family("invalidator_propagation_seconds", "histogram", "From publish to purged.", _histogram("propagation")),
    Family("invalidator_gaps_total", "counter", _GAPS, _worker_by("cause", GAP_CAUSES, "gap:")),
    Family("invalidator_gap_seconds_total", "counter", "How long those times were.", _worker("gap_ns", scale=1e-9)),
    Family(
        "invalidator_reconnects_total",
        "counter",
        "Subscriptions made anew.",
        _worker_by("cause", GAP_CAUSES, "reconnect:"),
    ),
    Family("invalidator_worker_restarts_total", "counter", "Workers started anew.", _restarts),
    Family("invalidator_worker_up", "gauge", "Whether the worker's process runs and is ready.", _up),
    Family("invalidator_subscribed", "gauge", "Whether the subscription is known to be alive.", _subscribed),
)
RELOAD = Family(
    "invalidator_config_last_reload_successful", "gauge", "Whether the topology's file was good when it was last read."
)
BUILD = Family("invalidator_build_info", "gauge", "What runs here.")

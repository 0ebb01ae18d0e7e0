"""The bench from its beginning to its results, in order."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.bench import load, own, results
from invalidator.bench.environment import processor_seconds
from invalidator.bench.session import Session
from invalidator.bench.subjects import choose, silence
from invalidator.control.client import Client
from invalidator.control.protocol import GetStatus
from invalidator.control.where import find
from invalidator.errors import UnreachableError
from invalidator.presence import instance_of
from invalidator.reply import APPLIED
from invalidator.screen.text import count
from invalidator.topology.load import load as read_topology

if TYPE_CHECKING:
    from invalidator.bench.subjects import Subject
    from invalidator.reply import Reply
    from invalidator.status import Status, Worker

Tell = Callable[[str, str], None]
"""Called with what is being done, and how far it is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured. `workers`: only these, of all if there is none. `patience`: see Session."""

    rates: tuple[float, ...]
    seconds: float
    burst: int
    workers: tuple[str, ...] = ()
    bursts: int = 3
    patience: float = 5.0
    seed: int = field(default_factory=lambda: random.randrange(1 << 32))


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured, and who."""

    plan: Plan
    subjects: tuple[Subject, ...]
    left_out: dict[str, str]
    results: results.Results


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that runs: its topology's file, and its control socket if the file does not lead there."""

    file: Path
    socket: Path | None = None

    def status(self) -> Status:
        """As it is now. Raises UnreachableError."""
        with Client(self.socket) if self.socket else find(self.file) as client:
            answer = client.ask(GetStatus(file=str(self.file.resolve())))
        if answer.status is None:
            raise UnreachableError(answer.error or "the daemon has answered without a status")
        return answer.status

    def worker(self, name: str) -> Worker:
        """One of its workers, as it is now."""
        found = next((worker for worker in self.status().workers if worker.name == name), None)
        if found is None:
            raise UnreachableError(f"the daemon has no worker {name!r} any more")
        return found


def run(target: Daemon | str, plan: Plan, tell: Tell) -> Bench:
    """Measure a daemon that runs, or one of our own on the Redis at this URL. Leaves nothing behind.

    Raises ConfigError, UnreachableError, and UnsuitableError.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="invalidator-bench-")))
        if isinstance(target, str):
            tell("a daemon of our own", "starting")
            target = Daemon(stack.enter_context(own.daemon(target, folder)))
        loaded = read_topology(target.file)
        status = _running(target)
        subjects, left_out = choose(status, loaded, plan.workers)
        instance = instance_of(status.file, loaded.topology.supervisor.state_dir)
        found = results.Results()
        for subject in subjects:
            session = Session(subject, status.host, plan.patience)
            with session.opened(folder):
                _measure(session, target, plan, instance, found, tell)
        return Bench(plan, tuple(subjects), left_out, found)


def _running(target: Daemon) -> Status:
    try:
        return target.status()
    except UnreachableError as error:
        remedy = f"start it (invalidator run -c {target.file}), or have one of the bench's own, on a Redis: --url URL"
        raise UnreachableError(f"{error}; {remedy}") from None


def _measure(session: Session, target: Daemon, plan: Plan, instance: str, found: results.Results, tell: Tell) -> None:
    """One worker: does it answer at all, then each rate, then the bursts; one after the other, each in quiet."""
    name = session.subject.worker
    tell(name, "the first message")
    found.remarks += _met(session, target, session.introduce(instance))
    before = target.worker(name)
    for number, rate in enumerate(plan.rates):
        found.series.append(_steady(session, target, plan, f"s{number}", rate, tell))
    for number in range(plan.bursts if plan.burst else 0):
        found.bursts.append(_burst(session, target, plan.burst, f"b{number}", tell))
    after = target.worker(name)
    gaps = {cause: count - before.gaps.get(cause, 0) for cause, count in after.gaps.items()}
    if any(gaps.values()):
        found.gaps[name] = {cause: count for cause, count in gaps.items() if count}
    if after.pid != before.pid:
        found.restarted.append(name)


def _met(session: Session, target: Daemon, said: dict[str, Reply]) -> list[str]:
    """Leave out the lanes that do nothing. Raises UnreachableError for those that do not answer, or cannot obey."""
    name = session.subject.worker
    missing = [backend for backend in session.backends if backend not in said]
    if missing:
        worker = target.worker(name)
        why = dict.fromkeys(silence(worker, backend) for backend in missing)
        raise UnreachableError(f"no answer within {session.patience:g} s: {'; '.join(why)}")
    skipped = {backend: one for backend, one in said.items() if one.outcome == "skipped"}
    for backend, one in said.items():
        if one.outcome not in (*APPLIED, "skipped"):
            why_not = f" ({one.reason})" if one.reason else ""
            raise UnreachableError(f"{name} → {backend} has {one.outcome} a message with one key{why_not}")
    session.backends = tuple(backend for backend in session.backends if backend not in skipped)
    if not session.backends:
        raise UnreachableError(f"{name} purges no keys in any of its backends")
    return [f"{name} → {backend}: purges no keys, and is not measured" for backend in skipped]


def _steady(session: Session, target: Daemon, plan: Plan, name: str, rate: float, tell: Tell) -> results.Series:
    worker = session.subject.worker
    what = load.steady(rate, plan.seconds, len(session.backends), session.subject.delay, plan.seed)
    before = target.worker(worker).received
    done, answers = session.run(name, what, lambda text: tell(f"{worker} at {count(rate)}/s", text))
    spent = done.ended - done.began
    return results.Series(
        worker=worker,
        rate=rate,
        reached=what.count / max(spent, what.count / rate),
        published=what.count,
        heard=target.worker(worker).received - before,
        late=done.late,
        stepped=done.stepped,
        lanes=tuple(
            results.samples(backend, what.asked, answers.of(backend), done.began, rate) for backend in session.backends
        ),
    )


def _burst(session: Session, target: Daemon, keys: int, name: str, tell: Tell) -> results.Burst:
    worker = session.subject.worker
    before = target.worker(worker)
    used = processor_seconds(before.pid)
    done, answers = session.run(name, load.burst(keys), lambda text: tell(f"{worker}, a burst of {keys:,} keys", text))
    last = {backend: answers.of(backend).get(keys - 1) for backend in session.backends}
    now = processor_seconds(before.pid)
    received = _received(target.worker(worker))
    return results.Burst(
        worker=worker,
        keys=keys,
        publishing=done.ended - done.began,
        lanes={
            backend: one.at - done.began if one and one.outcome in APPLIED else None for backend, one in last.items()
        },
        received={backend: received[backend] - _received(before)[backend] for backend in session.backends},
        cpu=None if used is None or now is None else now - used,
    )


def _received(worker: Worker) -> dict[str, int]:
    return {lane.backend: lane.received for lane in worker.lanes}

"""A daemon's status as lines for a person who was woken by it: what is wrong first, then each worker. Pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from invalidator.screen.paint import Line, Piece, line, plain
from invalidator.screen.text import ago, by, count, duration, fit, latency, left, moment, rate, right, visible, width
from invalidator.screen.words import (
    behind,
    by_backend,
    gaps,
    handover,
    has_failed,
    losses,
    put_off,
    sentences,
    shortcomings,
    skipped,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.screen.paint import Tone
    from invalidator.status import Lane, Status, Worker

_STATE_TONES: dict[str, Tone] = {"running": "good", "starting": "warning", "degraded": "bad", "stopping": "warning"}
_NUMBER = 9
"""Columns of one number in the table of lanes."""
_NUMBERS = ("pending", "purged", "p50", "p99")
_LAST = 23
"""`dry run, 999.9k skipped`."""
_SENTENCE = 240
"""Columns of the longest that we say ourselves."""
_SHORTEST = 8
"""Columns of a name: less tells nobody which it is."""


def drawn(status: Status, columns: int) -> Iterator[Line]:
    """The whole: for a screen of so many columns, 40 at least."""
    yield from head(status, columns)
    yield from troubles(status, columns)
    for worker in status.workers:
        yield ()
        yield from drawn_worker(worker, status.now, columns)


def head(status: Status, columns: int) -> Iterator[Line]:
    """The daemon: its state, its process, and its file, which on a narrow screen has a line of its own."""
    state = Piece(status.state, _STATE_TONES[status.state])
    since = f"  up {duration(status.now - status.started)}  pid {status.pid}"
    read = f"  {'read' if status.reload.ok else 'REFUSED'} {ago(status.reload.at, status.now)}"
    last_read = Piece(read, "" if status.reload.ok else "bad")
    room = columns - width(status.state + since + read) - 2
    if room < 2 * _SHORTEST:
        yield line(state, since)
        yield line("  ", fit(status.file, columns - width(read) - 2), last_read)
    else:
        yield line(state, since, "  ", fit(status.file, room), last_read)


def troubles(status: Status, columns: int) -> Iterator[Line]:
    """A sentence for each thing that is wrong, over as many lines as it takes, but not without end."""
    for trouble in sentences(status):
        yield from sentence(trouble, columns, "bad")
    if not status.reload.ok:
        text, _, more = status.reload.error.partition("\n")
        rest = f" (and {more.count(chr(10)) + 1} more)" if more else ""
        at = moment(status.reload.at, status.now)
        yield from sentence(f"not reloaded at {at}{rest}: {text}", columns, "warning")


def sentence(text: str, columns: int, tone: Tone, rows: int = 0) -> Iterator[Line]:
    """`! what is the matter`, over so many lines at most; 0: as many as a sentence of ours with its reason takes."""
    rows = rows or max(3, _SENTENCE // columns)
    wrapped = textwrap.wrap(visible(text), columns - 2, max_lines=rows, placeholder=" …")
    for number, part in enumerate(wrapped):
        yield line(Piece(f"{'  ' if number else '! '}{part}", tone))


def drawn_worker(worker: Worker, now: float, columns: int) -> Iterator[Line]:
    """One worker, and its lanes."""
    yield from worker_lines(worker, now, columns)
    facts = [f"last message {ago(worker.last_message, now)}", f"gaps {gaps(worker)}"]
    if worker.restarts:
        facts.append(f"restarts {by(worker.restarts)}")
    if worker.handover:
        facts.append(handover(worker.handover))
    yield from _flowing([Piece(f"  {fact}") for fact in facts], columns)
    for text in shortcomings(worker):
        yield from sentence(text, columns, "warning")
    yield lane_head(columns)
    yield from lane_lines(worker, now, columns)


def _flowing(facts: Sequence[Piece], columns: int) -> Iterator[Line]:
    """As many of them in a line as there is room for."""
    taken: Line = ()
    for fact in facts:
        if taken and width(plain((*taken, fact))) > columns:
            yield taken
            taken = ()
        taken += (fact,)
    yield taken


def worker_lines(worker: Worker, now: float, columns: int) -> Iterator[Line]:
    """`users  RUNNING  pid 4242  up 3 d  subscribed 3 h  12/s`, over two lines where the name would not be left."""
    up = worker.state == "RUNNING"
    said = [f"  pid {worker.pid}", f"  up {duration(worker.uptime or 0.0)}"] if worker.pid else []
    if worker.next_try is not None:
        said.append(f"  next try in {duration(worker.next_try)}")
    if worker.subscribed:
        since = f" {duration(now - worker.subscribed_since)}" if worker.subscribed_since else ""
        heard = Piece(f"  subscribed{since}")
    else:
        heard = Piece("  not subscribed", "bad" if up else "")
    if worker.delivery == "journal":
        said.append("  journal")
    facts = [*map(Piece, said), heard, Piece(f"  {rate(worker.rate)}")]
    state = line(
        "  ", Piece(worker.state, "good" if up else "bad"), Piece("  paused" if worker.paused else "", "warning")
    )
    beside = columns - width(plain(state))
    room = beside - sum(width(fact.text) for fact in facts)
    if room < min(_SHORTEST, width(visible(worker.name))):
        yield line(Piece(fit(worker.name, beside), "bold"), *state)
        yield from _flowing(facts, columns)
    else:
        yield line(Piece(fit(worker.name, room), "bold"), *state, *facts)


def lane_head(columns: int) -> Line:
    """The heads of the columns of `lane_lines`."""
    numbers = "".join(right(name, _NUMBER) for name in _NUMBERS[: _shown(columns)])
    return line(Piece(f"  {left('lane', _room(columns))}{numbers}  last", "dim"))


def lane_lines(worker: Worker, now: float, columns: int) -> Iterator[Line]:
    """A line for each backend: its counts, and what came last. Of several servers, each has a line of its own."""
    for servers in by_backend(worker):
        backend = servers[0]
        if len(servers) == 1:
            name = " ".join(filter(None, (backend.backend, backend.node)))
            yield line(_counts(name, backend, columns), "  ", last(backend, now))
            yield from _waits(backend, columns)
        else:
            # The counts are those of all of them: beside the first one, they would be taken for its own.
            yield line(_counts(backend.backend, backend, columns))
            for lane in servers:
                node = left(lane.node, _room(columns) - 2) + right(count(lane.pending_here), _NUMBER)
                yield line(f"    {node}{' ' * (_shown(columns) - 1) * _NUMBER}  ", last(lane, now))
                yield from _waits(lane, columns)
        if given_up := losses(backend):
            kept = any(lane.dead_letters for lane in servers)  # some may have been tried again since
            text = f"{given_up}: see invalidator deadletter list" if kept else f"{given_up}; no dead letters are left"
            yield line("    ", Piece(fit(text, columns - 4), "warning"))


def lane_height(worker: Worker) -> int:
    """How many `lane_lines` there are."""
    groups = by_backend(worker)
    heads = sum((len(servers) > 1) + bool(losses(servers[0])) for servers in groups)
    return heads + len(worker.lanes) + sum(map(len, map(_waiting, worker.lanes)))


def _waits(lane: Lane, columns: int) -> Iterator[Line]:
    for text in _waiting(lane):
        yield line("    ", Piece(fit(text, columns - 4), "warning"))


def _waiting(lane: Lane) -> list[str]:
    return [text for text in (behind(lane), put_off(lane)) if text]


def _counts(name: str, lane: Lane, columns: int) -> str:
    values = (count(lane.pending), rate(lane.rate), latency(lane.purge.p50), latency(lane.purge.p99))
    numbers = "".join(right(value, _NUMBER) for value in values[: _shown(columns)])
    return f"  {left(name, _room(columns))}{numbers}"


def last(lane: Lane, now: float) -> Piece:
    """What became of the last batch, or since when nothing is tried."""
    if lane.breaker != "closed":
        return Piece(f"{lane.breaker} since {moment(lane.breaker_since, now)}", "bad")
    if text := skipped(lane):
        return Piece(text, "" if lane.dry_run else "warning")
    failure = lane.last_failure
    if failure and has_failed(lane):
        return Piece(f"{fit(failure.reason, _LAST - 11)} {ago(failure.at, now)}", "bad")
    if lane.flush_owed:
        return Piece("flush owed", "warning")
    return Piece(f"purged {ago(lane.last_purge, now)}" if lane.last_purge else "nothing yet")


def _shown(columns: int) -> int:
    """How many of the numbers there is room for: on a narrow screen the latencies go first."""
    return next((some for some in (4, 2) if columns - some * _NUMBER - 4 - _LAST >= _SHORTEST), 1)


def _room(columns: int) -> int:
    return max(_SHORTEST, columns - _shown(columns) * _NUMBER - 4 - _LAST)

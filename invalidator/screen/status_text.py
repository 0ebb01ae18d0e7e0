"""A daemon's status as lines for a person who was woken by it: what is wrong first, then each worker. Pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from invalidator.screen.paint import Line, Piece, line
from invalidator.screen.text import ago, by, count, duration, fit, latency, left, moment, rate, right, visible, width
from invalidator.screen.words import by_backend, gaps, sentences

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.screen.paint import Tone
    from invalidator.status import Lane, Status, Worker

_STATE_TONES: dict[str, Tone] = {"running": "good", "starting": "warning", "degraded": "bad", "stopping": "warning"}
_NUMBER = 9
"""Columns of one number in the table of lanes."""
_LAST = 20


def drawn(status: Status, columns: int) -> Iterator[Line]:
    """The whole: for a screen of so many columns, 60 at least."""
    yield head(status, columns)
    yield from troubles(status, columns)
    for worker in status.workers:
        yield ()
        yield from drawn_worker(worker, status.now, columns)


def head(status: Status, columns: int) -> Line:
    """The daemon: `degraded since…`, its process and its file."""
    state = Piece(status.state, _STATE_TONES[status.state])
    since = f"  up {duration(status.now - status.started)}  pid {status.pid}  "
    read = f"  {'read' if status.reload.ok else 'REFUSED'} {ago(status.reload.at, status.now)}"
    room = columns - width(status.state + since + read)
    return line(state, since, fit(status.file, room), Piece(read, "" if status.reload.ok else "bad"))


def troubles(status: Status, columns: int) -> Iterator[Line]:
    """A sentence for each thing that is wrong, over as many lines as it takes, but no more than three."""
    for trouble in sentences(status):
        yield from _sentence(trouble, columns, "bad")
    if not status.reload.ok:
        text, _, more = status.reload.error.partition("\n")
        rest = f" (and {more.count(chr(10)) + 1} more)" if more else ""
        at = moment(status.reload.at, status.now)
        yield from _sentence(f"not reloaded at {at}{rest}: {text}", columns, "warning")


def _sentence(text: str, columns: int, tone: Tone) -> Iterator[Line]:
    wrapped = textwrap.wrap(visible(text), columns - 2, max_lines=3, placeholder=" …")
    for number, part in enumerate(wrapped):
        yield line(Piece(f"{'  ' if number else '! '}{part}", tone))


def drawn_worker(worker: Worker, now: float, columns: int) -> Iterator[Line]:
    """One worker, and its lanes."""
    yield worker_line(worker, now, columns)
    facts = [f"last message {ago(worker.last_message, now)}", f"gaps {gaps(worker)}"]
    if worker.restarts:
        facts.append(f"restarts {by(worker.restarts)}")
    yield from _flowing(facts, columns)
    yield lane_head(columns)
    yield from lane_lines(worker, now, columns)


def _flowing(facts: Sequence[str], columns: int) -> Iterator[Line]:
    """As many of them in a line as there is room for."""
    text = ""
    for fact in facts:
        if text and width(f"{text}  {fact}") > columns:
            yield line(text)
            text = ""
        text += f"  {fact}"
    yield line(text)


def worker_line(worker: Worker, now: float, columns: int) -> Line:
    """`users  RUNNING  pid 4242  up 3 d  subscribed 3 h  12/s`"""
    up = worker.state == "RUNNING"
    said = f"  pid {worker.pid}  up {duration(worker.uptime or 0.0)}" if worker.pid else ""
    if worker.next_try is not None:
        said += f"  next try in {duration(worker.next_try)}"
    if worker.subscribed:
        since = f" {duration(now - worker.subscribed_since)}" if worker.subscribed_since else ""
        heard = Piece(f"  subscribed{since}")
    else:
        heard = Piece("  not subscribed", "bad" if up else "")
    pace = f"  {rate(worker.rate)}"
    paused = Piece("  paused" if worker.paused else "", "warning")
    room = columns - sum(width(text) for text in (said, heard.text, pace, paused.text, worker.state)) - 2
    name = Piece(fit(worker.name, max(8, room)), "bold")
    return line(name, "  ", Piece(worker.state, "good" if up else "bad"), paused, said, heard, pace)


def lane_head(columns: int) -> Line:
    """The heads of the columns of `lane_lines`."""
    numbers = "".join(right(name, _NUMBER) for name in ("pending", "purged", "p50", "p99"))
    return line(Piece(f"  {left('lane', _room(columns))}{numbers}  last", "dim"))


def lane_lines(worker: Worker, now: float, columns: int) -> Iterator[Line]:
    """A line for each backend: its counts, and what came last. Of several servers, each has a line for the latter."""
    for servers in by_backend(worker):
        backend = servers[0]
        if len(servers) == 1:
            name = " ".join(filter(None, (backend.backend, backend.node)))
            yield line(_counts(name, backend, columns), "  ", last(backend, now))
        else:
            # The counts are those of all of them: beside the first one, they would be taken for its own.
            yield line(_counts(backend.backend, backend, columns))
            for lane in servers:
                node = left(lane.node, _room(columns) - 2)
                yield line(f"    {node}{' ' * 4 * _NUMBER}  ", last(lane, now))


def lane_height(worker: Worker) -> int:
    """How many `lane_lines` there are."""
    return sum(len(servers) + (len(servers) > 1) for servers in by_backend(worker))


def _counts(name: str, lane: Lane, columns: int) -> str:
    values = (count(lane.pending), rate(lane.rate), latency(lane.purge.p50), latency(lane.purge.p99))
    return f"  {left(name, _room(columns))}{''.join(right(value, _NUMBER) for value in values)}"


def last(lane: Lane, now: float) -> Piece:
    """What became of the last batch, or since when nothing is tried."""
    if lane.breaker != "closed":
        return Piece(f"{lane.breaker} since {moment(lane.breaker_since, now)}", "bad")
    failure = lane.last_failure
    if failure and failure.at > lane.last_purge:
        return Piece(f"{fit(failure.reason, _LAST - 11)} {ago(failure.at, now)}", "bad")
    what = "dry run" if lane.dry_run else "purged"
    return Piece(f"{what} {ago(lane.last_purge, now)}" if lane.last_purge else "nothing yet")


def _room(columns: int) -> int:
    return max(8, columns - 4 * _NUMBER - 4 - _LAST)

"""`top`: the whole daemon on one screen, as it is now. Pure: a status and a size in, lines out.

What does not fit is left out from where it matters least: the lanes of workers that are well, then those workers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from invalidator.screen.paint import Line, Piece, line
from invalidator.screen.status_text import lane_head, lane_height, lane_lines, sentence
from invalidator.screen.text import count, duration, left, plural, rate, right, width
from invalidator.screen.words import (
    STATE_TONES,
    breaker,
    failure,
    is_troubled,
    lane_tone,
    losses,
    pending,
    put_off,
    sentences,
    standing,
    summary,
    troubled_first,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.screen import paint, words
    from invalidator.status import Status, Worker

MOST_TROUBLES = 5
_TONES: dict[words.Tone, paint.Tone] = {"ok": "good", "warn": "warning", "bad": "bad", "idle": "dim"}
_BLOCKS = "▁▂▃▄▅▆▇█"
_NAME, _STANDING, _RATE = 20, 30, 9


def frame(status: Status, columns: int, rows: int, silence: str = "") -> list[Line]:
    """At most `rows` lines. `silence` says since when nobody answers: the status is then what was said last."""
    top = [_head(status, columns, silence), line(summary(status)), *_troubles(status, columns)]
    foot = line(Piece("q quits", "dim"))
    room = rows - len(top) - 3
    if room < 1:
        return [*top[: max(0, rows - 1)], foot][:rows]
    body = _body(status, columns, room)
    filling: list[Line] = [()] * (room - len(body))
    return [*top, (), _columns_head(columns), *body, *filling, foot]


def _head(status: Status, columns: int, silence: str) -> Line:
    if silence:
        return line(Piece(silence, "bad"))
    state = Piece(status.state.upper(), _TONES[STATE_TONES[status.state]])
    clock = time.strftime("%H:%M:%S", time.localtime(status.now))
    what = f"  {status.host}  up {duration(status.now - status.started)}  pid {status.pid}"
    return line(state, left(what, columns - width(state.text) - width(clock) - 1), " ", clock)


def _troubles(status: Status, columns: int) -> list[Line]:
    troubles = sentences(status)
    if not status.reload.ok:
        troubles.append(f"the last reload failed: {status.reload.error}")
    shown = troubles if len(troubles) <= MOST_TROUBLES else troubles[: MOST_TROUBLES - 1]
    # Its end says why: where there are few of them, they have room for it.
    lines = [one for trouble in shown for one in sentence(trouble, columns, "bad", rows=2 if len(troubles) < 4 else 1)]
    if len(shown) < len(troubles):
        lines.append(line(Piece(f"! … and {plural(len(troubles) - len(shown), 'more trouble')}", "bad")))
    return lines


def _columns_head(columns: int) -> Line:
    (head,) = lane_head(columns)
    return line(Piece(head.text.replace("  lane", "worker", 1), "dim"))


def _body(status: Status, columns: int, room: int) -> list[Line]:
    """The workers and their lanes; where there is no room for all: first the troubled ones, and theirs."""
    workers: Sequence[Worker] = status.workers
    if len(workers) + sum(map(lane_height, workers)) > room:
        workers = troubled_first(workers)
    sizes = [lane_height(worker) for worker in workers]
    troubled = sum(map(is_troubled, workers))
    opened = _opened(sizes[:troubled], room - troubled - 1)
    room -= sum(sizes[number] for number in opened)
    left_out = 0 if len(workers) <= room else len(workers) - room + 1
    if not left_out:
        opened = _opened(sizes, room - len(workers) + sum(sizes[number] for number in opened))
    body: list[Line] = []
    for number, worker in enumerate(workers[: len(workers) - left_out]):
        body.append(_worker_line(worker, columns))
        body += lane_lines(worker, status.now, columns) if number in opened else []
    return body + ([line(Piece(f"… and {left_out:,} more", "dim"))] if left_out else [])


def _opened(sizes: Sequence[int], room: int) -> set[int]:
    """Whose lanes are shown, with so many lines for them: from the first on, whoever fits."""
    chosen = set()
    for number, size in enumerate(sizes):
        if size <= room:
            chosen.add(number)
            room -= size
    return chosen


def _worker_line(worker: Worker, columns: int) -> Line:
    """Its name, its state, the last minute as a line, and messages a second."""
    tone, word = standing(worker)
    points = max(0, columns - _NAME - _STANDING - _RATE - 1)
    trace = sparkline(worker.rates, points)
    state = Piece(left(word, _STANDING), _TONES[tone])
    return line(
        Piece(left(worker.name, _NAME), "bold"), " ", state, trace.rjust(points), right(rate(worker.rate), _RATE)
    )


def sparkline(rates: Sequence[float], points: int) -> str:
    """The last seconds as blocks of eight heights, the latest at the right; a blank is a second without a message."""
    last = [value if 0 <= value < float("inf") else 0.0 for value in rates[-points:]] if points > 0 else []
    most = max(last, default=0.0)
    return "".join(" " if value <= 0 else _BLOCKS[min(7, int(value / most * 8))] for value in last)


def log_lines(status: Status) -> Iterator[str]:
    """A line for each worker, for where there is no terminal: `2026-11-22T12:03:04 users RUNNING 1,204/s pending 0`."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(status.now))
    for worker in status.workers:
        words = [at, worker.name, standing(worker)[1], rate(worker.rate), f"pending {count(pending(worker))}"]
        yield "  ".join([*words, *_remarks(worker, status.now)])


def _remarks(worker: Worker, now: float) -> Iterator[str]:
    if worker.trouble and standing(worker)[0] == "bad":
        yield failure(worker.trouble)
    for lane in worker.lanes:
        if lane_tone(lane) != "ok":
            said = [
                lane.node,
                breaker(lane, now),
                put_off(lane),
                losses(lane),
                failure(lane.last_failure) if lane.last_failure else "",
            ]
            yield f"{lane.backend}: {', '.join(filter(None, said))}"

"""The status page: one HTML document from one value. Pure.

It is made on the supervisor's loop, so that its size is bounded however many workers there are; what is left out is
said. It only shows: nothing on it changes anything, and it says no more than `/metrics` does beside it. So it answers
to any Host, as one that a proxy in front of it may have given it.
"""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING

from invalidator.doors.looks import SCRIPT, SIGNS, STYLE, icon, sparkline
from invalidator.screen.text import NOTHING, ago, by, count, duration, latency, moment, plural, rate, visible
from invalidator.screen.words import (
    STATE_TONES,
    behind,
    breaker,
    by_backend,
    failure,
    gaps,
    is_well,
    lane_tone,
    losses,
    outcome,
    pending,
    put_off,
    sentences,
    shortcomings,
    standing,
    subscription,
    summary,
    troubled_first,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from invalidator.status import Event, Lane, Reload, Status, Worker

EVERY = 2
"""Seconds between two looks."""
MOST_WORKERS = 24
MOST_BRIEF = 200
MOST_LANES = 12
MOST_NODES = 6
MOST_TROUBLES = 12
MOST_EVENTS = 12
_HALF_A_DAY = 43_200


def page(status: Status) -> str:
    """The whole document. All that a status carries is escaped and cut, for all of it may be hostile."""
    tone = STATE_TONES[status.state]
    host = _text(status.host, 80)
    return (
        f'<!DOCTYPE html>\n<html lang="en" data-every="{EVERY}">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{status.state} · {host} · invalidator</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="robots" content="noindex">\n'
        f'<noscript><meta http-equiv="refresh" content="{EVERY}"></noscript>\n'
        f'<link rel="icon" href="{icon(tone)}">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f'<p id="silence" class="silence bad" role="alert" hidden></p>\n<main>\n{_body(status)}\n</main>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _body(status: Status) -> str:
    now = status.now
    parts = [_head(status), _notes(status)]
    workers = status.workers if len(status.workers) <= MOST_WORKERS else troubled_first(status.workers)
    parts.append("<h2>Workers</h2>")
    parts += [_worker(worker, now, f"w{number}") for number, worker in enumerate(workers[:MOST_WORKERS])]
    parts.append(_in_brief(workers[MOST_WORKERS:]))
    parts.append(f"<h2>Latest errors</h2>\n{_events(status.errors, now)}")
    parts.append(_foot(status))
    return "\n".join(part for part in parts if part)


def _head(status: Status) -> str:
    tone = STATE_TONES[status.state]
    return (
        f'<header class="top"><div class="state">'
        f'<span class="sign {tone}" aria-hidden="true">{SIGNS[status.state]}</span>'
        f'<div><h1 role="status">{status.state.capitalize()}</h1><p class="quiet">{summary(status)}</p></div></div>'
        f'<p class="where quiet"><strong>{_text(status.host, 80)}</strong><br>invalidator {_text(status.version, 40)}, '
        f"pid {status.pid}, up {duration(status.now - status.started)}</p></header>"
    )


def _notes(status: Status) -> str:
    said = sentences(status)
    troubles = [_text(trouble, 300) for trouble in said[:MOST_TROUBLES]]
    if len(said) > MOST_TROUBLES:
        troubles.append(f"… and {plural(len(said) - MOST_TROUBLES, 'more trouble')}")
    if not status.reload.ok:
        troubles.append(_bad_reload(status.reload, status.now))
    notes = "".join(f"<li>{text}</li>" for text in troubles)
    return f'<ul class="notes bad" aria-label="Troubles">{notes}</ul>' if notes else ""


def _bad_reload(reload: Reload, now: float) -> str:
    return f"The reload {ago(reload.at, now)} failed, and nothing has changed: {_text(reload.error, 600)}"


def _worker(worker: Worker, now: float, mark: str) -> str:
    tone, word = standing(worker)
    return (
        f'<section class="card" aria-labelledby="{mark}"><div class="worker">'
        f'<div><h3 id="{mark}">{_text(worker.name, 80)} <span class="pill {tone}">{word}</span></h3>'
        f'<p class="quiet"><code>{_text(worker.pattern)}</code> at {_text(worker.redis) or NOTHING}</p></div>'
        f'<div class="traffic"><p class="quiet"><b>{_bare(worker.rate)}</b>messages/s</p>{sparkline(worker.rates)}'
        f"</div></div>{_why(worker)}\n{_facts(worker, now)}\n{_lanes(worker, now)}</section>"
    )


def _why(worker: Worker) -> str:
    tone, _ = standing(worker)
    why = [(tone, failure(worker.trouble))] if worker.trouble and not is_well(worker) else []
    notes = why + [("warn", text) for text in shortcomings(worker)]
    return "".join(f'<p class="note {tone}">{_text(text, 300)}</p>' for tone, text in notes)


def _facts(worker: Worker, now: float) -> str:
    rejected = f", {by(worker.rejected)} rejected" if any(worker.rejected.values()) else ""
    facts = {
        "Subscribed": subscription(worker, now),
        "Last message": ago(worker.last_message, now),
        "Received": count(worker.received) + rejected,
        "Gaps": gaps(worker),
        "Restarts": by(worker.restarts),
        "Process": f"{worker.pid}, up {duration(worker.uptime or 0)}" if worker.pid else "none",
    }
    cells = "".join(f"<div><dt>{term}</dt><dd>{_text(fact)}</dd></div>" for term, fact in facts.items())
    return f"<dl>{cells}</dl>"


def _lanes(worker: Worker, now: float) -> str:
    groups = by_backend(worker)
    rows = [_lane(lanes, now) for lanes in groups[:MOST_LANES]]
    if len(groups) > MOST_LANES:
        more = plural(len(groups) - MOST_LANES, "more backend")
        rows.append(f'<tr class="next"><td class="under" colspan="5">… and {more}</td></tr>')
    heads = _heads("Backend", "Pending", "Purged", "p50", "p99")
    return (
        f"<table><caption>The backends of {_text(worker.name, 80)}</caption><thead>{heads}</thead>\n"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _lane(lanes: Sequence[Lane], now: float) -> str:
    """One backend. Its servers share its numbers; what waits, and what came of the last attempt, is each one's own."""
    lane = lanes[0]
    under = "".join(_under(one, now, alone=len(lanes) == 1) for one in lanes[:MOST_NODES])
    if len(lanes) > MOST_NODES:
        under += f'<span class="under">… and {plural(len(lanes) - MOST_NODES, "more server")}</span>'
    numbers = (count(lane.pending), rate(lane.rate), latency(lane.purge.p50), latency(lane.purge.p99))
    return (
        f'<tr class="next"><th scope="row">{_text(lane.backend, 60)}</th>{_numbers(*numbers)}</tr>\n'
        f'<tr><td class="under" colspan="5">{under}</td></tr>\n'
    )


def _under(lane: Lane, now: float, *, alone: bool) -> str:
    words = [lane.type, lane.node, breaker(lane, now), outcome(lane, now), behind(lane), put_off(lane), losses(lane)]
    words += [f"{count(lane.pending_here)} pending"] if lane.pending_here and not alone else []
    words += ["nothing is sent"] if lane.dry_run else []
    if lane.propagation.p50 is not None:
        words.append(f"publish to purged {latency(lane.propagation.p50)}, p99 {latency(lane.propagation.p99)}")
    css = "under far" if lane_tone(lane) == "bad" else "under"
    return f'<span class="{css}">{_text(" · ".join(word for word in words if word), 400)}</span>'


def _heads(first: str, *others: str) -> str:
    numbers = "".join(f'<th scope="col" class="number">{text}</th>' for text in others)
    return f'<tr><th scope="col">{first}</th>{numbers}</tr>'


def _numbers(*cells: str) -> str:
    return "".join(f'<td class="number">{cell}</td>' for cell in cells)


def _in_brief(workers: Sequence[Worker]) -> str:
    """Those for which there is no room, a line each; and of very many, their number."""
    if not workers:
        return ""
    rows = "".join(_brief(worker) for worker in workers[:MOST_BRIEF])
    left = len(workers) - MOST_BRIEF
    note = (
        f'<p class="note idle">… and {plural(left, "more worker")}: invalidator status names them.</p>'
        if left > 0
        else ""
    )
    return (
        f'<div class="card"><table class="brief"><caption>{plural(len(workers), "more worker")} in brief</caption>'
        f"<thead>{_heads('Worker', 'Messages', 'Pending')}</thead>\n<tbody>{rows}</tbody></table>{note}</div>"
    )


def _brief(worker: Worker) -> str:
    tone, word = standing(worker)
    return (
        f'<tr class="next"><th scope="row">{_text(worker.name, 80)} <span class="pill {tone}">{word}</span></th>'
        f"{_numbers(rate(worker.rate), count(pending(worker)))}</tr>\n"
    )


def _events(events: Iterable[Event], now: float) -> str:
    rows = [_event(event, now) for event, _ in zip(events, range(MOST_EVENTS), strict=False)]
    if not rows:
        return '<p class="card quiet">None since the start.</p>'
    return (
        '<div class="card"><table class="events"><caption>Latest errors, the newest first</caption>'
        f'<thead><tr><th scope="col">Time</th><th scope="col">What</th></tr></thead>\n<tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


def _event(event: Event, now: float) -> str:
    where = " → ".join(_text(name, 80) for name in (event.worker, event.backend) if name)
    detail = f'<span class="under">{_text(event.detail, 300)}</span>' if event.detail else ""
    return f"<tr><td>{_time(now, event.at)}</td><td>{where}: {_text(event.what)}{detail}</td></tr>\n"


def _time(now: float, at: float) -> str:
    exactly = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return f'<time datetime="{exactly}" title="{exactly}, {ago(at, now)}">{_clock(now, at)}</time>'


def _clock(now: float, at: float) -> str:
    recent = abs(now - at) < _HALF_A_DAY
    return time.strftime("%H:%M:%S", time.localtime(at)) if recent else moment(at, now)


def _foot(status: Status) -> str:
    read = f"read {ago(status.reload.at, status.now)}" if status.reload.ok else "not read since, see above"
    zone = time.strftime("%Z", time.localtime(status.now))
    return (
        f'<footer class="quiet"><p>Topology <code>{_text(status.file)}</code>, {read}. p50 and p99 are of the last '
        "minute, from asking a backend to its answer.</p>"
        f"<p>As of {_time(status.now, status.now)} {_text(zone, 20)}.</p></footer>"
    )


def _bare(per_second: float) -> str:
    return rate(per_second).removesuffix("/s")


def _text(text: str, longest: int = 200) -> str:
    # Cut first: an error's text may be of any length, and what is not shown costs nothing.
    return escape(visible(text if len(text) <= longest else text[: longest - 1] + "…"))

"""What the bench has to say: as text for a person, as lines for a log, and as one object for a program. Pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from invalidator.bench import figures, histogram
from invalidator.screen.paint import Piece, line
from invalidator.screen.status_text import sentence
from invalidator.screen.text import NOTHING, count, left, plural, rate, right

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.bench.bench import Bench
    from invalidator.bench.results import Burst, Samples, Series
    from invalidator.screen.paint import Line

MEASURED_BY = "receipts"
_WHAT = (
    "publish to purged: from the moment at which a message was to go out, to the worker's receipt that it is gone there"
)
_SHOWN = ("p50", "p90", "p99", "p99.9", "max")
_NUMBER, _RATE, _SAMPLES = 9, 8, 8
_ENOUGH = 0.95
"""Of the rate that was wanted: with less, the publisher is what was measured."""


def drawn(bench: Bench, environment: dict[str, Any], objections: Sequence[str], columns: int) -> Iterator[Line]:
    """For a terminal of so many columns."""
    for worker in dict.fromkeys(series.worker for series in bench.results.series):
        yield from _table(worker, bench, columns)
        yield ()
    for series in bench.results.series:
        yield line(Piece(f"{series.worker} at {rate(series.rate)}", "bold"))
        yield from histogram.drawn(series.lanes, columns)
        yield ()
    yield from _throughput(bench, columns)
    for text in (_where(environment), *notes(bench)):
        yield from (line(Piece(part, "dim")) for part in textwrap.wrap(text, columns))
    for text in objections:
        yield from sentence(text, columns, "bad")
    yield line(Piece("not as it should be" if objections else "ok", "bad" if objections else "good"))


def logged(bench: Bench, environment: dict[str, Any], objections: Sequence[str]) -> Iterator[Line]:
    """For anything but a terminal: a line for each lane and rate, in milliseconds."""
    for series in bench.results.series:
        for lane in series.lanes:
            shares = figures.summary(lane.seconds)
            times = " ".join(f"{name}={_plain(shares[name])}" for name in _SHOWN)
            counts = f"samples={len(lane.seconds)} lost={lane.lost}"
            rates = f"rate={series.rate:.0f}/s reached={series.reached:.0f}/s"
            yield line(f"latency {series.worker} {lane.backend} {rates} {counts} {times}")
    for worker, backend, bursts in _bursts(bench):
        middle, spread = _rates(bursts, backend)
        cpu = _cpu(bursts)
        used = "" if cpu is None else f" cpu={cpu * 1e6:.1f}us/key"
        speed = "none" if middle is None else f"{middle:.0f}/s from {spread[0]:.0f}/s to {spread[1]:.0f}/s"
        yield line(f"throughput {worker} {backend} keys={bursts[0].keys} bursts={len(bursts)} {speed}{used}")
    yield from map(line, (_where(environment), *notes(bench), *(f"! {text}" for text in objections)))
    yield line("not as it should be" if objections else "ok")


def as_dict(
    bench: Bench, environment: dict[str, Any], objections: Sequence[str], limit: float | None
) -> dict[str, Any]:
    """For a program. Seconds, and numbers a second; a field may be added, none goes."""
    types = {subject.worker: subject.lanes for subject in bench.subjects}
    return {
        "ok": not objections,
        "objections": list(objections),
        "assert_p99": limit,
        "measured_by": MEASURED_BY,
        "measured": _WHAT,
        "environment": environment,
        "latency": [_latency(one, lane, types) for one in bench.results.series for lane in one.lanes],
        "throughput": [_speed(worker, backend, found, types) for worker, backend, found in _bursts(bench)],
        "left_out": bench.left_out,
        "notes": notes(bench),
    }


def notes(bench: Bench) -> list[str]:
    """What one has to know to read the figures."""
    found = [_WHAT, *bench.results.remarks]
    found += [f"{worker} was left out: {why}" for worker, why in bench.left_out.items()]
    for subject in bench.subjects:
        if subject.delay:
            found.append(f"{subject.worker}: its lanes wait for up to {subject.delay:g} s, as the topology says")
    for series in bench.results.series:
        if series.reached < _ENOUGH * series.rate:
            found.append(
                f"{series.name}: the publisher reached {rate(series.reached)} only, and was up to"
                f" {_took(series.late[1])} late, which is in the figures"
            )
    return found


def _table(worker: str, bench: Bench, columns: int) -> Iterator[Line]:
    rows = [(series, lane) for series in bench.results.series if series.worker == worker for lane in series.lanes]
    room = max(4, min(30, columns - _RATE - _SAMPLES - _NUMBER * len(_SHOWN)))
    head = "".join(right(name, _NUMBER) for name in _SHOWN)
    yield line(Piece(left(worker, room) + right("rate", _RATE) + right("samples", _SAMPLES) + head, "bold"))
    for series, lane in rows:
        shares = figures.summary(lane.seconds)
        times = "".join(right(_took(shares[name]), _NUMBER) for name in _SHOWN)
        numbers = right(rate(series.reached), _RATE) + right(count(len(lane.seconds)), _SAMPLES)
        yield line(left(lane.backend, room) + numbers + times)
    late = max((series for series, _ in rows), key=lambda series: series.late[0])
    yield line(Piece(f"of it, the publisher itself was late: p99 {_took(late.late[0])} at {rate(late.rate)}", "dim"))


def _throughput(bench: Bench, columns: int) -> Iterator[Line]:
    found = list(_bursts(bench))
    if not found:
        return
    room = max(4, min(30, columns - 52))
    keys = f"{plural(found[0][2][0].keys, 'key')} at once"
    yield line(Piece(left(keys, room) + right("purged", 14) + right("published", 14) + "   of each burst", "bold"))
    for worker, backend, bursts in found:
        middle, spread = _rates(bursts, backend)
        published = figures.median(burst.keys / burst.publishing for burst in bursts)
        speeds = right(rate(middle) if middle else NOTHING, 14) + right(rate(published or 0.0), 14)
        between = f"   {rate(spread[0])} to {rate(spread[1])}" if middle else ""
        yield line(left(f"{worker} → {backend}", room) + speeds + between)
    for worker, bursts in {worker: bursts for worker, _, bursts in found}.items():
        if (cpu := _cpu(bursts)) is not None:
            used = f"{worker} used {cpu * 1e6:.1f} us of a processor for each key, in all of its backends together"
            yield line(Piece(used, "dim"))
    yield ()


def _latency(series: Series, lane: Samples, types: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {
        "worker": series.worker,
        "backend": lane.backend,
        "type": types[series.worker][lane.backend],
        "rate": series.rate,
        "reached": round(series.reached, 1),
        "published": series.published,
        "heard": series.heard,
        "asked": lane.asked,
        "samples": len(lane.seconds),
        "lost": lane.lost,
        "ends": lane.ends,
        "seconds": {
            name: value if value is None else round(value, 6) for name, value in figures.summary(lane.seconds).items()
        },
        "publisher_late": {"p99": round(series.late[0], 6), "max": round(series.late[1], 6)},
    }


def _speed(worker: str, backend: str, bursts: Sequence[Burst], types: dict[str, dict[str, str]]) -> dict[str, Any]:
    middle, _ = _rates(bursts, backend)
    published = figures.median(burst.keys / burst.publishing for burst in bursts)
    return {
        "worker": worker,
        "backend": backend,
        "type": types[worker][backend],
        "keys": bursts[0].keys,
        "received": [burst.received[backend] for burst in bursts],
        "purged_per_second": middle and round(middle, 1),
        "published_per_second": published and round(published, 1),
        "worker_cpu_per_key": (cpu := _cpu(bursts)) and round(cpu, 9),
        "seconds": [None if (took := burst.lanes[backend]) is None else round(took, 6) for burst in bursts],
    }


def _bursts(bench: Bench) -> Iterator[tuple[str, str, list[Burst]]]:
    for worker in dict.fromkeys(burst.worker for burst in bench.results.bursts):
        bursts = [burst for burst in bench.results.bursts if burst.worker == worker]
        for backend in bursts[0].lanes:
            yield worker, backend, bursts


def _rates(bursts: Sequence[Burst], backend: str) -> tuple[float | None, tuple[float, float]]:
    """Keys a second that were purged: the median of the bursts, the least and the most."""
    found = [burst.keys / seconds for burst in bursts if (seconds := burst.lanes[backend])]
    return figures.median(found), (min(found, default=0.0), max(found, default=0.0))


def _cpu(bursts: Sequence[Burst]) -> float | None:
    """Seconds of a processor that a key takes in the worker, in all of its backends together."""
    used = [burst.cpu for burst in bursts if burst.cpu is not None]
    return sum(used) / sum(burst.keys for burst in bursts) if len(used) == len(bursts) else None


def _where(environment: dict[str, Any]) -> str:
    versions = ", ".join(version or "of an unknown version" for version in environment["redis"].values())
    return (
        f"{plural(environment['cores'], 'core')} with a load of {environment['load']:g}, {environment['system']},"
        f" Python {environment['python']}, Redis {versions}, hiredis {environment['hiredis']}"
    )


def _plain(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds * 1000:.3f}ms"


def _took(seconds: float | None) -> str:
    """`0.27 ms`, `1.3 ms`, `13 ms`, `1.3 s`: at most eight columns."""
    if seconds is None:
        return NOTHING
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    milliseconds = seconds * 1000
    return (
        f"{milliseconds:.0f} ms" if milliseconds >= 9.95 else f"{milliseconds:.{1 if milliseconds >= 0.995 else 2}f} ms"
    )

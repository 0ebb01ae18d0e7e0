"""docs/benchmarks.svg: what the table says, as a picture. The standard library is all it takes. Pure: results in."""

from __future__ import annotations

from html import escape
from math import log10
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.aims import NAMES
from benchmarks.quantities import number, seconds, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.quantities import Spread
    from benchmarks.results import Result

    Known = Mapping[str, Mapping[str, Any]]

WIDTH = 880
_LEFT, _RIGHT = 250, 700
_ROW = 30
_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #3b4756 }
  text.title { font-weight: 650; font-size: 16px; fill: #17202b }
  text.small { font-size: 12px; fill: #6b7785 }
  text.mine { font-weight: 650; fill: #17202b }
  text.value { font-variant-numeric: tabular-nums }
  .card { fill: #ffffff; stroke: #d9dee5 }
  .bar { fill: #b9c4d0 }
  .limit { fill: #8b98a7 }
  .ours { fill: #d9480f }
  .own { fill: #d9480f; stroke: #d9480f }
  .bare { fill: #6b7785; stroke: #6b7785 }
  .grid { stroke: #e8ecf0 }
  .whisker { stroke: #17202b; stroke-opacity: .5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #b8c2cd }
    text.title, text.mine { fill: #edf1f5 }
    text.small { fill: #8b98a7 }
    .card { fill: #10151b; stroke: #2b343f }
    .bar { fill: #46525f }
    .limit { fill: #6b7785 }
    .ours { fill: #ff7a3d }
    .own { fill: #ff7a3d; stroke: #ff7a3d }
    .bare { fill: #9aa7b4; stroke: #9aa7b4 }
    .grid { stroke: #222a33 }
    .whisker { stroke: #edf1f5 }
  }
"""
_INGEST = ("limit", "bare", "ours", "node-redis", "ioredis", "redis-py", "redis.asyncio", "faststream", "ping-each")
_PURGES = (
    ("purge.memcached", "ours", "invalidator, to memcached"),
    ("purge.memcached", "bare", "a bare loop, to memcached"),
    ("purge.redis", "ours", "invalidator, to a second Redis"),
    ("purge.redis", "one-by-one", "UNLINK one by one"),
)
_RATES = ("1k", "10k", "100k")


class Bar(NamedTuple):
    """One figure, with what belongs to it."""

    name: str
    value: Spread
    kind: str
    note: str = ""


class Section(NamedTuple):
    """One part of the picture. Each of its rows takes the same height."""

    title: str
    hint: str
    rows: int
    lines: Sequence[str]


def drawn(found: Sequence[Result]) -> str:
    """The picture, as SVG."""
    known = {result.run: result.values for result in found if not result.short and not result.problem}
    parts: list[str] = []
    top = 24
    for section in _sections(known):
        if section.rows:
            parts += [
                f'<text class="title" x="28" y="{top + 18}">{escape(section.title)}</text>',
                f'<text class="small" x="28" y="{top + 37}">{escape(section.hint)}</text>',
                f'<g transform="translate(0 {top + 50})">',
                *section.lines,
                "</g>",
            ]
            top += 50 + _ROW * section.rows + 26
    return "\n".join(_framed(parts, top)) + "\n"


def _sections(known: Known) -> Iterator[Section]:
    ingest, purges, latencies = _ingest(known), _purges(known), _latencies(known)
    hint = "bare keys; grey lines: from the slowest round to the fastest"
    yield Section("Messages a second while Redis publishes at full speed", hint, len(ingest), list(_bars(ingest)))
    hint = "each key once, so that nothing coalesces; at the end the cache is empty"
    yield Section("Keys a second, from the socket until they are gone", hint, len(purges), list(_bars(purges)))
    hint = "dot: median; end of the line: 99th percentile; each gridline is ten times the one before"
    yield Section("From publish to deleted in memcached", hint, len(latencies), list(_times(latencies)))


def _framed(parts: Sequence[str], height: int) -> Iterator[str]:
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="benchmarks">'
    yield f"<style>{_STYLE}</style>"
    yield f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="12"/>'
    yield from parts
    yield "</svg>"


def _ingest(known: Known) -> list[Bar]:
    """Of one run, which has everybody: figures of two were not measured in the same minutes."""
    values = known.get("ingest.peers", {"samples": {}})
    bars = [
        Bar(
            NAMES[name],
            spread(values["samples"][name]),
            {"ours": "ours", "limit": "limit"}.get(name, "bar"),
            "cut off by Redis" if values["killed"].get(name) else "",
        )
        for name in _INGEST
        if name in values["samples"]
    ]
    return sorted(bars, key=lambda bar: -bar.value.median)


def _purges(known: Known) -> list[Bar]:
    return [
        Bar(title, spread(known[run]["samples"][name]), "ours" if name == "ours" else "bar")
        for run, name, title in _PURGES
        if run in known
    ]


def _bars(bars: Sequence[Bar]) -> Iterator[str]:
    widest = max((bar.value.most for bar in bars), default=1.0)
    scale = (_RIGHT - _LEFT) / widest
    for row, (name, value, kind, note) in enumerate(bars):
        middle = row * _ROW + _ROW // 2
        low, end, high = (_LEFT + each * scale for each in (value.least, value.median, value.most))
        yield _name(name, middle, mine=kind == "ours")
        width = max(2.0, end - _LEFT)
        yield f'<rect class="{kind}" x="{_LEFT}" y="{middle - 9}" width="{width:.1f}" height="18" rx="3"/>'
        yield f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
        yield _value(high + 9, middle, number(value.median) + (f" · {note}" if note else ""))


def _latencies(known: Known) -> list[tuple[str, str, float, float]]:
    """A line for each rate and contender: its name, its class, its median and its 99th percentile."""
    lines = []
    for rate in _RATES:
        samples = known.get(f"latency.{rate}", {}).get("samples", {})
        for who, kind in (("bare", "bare"), ("ours", "own")) if samples else ():
            p50, p99 = (spread(samples[f"{who} {share}"]).median for share in ("p50", "p99"))
            lines.append((f"{NAMES[who]}, {rate}/s", kind, p50, p99))
    return lines


def _times(lines: Sequence[tuple[str, str, float, float]]) -> Iterator[str]:
    low = min((log10(p50) for _, _, p50, _ in lines), default=0.0) - 0.15
    high = max((log10(p99) for _, _, _, p99 in lines), default=1.0) + 0.02

    def place(value: float) -> float:
        return _LEFT + (log10(value) - low) / (high - low) * (_RIGHT - _LEFT)

    for tick in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        if low < log10(tick) < high:
            at = place(tick)
            yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{len(lines) * _ROW}"/>'
            yield f'<text class="small" x="{at + 4:.1f}" y="-2">{seconds(tick)}</text>'
    for row, (name, kind, p50, p99) in enumerate(lines):
        middle = row * _ROW + _ROW // 2
        yield _name(name, middle, mine=kind == "own")
        ends = f'x1="{place(p50):.1f}" x2="{place(p99):.1f}" y1="{middle}" y2="{middle}"'
        yield f'<line class="{kind}" stroke-width="3" stroke-linecap="round" {ends}/>'
        yield f'<circle class="{kind}" cx="{place(p50):.1f}" cy="{middle}" r="5"/>'
        yield _value(place(p99) + 9, middle, f"{seconds(p50)} · {seconds(p99)}")


def _name(name: str, middle: int, *, mine: bool) -> str:
    place = f'text-anchor="end" x="{_LEFT - 12}" y="{middle + 4.5}"'
    return f'<text class="{"mine" if mine else "theirs"}" {place}>{escape(name)}</text>'


def _value(left: float, middle: int, text: str) -> str:
    return f'<text class="value" x="{left:.1f}" y="{middle + 4.5}">{escape(text)}</text>'

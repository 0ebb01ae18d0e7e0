"""The rows of the README's table: what is measured, by which run, and what we aim at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.aims import Always, Bound, Ratio

if TYPE_CHECKING:
    from benchmarks.aims import Aim


@dataclass(frozen=True, slots=True)
class Row:
    """One of them. `figure` and `unit`: which of the run's samples is ours, to be shown as it is."""

    what: str
    run: str
    aims: tuple[Aim, ...]
    figure: str = "ours"
    unit: str = "messages/s"


_UNHURT = Always("ours unhurt", "never cut off, all received")


def _latency(rate: str) -> Row:
    aims = tuple(
        Ratio(f"bare {share}", bound, most=True, of=f"ours {share}", named="the bare loop's", called=f"{share} ")
        for share, bound in (("p50", 1.3), ("p99", 1.5))
    )
    return Row(f"`publish` to deleted in memcached, at {rate} messages/s", f"latency.{rate}", aims, "ours p50", "s")


ROWS = (
    Row(
        "bare keys to an LRU, while Redis publishes at full speed",
        "ingest.keys",
        (Ratio("bare", 0.75), Ratio("limit", 0.7), _UNHURT),
    ),
    Row("the same with a JSON envelope of 190 bytes", "ingest.envelope", (Ratio("limit", 0.35), _UNHURT)),
    Row(
        "bare keys to an LRU, against what others merely receive",
        "ingest.peers",
        (Ratio("redis-py", 5), Ratio("faststream", 80), Ratio("ping-each", 100), Ratio("node-redis", 1.0)),
    ),
    Row(
        "bursts of 2 M messages over 50,000 keys at full speed: received whole, no gap",
        "bursts",
        (Always("lru whole", "LRU: each"), Always("memcached whole", "memcached: each")),
        "lru",
    ),
    Row(
        "distinct keys, from the socket until a secondary Redis has unlinked them",
        "purge.redis",
        (Bound("ours", 400e3, "/s", most=False), Ratio("one-by-one", 40)),
        unit="keys/s",
    ),
    Row(
        "distinct keys, from the socket until memcached has deleted them",
        "purge.memcached",
        (Bound("ours", 250e3, "/s", most=False), Ratio("bare", 0.5, named="a bare loop that deletes pipelined")),
        unit="keys/s",
    ),
    *(
        Row(
            f"distinct URLs to one {name}",
            f"purge.{name.lower()}",
            (Ratio("aiohttp", 3, named="aiohttp's best"),),
            unit="URLs/s",
        )
        for name in ("Varnish", "nginx")
    ),
    *(_latency(rate) for rate in ("1k", "10k", "100k")),
    Row(
        "bursts of 1,000 at 20 a second, to the purged LRU",
        "latency.bursts",
        (Ratio("bare p99", 1.5, most=True, of="ours p99", named="the bare loop's receive", called="p99 "),),
        "ours p99",
        "s",
    ),
    Row(
        "`publish` to a miss in the LRU of another process, at 1k messages/s",
        "latency.lru",
        (Ratio("bare p99", 2, most=True, of="ours p99", named="the bare loop's receive", called="p99 "),),
        "ours p99",
        "s",
    ),
    Row(
        "LRU hit, for a key with one prefix",
        "hit",
        (Ratio("lru_cache", 6, most=True), Ratio("ours", 100, of="get", called="a GET over loopback: ", named="ours")),
        unit="s",
    ),
    Row(
        "idle: CPU of 10 workers, of a core; memory that a worker adds (PSS)",
        "idle",
        (Bound("cpu", 0.5, " %"), Bound("pss", 8.0, " MiB")),
        "pss",
        "MiB",
    ),
    Row("`invalidator --help`", "start", (Ratio("click", 3, most=True),), unit="s"),
    Row("`run` until ready, 10 workers, Redis up", "start", (Bound("ready", 1.0, "s"),), "ready", "s"),
)

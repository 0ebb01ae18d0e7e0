"""The oracle: once nothing is under way any more, every entry of every cache is compared with what is true."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from chaos import ledger
from chaos.application import STORES
from chaos.conservation import account, total
from chaos.delivery import STREAM
from chaos.scene import HOT, LANES, pause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.conservation import Account
    from chaos.scene import Scene
    from tests.support.metrics import Metrics

QUIET = 1.3
"""Seconds without any change: longer than the second over which the flush after a Gap may be spread."""
PATIENCE = 60.0
_AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found. `unapplied` are messages that no worker ever handed to its ledger, by worker; see `unapplied`.

    `account` is how the lanes' counters add up; `seen` has, by fault, what each time showed that it took place.
    """

    published: int
    unheard: int
    held: Mapping[str, int]
    stale: Mapping[str, int]
    unapplied: Mapping[str, int]
    account: Account
    gaps: Mapping[str, int]
    flushes: int
    missed: int
    failed: int
    lost: int
    quiet: bool
    seen: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def all_stale(self) -> int:
        """Over all caches."""
        return sum(self.stale.values())

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def examine(scene: Scene) -> Verdict:
    """Wait until the daemon is at rest, then look into every cache. The load is to have ended."""
    quiet = _await_rest(scene)
    held = {kind: entries(scene, kind) for kind in scene.caches.addresses}
    metrics = scene.run.metrics()
    causes = {
        cause: total(metrics, "gaps_total", cause=cause) for cause in sorted(_labels(metrics, "gaps_total", "cause"))
    }
    return Verdict(
        published=scene.truth.published,
        unheard=scene.truth.unheard,
        held={kind: len(entries) for kind, entries in held.items()},
        stale={kind: stale(scene, entries) for kind, entries in held.items()},
        unapplied=unapplied(scene),
        account=account(scene, metrics),
        gaps={cause: count for cause, count in causes.items() if count},
        flushes=total(metrics, "flushes_total"),
        missed=total(metrics, "messages_missed_total"),
        failed=total(metrics, "purge_attempts_failed_total"),
        lost=total(metrics, "targets_total", end="lost"),
        quiet=quiet,
    )


def stale(scene: Scene, entries: Mapping[str, int]) -> int:
    """How many of these are older than the last invalidation that was published for them."""
    return sum(version != scene.truth.version(key) for key, version in entries.items())


def unapplied(scene: Scene) -> dict[str, int]:
    """By worker, the cold keys whose one message never reached its ledger.

    In journal mode those of the entries that the Stream holds, which is what the daemon can know of; else of all that
    were published. A cold key is published once, so that no later message stands in for an earlier one.
    """
    expected = _in_stream(scene) if scene.setting.mode == "journal" else set(_logged([scene.ticks]))
    cold = expected & set(scene.truth.keys[HOT:])
    return {worker: len(cold - set(_logged([ledger.of(scene.ledger, worker)]))) for worker in LANES}


def _await_rest(scene: Scene) -> bool:
    deadline = time.monotonic() + PATIENCE
    before: tuple[int, ...] = ()
    since = time.monotonic()
    while (now := time.monotonic()) < deadline:
        state, busy = _state(scene)
        if state != before or busy:
            before, since = state, now
        if now - since >= QUIET:
            return True
        pause(0.05)
    return False


def _state(scene: Scene) -> tuple[tuple[int, ...], bool]:
    try:
        metrics = scene.run.metrics()
    except (OSError, AssertionError):  # a daemon that is just being started again
        return (), True
    names = ("messages_received_total", "gaps_total", "flushes_total", "targets_total", "worker_restarts_total")
    subscribed = total(metrics, "subscribed") == len(LANES)
    return tuple(total(metrics, name) for name in names), total(metrics, "pending") > 0 or not subscribed


def entries(scene: Scene, kind: str) -> Mapping[str, int]:
    """What one cache would answer with now."""
    if kind == "lru":
        served: dict[str, int] = scene.application.ask("served")
        return served
    with closing(STORES[kind](scene.caches.addresses[kind])) as store:
        return {key: version for part in _parts(scene) for key, version in store.held(part).items()}


def _parts(scene: Scene) -> Iterator[tuple[str, ...]]:
    # What lies beyond the load and the application's window was never in a cache.
    keys = scene.truth.keys[: HOT + scene.truth.published // 2 + 2 * scene.setting.rate]
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]


def _in_stream(scene: Scene) -> set[str]:
    with scene.redis() as client:
        entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]] = client.xrange(STREAM)  # type: ignore[assignment]
    return {fields[b"payload"].decode().partition('"keys":["')[2].partition('"')[0] for _, fields in entries}


def _logged(files: Sequence[Any]) -> Iterator[str]:
    for file in files:
        if file.exists():
            for line in file.read_text().splitlines():
                yield from line.split()[1:]


def _series(metrics: Metrics, name: str) -> Iterator[dict[str, str]]:
    return (dict(labels) for series, labels in metrics if series == f"invalidator_{name}")


def _labels(metrics: Metrics, name: str, label: str) -> set[str]:
    return {labels[label] for labels in _series(metrics, name)}

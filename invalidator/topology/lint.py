"""What is valid by itself, and wrong or surprising in the whole."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from invalidator.messages import KINDS
from invalidator.secret_file import read_secret
from invalidator.topology.gaps import flush_of, on_gap
from invalidator.topology.patterns import has_literal_first_segment, overlap

if TYPE_CHECKING:
    from invalidator.topology.findings import Findings
    from invalidator.topology.models import LaneSpec, RedisSettings, Topology, WorkerSpec
    from invalidator.topology.nodes import Path

MOST_PATTERNS = 200
"""Above that, pairs are too many to compare at each start; the warning is a courtesy."""


def check(topology: Topology, findings: Findings) -> None:
    """Report what the backends' own types find wrong in this topology, and secrets that cannot be read."""
    # A worker without a redis is reported elsewhere, and nobody who asks for it should be told twice.
    workers = tuple(worker for worker in topology.workers if worker.redis or topology.redis)
    sound = topology.model_copy(update={"workers": workers})
    for name, backend in topology.backends.items():
        try:
            texts = list(backend.options.problems(sound))
        except Exception as error:  # noqa: BLE001  a plugin's code may raise anything
            if findings.errors:
                continue  # what it stumbled over may be what is missing because it was wrong
            texts = [f"the plugin of the type '{backend.type}' is broken: {type(error).__name__}: {error}"]
        for text in texts:
            findings.error(("backends", name), text, "key")
    for path, settings in _redis_settings(topology):
        _check_password_file(settings, path, findings)


def remark(topology: Topology, findings: Findings) -> None:
    """Warn of what may not be what the operator wants. For a topology that is right."""
    for index, worker in enumerate(topology.workers):
        path: Path = ("workers", index)
        if not has_literal_first_segment(worker.pattern):
            text = "has no literal first segment: it hears the channels of every application on this Redis"
            findings.warning((*path, "pattern"), text)
        for position, lane in enumerate(worker.backends):
            _remark_lane(topology, worker, lane, (*path, "backends", position), findings)
    _remark_overlaps(topology, findings)
    used = {lane.backend for worker in topology.workers for lane in worker.backends}
    for name in topology.backends:
        if name not in used:
            findings.warning(("backends", name), "no worker uses this backend", "key")


def _remark_lane(topology: Topology, worker: WorkerSpec, lane: LaneSpec, path: Path, findings: Findings) -> None:
    backend = topology.backends[lane.backend]
    lacking = [kind for kind in KINDS if kind in worker.allow and kind not in backend.options.kinds()]
    name = f"'{lane.backend}' ({backend.type})"
    if lacking and lane.unsupported == "skip":
        findings.warning(
            path,
            f"{name} cannot purge {', '.join(lacking)}, which {worker.name} allows: "
            "such targets are skipped and counted; unsupported: flush widens them to a flush",
        )
    if on_gap(worker, lane) == "ignore" and worker.delivery == "journal":
        findings.warning(
            path,
            f"{name} ignores gaps: what the journal can no longer say, because it was trimmed or deleted or its Redis "
            "has lost it, stays stale",
        )
    elif on_gap(worker, lane) == "ignore":
        findings.warning(
            path,
            f"{name} ignores gaps: what was missed in one stays stale, and when more than 100,000 targets wait, "
            "those beyond are dead-lettered up to a bound and then lost",
        )
    if lane.dry_run or backend.dry_run:
        findings.warning(path, f"{name} is a dry run here: nothing is sent, and everything is counted as skipped")
    flush = flush_of(worker, lane, backend.options)
    if flush is not None and flush.prefix is not None and flush.prefix.endswith("*"):
        place = path if lane.flush else ("workers", path[1])
        findings.warning((*place, "flush"), "the prefix ends with *, which is taken literally: a prefix needs none")


def _remark_overlaps(topology: Topology, findings: Findings) -> None:
    for (first, one), (second, other) in combinations(enumerate(topology.workers[:MOST_PATTERNS]), 2):
        same_redis = topology.redis_of(one).url == topology.redis_of(other).url
        if same_redis and overlap(one.pattern, other.pattern):
            text = f"overlaps with the pattern of {one.name} (workers[{first}]): what matches both reaches both workers"
            findings.warning(("workers", second, "pattern"), text)


def _redis_settings(topology: Topology) -> list[tuple[Path, RedisSettings]]:
    found: list[tuple[Path, RedisSettings]] = []
    if topology.redis is not None:
        found.append((("redis",), topology.redis))
    for index, worker in enumerate(topology.workers):
        if worker.redis is not None:
            found.append((("workers", index, "redis"), worker.redis))
    return found


def _check_password_file(settings: RedisSettings, path: Path, findings: Findings) -> None:
    if settings.password_file is None:
        return
    try:
        read_secret(settings.password_file).decode()
    except PermissionError:
        # `check` may run as somebody who is not allowed to see what the daemon is.
        findings.warning((*path, "password_file"), "cannot be read by this user")
    except (OSError, ValueError) as error:
        findings.error(
            (*path, "password_file"), f"cannot be read: {getattr(error, 'strerror', None) or 'not a text in UTF-8'}"
        )

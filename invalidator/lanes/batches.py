"""Targets as a Batch. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from invalidator.messages import KINDS, Batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.lanes.policy import Policy
    from invalidator.messages import FlushCause, Target


def make_batch(
    policy: Policy,
    targets: Iterable[Target],
    *,
    deadline: float,
    attempt: int,
    soft: bool = False,
    cause: FlushCause | Literal[""] = "",
    last: bool = False,
) -> Batch:
    """The targets, sorted by kind."""
    kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for kind, value in targets:
        kinds[kind].append(value)
    return Batch(
        worker=policy.worker,
        backend=policy.backend,
        keys=tuple(kinds["key"]),
        tags=tuple(kinds["tag"]),
        prefixes=tuple(kinds["prefix"]),
        patterns=tuple(kinds["pattern"]),
        urls=tuple(kinds["url"]),
        all=bool(kinds["all"]),
        soft=soft,
        cause=cause,
        attempt=attempt,
        deadline=deadline,
        last=last,
    )

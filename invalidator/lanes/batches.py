"""Targets as a Batch. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from invalidator.messages import KINDS, Batch

if TYPE_CHECKING:
    from collections.abc import Collection

    from invalidator.lanes.policy import Policy
    from invalidator.lanes.wishes import Name
    from invalidator.messages import FlushCause


def make_batch(
    policy: Policy,
    targets: Collection[Name],
    *,
    deadline: float,
    attempt: int,
    soft: bool = False,
    cause: FlushCause | Literal[""] = "",
    last: bool = False,
) -> Batch:
    """The targets, sorted by kind."""
    kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
    kinds["key"] = [name for name in targets if isinstance(name, str)]
    if len(kinds["key"]) < len(targets):
        for name in targets:
            if not isinstance(name, str):
                kinds[name.kind].append(name.value)
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

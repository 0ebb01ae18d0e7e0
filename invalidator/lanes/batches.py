"""Targets as a Batch. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from invalidator.messages import Batch

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
    keys = [name for name in targets if isinstance(name, str)]
    kinds: dict[str, list[str]] = {}
    if len(keys) < len(targets):
        for name in targets:
            if not isinstance(name, str):
                kinds.setdefault(name.kind, []).append(name.value)
    return Batch(
        worker=policy.worker,
        backend=policy.backend,
        keys=tuple(keys),
        tags=tuple(kinds.get("tag", ())),
        prefixes=tuple(kinds.get("prefix", ())),
        patterns=tuple(kinds.get("pattern", ())),
        urls=tuple(kinds.get("url", ())),
        all="all" in kinds,
        soft=soft,
        cause=cause,
        attempt=attempt,
        deadline=deadline,
        last=last,
    )

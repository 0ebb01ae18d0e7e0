"""A backend's answer, made safe to count: whatever a plugin gives or raises becomes a PurgeResult. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from invalidator.backend import targets_of
from invalidator.errors import BackendError
from invalidator.lanes.budget import AWAY, CONFIGURATION
from invalidator.lanes.wishes import name_of, target_of
from invalidator.messages import FAILURE_REASONS, Failure, PurgeResult, Target

if TYPE_CHECKING:
    from collections.abc import Collection

    from invalidator.lanes.wishes import Name, Stamps
    from invalidator.messages import Batch


def checked(answer: object, batch: Batch) -> PurgeResult:
    """The answer itself if it is one; otherwise a failure of the whole batch, which says what it was instead."""
    if isinstance(answer, PurgeResult) and _is_sound(answer):
        return answer
    what = "a PurgeResult with values of a wrong type in it" if isinstance(answer, PurgeResult) else repr(type(answer))
    return all_failed(batch, BackendError("error", f"purge gave {what}, not a PurgeResult"))


def all_failed(batch: Batch, error: BackendError) -> PurgeResult:
    """The answer that a backend gives by raising `error`."""
    failures = tuple(Failure(target, error.reason, error.retry, error.detail) for target in targets_of(batch))
    return checked(PurgeResult(failures, error.retry_after), batch)


def not_final(result: PurgeResult, flight: Collection[Name]) -> PurgeResult:
    """The answer to what is in flight; a backend that refuses all of it for its configuration is asked again.

    A revoked token would otherwise be the end of each target at its first attempt, and all of them be stale once the
    token is mended. Only where others were purged, or refused for what they are, does it concern these targets alone.
    """
    final = {failure.reason for failure in result.failures if not failure.retry}
    if CONFIGURATION.isdisjoint(final):
        return result
    undone = {failure.target for failure in result.failures}.union(result.deferred)
    if not undone.issuperset(map(target_of, flight)) or not AWAY.issuperset(
        failure.reason for failure in result.failures
    ):
        return result
    hoped = (replace(one, retry=one.retry or one.reason in CONFIGURATION) for one in result.failures)
    return replace(result, failures=tuple(hoped))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer means for each target of a batch."""

    purged: Stamps
    again: Stamps
    dead: Stamps
    deferred: Stamps

    @property
    def tried(self) -> int:
        """How many targets the backend did something about."""
        return len(self.purged) + len(self.again) + len(self.dead)


def outcome_of(result: PurgeResult, flight: Stamps) -> Outcome:
    """Sorts the targets in flight. Of what is named twice the first word counts, and a failure before a deferral."""
    if not (result.failures or result.deferred):
        return Outcome(flight, {}, {}, {})
    rest = dict(flight)
    again: Stamps = {}
    dead: Stamps = {}
    for failure in result.failures:
        if (name := name_of(failure.target)) in rest:
            (again if failure.retry else dead)[name] = rest.pop(name)
    deferred = {name: rest.pop(name) for name in map(name_of, result.deferred) if name in rest}
    return Outcome(rest, again, dead, deferred)


def _is_sound(result: PurgeResult) -> bool:
    # Annotations bind no plugin. A reason that has no counter, say, would raise where the lane counts it.
    return (
        isinstance(result.failures, tuple)
        and all(map(_is_failure, result.failures))
        and isinstance(result.deferred, tuple)
        and all(map(_is_target, result.deferred))
        and isinstance(result.retry_after, int | float)
        and result.retry_after == result.retry_after  # NaN: the time at which to ask again would never come
    )


def _is_failure(value: object) -> bool:
    return (
        isinstance(value, Failure)
        and _is_target(value.target)
        and value.reason in FAILURE_REASONS
        and isinstance(value.retry, bool)
        and isinstance(value.detail, str)
    )


def _is_target(value: object) -> bool:
    return isinstance(value, Target) and isinstance(value.kind, str) and isinstance(value.value, str)

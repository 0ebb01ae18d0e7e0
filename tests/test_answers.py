"""answers.py: whatever a plugin answers or raises is a failed attempt of its own backend, and the lane goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator import BackendError, Failure, PurgeResult, Target
from invalidator.lanes.answers import all_failed, not_final
from invalidator.lanes.breaker import OPENS_AFTER
from invalidator.lanes.budget import AWAY, CONFIGURATION
from invalidator.messages import FAILURE_REASONS, FailureReason
from tests.support.lanes import Inline, Rig, Scripted, raising
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def failure(**values: Any) -> PurgeResult:
    return PurgeResult((replace(Failure(Target("key", "a"), "timeout"), **values),))


GARBAGE: dict[str, object] = {
    "nothing": None,
    "a truth": True,
    "a text": "done",
    "failures that are none": PurgeResult(("a",)),  # type: ignore[arg-type]
    "no tuple": PurgeResult(None),  # type: ignore[arg-type]
    "a reason that has no counter": failure(reason="tired"),
    "a target that is none": failure(target="a"),
    "a target that has no hash": failure(target=Target("key", ["a"])),  # type: ignore[arg-type]
    "a retry that is no truth": failure(retry=None),
    "a detail that is no text": failure(detail=b"x"),
    "a time that is none": PurgeResult(retry_after="soon"),  # type: ignore[arg-type]
    "a time that never comes": PurgeResult(retry_after=float("nan")),
}
RAISED: dict[str, BaseException] = {
    "an exception": RuntimeError("no"),
    "sys.exit": SystemExit(3),
    "a cancelled task": asyncio.CancelledError(),
    "a reason that has no counter": BackendError("tired"),  # type: ignore[arg-type]
    "a retry that is no truth": BackendError("timeout", retry="yes"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", [Inline, Scripted])
@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE.keys())
def test_an_answer_that_is_none_is_a_failed_attempt(kind: type[Scripted], answer: object, tmp_path: Path) -> None:
    fails_and_recovers(kind(lambda _: answer), tmp_path)


@pytest.mark.parametrize("kind", [Inline, Scripted])
@pytest.mark.parametrize("error", RAISED.values(), ids=RAISED.keys())
def test_whatever_a_backend_raises_is_a_failed_attempt(
    kind: type[Scripted], error: BaseException, tmp_path: Path
) -> None:
    fails_and_recovers(kind(raising(error)), tmp_path)


def fails_and_recovers(backend: Scripted, folder: Path) -> None:
    rig = Rig(backend, folder).start()

    def asked() -> dict[str, int]:
        rig.lane.turn()
        return rig.counts()

    rig.offer("a", "b")
    wait_until(lambda: asked()["failed:error"])
    assert rig.counts()["pending"] == 2
    backend.answer = lambda _: PurgeResult()
    wait_until(lambda: asked()["purged"] == 2)
    assert rig.adds_up()
    assert rig.stop() == 0


TARGETS = [Target("key", str(number)) for number in range(4)]
ANSWERS = st.lists(
    st.one_of(
        st.sampled_from(("purged", "deferred")), st.tuples(st.sampled_from(sorted(FAILURE_REASONS)), st.booleans())
    ),
    min_size=len(TARGETS),
    max_size=len(TARGETS),
)


def answer_of(said: list[object]) -> PurgeResult:
    failures = tuple(Failure(one, *how) for one, how in zip(TARGETS, said, strict=True) if isinstance(how, tuple))
    return PurgeResult(failures, 0.0, tuple(one for one, how in zip(TARGETS, said, strict=True) if how == "deferred"))


@given(ANSWERS)
def test_only_what_is_refused_beside_others_is_refused_for_good(said: list[object]) -> None:
    answer = answer_of(said)
    judged = not_final(answer, TARGETS)

    assert [replace(one, retry=True) for one in judged.failures] == [
        replace(one, retry=True) for one in answer.failures
    ]
    assert judged.deferred == answer.deferred
    backend_takes_some = "purged" in said or any(isinstance(how, tuple) and how[0] not in AWAY for how in said)
    for before, after in zip(answer.failures, judged.failures, strict=True):
        assert after.retry == (before.retry or (before.reason in CONFIGURATION and not backend_takes_some))


@pytest.mark.parametrize("reason", sorted(CONFIGURATION))
def test_targets_outlast_a_backend_whose_configuration_is_wrong(reason: FailureReason, tmp_path: Path) -> None:
    backend = Inline(lambda batch: all_failed(batch, BackendError(reason, retry=False)))
    rig = Rig(backend, tmp_path)
    rig.offer("a", "b")
    for _ in range(OPENS_AFTER):
        rig.pending.pace.hurry()
        rig.lane.turn()

    assert rig.counts()["pending"] == 2
    assert rig.lane.describe().breaker == "open", "so that the status is degraded, and says why"
    backend.answer = lambda _: PurgeResult()
    rig.pending.pace.hurry()
    rig.lane.turn()
    assert (rig.counts()["purged"], rig.letters()) == (2, [])
    assert rig.adds_up()


def test_they_would_all_die_at_the_first_answer_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The control for the test above.
    monkeypatch.setattr("invalidator.lanes.coalescer.not_final", lambda result, _: result)
    rig = Rig(Inline(lambda batch: all_failed(batch, BackendError("auth", retry=False))), tmp_path)
    rig.offer("a", "b")
    rig.lane.turn()
    assert (rig.counts()["dead"], rig.counts()["pending"], rig.lane.describe().breaker) == (2, 0, "closed")

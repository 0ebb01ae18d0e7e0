"""answers.py: whatever a plugin answers or raises is a failed attempt of its own backend, and the lane goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from invalidator import BackendError, Failure, PurgeResult, Target
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

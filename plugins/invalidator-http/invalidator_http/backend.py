"""One HTTP cache: asks it to forget, and reads what it says to each request."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from invalidator.backend import Backend
from invalidator.errors import BackendError
from invalidator.http import Client, Request, Response, Timeouts, parse_origin, retry_after, verdict
from invalidator.messages import Failure, PurgeResult
from invalidator_http.plan import Call, Planner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from invalidator.http import Answer
    from invalidator.messages import Batch, Target
    from invalidator_http.options import HttpOptions


class HttpBackend(Backend):
    """Purges one target of `type: http`, over a few kept connections."""

    canary = "purge"  # what a path holds is its origin's matter: we cannot plant anything

    def __init__(self, target: str, options: HttpOptions) -> None:
        origin = parse_origin(target)
        timeouts = options.timeouts
        self.node = str(origin)
        self._connect_timeout = timeouts.connect + timeouts.read
        self._planner = Planner(options, origin.authority)
        self._client = Client(
            origin,
            connections=options.connections,
            timeouts=Timeouts(timeouts.connect, timeouts.read, timeouts.total),
            pipeline=options.pipeline,
            ca_file=options.ca_file if origin.scheme == "https" else None,
        )

    def purge(self, batch: Batch) -> PurgeResult:
        """Ask for every target, and wait for every answer. Raises BackendError when the server gave none at all."""
        calls, unsafe = self._planner.plan(batch)
        if batch.attempt > 1:
            # Should one target make the server hang up, let it not always be in front of the same others.
            random.shuffle(calls)
        asked = len(calls)
        failed = self._ask(calls, batch.deadline)
        if suspects := [call for call, answer in failed if len(call.targets) > 1 and _is_rejected(answer)]:
            alone = [single for call in suspects for single in self._planner.alone(call, soft=batch.soft)]
            failed = [pair for pair in failed if pair[0] not in suspects]
            failed += self._ask(alone, batch.deadline)
            asked += len(alone) - len(suspects)
        if not failed:
            return PurgeResult(tuple(unsafe))
        _raise_if_silent(failed, asked, unsafe)
        return PurgeResult((*unsafe, *_failures(failed)), _wait(failed, time.time()))

    def connect(self) -> None:
        """Ask for `/` with HEAD: whatever it answers, something there speaks HTTP. Raises BackendError."""
        request = Request("HEAD", "/", self._planner.host)
        (answer,) = self._client.exchange([request], time.monotonic() + self._connect_timeout)
        if isinstance(answer, BackendError):
            raise answer

    def preview(self, batch: Batch) -> Iterator[str]:
        """`PURGE http://127.0.0.1:6081/users:42`; of the headers, those that say what is purged and no other."""
        calls, failures = self._planner.plan(batch)
        for call in calls:
            yield f"{call.request.method} {self.node}{call.request.target}{self._planner.told_by_headers(call)}"
        for failure in failures:
            yield f"no request for {failure.target.kind} {failure.target.value}: {failure.detail}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, calls: Sequence[Call], deadline: float) -> list[tuple[Call, Answer]]:
        """Those calls that did not purge what they were to, and why."""
        answers = self._client.exchange([call.request for call in calls], deadline)
        return [
            (call, answer)
            for call, answer in zip(calls, answers, strict=True)
            if isinstance(answer, BackendError) or verdict(answer.status)
        ]


def _is_rejected(answer: Answer) -> bool:
    return isinstance(answer, Response) and verdict(answer.status) == ("rejected", False)


def _raise_if_silent(failed: Sequence[tuple[Call, Answer]], asked: int, unsafe: Sequence[Failure]) -> None:
    """One error says it all when nothing was answered, and costs the lane less than a failure for each target."""
    errors = [answer for _, answer in failed if isinstance(answer, BackendError) and answer.retry]
    if errors and len(errors) == asked and not unsafe:
        raise errors[0]


def _failures(failed: Iterable[tuple[Call, Answer]]) -> list[Failure]:
    """At most one failure for each target; one that may be retried goes first, for the others would end the matter."""
    failures: dict[Target, Failure] = {}
    for call, answer in failed:
        fault = _fault(answer)
        if fault is None:
            continue
        for target in call.targets:
            known = failures.get(target)
            if known is None or (fault.retry and not known.retry):
                failures[target] = Failure(target, fault.reason, fault.retry, fault.detail)
    return list(failures.values())


def _fault(answer: Answer) -> BackendError | None:
    if isinstance(answer, BackendError):
        return answer
    found = verdict(answer.status)
    return BackendError(found[0], f"status {answer.status}", retry=found[1]) if found else None


def _wait(failed: Iterable[tuple[Call, Answer]], now: float) -> float:
    """The longest that any answer asks us to wait, in seconds."""
    return max(
        (
            retry_after(answer.header("retry-after"), now)
            for _, answer in failed
            if isinstance(answer, Response) and answer.status >= 400
        ),
        default=0.0,
    )

"""Who is told what a lane does: whoever looks on, and publishers who wait for the end of a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from invalidator.backend import targets_of
from invalidator.lanes.replies import Answer, Fate, Replies
from invalidator.logs import Logger, Occasionally
from invalidator.messages import Receipt
from invalidator.slots import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from invalidator.backend import Backend
    from invalidator.lanes.deadletter import Letter
    from invalidator.lanes.policy import Policy
    from invalidator.messages import Batch, Invalidation, PurgeResult, Target

Observer = Callable[[str, Receipt], None]
"""Called with the server that a lane is for and a receipt, on the lane's thread or the worker's loop: it must not wait.
"""


class Onlookers:
    """Of one lane. What changes is called under the lane's lock, and nobody is told anything under it."""

    def __init__(
        self, policy: Policy, backend: Backend, log: Logger, observe: Observer | None, answer: Answer | None
    ) -> None:
        self._backend = backend
        self._log = log
        self._observe = observe
        self._answer = answer
        self._replies = Replies(policy)
        self._seldom = Occasionally(10.0)

    @property
    def wait(self) -> bool:
        """Whether the end of some message is waited for."""
        return bool(self._replies)

    def expect(self, invalidations: Sequence[Invalidation], taken: int, number: int, now: float) -> None:
        """Somebody waits for the end of some of these. Those that were refused come again, and are waited for then."""
        if self._answer is None:
            return
        for place, invalidation in enumerate(invalidations):
            if invalidation.reply and (place < taken or not invalidation.journal):
                self._replies.add(invalidation, number, now)

    def answered(self, batch: Batch, result: PurgeResult, poison: Sequence[Letter], kept: int) -> None:
        """A batch has come back; of what will never be purged, the first so many are kept as dead letters."""
        if not self._replies:
            return
        if not batch.cause:
            undone = {failure.target for failure in result.failures}.union(result.deferred)
            self._replies.purged(target for target in targets_of(batch) if target not in undone)
        for place, (target, reason) in enumerate(poison):
            self._replies.died([target], int(place < kept), reason)

    def died(self, targets: Sequence[Target], kept: int, reason: str) -> None:
        """Nobody will purge these: the first so many are kept as dead letters, the rest is lost."""
        if targets and self._replies:
            self._replies.died(targets, kept, reason)

    def take(self, through: int) -> list[tuple[Invalidation, Fate]]:
        """What to `tell`, now that all offers up to this number have ended."""
        return self._replies.take(through)

    def see(self, receipt: Receipt) -> None:
        """Tell who looks on."""
        if self._observe:
            self._tell(self._observe, self._backend.node, receipt)

    def tell(self, ended: Iterable[tuple[Invalidation, Fate]]) -> None:
        """Tell who waits."""
        if self._answer:
            for invalidation, fate in ended:
                self._tell(self._answer, self._backend.node, invalidation, fate, clock())

    def _tell(self, call: Callable[..., None], *what: object) -> None:
        try:
            call(*what)
        except BaseException as error:  # noqa: BLE001  # who looks on is no reason to stop
            if (held := self._seldom.due("observer", clock())) is not None:
                self._log.error("observer.raised", error=repr(error), held_back=held)

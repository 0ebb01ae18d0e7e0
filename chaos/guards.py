"""What keeps the promises, and how each piece of it is switched off: in the daemon under test alone, by a patch.

A promise whose test still passes with its guard off is not tested. `python -m chaos.weakened GUARD run -c FILE` is the
daemon without one guard; the product has no such switch. A patch names what it replaces by its place in the code, so
that a guard which has moved, or is gone, is an error and not a control that proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from invalidator.slots import Snapshot, clock

Mend = Callable[[Any], Any]
"""Makes, of the original, what stands in its place."""


@dataclass(frozen=True, slots=True)
class Guard:
    """`what` it does; and what is put in which places, each `module:name` or `module:Class.name`."""

    what: str
    patches: Mapping[str, Mend]

    def switch_off(self) -> None:
        """In this process, and in all that it forks. Raises AttributeError or ImportError when it is not there."""
        for place, weaken in self.patches.items():
            owner, name = found(place)
            setattr(owner, name, weaken(getattr(owner, name)))


def found(place: str) -> tuple[Any, str]:
    """Whose attribute it is, and its name. Raises AttributeError or ImportError when it is not there."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    getattr(owner, name)
    return owner, name


def _returning(answer: object) -> Mend:
    return lambda _original: lambda *_args, **_kwargs: answer


def _never_flushing(original: Any) -> Any:
    # The offer is numbered as ever, and no lane is asked.
    return lambda self, *args, **kwargs: original(self, *args, **{**kwargs, "only": ()})


def _settled_at_once(original: Any) -> Any:
    return lambda self, number: original(self, max(number, *(given for given, _ in self._waiting), 0))


def _forgetting_what_was_pending(original: Any) -> Any:
    def fold(self: Any, last: Snapshot, ends: Any) -> None:
        none = {"pending": 0, "pending_unjournaled": 0}
        original(self, Snapshot(last.worker, {name: {**words, **none} for name, words in last.backends.items()}), ends)

    return fold


def _ready_at_once(original: Any) -> Any:
    def become_ready(self: Any) -> None:
        self._confirmed = float("-inf")  # long enough ago that nothing is waited for
        self._delivery.is_settled = lambda: True
        original(self)

    return become_ready


def _subscribed_anyway(original: Any) -> Any:
    return lambda self, _until: original(self, clock() + 10.0)


GUARDS = {
    "flush-on-gap": Guard(
        "a Gap is followed by the flush of its scope",
        {"invalidator.pipeline.dispatcher:Dispatcher.flush": _never_flushing},
    ),
    "replay": Guard(
        "what stands in the journal and was not heard is dispatched",
        {"invalidator.replay.readership:Readership.hand_out": _returning(0)},
    ),
    "cursor": Guard(
        "a cursor moves only when the backend has answered",
        {"invalidator.journal.marks:Marks.settle": _settled_at_once},
    ),
    "deadline": Guard(
        "a connection on which no byte has come by the deadline is given up",
        {
            "invalidator.subscription.heartbeat:Silence.verdict": _returning(None),
            "invalidator.subscription.heartbeat:Silence.unanswered": _returning(None),
        },
    ),
    "echo": Guard(
        "what is published now has to be heard on the subscription's own connection",
        {
            "invalidator.subscription.heartbeat:Echoes.verdict": _returning(None),
            "invalidator.subscription.heartbeat:Echoes.taken": _returning(None),
        },
    ),
    "ready": Guard(
        "READY is said only when the subscription is confirmed",
        {
            "invalidator.pipeline.worker:Worker._become_ready": _ready_at_once,
            "invalidator.slots:WorkerSlots.subscribed_until": _subscribed_anyway,
        },
    ),
    "pdeathsig": Guard(
        "the kernel kills a worker when its supervisor dies",
        {"invalidator.supervision.birth:die_with": _returning(None)},
    ),
    "restart": Guard(
        "a worker that has died after it was ready is replaced at once",
        {"invalidator.supervision.deaths:restart_delay": _returning(0.5)},
    ),
    "fold": Guard(
        "what a dead worker had pending comes to an end",
        {"invalidator.supervision.metrics:Totals.fold": _forgetting_what_was_pending},
    ),
    "backoff": Guard(
        "a worker that dies at its start is tried with a growing delay",
        {"invalidator.supervision.deaths:restart_delay": _returning(0.0)},
    ),
}

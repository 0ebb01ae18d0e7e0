"""What a worker says to a publisher that has asked: what became of a message, in each of its backends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, get_args

PREFIX = "invalidator:reply:"
"""Only channels that begin so are answered: a message must not make a worker publish wherever it likes."""

Outcome = Literal[
    "purged",  # each target is gone
    "flushed",  # a flush that contains them has been done
    "skipped",  # the backend lacks this kind of target, or is on a dry run: nothing has been done
    "dead",  # given up, and kept as a dead letter
    "lost",  # given up, and not kept
    "rejected",  # the worker has not taken the message, or some of its targets
    "ignored",  # the worker is not to act on it
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""The better ones first: of several targets or servers, the worst is said."""
APPLIED = frozenset({"purged", "flushed"})

LONGEST = 4096
"""Bytes of one receipt. What is longer is not looked at."""
_LONGEST_TEXT = 255
"""Characters of an id or another text that somebody else has made up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A receipt: what became of the message `id` in one backend of one worker.

    Of a backend with several servers it is sent when all of them have ended, and `node` is the one for which the
    outcome holds, if it does not hold for all. `at` is in wall seconds, `seconds` counts from the message's arrival.
    """

    id: str
    host: str
    worker: str
    instance: str
    backend: str
    outcome: Outcome
    reason: str = ""
    node: str = ""
    at: float = 0.0
    seconds: float = 0.0
    journal: str = ""


def worst(*outcomes: Outcome) -> Outcome:
    """The one that says least good of them."""
    return max(outcomes, key=OUTCOMES.index)


def is_answered(channel: str) -> bool:
    """Whether a receipt may be published on this channel."""
    return (
        channel.startswith(PREFIX)
        and len(PREFIX) < len(channel) <= _LONGEST_TEXT
        and channel.isprintable()
        and "\ufffd" not in channel
    )


def written(reply: Reply) -> bytes:
    """What is published on the reply channel."""
    said: dict[str, object] = {
        "id": reply.id[:_LONGEST_TEXT],
        "host": reply.host,
        "worker": reply.worker,
        "instance": reply.instance,
        "backend": reply.backend,
        "outcome": reply.outcome,
        "at": round(reply.at, 6),
        "seconds": round(reply.seconds, 6),
    }
    said |= {
        name: getattr(reply, name)[:_LONGEST_TEXT] for name in ("reason", "node", "journal") if getattr(reply, name)
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def read(data: object) -> Reply | None:
    """What `written` has written; None for anything else."""
    if not isinstance(data, bytes) or len(data) > LONGEST:
        return None
    try:
        said = json.loads(data)
        texts = {name: said[name] for name in ("id", "host", "worker", "instance", "backend", "outcome")}
        texts |= {name: said.get(name, "") for name in ("reason", "node", "journal")}
        seconds, at = float(said.get("seconds", 0.0)), float(said.get("at", 0.0))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    if not all(isinstance(text, str) for text in texts.values()) or texts["outcome"] not in OUTCOMES:
        return None
    return Reply(**texts, seconds=seconds, at=at)

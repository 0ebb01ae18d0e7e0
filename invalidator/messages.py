"""What travels through a worker: a Message becomes an Invalidation, a Batch, a PurgeResult and a Receipt.

Everything here is a value that nobody changes once it is handed on. Times are seconds: `ts` on the publisher's wall
clock (used for metrics alone), every other one on the monotonic clock of this host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args, overload

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["key", "tag", "prefix", "pattern", "url", "all"]
KINDS: tuple[Kind, ...] = get_args(Kind)

GapCause = Literal[
    "start",  # nobody was listening before
    "disconnect",  # the connection ended, or brought what it should not
    "deadline",  # nothing has come, or not what was published to see whether it comes, or Redis has forgotten us
    "resubscribed",  # a confirmation that nobody had asked for
    "role",  # publishers reach another server than the one we hear
    "trimmed",
    "paused",
    "overflow",
]
GAP_CAUSES: tuple[GapCause, ...] = get_args(GapCause)

FlushCause = Literal[GapCause, "unsupported"]
FLUSH_CAUSES: tuple[FlushCause, ...] = (*GAP_CAUSES, "unsupported")

FailureReason = Literal[
    "timeout",  # no answer within the deadline
    "unreachable",  # no connection
    "closed",  # the connection ended in the middle
    "protocol",  # an answer that is none
    "auth",  # we may not: a fault of the configuration
    "unsupported",  # the server does not know this call: a fault of the configuration
    "rate_limited",  # later
    "server_error",  # the server says that it failed
    "rejected",  # the server will never take this target
    "unsafe",  # this target must not be put on the wire
    "error",  # an exception nobody expected
]
FAILURE_REASONS: tuple[FailureReason, ...] = get_args(FailureReason)

RejectReason = Literal[
    "empty",
    "oversize",
    "utf8",
    "json",
    "depth",
    "version",
    "shape",
    "ambiguous",
    "control",
    "not_allowed",
    "no_target",
    "plugin",
]
REJECT_REASONS: tuple[RejectReason, ...] = get_args(RejectReason)

IgnoreReason = Literal[
    "duplicate",  # a message with this id has been taken in a moment ago
    "source",  # the worker is not to hear this publisher
    "hops",  # it has been passed on too often
]
IGNORE_REASONS: tuple[IgnoreReason, ...] = get_args(IgnoreReason)

JournalBreak = Literal[
    "trimmed",  # the entry that the cursor stands on is gone, and newer ones are there
    "backwards",  # the Stream ends before the cursor
    "deleted",  # there is no Stream any more
    "dataset",  # another server, or the same after a restart: what it has lost, it cannot say
]
JOURNAL_BREAKS: tuple[JournalBreak, ...] = get_args(JournalBreak)


class Target(NamedTuple):
    """One thing to forget: `Target("key", "users:42")`. `Target("all")` has no value."""

    kind: Kind
    value: str = ""


EVERYTHING = Target("all")


class Keys(Sequence[Target]):
    """Targets that are keys, all of them: equal to the tuple of them, and each is made only where it is looked at.

    Nearly all targets are keys, and a Target for each would cost more than what is done with it.
    """

    __slots__ = ("names", "times")

    def __init__(self, names: Sequence[str], times: Sequence[float | None] = ()) -> None:
        self.names = names
        self.times = times
        """When each was published, where these come from several messages that said so."""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Target]:
        return (Target("key", name) for name in self.names)

    @overload
    def __getitem__(self, at: int) -> Target: ...
    @overload
    def __getitem__(self, at: slice) -> Keys: ...
    def __getitem__(self, at: int | slice) -> Target | Keys:
        return Keys(self.names[at]) if isinstance(at, slice) else Target("key", self.names[at])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Keys):
            return tuple(self.names) == tuple(other.names)
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple([("key", name) for name in self.names]))

    def __repr__(self) -> str:
        return repr(tuple(self))


class Message(NamedTuple):
    """What Redis delivered: the channel it was published on and its payload, both as raw bytes."""

    channel: bytes
    payload: bytes


class Messages:
    """Messages in the order in which they came, by columns: nearly all that is done with them needs payloads alone."""

    __slots__ = ("channels", "payloads")

    def __init__(self, channels: list[bytes], payloads: list[bytes]) -> None:
        self.channels = channels
        self.payloads = payloads

    def __len__(self) -> int:
        return len(self.payloads)

    def __iter__(self) -> Iterator[Message]:
        return map(Message, self.channels, self.payloads)

    def __getitem__(self, at: slice) -> Messages:
        return Messages(self.channels[at], self.payloads[at])


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which messages may have been missed; `began` and `ended` are monotonic seconds.

    `spread` has the seconds over which a fleet that lost the same Redis has come back: the wait before the last attempt
    was drawn from them.
    """

    cause: GapCause
    began: float
    ended: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Invalidation:
    """A decoded message: what to forget, and what its publisher said about it.

    `rejected` has one reason for each target that was refused on its own while the rest of the message stands. `hops`
    counts how often the message was passed on, by whoever hears one Redis and publishes to another.
    """

    targets: tuple[Target, ...] | Keys
    soft: bool = False
    id: str = ""
    ts: float | None = None
    source: str = ""
    reply: str = ""
    journal: str = ""
    traceparent: str = ""
    rejected: tuple[RejectReason, ...] = ()
    hops: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one lane asks of its backend in one call: distinct targets, sorted by kind.

    `soft` asks for "mark stale" instead of "remove"; a backend that cannot do so removes. `cause` is empty for targets
    that messages asked for; for a flush it is the Gap's cause, or `unsupported` where a flush stands for a kind of
    target that the backend lacks. `attempt` counts from 1. `deadline` is the monotonic
    second by which the backend is to have answered: an answer after it is one that nobody waited for. `last` says that
    the worker stops: nothing will be added to these targets, so that gathering more of them gains nothing.
    """

    worker: str
    backend: str
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    all: bool = False
    soft: bool = False
    cause: FlushCause | Literal[""] = ""
    attempt: int = 1
    deadline: float
    last: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """One target that was not purged. `retry` says whether asking again may help."""

    target: Target
    reason: FailureReason
    retry: bool = True
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """A backend's answer to a Batch: every target that is named in neither `failures` nor `deferred` has been purged.

    `deferred` were not tried, on purpose: a limit on calls allows none now, or more targets would fill a call. They
    stay pending, come again (with what has been added by then) no earlier than `retry_after`, and count as no failure.
    `retry_after` (seconds, 0 when the server did not say) is the earliest time at which to ask again.
    """

    failures: tuple[Failure, ...] = ()
    retry_after: float = 0.0
    deferred: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one Batch: the backend's answer to it, and how long it took (seconds).

    After a `dry_run` nobody was asked, and what the result names as purged has been skipped.
    """

    batch: Batch
    result: PurgeResult
    seconds: float
    dry_run: bool = False

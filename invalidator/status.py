"""What a daemon says of itself, as values: `status --json` prints them, `status`, `top` and the page draw them.

Times are wall seconds since the epoch (0.0: never), durations and latencies seconds. A field may be added; none goes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

WorkerState = Literal["STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED"]
HandoverState = Literal["waiting", "starting", "backoff", "draining"]
Delivery = Literal["pubsub", "journal"]
BreakerState = Literal["closed", "open", "half-open"]
Heartbeat = Literal["", "echo", "ping"]
DaemonState = Literal["starting", "running", "degraded", "stopping"]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The last failure of a lane, or of a worker's connection: when, its reason in one word, and what was said."""

    at: float
    reason: str
    detail: str = ""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of the last minute, in seconds; None when nothing was measured in it."""

    p50: float | None = None
    p99: float | None = None


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One backend of one worker; of a backend with several servers, one server (`node`).

    The counts and latencies are the backend's: its servers share them. What waits for this server alone is
    `pending_here`, and `last_purge` is this server's.
    """

    backend: str
    type: str
    node: str = ""
    pending: int = 0
    pending_here: int = 0  # as the worker last said, which is a moment ago
    received: int = 0
    ends: dict[str, int] = {}  # by end: coalesced, purged, flushed, dead, skipped, lost
    flushes: dict[str, int] = {}  # by cause
    attempts_failed: dict[str, int] = {}  # by reason
    rate: float = 0.0  # targets purged a second, over the last seconds
    purge: Latency = Latency()
    propagation: Latency = Latency()
    last_purge: float = 0.0
    last_failure: Failure | None = None
    breaker: BreakerState = "closed"
    breaker_since: float = 0.0
    flush_owed: bool = False  # one was asked for, and is not done
    behind: float | None = None  # seconds of the journal that it has yet to be given; None: it keeps up
    next_try: float | None = None  # seconds until its backend is asked for what waits; None: soon, or nothing waits
    dead_letters: int = 0  # that wait for somebody to try them again
    dry_run: bool = False


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """A worker is being replaced: a second process stands for it, or is to.

    The process in charge works on until the other is ready. `waiting`: for its turn, as only some are replaced at the
    same time; `starting`: the successor is not ready yet; `backoff`: it could not become ready, and is tried again;
    `draining`: it is in charge, and its predecessor purges what it still has.
    """

    state: HandoverState
    reason: str  # reload, requested or recycled; empty while draining
    pid: int | None = None  # of the process that is not in charge
    trouble: Failure | None = None  # why the successor is not ready
    next_try: float | None = None  # seconds until it is started again


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of the topology."""

    name: str
    pattern: str
    delivery: Delivery = "pubsub"
    state: WorkerState
    redis: str = ""  # where its messages arrive, without secrets
    pid: int | None = None
    uptime: float | None = None
    paused: bool = False
    subscribed: bool = False
    subscribed_since: float = 0.0
    heartbeat: Heartbeat = ""  # echo: what is published is heard; ping: the connection answers, no more is known
    heartbeat_detail: str = ""  # why it is only a ping
    unheard: str = ""  # why publishers that wait do not see it, or get no receipts of it
    last_message: float = 0.0
    # Why it is not subscribed, or does not run; or what it cannot do though it is and does.
    trouble: Failure | None = None
    next_try: float | None = None  # seconds until it is started again
    handover: Handover | None = None  # it is being replaced, and works on meanwhile
    restarts: dict[str, int] = {}  # by reason
    gaps: dict[str, int] = {}  # by cause
    gap_seconds: float = 0.0
    received: int = 0
    rejected: dict[str, int] = {}  # by reason
    rate: float = 0.0  # messages a second, over the last seconds
    rates: tuple[float, ...] = ()  # messages in each of the last seconds, the oldest first
    lanes: tuple[Lane, ...] = ()


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    """The last time that the topology's file was read."""

    ok: bool
    at: float
    error: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went wrong, as a person would want to read it."""

    at: float
    worker: str
    what: str
    backend: str = ""
    detail: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole daemon at one moment (`now`)."""

    version: str
    host: str
    pid: int
    file: str
    now: float
    started: float
    state: DaemonState
    troubles: tuple[str, ...] = ()  # a sentence for each thing that makes it degraded
    reload: Reload
    workers: tuple[Worker, ...] = ()
    errors: tuple[Event, ...] = ()  # the latest, the newest first

"""The topology's models: the one source of what is valid, of the example file, the schema and the reference page.

Each field's `description` is the sentence that all of those show; `examples` are values for where there is no default.
"""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003  pydantic evaluates the annotations
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    model_serializer,
    model_validator,
)

from invalidator.messages import Kind  # noqa: TC001  pydantic evaluates the annotations
from invalidator.options import BackendOptions, Duration, Settings, Size, format_duration
from invalidator.topology.patterns import LONGEST_NAME, overlap, worker_name
from invalidator.topology.settings import (
    Backoff,
    Heartbeat,
    Journal,
    PathBeside,
    RedisSettings,
    Restart,
    SupervisorSettings,
    positive,
)

__all__ = [
    "BackendSpec",
    "Backoff",
    "Flush",
    "Heartbeat",
    "Journal",
    "LaneSpec",
    "Layout",
    "PathBeside",
    "RedisSettings",
    "Restart",
    "SupervisorSettings",
    "Topology",
    "WorkerSpec",
]

OnGap = Literal["flush", "ignore"]


def _named(value: str) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_.:@-]{{0,{LONGEST_NAME - 1}}}", value):
        raise ValueError(f"is not a name: up to {LONGEST_NAME} letters, digits and _ . : @ -, a letter or digit first")
    return value


def _a_channel_pattern(value: str) -> str:
    if not 0 < len(value.encode("utf-8", "surrogatepass")) <= 512:
        raise ValueError("must be 1 to 512 bytes long")
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("has a control character in it")
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _at_most(longest: float) -> AfterValidator:
    def check(seconds: float) -> float:
        if seconds > longest:
            raise ValueError(f"is longer than {format_duration(longest)}")
        return seconds

    return AfterValidator(check)


DRY_RUN = "Sends nothing, and says in the log what it would: a lane's own word, or its backend's for all workers."
Name = Annotated[str, AfterValidator(_named)]
Pattern = Annotated[str, AfterValidator(_a_channel_pattern)]


class Flush(Settings):
    """What a flush forgets; exactly one of these."""

    prefix: str | None = Field(default=None, description="All keys that begin so.", examples=["users:"])
    tags: tuple[str, ...] | None = Field(
        default=None, description="Everything that carries one of these tags.", examples=[["users"]]
    )
    all: Literal[True] | None = Field(default=None, description="Everything.", examples=[True])

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for value in (self.prefix, self.tags, self.all)) != 1:
            raise ValueError("say one of {prefix: …}, {tags: […]} or {all: true}")
        if self.prefix == "" or self.tags == ():
            raise ValueError("is empty: for everything, say {all: true}")
        return self

    @property
    def kind(self) -> Kind:
        """The kind of target that this flush asks a backend for."""
        return "prefix" if self.prefix is not None else "tag" if self.tags is not None else "all"

    @model_serializer
    def _only_what_was_said(self) -> dict[str, Any]:
        said = {"prefix": self.prefix, "tags": None if self.tags is None else list(self.tags), "all": self.all}
        return {name: value for name, value in said.items() if value is not None}


class BackendSpec(Settings):
    """One backend: its name in the topology, its type, and the options that the type's plugin has a model for."""

    name: Name
    type: str
    options: SerializeAsAny[BackendOptions]
    dry_run: bool = Field(default=False, description=DRY_RUN)

    @model_serializer
    def _as_it_is_written(self) -> dict[str, Any]:
        shown = {"type": self.type, **self.options.model_dump(mode="json")}
        return shown | {"dry_run": True} if self.dry_run else shown


class LaneSpec(Settings):
    """A backend as one worker uses it; where it says nothing, the worker's own settings hold."""

    backend: str = Field(description="The backend's name.", examples=["objects"])
    on_gap: OnGap | None = Field(default=None, description="Instead of the worker's on_gap.")
    flush: Flush | None = Field(default=None, description="Instead of the worker's flush.", examples=[{"all": True}])
    unsupported: Literal["skip", "flush"] = Field(
        default="skip",
        description="What becomes of a kind of target that the backend lacks: skipped, or widened to the flush.",
    )
    after: str | None = Field(
        default=None,
        description="Another of the worker's backends: a target goes here only once it is purged there, or after 10s.",
        examples=["objects"],
    )
    delay: Annotated[Duration, _at_most(600.0)] = Field(
        default=0.0,
        description="How long after that; without after, how long after the message. Up to 10m; a stop cuts it short.",
    )
    rebound: Annotated[Duration, _at_most(3600.0)] = Field(
        default=0.0, description="Purge each target once more, so long after it was purged. Up to 1h; 0 does not."
    )
    dry_run: bool = Field(default=False, description=DRY_RUN)

    @model_validator(mode="before")
    @classmethod
    def _a_name_is_enough(cls, value: object) -> object:
        return {"backend": value} if isinstance(value, str) else value


class WorkerSpec(Settings):
    """One process: the channels it hears, the backends it purges."""

    name: Name = Field(
        default="",
        description="Stands in logs and metrics.",
        examples=["users"],
        json_schema_extra={"default_text": "made from the pattern"},
    )
    pattern: Pattern = Field(description="The channels, as a glob of Redis.", examples=["cache:invalidate:users:*"])
    redis: RedisSettings | None = Field(
        default=None, description="Where messages arrive for this worker, if elsewhere."
    )
    delivery: Literal["pubsub", "journal"] = Field(
        default="pubsub",
        description="pubsub: what was missed is flushed; journal: it is read again from the journal's stream, which "
        "takes the rights to XRANGE, XREVRANGE and XINFO STREAM.",
    )
    backends: tuple[LaneSpec, ...] = Field(
        min_length=1, description="Each a name, or a name with what differs for it here: see workers[].backends[]."
    )
    allow: Annotated[tuple[Kind, ...], BeforeValidator(_listed)] = Field(
        default=("key", "tag", "prefix", "url"),
        min_length=1,
        description="What a message may ask for; pattern and all must be granted.",
    )
    on_gap: OnGap = Field(
        default="flush", description="What is done when messages may have been missed: flush, or ignore."
    )
    flush: Flush | None = Field(
        default=None,
        description="What flush means: {prefix: …}, {tags: […]} or {all: true}; your own word, not limited by allow.",
        examples=[{"prefix": "users:"}],
    )
    flush_on_start: bool = Field(
        default=True,
        description="Flush before the worker is ready, with a journal only if it has no cursor; false spares a CDN at "
        "each deploy, but never lru.",
    )
    window: Duration = Field(
        default=0.0, description="Extra time to gather; what arrives while a backend is busy is coalesced anyway."
    )
    ignore_source: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="Publishers whose messages are not for this worker, by their `source`; `web-*` means all web-….",
        examples=[["checkout-*"]],
    )
    max_payload: Annotated[Size, AfterValidator(positive)] = Field(
        default=8192, description="A larger message is rejected."
    )
    max_messages: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="The process is replaced after so many messages, without a gap; at most once in 10s.",
    )
    max_rss: Annotated[Size, AfterValidator(positive)] | None = Field(
        default=None,
        description="The process is replaced, without a gap, once it holds more memory than this.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_from_the_pattern(cls, value: object) -> object:
        if not isinstance(value, dict) or value.get("name") is not None:
            return value
        pattern = value.get("pattern")
        return value | {"name": worker_name(pattern) if isinstance(pattern, str) else "unnamed"}

    @property
    def client_name(self) -> str:
        """How its subscription calls itself in CLIENT LIST."""
        return f"invalidator:{self.name}"

    def may_hear(self, channels: str) -> bool:
        """Whether it hears a channel that fits this glob."""
        return overlap(self.pattern, channels)


class Layout(Settings):
    """What the file can say at the top."""

    redis: RedisSettings | None = Field(
        default=None, description="Where messages arrive; a worker may carry its own redis: block."
    )
    journal: Journal = Field(
        default=Journal(), description="Where messages are kept, for workers with delivery: journal."
    )
    supervisor: SupervisorSettings = Field(
        default_factory=SupervisorSettings, description="The process that starts the workers, and keeps them alive."
    )
    backends: dict[str, BackendSpec] = Field(
        description="The caches, each by a name of yours: its type, and the type's options."
    )
    workers: tuple[WorkerSpec, ...] = Field(min_length=1, description="One process each.")
    plugins: tuple[str, ...] = Field(
        default=(),
        description="What may be loaded: entry points, and ./file.py beside this file; empty: the types named above.",
    )


class Topology(Layout):
    """Everything that one daemon does. `file` is where it was read from."""

    file: Path

    def redis_of(self, worker: WorkerSpec) -> RedisSettings:
        """Where this worker's messages arrive."""
        settings = worker.redis or self.redis
        if settings is None:
            raise ValueError(f"the worker {worker.name!r} has no redis")
        return settings

"""The options of the type `redis`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from invalidator.options import BackendOptions, Duration
from invalidator.topology.models import PathBeside  # noqa: TC001 -- pydantic reads the annotations
from invalidator.topology.redis_url import RedisUrl  # noqa: TC001 -- so too
from invalidator_redis.places import place, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from invalidator.messages import Kind
    from invalidator.topology.models import Topology


def _one_server(url: RedisUrl) -> RedisUrl:
    if place(url) is None:
        raise ValueError(
            "not yet: a backend is one server, redis:// rediss:// or unix://; a Sentinel's master comes later"
        )
    return url


def _has_once(placeholder: str) -> AfterValidator:
    def check(template: str | None) -> str | None:
        if template is not None and template.count(placeholder) != 1:
            raise ValueError(f"must contain {placeholder} once")
        return template

    return AfterValidator(check)


class RedisOptions(BackendOptions):
    """Where the server is, what a key is called there, and how far a purge may go."""

    url: Annotated[RedisUrl, AfterValidator(_one_server)] = Field(
        description="The server and the number of its database: redis://, rediss:// or unix://.",
        examples=["redis://127.0.0.1:6380/0"],
    )
    password_file: PathBeside | None = Field(
        default=None, description="A file with the password, read anew at each connection; instead of one in the url."
    )
    key: Annotated[str, _has_once("{key}")] = Field(
        default="{key}", description="What the application calls a key there.", examples=["shop:{key}"]
    )
    tag_key: Annotated[str | None, _has_once("{tag}")] = Field(
        default=None,
        description="The set that holds the full names of a tag's keys (`key` is not applied); without it, no tags.",
        examples=["tag:{tag}"],
    )
    all_by: Literal["flushdb", "scan"] = Field(
        default="flushdb",
        description="How everything is purged: flushdb empties the database, scan unlinks what fits the key template.",
    )
    scan_count: int = Field(
        default=1000,
        ge=10,
        le=100_000,
        description="How many keys one step of a scan looks at; more is faster, and holds up others longer.",
    )
    timeout: Annotated[Duration, Field(gt=0)] = Field(
        default=2.0, description="How long the server may take to accept a connection, or to go on with its answer."
    )
    same_as_source: bool = Field(
        default=False, description="True: this may be the very database that carries the messages."
    )

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_file and self.url.password:
            raise ValueError("gives the password twice, in url and in password_file: leave one out")
        return self

    def kinds(self) -> frozenset[Kind]:
        kinds: set[Kind] = {"key", "prefix", "pattern", "all"}
        return frozenset(kinds | {"tag"} if self.tag_key else kinds)

    def problems(self, topology: Topology) -> Iterable[str]:
        here = place(self.url)
        sources = [worker.redis or topology.redis for worker in topology.workers]
        if any(source and place(source.url) == here for source in sources) and not self.same_as_source:
            yield (
                f"url: {shown(self.url)} is the very database that carries the messages, and a purge could delete what"
                " lives there: name another database, or say same_as_source: true"
            )
        for name in self._heard_by(topology):
            yield (
                f"url: {shown(self.url)} announces each purge on a channel that {name} hears: it would purge again what"
                " an application has just written, without end. Have it hear channels that only publishers use"
            )

    def _heard_by(self, topology: Topology) -> Iterator[str]:
        """The workers that purge here, and hear what this server says of its own keys (notify-keyspace-events)."""
        here = place(self.url)
        names = {name for name, backend in topology.backends.items() if backend.options is self}
        for worker in topology.workers:
            source = worker.redis or topology.redis
            there = place(source.url) if source else None
            if not here or not there or here[:2] != there[:2]:  # Pub/Sub knows no databases
                continue
            events = (f"__key{sort}@{self.url.database}__:*" for sort in ("space", "event"))
            if names & {lane.backend for lane in worker.backends} and any(map(worker.may_hear, events)):
                yield worker.name

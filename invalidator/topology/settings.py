"""The settings of Redis and of the supervisor: the parts of a topology that name nothing else in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from invalidator.options import Address, Duration, Settings
from invalidator.topology import places
from invalidator.topology.redis_url import RedisUrl  # noqa: TC001  pydantic evaluates the annotations


def positive(value: float) -> float:
    """A validator: more than 0."""
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


def _beside_the_topology(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else base / path


def _of_a_socket(path: Path) -> Path:
    places.check_socket_path(path)
    return path


Interval = Annotated[Duration, AfterValidator(positive)]
PathBeside = Annotated[Path, AfterValidator(_beside_the_topology)]
"""A path; a relative one starts at the topology's folder."""


class Heartbeat(Settings):
    """How a dead connection to Redis is found."""

    interval: Interval = Field(
        default=1.0, description="How often a worker publishes to itself, to see that what is published is heard."
    )
    deadline: Interval = Field(
        default=3.0,
        description="It is dead when nothing has arrived for so long, or no echo; more than twice the interval.",
    )

    @model_validator(mode="after")
    def _leaves_room_for_an_answer(self) -> Self:
        if self.interval >= self.deadline / 2:
            raise ValueError(
                "the interval must be less than half of the deadline, or one late answer ends a sound connection"
            )
        return self


class Delays(Settings):
    """Delays that grow from the first to the longest."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if getattr(self, "first") > getattr(self, "longest"):  # noqa: B009  the fields are the subclasses'
            raise ValueError("the first delay must not be longer than the longest")
        return self


class Backoff(Delays):
    """The delays between attempts to reconnect, with full jitter, for ever."""

    first: Interval = Field(default=0.05, description="The first delay; each attempt doubles it.")
    longest: Interval = Field(default=5.0, description="No delay is longer.")


class Restart(Delays):
    """The delays before a worker that dies early or too often is started again, for ever."""

    first: Interval = Field(default=0.5, description="The first delay; each further death doubles it.")
    longest: Interval = Field(default=30.0, description="No delay is longer.")


class RedisSettings(Settings):
    """Where messages arrive."""

    url: RedisUrl = Field(
        description="redis:// rediss:// unix:// redis+sentinel://h1:26379,h2/MASTER/0 or redis+cluster://h1:7000,h2.",
        examples=["redis://127.0.0.1:6379/0"],
    )
    password_file: PathBeside | None = Field(
        default=None, description="A file with the password, read anew each time; instead of one in the url."
    )
    heartbeat: Heartbeat = Field(default=Heartbeat(), description="How a dead connection is found.")
    backoff: Backoff = Field(default=Backoff(), description="The delays between attempts to reconnect.")

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_file and self.url.password:
            raise ValueError("gives the password twice, in url and in password_file: leave one out")
        return self


class Journal(Settings):
    """The Stream that keeps messages for who missed them."""

    stream: str = Field(
        default="invalidator:journal", min_length=1, description="The Stream's key, in the url's database."
    )
    keep: int = Field(default=1_000_000, ge=1, description="About how many messages it keeps.")


class SupervisorSettings(Settings):
    """The process that keeps the workers alive."""

    control_socket: Annotated[PathBeside, AfterValidator(_of_a_socket)] = Field(
        default_factory=places.control_socket,
        description="The socket that commands find the daemon by. One named here must be had; without the default one "
        "the daemon runs all the same, and warns.",
        json_schema_extra={"default_text": "control.sock under $RUNTIME_DIRECTORY, else XDG's, else /run/invalidator"},
    )
    metrics: Address | None = Field(
        default="127.0.0.1:9469", description="Serves /metrics, /healthz and /readyz; null turns it off."
    )
    state_dir: PathBeside = Field(
        default_factory=places.state_dir,
        description="Where dead letters are kept, and how far each worker has read the journal.",
        json_schema_extra={"default_text": "$STATE_DIRECTORY, else XDG's, else /var/lib/invalidator"},
    )
    stop_timeout: Interval = Field(default=10.0, description="Workers that have not stopped by then are killed.")
    heartbeat_timeout: Interval = Field(
        default=10.0, description="A worker whose loop has not turned for so long is replaced."
    )
    restart: Restart = Field(
        default=Restart(),
        description="The delays for a worker that dies early or too often.",
    )

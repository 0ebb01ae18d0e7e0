"""What the settings are made of: the base model, and the types of durations, sizes, addresses and secrets.

The topology's own models and every plugin's options are built from these, so that `50ms` and `8KiB` mean the same
everywhere, and a secret is `***` wherever it could be shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)

from invalidator.messages import Kind  # noqa: TC001  # pydantic reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.topology.models import Topology

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_DURATION = 366 * 24 * 3600.0
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_duration(value: object) -> float:
    """`"50ms"`, `"2s"`, `"1.5m"`, `"1h"` as seconds. A bare number is refused, 0 apart: it would not say its unit."""
    if value in (0, "0") and value is not False:
        return 0.0
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a duration: write a number with its unit, like 50ms, 2s, 5m or 1h")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST_DURATION:
        raise ValueError("is longer than a year: no timer here waits so long")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as the same number of seconds."""
    for unit in ("h", "m", "s"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.12g}{unit}"
    return f"{seconds * 1000:.12g}ms"


def parse_size(value: object) -> int:
    """`"512B"`, `"8KiB"`, `"1MiB"` as bytes."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a size: write a number with its unit, like 512B, 8KiB or 1MiB")
    return int(match[1]) * _BYTES[match[2]]


def format_size(count: int) -> str:
    """The shortest text that `parse_size` reads back as the same number of bytes."""
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"


def parse_address(value: str) -> str:
    """`host:port`, `[v6]:port` or `unix:/path`, as it was written."""
    if value.startswith("unix:"):
        if not value.removeprefix("unix:").startswith("/"):
            raise ValueError("a unix socket needs an absolute path, like unix:/run/memcached.sock")
        return value
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("is not an address: write host:port, [v6]:port or unix:/path")
    return value


Duration = Annotated[
    float,
    BeforeValidator(lambda value: value if type(value) is float else parse_duration(value)),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(0|\d+(\.\d+)?(ms|s|m|h))$", "examples": ["50ms", "2s"]}),
]
"""Seconds, written with a unit. A float is taken as seconds already: defaults in code are written so."""

Size = Annotated[
    int,
    BeforeValidator(lambda value: value if type(value) is int else parse_size(value)),
    PlainSerializer(format_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(B|KiB|MiB|GiB)$", "examples": ["8KiB"]}),
]
"""Bytes, written with a unit."""

Address = Annotated[str, AfterValidator(parse_address)]
"""Where a server listens: `host:port`, `[v6]:port` or `unix:/path`."""

Secret = Annotated[SecretStr, PlainSerializer(lambda _: "***")]
"""A text that is never shown: `str()`, `repr()` and every dump give `***`; `get_secret_value()` gives the text."""


class Settings(BaseModel):
    """The base of every model: unknown names are errors, values are fixed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)


class BackendOptions(Settings):
    """The base of a backend type's options: its settings in the topology, beside `type`.

    What a backend can do may depend on how it is set up, so the options answer for it. All of this is asked before any
    process is forked.
    """

    def kinds(self) -> frozenset[Kind]:
        """The kinds of target that a backend with these options can purge."""
        return frozenset({"key"})

    def soft_kinds(self) -> frozenset[Kind]:
        """Those of them that it can mark stale instead of removing."""
        return frozenset()

    def default_flush(self) -> dict[str, Any] | None:
        """What `on_gap: flush` without a `flush:` means; None when the operator must say so."""
        return None

    def problems(self, topology: Topology) -> Iterable[str]:
        """What is wrong with these options in this topology, as texts for the operator. Nothing is contacted."""
        del topology
        return ()


Port = Annotated[int, Field(ge=1, le=65535)]

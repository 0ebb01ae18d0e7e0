"""The options of the type `memcached`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from invalidator.options import Address, BackendOptions, Duration

if TYPE_CHECKING:
    from invalidator.messages import Kind

LONGEST_KEY = 250
_LONGEST_RELATIVE_TTL = 30 * 24 * 3600.0


def _each_once(servers: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({server for server in servers if servers.count(server) > 1})
    if twice:
        raise ValueError(f"names {', '.join(twice)} twice")
    return servers


def _check_template(template: str) -> str:
    if template.count("{key}") != 1:
        raise ValueError("must contain {key} once")
    around = template.replace("{key}", "")
    if not re.fullmatch(r"[!-~]*", around):
        raise ValueError("may contain only printable ASCII and no space: memcached has no other keys")
    if len(around) >= LONGEST_KEY:
        raise ValueError(f"leaves no room for a key: memcached takes {LONGEST_KEY} bytes in all")
    return template


def _check_soft_ttl(seconds: float) -> float:
    # Above 30 days memcached takes the number for a date, and below 1 s there is none.
    if not 1.0 <= seconds <= _LONGEST_RELATIVE_TTL:
        raise ValueError("must be from 1s to 720h")
    return float(math.ceil(seconds))


class MemcachedOptions(BackendOptions):
    """Where the nodes are, and what a key is called there."""

    servers: Annotated[tuple[Address, ...], Field(min_length=1), AfterValidator(_each_once)] = Field(
        description="The nodes: host:port, [v6]:port or unix:/path. Every one of them is told to forget every key.",
        examples=[["127.0.0.1:11211"]],
    )
    key: Annotated[str, AfterValidator(_check_template)] = Field(
        default="{key}", description="What the application calls a key there.", examples=["shop:{key}"]
    )
    timeout: Annotated[Duration, Field(gt=0)] = Field(
        default=2.0, description="How long a node may take to accept a connection, or to go on with its answer."
    )
    soft_ttl: Annotated[Duration, AfterValidator(_check_soft_ttl)] = Field(
        default=30.0, description="How long a key that was purged softly is still served as stale; whole seconds."
    )

    def kinds(self) -> frozenset[Kind]:
        return frozenset({"key", "all"})

    def soft_kinds(self) -> frozenset[Kind]:
        return frozenset({"key"})

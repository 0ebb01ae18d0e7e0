"""What a CDN's plugin says about its vendor's API; everything else is the same for all of them. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from invalidator.http import Request, Response, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invalidator.cdn.bucket import Cost, Limit
    from invalidator.messages import FailureReason, Target


class Named(NamedTuple):
    """A target in the vendor's words: the group of calls that it belongs to, and what it is called there."""

    group: str
    values: tuple[str, ...]


class Fault(NamedTuple):
    """Why a call was not done. `retry_after`: seconds, 0 if the vendor does not say."""

    reason: FailureReason
    retry: bool
    detail: str
    retry_after: float = 0.0


class Vendor(Protocol):
    """One account's API. Its methods decide; none contacts anything."""

    @property
    def everything(self) -> str:
        """The group of the one call that purges all that there is: no other is needed beside it."""

    @property
    def limits(self) -> Sequence[Limit]:
        """The account's buckets."""

    def name(self, target: Target) -> Named:
        """What this target is called. Raises ValueError for what must not, or cannot, be asked for."""

    def size(self, group: str) -> int:
        """How many values one call takes."""

    def cost(self, group: str, count: int) -> Cost:
        """What a call with so many values takes out of each bucket."""

    def request(self, group: str, values: tuple[str, ...], token: str, *, soft: bool) -> Request:
        """The call."""

    def fault(self, group: str, response: Response, now: float) -> Fault | None:
        """Why this answer to a call of `group` is not "purged"; None if it is. `now`: the wall clock, in seconds."""

    def prove(self, ask: Callable[[Request], Response], token: str) -> None:
        """Prove token and zone (or service) without purging. Raises BackendError."""


CUT = "…"

AGENT = ("User-Agent", "invalidator")
"""A header of every call: what stands in front of an API may turn away who does not say a name."""


def fault_of(status: int, detail: str, retry_after: float = 0.0) -> Fault | None:
    """What a status of an API says. Unlike a cache's, its 404 means that there is no such thing to purge *in*."""
    if 300 <= status < 400:
        # Where it leads to is not said: a stranger's text, which may hold what was asked with.
        detail = f"{detail}: redirects are never followed: `api` must name the final address"
    if status in {404, 410, 412}:
        return Fault("unsupported", retry=False, detail=detail)
    found = verdict(status)
    return Fault(found[0], found[1], detail, retry_after) if found else None


def json_object(response: Response) -> dict[str, Any]:
    """The answer's body, if it is an object of JSON; otherwise an empty one."""
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def printable(text: object, longest: int = 200) -> str:
    """What a server said, fit for a log but for a token that may be in it; `…` stands where it was cut off."""
    said = "".join(char if char.isprintable() else " " for char in str(text))
    return said if len(said) <= longest else f"{said[:longest]}{CUT}"

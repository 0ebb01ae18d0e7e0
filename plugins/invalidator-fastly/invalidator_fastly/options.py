"""The options of `type: fastly`, and what they say about the kinds of target that it can purge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints

from invalidator.cdn import BaseUrl, CdnOptions
from invalidator_fastly.limits import PURGES_AN_HOUR

if TYPE_CHECKING:
    from invalidator.messages import Kind

API = "https://api.fastly.com"


class FastlyOptions(CdnOptions):
    """One service of Fastly, purged by surrogate key, by URL or as a whole. Without `url`, a key is a surrogate key."""

    service: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,64}$")] = Field(description="the service's ID")
    api: BaseUrl = Field(default=API, description="the base URL of the API; another one for a proxy, or a fake")
    purges_an_hour: int = Field(
        default=PURGES_AN_HOUR, ge=1, le=1_000_000_000, description="URLs and surrogate keys that the account may purge"
    )

    @property
    def key_name(self) -> str:
        """The surrogate key of a `{key}`; empty where keys are URLs."""
        return "" if self.url else self.key_tag or "{key}"

    def kinds(self) -> frozenset[Kind]:
        kinds: set[Kind] = {"key", "tag", "all"}
        return frozenset(kinds | {"url"} if self.hosts else kinds)

    def soft_kinds(self) -> frozenset[Kind]:
        return self.kinds() - {"all"}

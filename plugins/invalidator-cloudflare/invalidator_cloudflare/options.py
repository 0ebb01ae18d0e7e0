"""The options of `type: cloudflare`, and what they say about the kinds of target that it can purge."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from invalidator.cdn import BaseUrl, CdnOptions, parse_template
from invalidator.options import Settings
from invalidator_cloudflare.limits import PLANS, Plan, PlanName

if TYPE_CHECKING:
    from invalidator.messages import Kind

API = "https://api.cloudflare.com/client/v4"

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _rate(value: object) -> float:
    if isinstance(value, float):
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not float(match[1]):
        raise ValueError("is not a rate: write a number and a time, like 50/s, 5/m or 1000/h")
    return float(match[1]) / _SECONDS[match[2]]


def _zone(text: str) -> str:
    """A word that is safe in a path. Whether there is such a zone is the API's to say, in `check --connect`."""
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", text):
        raise ValueError("is not a zone's ID, which is 32 hexadecimal digits; its domain is none")
    return text


Rate = Annotated[
    float,
    BeforeValidator(_rate),
    PlainSerializer(lambda value: f"{value:.12g}/s" if value >= 1 else f"{value * 3600:.12g}/h"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?/(s|m|h)$", "examples": ["50/s", "5/m"]}),
]


class OwnPlan(Settings):
    """The limits of an account whose contract differs from the documented plans."""

    requests: Rate = Field(description="calls")
    burst: int = Field(ge=1, le=100_000, description="calls that may be saved up")
    urls: Rate = Field(default=800.0, description="URLs purged by URL, in all calls together")
    files: int = Field(default=100, ge=1, le=500, description="URLs in one call")


class CloudflareOptions(CdnOptions):
    """One zone of Cloudflare. For keys give `url` or `key_tag`, for prefixes `url`, and for URLs `hosts`."""

    zone: Annotated[str, AfterValidator(_zone)] = Field(
        description="the zone's ID: 32 hexadecimal digits, on the zone's overview page"
    )
    api: BaseUrl = Field(default=API, description="the base URL of the API; another one for a proxy, or a fake")
    plan: PlanName | OwnPlan = Field(
        default="free", description="the zone's plan, whose limits are kept: a name, or the numbers of your contract"
    )
    files_count: Literal["both", "urls"] = Field(
        default="both", description="what a call by URL counts against: the limit of URLs alone, or that of calls too"
    )
    all_by: Literal["everything", "hosts"] = Field(
        default="everything", description="what `all` means: the whole zone, or the `hosts` alone"
    )

    @model_validator(mode="after")
    def _hosts_for_all(self) -> Self:
        if self.all_by == "hosts" and not self.hosts:
            raise ValueError("all_by: hosts needs `hosts`")
        if self.all_by == "hosts" and any(":" in host for host in self.hosts):
            raise ValueError("all_by: hosts: Cloudflare purges a host whatever its port; leave the port out")
        return self

    @property
    def numbers(self) -> Plan:
        """The plan's numbers."""
        plan = self.plan
        return Plan(plan.requests, plan.burst, plan.urls, plan.files) if isinstance(plan, OwnPlan) else PLANS[plan]

    def kinds(self) -> frozenset[Kind]:
        kinds: set[Kind] = {"tag", "all"}
        if self.url or self.key_tag:
            kinds.add("key")
        if any(parse_template(template).takes_prefixes for template in self.url):
            kinds.add("prefix")
        if self.hosts:
            kinds.add("url")
        return frozenset(kinds)

    def soft_kinds(self) -> frozenset[Kind]:
        return self.kinds()

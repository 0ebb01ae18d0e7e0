"""What Cloudflare documents of its limits, each with its source. All were read on 2026-11-23.

- LIMITS    https://developers.cloudflare.com/cache/how-to/purge-cache/ (last changed 2026-08-14)
- TAGS      https://developers.cloudflare.com/cache/how-to/purge-cache/purge-by-tags/
- PREFIXES  https://developers.cloudflare.com/cache/how-to/purge-cache/purge_by_prefix/
- API       https://developers.cloudflare.com/api/resources/cache/methods/invalidate/
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from invalidator.cdn import Limit

PlanName = Literal["free", "pro", "business", "enterprise"]


class Plan(NamedTuple):
    """`requests` a second and `burst` calls saved up; `urls` a second; URLs in one call by `files`."""

    requests: float
    burst: float
    urls: float
    files: int


PLANS: dict[PlanName, Plan] = {
    "free": Plan(5 / 60, 25, 800, 100),
    "pro": Plan(5, 25, 1500, 100),
    "business": Plan(10, 50, 1500, 100),
    "enterprise": Plan(50, 500, 3000, 500),
}
"""LIMITS: by account and plan. Every plan has every kind of purge. An invalidation counts as a purge does (API)."""

OPERATIONS = 100
"""Tags, hosts or prefixes in one call: LIMITS, every plan."""

LONGEST_TAG = 1024
"""Characters of a tag in a call: TAGS. A tag is printable ASCII without spaces, and a comma separates two."""

SEPARATORS = 31
"""Slashes in a prefix, which has no scheme, no query and no fragment: PREFIXES."""

MARGIN = 0.9
"""The share of the documented burst that we use. The vendor counts when a call arrives, we when it leaves: calls that
are sent evenly arrive in bunches, and a bucket that we thought of as just full enough would be a little short."""

URL_BURST = 0.25
"""The share of a second's URLs that may go at once; the rest of it is the rate. LIMITS calls the threshold a moving
average and does not say over what time: so no second has more than its limit, however it is cut out."""

LATE = 0.25
"""Seconds by which a call may arrive later than the next ones do. The first call of a burst has a connection to make,
TLS included, and those after it have not: what left evenly over so much more than a second arrives in one."""


def buckets(plan: Plan) -> tuple[Limit, Limit]:
    """The account's two buckets as we fill them: calls, and URLs."""
    return (
        Limit(plan.requests, max(1.0, plan.burst * MARGIN)),
        Limit(plan.urls * (1 - URL_BURST) / (1 + LATE), max(1.0, plan.urls * URL_BURST)),
    )

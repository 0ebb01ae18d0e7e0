"""What Cloudflare documents of its purge API's limits: a constant for each, with its source and when it was checked.

Read on 2026-11-23 in stored copies of the vendor's pages, whose own dates are given where they have one:

- LIMITS    https://developers.cloudflare.com/cache/how-to/purge-cache/ (last updated 2026-07-29)
- TAGS      https://developers.cloudflare.com/cache/how-to/purge-cache/purge-by-tags/
- PREFIXES  https://developers.cloudflare.com/cache/how-to/purge-cache/purge_by_prefix/
- API       https://developers.cloudflare.com/api/resources/cache/methods/invalidate/
- RATES     https://developers.cloudflare.com/fundamentals/api/reference/limits/ (last updated 2026-04-20)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account of this plan may do. LIMITS has two tables: one for single files, one for all other kinds."""

    requests_a_second: float
    """Refill of the bucket of calls by tag, host, prefix and for everything. A call takes one token."""
    burst: int
    """Size of that bucket, in calls."""
    urls_a_second: float
    """URLs purged as files, in all calls together. They take nothing from the other bucket. "Calculated using a moving
    average" whose length is not documented: here a bucket of one second's worth."""
    files_a_call: int
    operations_a_call: int
    """Tags, hosts or prefixes in one call."""


PLANS = {
    "free": Plan(5 / 60, 25, 800, 100, 100),
    "pro": Plan(5, 25, 1500, 100, 100),
    "business": Plan(10, 50, 1500, 100, 100),
    "enterprise": Plan(50, 500, 3000, 500, 100),
}
"""LIMITS, 2026-11-23: "limits are applied per account". Until 2025 a call of the three smaller plans took 30 URLs, and
pages of that time still say so."""

LONGEST_TAG = 1024
"""Characters of a tag in a call: TAGS, 2026-11-23."""

LONGEST_HOST = 200
"""Characters. Not on a vendor's page that was found: from a list of the API's error codes (1114), read 2026-11-23."""

MOST_SEPARATORS = 31
"""Slashes in one prefix: PREFIXES, 2026-11-23."""

LONGEST_ZONE = 32
"""Characters of a zone's id, all hexadecimal: API, 2026-11-23."""

"""What Fastly documents of its limits, each with its source. All were read on 2026-11-23.

- PURGING   https://www.fastly.com/documentation/reference/api/purging/
- KEYS      https://www.fastly.com/documentation/reference/http/http-headers/Surrogate-Key/
- LIMITS    https://docs.fastly.com/products/network-services-resource-limits (last changed 2026-09-25)
- VCL       https://www.fastly.com/documentation/reference/vcl/constraints-and-limitations/
- THIRD     https://apis.io/rate-limits/fastly/fastly-rate-limits/ (not the vendor's own)
"""

from __future__ import annotations

from invalidator.cdn import Limit

KEYS = 256
"""Surrogate keys in one call: PURGING."""

LONGEST_KEY = 1024
"""Bytes of a surrogate key, which is printable ASCII without spaces: KEYS, VCL."""

LONGEST_URL = 7900
"""Bytes of a URL: 8 KiB in LIMITS and VCL, less what the call is around it."""

PURGES_AN_HOUR = 100_000
"""URLs and surrogate keys, of one customer: THIRD alone says so; no page of the vendor's gives a number. Whether a call
of 256 keys counts as one or as 256 is not said: we count 256."""

REQUESTS_AN_HOUR = 1_000
"""Calls that change something, of one token; purging everything is one, purging keys and URLs is not: LIMITS."""

BURST = 0.5
"""The share of an hour's limit that may go at once; the rest of it is the rate. So no hour, however it is cut out, has
more than its limit."""

HOUR = 3600.0


def buckets(purges_an_hour: int) -> tuple[Limit, Limit]:
    """The account's two buckets as we fill them: purged URLs and keys, and purges of everything."""
    return _hourly(purges_an_hour), _hourly(REQUESTS_AN_HOUR)


def _hourly(limit: int) -> Limit:
    return Limit(limit * (1 - BURST) / HOUR, max(1.0, limit * BURST))

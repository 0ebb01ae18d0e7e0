"""What Fastly documents of its purge API's limits: a constant for each, with its source and when it was checked.

Read on 2026-11-23 in stored copies of the vendor's pages, whose own dates are given where they have one:

- PURGING   https://www.fastly.com/documentation/reference/api/purging/ (as docs/PurgeApi.md of its clients has it)
- KEYS      https://www.fastly.com/documentation/reference/http/http-headers/Surrogate-Key/
- VCL       https://www.fastly.com/documentation/reference/vcl/constraints-and-limitations/
- LIMITS    https://docs.fastly.com/products/network-services-resource-limits (last updated 2026-09-25)
- API       https://docs.fastly.com/api/ (an older copy, with the paragraph on rate limiting)
- THIRD     https://apis.io/rate-limits/fastly/fastly-rate-limits/ (not the vendor's)
"""

from __future__ import annotations

KEYS_A_CALL = 256
"""Surrogate keys in one call: PURGING, 2026-11-23."""

LONGEST_KEY = 1024
"""Bytes of one surrogate key: KEYS and VCL, 2026-11-23. "Requests to the purge API that cite longer keys will fail"."""

LONGEST_KEY_HEADER = 16_384
"""Bytes of a Surrogate-Key header: KEYS, 2026-11-23. Of an answer's header what is beyond is ignored; of a purge's it
is refused here, since a purge that is ignored in part must not look like a success."""

LONGEST_URL = 8 * 1024
"""Bytes: LIMITS and VCL, 2026-11-23. Exceeding it is 414."""

REQUESTS_AN_HOUR = 1000
"""Calls that are not read-only, by token: LIMITS, 2026-11-23. Purging everything counts; purging by URL or key does not
(API). Here an hour begins with its first call, as the header Fastly-RateLimit-Reset suggests."""

PURGES_AN_HOUR = 100_000
"""Purges by URL and by key, "on average", by customer: THIRD alone, 2026-11-23; no page of the vendor's own that was
found gives a number. Each key of a batch counts here, the stricter reading, and the bucket begins with a full hour."""

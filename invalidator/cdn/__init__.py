"""What CDNs have in common: few calls, few of them a second, a token, and an API that says what became of each.

A vendor's plugin gives options (from CdnOptions) and a Vendor; CdnBackend does the rest:

    gathering, packing   what is to be purged becomes as few calls as the vendor's batch size allows
    bucket, ledger       the vendor's limits, shared by all workers of this host, so that no call is refused
    templates            keys, prefixes and URLs as URLs below the hosts that the operator has named
    backend              asks, reads the answers, finds the one target for which a whole call is refused

The decisions are pure; `ledger`, `token` and `backend` do the I/O.
"""

from __future__ import annotations

from invalidator.cdn.backend import CdnBackend
from invalidator.cdn.bucket import Cost, Grant, Limit, grant
from invalidator.cdn.gathering import AT_ONCE, Pace
from invalidator.cdn.ledger import Ledger, shared
from invalidator.cdn.options import Base, BaseUrl, CdnOptions, TagTemplate, parse_base
from invalidator.cdn.templates import UrlTemplate, own_url, parse_template, tag
from invalidator.cdn.vendor import AGENT, Fault, Named, Vendor, fault_of, json_object, printable

__all__ = [
    "AGENT",
    "AT_ONCE",
    "Base",
    "BaseUrl",
    "CdnBackend",
    "CdnOptions",
    "Cost",
    "Fault",
    "Grant",
    "Ledger",
    "Limit",
    "Named",
    "Pace",
    "TagTemplate",
    "UrlTemplate",
    "Vendor",
    "fault_of",
    "grant",
    "json_object",
    "own_url",
    "parse_base",
    "parse_template",
    "printable",
    "shared",
    "tag",
]

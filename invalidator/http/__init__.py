"""The small HTTP/1.1 client that purges are sent with: keep-alive, non-blocking, bounded, never clever.

It speaks to one origin, which the configuration names. It follows no redirect, reads no proxy from the environment,
normalises no path, and gives up at a deadline. `Client.exchange` is all that most callers need:

    client = Client(parse_origin("http://127.0.0.1:6081"))
    (answer,) = client.exchange([Request("PURGE", "/users:42", client.origin.authority)], time.monotonic() + 2.0)

An answer is a Response, or the BackendError that says why there is none; `verdict` says what a status means for purges.
The pieces are pure but for `connection`, `resolver`, `pool` and `exchange`, which do the I/O.
"""

from __future__ import annotations

from invalidator.http.client import Client
from invalidator.http.connection import Timeouts
from invalidator.http.exchange import Answer
from invalidator.http.origin import Origin, parse_authority, parse_origin
from invalidator.http.parser import ResponseParser
from invalidator.http.request import Request, check_header, encode_request
from invalidator.http.response import Limits, Response
from invalidator.http.safety import encode, hazard
from invalidator.http.urls import Url, parse_url
from invalidator.http.verdict import retry_after, verdict

__all__ = [
    "Answer",
    "Client",
    "Limits",
    "Origin",
    "Request",
    "Response",
    "ResponseParser",
    "Timeouts",
    "Url",
    "check_header",
    "encode",
    "encode_request",
    "hazard",
    "parse_authority",
    "parse_origin",
    "parse_url",
    "retry_after",
    "verdict",
]

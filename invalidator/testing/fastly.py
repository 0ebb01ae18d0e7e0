"""A fake of Fastly's purge API that enforces what the vendor documents: tokens, scopes, batches, keys and rates."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from invalidator.testing.bucket import TokenBucket, Window
from invalidator.testing.edge import EdgeCache, without_scheme
from invalidator.testing.fastly_limits import (
    KEYS_A_CALL,
    LONGEST_KEY,
    LONGEST_KEY_HEADER,
    LONGEST_URL,
    PURGES_AN_HOUR,
    REQUESTS_AN_HOUR,
)
from invalidator.testing.http_api import FakeApi
from invalidator.testing.http_framing import Answer, Request, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

SERVICE = "SU1Z0isxPaozGVKXdv0eY"
CUSTOMER = "x4xCwxxJxGCx123Rx5xTx"
HOUR = 3600.0

_KEY = re.compile(rb"[\x21-\x7e]+")
_ROUTES = {
    "self": ("GET", re.compile(r"/tokens/self")),
    "service": ("GET", re.compile(r"/service/([^/]+)")),
    "keys": ("POST", re.compile(r"/service/([^/]+)/purge")),
    "key": ("POST", re.compile(r"/service/([^/]+)/purge/(.+)")),
    "all": ("POST", re.compile(r"/service/([^/]+)/purge_all")),
    "url": ("POST", re.compile(r"/purge/(.*)")),
}
_SCOPES = {
    "service": {"global", "global:read"},
    "keys": {"global", "purge_select"},
    "key": {"global", "purge_select"},
    "url": {"global", "purge_select"},
    "all": {"global", "purge_all"},
}
"""https://www.fastly.com/documentation/reference/api/auth-tokens/user, 2026-11-23: a token of `purge_select` can only
purge, and only by URL and surrogate key. Each token may describe itself."""


class RefusedError(Exception):
    """The whole call is refused."""

    def __init__(self, status: int, msg: str, detail: str = "") -> None:
        super().__init__(msg)
        self.status, self.msg, self.detail = status, msg, detail


class FakeFastly(FakeApi):
    """One service: `with FakeFastly() as fastly: ...`, and `api: fastly.url` in a topology.

    `domains` are the service's. `scope` is the token's, several with spaces between: "purge_select purge_all" is all
    that purging needs, and then the service itself cannot be read. `clock` refills the two limits, in seconds; `wall`
    is the clock of the header Fastly-RateLimit-Reset, in seconds since 1970.
    """

    def __init__(
        self,
        *,
        service: str = SERVICE,
        domains: Iterable[str] = ("shop.example",),
        token: str = "fake-fastly-token-0123456789abcdef",  # noqa: S107 -- it opens nothing
        scope: str = "global",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.service, self.token, self.scope, self.wall = service, token, scope, wall
        self.domains = tuple(domain.lower() for domain in domains)
        self.requests = Window(REQUESTS_AN_HOUR, HOUR)
        """Of calls that purge everything."""
        self.selects = TokenBucket(PURGES_AN_HOUR / HOUR, PURGES_AN_HOUR)
        """Of purges by URL and key, each key of a batch for itself."""
        self._numbers = itertools.count(1)
        # To Fastly keys differ by case, and the scheme is not part of what is looked up.
        super().__init__(EdgeCache(without_scheme), clock)

    def fewest_calls(self, *, keys: Collection[str] = (), urls: Collection[str] = (), everything: bool = False) -> int:
        """The least number of calls in which all of these can be purged: one for everything; each URL needs its own."""
        return 1 if everything else math.ceil(len(set(keys)) / KEYS_A_CALL) + len(set(urls))

    def respond(self, request: Request, now: float) -> Answer:
        try:
            return self._routed(request, now)
        except RefusedError as refused:
            body = {"msg": refused.msg, **({"detail": refused.detail} if refused.detail else {})}
            reason = f"{refused.status}: {refused.msg} {refused.detail}".strip()
            return json_answer(refused.status, body, reason=reason, headers=self._rates(request, now))

    def _routed(self, request: Request, now: float) -> Answer:
        if len(request.target) > LONGEST_URL:
            raise RefusedError(414, "URI Too Long")
        if request.method == "PURGE":
            return self._purge_in_place(request, now)
        for name, (method, route) in _ROUTES.items():
            if found := route.fullmatch(request.target):
                self._authenticate(request, name)
                if request.method != method:
                    raise RefusedError(405, "Method not allowed")
                if name not in {"self", "url"} and found[1] != self.service:
                    raise RefusedError(404, "Record not found", "Cannot find service")
                return self._act(request, name, found.groups()[-1] if found.groups() else "", now)
        raise RefusedError(404, "Record not found", f"Cannot find '{request.target.split('/')[1]}'")

    def _authenticate(self, request: Request, route: str) -> None:
        # Both texts were read on 2026-11-23 in the vendor's and its users' clients, which tell the two apart by status.
        if request.headers.get("fastly-key") != self.token:
            raise RefusedError(401, "Provided credentials are missing or invalid")
        if route in _SCOPES and not _SCOPES[route] & set(self.scope.split()):
            raise RefusedError(403, "You are not authorized to perform this action")

    def _act(self, request: Request, route: str, rest: str, now: float) -> Answer:
        if route == "self":
            return json_answer(200, self._token())
        if route == "service":
            return json_answer(200, {"id": self.service, "name": "A fake service", "customer_id": CUSTOMER})
        if route == "all":
            return self._purge_all(request, now)
        if route == "url":
            return self._purge_url(request, rest, now)
        keys = [_key(unquote_to_bytes(rest))] if route == "key" else _keys(request)
        return self._purge_keys(request, keys, now, batch=route == "keys")

    def _token(self) -> dict[str, Any]:
        described = {"id": "5Yo3XXnrQpjc20u0ybrf2g", "name": "A fake token", "user_id": "4y5K5trZocEAQYkesWlk7M"}
        return {
            **described,
            "customer_id": CUSTOMER,
            "scope": self.scope,
            "services": [self.service],
            "expires_at": None,
        }

    def _purge_keys(self, request: Request, keys: list[str], now: float, *, batch: bool) -> Answer:
        soft = self._spend(request, len(keys), now)
        for key in keys:
            self.edge.purge_tag(key, soft=soft)
        said = {key: self._id() for key in keys} if batch else {"status": "ok", "id": self._id()}
        return self._done(request, said, now, "keys", len(keys), soft=soft)

    def _purge_url(self, request: Request, target: str, now: float) -> Answer:
        """PURGING: `cached_url` is host and path. One that begins with https:// is answered 404 "Cannot find service"
        (https://github.com/fastly/fastly-php/issues/53, 2026-11-23)."""
        host = target.partition("/")[0].partition("?")[0].lower()
        if host not in self.domains:
            raise RefusedError(404, "Record not found", "Cannot find service")
        soft = self._spend(request, 1, now)
        self.edge.purge_url(f"//{target}", soft=soft)
        return self._done(request, {"status": "ok", "id": self._id()}, now, "url", 1, soft=soft)

    def _purge_in_place(self, request: Request, now: float) -> Answer:
        """PURGE sent to the service's own host, which asks for no token unless the service was told to."""
        return self._purge_url(request, request.headers["host"].partition(":")[0] + request.target, now)

    def _purge_all(self, request: Request, now: float) -> Answer:
        """PURGING: never soft. The header is ignored, and everything is gone."""
        if self.requests.take(now):
            raise RefusedError(429, "Too many requests", "You have exceeded your hourly rate limit")
        self.edge.purge_all()
        return self._done(request, {"status": "ok"}, now, "all", 1, soft=False)

    def _spend(self, request: Request, purges: int, now: float) -> bool:
        """Take so many purges from the bucket. True for a soft one: PURGING, the header's value "is not important"."""
        if self.selects.take(now, purges):
            raise RefusedError(429, "Too many requests", "You have exceeded your hourly purge limit")
        return "fastly-soft-purge" in request.headers

    def _done(self, request: Request, said: Any, now: float, kind: str, count: int, *, soft: bool) -> Answer:
        answer = json_answer(200, said, headers=self._rates(request, now))
        return Answer(200, answer.body, answer.headers, kind=kind, count=count, soft=soft)

    def _rates(self, request: Request, now: float) -> tuple[tuple[str, str], ...]:
        """API: what remains, and when that ends, in seconds since 1970; with each call that is not read-only.

        There is no Retry-After, not with 429 either: no page of the vendor's that was found speaks of one.
        """
        if request.method == "GET":
            return ()
        if request.target.endswith("/purge_all"):
            remaining, wait = self.requests.remaining(now), self.requests.resets_in(now)
        else:
            remaining, wait = math.floor(self.selects.level(now)), self._refills_in(now)
        reset = math.ceil(self.wall() + wait)
        return ("Fastly-RateLimit-Remaining", str(remaining)), ("Fastly-RateLimit-Reset", str(reset))

    def _refills_in(self, now: float) -> float:
        """Until a full batch is possible again."""
        return self.selects.wait(now, KEYS_A_CALL)

    def _id(self) -> str:
        return f"108-1391560174-{next(self._numbers):06d}"


def _keys(request: Request) -> list[str]:
    """The keys of a batch, from the header or from the body. Raises RefusedError."""
    header = request.headers.get("surrogate-key")
    if header is not None and request.body:
        raise RefusedError(400, "Bad request", "surrogate keys in the header and in the body: send one of them")
    if header is not None and len(header) > LONGEST_KEY_HEADER:
        raise RefusedError(400, "Bad request", f"a Surrogate-Key header of more than {LONGEST_KEY_HEADER} bytes")
    keys = _keys_of_body(request) if header is None else [_key(key.encode("latin-1")) for key in header.split()]
    if not keys:
        raise RefusedError(400, "Bad request", "no surrogate key")
    if len(keys) > KEYS_A_CALL:
        raise RefusedError(400, "Bad request", f"{len(keys)} surrogate keys: at most {KEYS_A_CALL} in one request")
    return keys


def _keys_of_body(request: Request) -> list[str]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(400, "Bad request", "the body is to be application/json")
    try:
        asked = json.loads(request.body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "Bad request", "malformed JSON") from None
    keys = asked.get("surrogate_keys") if isinstance(asked, dict) and len(asked) == 1 else None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise RefusedError(400, "Bad request", "an object is wanted with a list of strings, surrogate_keys")
    return [_key(key.encode(errors="surrogatepass")) for key in keys]


def _key(key: bytes) -> str:
    """Printable ASCII without a space: cache-insert-surrogate-keys.md of the vendor's crate `fastly`, 2026-11-23."""
    if len(key) > LONGEST_KEY:
        raise RefusedError(400, "Bad request", f"a surrogate key of {len(key)} bytes: at most {LONGEST_KEY}")
    if not _KEY.fullmatch(key):
        raise RefusedError(400, "Bad request", "a surrogate key is printable ASCII, without a space, and not empty")
    return key.decode()

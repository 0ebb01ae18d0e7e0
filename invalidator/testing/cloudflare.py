"""A fake of Cloudflare's purge API that enforces what the vendor documents: authentication, bodies, batches, rates."""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING, Any

from invalidator.testing.bucket import TokenBucket
from invalidator.testing.cloudflare_limits import LONGEST_ZONE, PLANS
from invalidator.testing.cloudflare_rules import Purge, RefusedError, read_purge
from invalidator.testing.edge import EdgeCache, with_scheme
from invalidator.testing.http_api import FakeApi
from invalidator.testing.http_framing import Answer, Request, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

ZONE = "023e105f4ecef8ad9ca31a8372d0c353"
ACCOUNT = "01a7362d577a6c3019a474fd6f485823"
TOKEN_ID = "ed17574386854bf78a67040be0a770b0"  # noqa: S105 -- the name of a token, from the vendor's examples

_BEARER = re.compile(r"Bearer ([A-Za-z0-9._~+/-]+=*)")
_ROUTES = {
    "verify": ("GET", re.compile(r"/user/tokens/verify")),
    "verify of the account": ("GET", re.compile(r"/accounts/([^/]+)/tokens/verify")),
    "zone": ("GET", re.compile(r"/zones/([^/]*)")),
    "purge": ("POST", re.compile(r"/zones/([^/]*)/purge_cache")),
    "invalidate": ("POST", re.compile(r"/zones/([^/]*)/invalidate_cache")),
}


class FakeCloudflare(FakeApi):
    """One account: `with FakeCloudflare(plan="free") as cloudflare: ...`, and `api: cloudflare.url` in a topology.

    `plan` is free, pro, business or enterprise. `zones` maps each zone's id to its domain, whose subdomains belong to
    it. `permissions` are the token's: one made for purging alone has only "Cache Purge", and may then verify itself but
    not read its zone. `account_owned`: the token belongs to the account, and is verified at
    /accounts/{account}/tokens/verify instead. Both buckets are the account's, are refilled by `clock` (seconds), and
    lose nothing by a call that is refused.
    """

    base = "/client/v4"

    def __init__(
        self,
        *,
        plan: str = "enterprise",
        zones: Mapping[str, str] | None = None,
        token: str = "fake-cloudflare-token-0123456789abcdefghij",  # noqa: S107 -- it opens nothing
        permissions: Collection[str] = ("Cache Purge", "Zone Read"),
        account_owned: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = PLANS[plan]
        self.plan, self.token, self.permissions, self.account_owned = plan, token, frozenset(permissions), account_owned
        self.zones = {zone: domain.lower() for zone, domain in (zones or {ZONE: "shop.example"}).items()}
        self.zone = next(iter(self.zones))
        """The first zone's id."""
        self.account = ACCOUNT
        self.requests = TokenBucket(self.limits.requests_a_second, self.limits.burst)
        """Of calls by tag, host, prefix and for everything."""
        self.urls = TokenBucket(self.limits.urls_a_second, self.limits.urls_a_second)
        """Of the URLs of all calls by files."""
        # To Cloudflare a tag's case says nothing, and http and https are two entries.
        super().__init__(EdgeCache(with_scheme, str.lower), clock)

    def fewest_calls(
        self,
        *,
        files: Collection[str] = (),
        tags: Collection[str] = (),
        hosts: Collection[str] = (),
        prefixes: Collection[str] = (),
        everything: bool = False,
    ) -> int:
        """The least number of calls in which all of these can be purged: one for everything, or full ones by kind."""
        if everything:
            return 1
        names = [len({tag.lower() for tag in tags}), len(set(hosts)), len(set(prefixes))]
        return math.ceil(len(set(files)) / self.limits.files_a_call) + sum(
            math.ceil(count / self.limits.operations_a_call) for count in names
        )

    def respond(self, request: Request, now: float) -> Answer:
        path = request.target.removeprefix(self.base)
        asked = next(
            ((name, method, found) for name, (method, route) in _ROUTES.items() if (found := route.fullmatch(path))),
            None,
        )
        if asked is None or not request.target.startswith(self.base):
            return _error(404, 7000, "No route for that URI")
        name, method, found = asked
        if request.method != method:
            return _error(405, 7001, f"Method {request.method} not available for that URI.")
        if refusal := self._authenticate(request, name):
            return refusal
        if name.startswith("verify"):
            return self._verify(found[1] if found.groups() else "")
        return self._of_zone(request, name, found[1], now)

    # Who asks: the codes are those of the vendor's answers, read 2026-11-23 in reports of its users, except 7003 and
    # 10000, which stood in https://developers.cloudflare.com/workers/tooling/api/requests/.

    def _authenticate(self, request: Request, route: str) -> Answer | None:
        sent = request.headers.get("authorization")
        if sent is None:
            return _error(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
        bearer = _BEARER.fullmatch(sent)
        if bearer is None:
            chain = [{"code": 6111, "message": "Invalid format for Authorization header"}]
            return _error(400, 6003, "Invalid request headers", error_chain=chain)
        if bearer[1] == self.token:
            return None
        if route.startswith("verify"):
            return _error(401, 1000, "Invalid API Token")
        return _error(401, 10000, "Authentication error")

    def _verify(self, account: str) -> Answer:
        if bool(account) != self.account_owned or (account and account != self.account):
            return _error(401, 1000, "Invalid API Token")
        message = {"code": 10000, "message": "This API Token is valid and active", "type": None}
        return _success({"id": TOKEN_ID, "status": "active"}, messages=[message])

    def _of_zone(self, request: Request, route: str, zone: str, now: float) -> Answer:
        if not re.fullmatch(f"[0-9a-f]{{{LONGEST_ZONE}}}", zone):
            why = f"Could not route to {request.target}, perhaps your object identifier is invalid?"
            return _error(404, 7003, why)
        if route == "zone":
            if zone not in self.zones or "Zone Read" not in self.permissions:
                return _error(403, 9109, "Unauthorized to access requested resource")
            return _success(self._described(zone))
        if zone not in self.zones or "Cache Purge" not in self.permissions:
            return _error(403, 10000, "Authentication error")
        return self._purge(request, zone, now, soft=route == "invalidate")

    def _described(self, zone: str) -> dict[str, Any]:
        plan = {"legacy_id": self.plan, "name": f"{self.plan.capitalize()} Website"}
        account = {"id": self.account, "name": "A fake account"}
        return {"id": zone, "name": self.zones[zone], "status": "active", "plan": plan, "account": account}

    # What is asked.

    def _purge(self, request: Request, zone: str, now: float, *, soft: bool) -> Answer:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            chain = [{"code": 6105, "message": "Invalid Content-Type header, valid values are application/json"}]
            return _error(400, 6003, "Invalid request headers", error_chain=chain)
        try:
            purge = read_purge(request.body, self.limits, self.zones[zone])
        except RefusedError as refused:
            return _error(400, refused.code, str(refused))
        bucket, tokens = (self.urls, purge.count) if purge.kind == "files" else (self.requests, 1)
        wait = bucket.take(now, tokens)
        rates = _rates(bucket, now)
        if wait:
            # RATES: seconds, rounded up, "until more capacity is available"; only in an answer of this kind.
            why = "Unable to purge, rate limit reached. Please wait and consider throttling your request speed"
            return _error(429, 1134, why, headers=(*rates, ("Retry-After", str(math.ceil(wait)))))
        self._apply(purge, zone, soft=soft)
        answer = _success({"id": zone}, headers=rates)
        return Answer(200, answer.body, answer.headers, kind=purge.kind, count=purge.count, soft=soft)

    def _apply(self, purge: Purge, zone: str, *, soft: bool) -> None:
        for file in purge.files:
            self.edge.purge_url(file.url, file.headers, soft=soft)
        for name in purge.names:
            if purge.kind == "tags":
                self.edge.purge_tag(name, domain=self.zones[zone], soft=soft)
            elif purge.kind == "hosts":
                self.edge.purge_host(name, soft=soft)
            else:
                self.edge.purge_prefix(name, soft=soft)
        if purge.kind == "everything":
            self.edge.purge_domain(self.zones[zone], soft=soft)


def _rates(bucket: TokenBucket, now: float) -> tuple[tuple[str, str], ...]:
    """The headers that RATES gives to every answer: what is left and until when, of how much in which time."""
    left, period = math.floor(bucket.level(now)), math.ceil(bucket.capacity / bucket.rate)
    reset = math.ceil((bucket.capacity - bucket.level(now)) / bucket.rate)
    policy = f'"default";q={math.floor(bucket.capacity)};w={period}'
    return ("Ratelimit", f'"default";r={left};t={reset}'), ("Ratelimit-Policy", policy)


def _success(result: Any, *, messages: Any = (), headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    body = {"success": True, "errors": [], "messages": list(messages), "result": result}
    return json_answer(200, body, headers=headers)


def _error(
    status: int, code: int, message: str, *, headers: tuple[tuple[str, str], ...] = (), error_chain: Any = None
) -> Answer:
    error = {"code": code, "message": message, **({"error_chain": error_chain} if error_chain else {})}
    body = {"success": False, "errors": [error], "messages": [], "result": None}
    return json_answer(status, body, headers=headers, reason=f"{status} {code}: {message}")

"""Fastly's API: what a target is called there, what a call is, and what an answer means. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from invalidator.cdn import AGENT, Cost, Fault, Named, fault_of, json_object, own_url, parse_template, printable, tag
from invalidator.errors import BackendError
from invalidator.http import Request, Response, retry_after
from invalidator_fastly.limits import KEYS, LONGEST_KEY, LONGEST_URL, buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from invalidator.messages import Kind, Target
    from invalidator_fastly.options import FastlyOptions

LONGEST_WAIT = 300.0


class Fastly:
    """One service. `asked`: the kinds of target that its token has to do for."""

    everything = "all"

    def __init__(self, options: FastlyOptions, asked: Collection[Kind] = ()) -> None:
        base = options.base
        self.limits = buckets(options.purges_an_hour)
        self._host = base.origin.authority
        self._path = base.path
        self._id = options.service
        self._service = f"{base.path}/service/{options.service}"
        self._options = options
        self._scopes = ("purge_select", "purge_all") if "all" in asked else ("purge_select",)
        self._templates = tuple(map(parse_template, options.url))
        self._hosts = tuple(options.hosts)

    def name(self, target: Target) -> Named:
        """Tags are surrogate keys, and so are keys without `url`. Raises ValueError."""
        if target.kind == "all":
            return Named("all", ("",))
        if target.kind == "tag":
            return Named("keys", (self._key(self._options.tag.replace("{tag}", target.value)),))
        if target.kind == "url":
            return Named("url", (self._bare(own_url(target.value, self._hosts)),))
        if name := self._options.key_name:
            return Named("keys", (self._key(name.replace("{key}", target.value)),))
        return Named("url", tuple(dict.fromkeys(self._bare(t.url(target.value)) for t in self._templates)))

    def size(self, group: str) -> int:
        """PURGING: a call takes many surrogate keys, or one URL."""
        return KEYS if group == "keys" else 1

    def cost(self, group: str, count: int) -> Cost:
        """Purging everything is another account than purging keys and URLs."""
        return (0.0, 1.0) if group == "all" else (float(count), 0.0)

    def request(self, group: str, values: tuple[str, ...], token: str, *, soft: bool) -> Request:
        """Softly is a header. Everything is never purged softly: there it would be ignored."""
        if group == "all":
            return self._request("POST", f"{self._service}/purge_all", token)
        if group == "url":
            return self._request("POST", f"{self._path}/purge/{values[0]}", token, soft=soft)
        return self._request("POST", f"{self._service}/purge", token, {"surrogate_keys": list(values)}, soft=soft)

    def fault(self, group: str, response: Response, now: float) -> Fault | None:
        """200 is a purge if the body says so: an id for each key, or `status: ok`."""
        body = json_object(response)
        said = printable(" ".join(str(body[name]) for name in ("msg", "detail") if body.get(name)))
        detail = f"status {response.status}{f': {said}' if said else ''}"
        if found := fault_of(response.status, detail, _wait(response, now)):
            return found
        if not body:
            return Fault("protocol", retry=True, detail=f"{detail}, and nothing that this API says")
        # A surrogate key may be called `status`: what it says is an id then.
        done = all(isinstance(said, str) for said in body.values()) if group == "keys" else body.get("status") == "ok"
        return None if done or not group else Fault("server_error", retry=True, detail=f"{detail}, and no purge in it")

    def prove(self, ask: Callable[[Request], Response], token: str) -> None:
        """The token may purge, and this service is one of its own; where it may read the service, that it exists."""
        own = self._asked(ask, f"{self._path}/tokens/self", token, "the token")
        scope, services = own.get("scope"), own.get("services")
        if isinstance(scope, str) and (missing := self._missing(scope.split())):
            raise BackendError("auth", f"the token's scope is {printable(scope)!r}: it needs {missing}", retry=False)
        if isinstance(services, list) and services and self._id not in services:
            raise BackendError("auth", "the token is for other services than this one", retry=False)
        answer = ask(self._request("GET", self._service, token))
        if answer.status in {401, 403}:
            return  # A token that may only purge cannot read what it purges.
        if fault := self.fault("", answer, 0.0):
            raise BackendError(fault.reason, f"the service: {fault.detail}", retry=fault.retry)

    def _missing(self, scopes: Collection[str]) -> str:
        """What the token must be granted. Who may do everything may purge everything."""
        missing = [] if "global" in scopes else [scope for scope in self._scopes if scope not in scopes]
        why = ", as `all` may be asked for (allow, flush)" if "purge_all" in missing else ""
        return " and ".join(missing) + why

    def _asked(self, ask: Callable[[Request], Response], target: str, token: str, what: str) -> dict[str, Any]:
        answer = ask(self._request("GET", target, token))
        if fault := self.fault("", answer, 0.0):
            raise BackendError(fault.reason, f"{what}: {fault.detail}", retry=fault.retry)
        return json_object(answer)

    def _request(
        self, method: str, target: str, token: str, body: dict[str, Any] | None = None, *, soft: bool = False
    ) -> Request:
        headers = [("Fastly-Key", token), ("Accept", "application/json"), AGENT]
        if soft:
            headers.append(("Fastly-Soft-Purge", "1"))
        if body is None:
            return Request(method, target, self._host, tuple(headers))
        headers.append(("Content-Type", "application/json"))
        return Request(method, target, self._host, tuple(headers), json.dumps(body, separators=(",", ":")).encode())

    def _key(self, value: str) -> str:
        return tag(value, LONGEST_KEY)

    def _bare(self, url: str) -> str:
        """Host and path: that is what the API calls a URL, whatever its scheme."""
        bare = url.partition("://")[2]
        if len(bare) > LONGEST_URL:
            raise ValueError(f"its URL is longer than {LONGEST_URL} bytes")
        return bare


def _wait(response: Response, now: float) -> float:
    """Retry-After, or when the limit's hour ends: Fastly says that in seconds since 1970."""
    if said := retry_after(response.header("retry-after"), now):
        return said
    reset = response.header("fastly-ratelimit-reset")
    if response.status != 429 or not (reset.isascii() and reset.isdigit()):
        return 0.0
    return min(max(float(reset[:15]) - now, 0.0), LONGEST_WAIT)

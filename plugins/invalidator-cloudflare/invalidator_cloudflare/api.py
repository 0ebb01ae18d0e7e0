"""Cloudflare's API: what a target is called there, what a call is, and what an answer means. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from invalidator.cdn import AGENT, Cost, Fault, Named, fault_of, json_object, own_url, parse_template, printable, tag
from invalidator.errors import BackendError
from invalidator.http import Request, Response, retry_after
from invalidator_cloudflare.limits import LONGEST_TAG, OPERATIONS, SEPARATORS, buckets

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.messages import FailureReason, Target
    from invalidator_cloudflare.options import CloudflareOptions

BASE_PATH = "/client/v4"
"""What `api` stands for without a path: the one that the vendor's own base URL has."""

# Codes that say more than the status does. Cloudflare says 400 to a token that it cannot read, and 403 to one that it
# does not know. Read on 2026-11-23 in the vendor's API reference and in answers that its users have kept.
_AUTH = frozenset({1000, 6003, 6111, 9103, 9106, 9107, 9109, 10000, 10001})
_NO_SUCH_ZONE = frozenset({1001, 7000, 7003})
_TOO_MANY = frozenset({1134})
_NOTHING_ASKED = 1012


class Cloudflare:
    """One zone."""

    everything = "everything"

    def __init__(self, options: CloudflareOptions) -> None:
        base = options.base
        self.limits = buckets(options.numbers)
        self._host = base.origin.authority
        self._path = base.path or BASE_PATH
        self._zone = f"{self._path}/zones/{options.zone}"
        self._options = options
        self._templates = tuple(map(parse_template, options.url))
        self._hosts = tuple(options.hosts)

    def name(self, target: Target) -> Named:
        """Keys and URLs are files, or tags; prefixes go without their scheme. Raises ValueError."""
        if target.kind == "all":
            return self._all()
        if target.kind == "tag":
            return Named("tags", (self._tag(self._options.tag.replace("{tag}", target.value)),))
        if target.kind == "url":
            return Named("files", (own_url(target.value, self._hosts),))
        if target.kind == "prefix":
            return Named("prefixes", self._prefixes(target.value))
        if self._options.key_tag:
            return Named("tags", (self._tag(self._options.key_tag.replace("{key}", target.value)),))
        return Named("files", tuple(dict.fromkeys(template.url(target.value) for template in self._templates)))

    def size(self, group: str) -> int:
        """LIMITS: how many one call takes."""
        if group == "everything":
            return 1
        return self._options.numbers.files if group == "files" else OPERATIONS

    def cost(self, group: str, count: int) -> Cost:
        """A call, and its URLs."""
        if group != "files":
            return (1.0, 0.0)
        return (1.0 if self._options.files_count == "both" else 0.0, float(count))

    def request(self, group: str, values: tuple[str, ...], token: str, *, soft: bool) -> Request:
        """One of `files`, `tags`, `hosts`, `prefixes` or `purge_everything`; the same to purge and to invalidate."""
        body: dict[str, Any] = {"purge_everything": True} if group == "everything" else {group: list(values)}
        return self._request("POST", f"{self._zone}/{'invalidate' if soft else 'purge'}_cache", token, body)

    def fault(self, group: str, response: Response, now: float) -> Fault | None:
        """200 is a purge only with `success: true`."""
        del group
        body = json_object(response)
        codes, said = _errors(body)
        detail = f"status {response.status}{f': {said}' if said else ''}"
        wait = retry_after(response.header("retry-after"), now)
        if codes & _TOO_MANY:
            return Fault("rate_limited", retry=True, detail=detail, retry_after=wait)
        if codes & _AUTH and response.status < 500:
            return Fault("auth", retry=False, detail=detail)
        if codes & _NO_SUCH_ZONE and response.status < 500:
            return Fault("unsupported", retry=False, detail=detail)
        if found := fault_of(response.status, detail, wait):
            return found
        if body.get("success") is True:
            return None
        reason: FailureReason = "server_error" if "success" in body else "protocol"
        return Fault(reason, retry=True, detail=f"{detail}, and not `success: true`", retry_after=wait)

    def prove(self, ask: Callable[[Request], Response], token: str) -> None:
        """The zone can be read; or else the token is active, and may purge this zone.

        A token that may only purge cannot read its zone. Then a purge of nothing is asked for: the body names none of
        the things that can be purged, which is refused with an error of its own, and only to who may purge here.
        """
        zone = ask(self._request("GET", self._zone, token))
        if zone.status == 200 and json_object(zone).get("success") is True:
            return
        if zone.status not in {401, 403}:
            raise self._error(zone, "GET of the zone")
        answer = ask(self._request("POST", f"{self._zone}/purge_cache", token, {}))
        if answer.status == 400 and _NOTHING_ASKED in _errors(json_object(answer))[0]:
            return
        raise self._error(answer, self._who(ask, token))

    def _who(self, ask: Callable[[Request], Response], token: str) -> str:
        """Whether it is the token or the zone that is wrong."""
        verified = ask(self._request("GET", f"{self._path}/user/tokens/verify", token))
        result = json_object(verified).get("result")
        if verified.status == 200 and isinstance(result, dict) and result.get("status") == "active":
            return "the token is valid, but may not purge this zone (or there is no such zone)"
        return "the token is not valid, or may not purge this zone"

    def _error(self, response: Response, what: str) -> BackendError:
        fault = self.fault("", response, 0.0) or Fault("protocol", retry=True, detail="an answer that nobody expected")
        return BackendError(fault.reason, f"{what}: {fault.detail}", retry=fault.retry)

    def _request(self, method: str, target: str, token: str, body: dict[str, Any] | None = None) -> Request:
        headers = (("Authorization", f"Bearer {token}"), ("Accept", "application/json"), AGENT)
        if body is None:
            return Request(method, target, self._host, headers)
        encoded = json.dumps(body, separators=(",", ":")).encode()
        return Request(method, target, self._host, (*headers, ("Content-Type", "application/json")), encoded)

    def _all(self) -> Named:
        return Named("hosts", self._hosts) if self._options.all_by == "hosts" else Named("everything", ("",))

    def _tag(self, value: str) -> str:
        return tag(value, LONGEST_TAG, forbidden=",")

    def _prefixes(self, prefix: str) -> tuple[str, ...]:
        beginnings = (t.beginning(prefix).partition("://")[2] for t in self._templates if t.takes_prefixes)
        found = tuple(dict.fromkeys(beginnings))
        if any(name.count("/") > SEPARATORS for name in found):
            raise ValueError(f"has more than {SEPARATORS} slashes")
        return found


def _errors(body: dict[str, Any]) -> tuple[frozenset[int], str]:
    """The codes of an answer's errors, and their text."""
    errors = body.get("errors")
    known = [error for error in errors if isinstance(error, dict)][:20] if isinstance(errors, list) else []
    codes = frozenset(error["code"] for error in known if isinstance(error.get("code"), int))
    return codes, printable("; ".join(f"{error.get('code')} {error.get('message')}" for error in known))

"""Which bodies of a purge Cloudflare takes and which it refuses, with its error codes. Pure.

The codes and their texts: 1092 stands in the vendor's API reference (API in cloudflare_limits); 1012 to 1015, 1082,
1094, 1100, 1101, 1111, 1114, 1115 and 6007 are known from lists and answers that users of the API keep, with the
numbers in their texts brought up to date. A rule without a known code bears its neighbour's. Read on 2026-11-23.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from invalidator.testing.cloudflare_limits import LONGEST_HOST, LONGEST_TAG, MOST_SEPARATORS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from invalidator.testing.cloudflare_limits import Plan

LISTS = ("files", "tags", "hosts", "prefixes")
_FIELDS = {*LISTS, "purge_everything"}
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_TAG = re.compile(r"[\x21-\x7e]+")
_TOO_MANY = {"files": 1094, "tags": 1101, "hosts": 1111, "prefixes": 1111}


class RefusedError(Exception):
    """The whole call is refused: one bad item spoils those beside it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class File:
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Purge:
    """What a call asks for, once it was found to be in order."""

    kind: str
    files: tuple[File, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.files) + len(self.names) or 1


def read_purge(body: bytes, plan: Plan, domain: str) -> Purge:
    """The purge that `body` asks for in a zone of `domain`. Raises RefusedError."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(6007, "Malformed JSON in request body") from None
    if not isinstance(asked, dict):
        raise RefusedError(6007, "Malformed JSON in request body: an object is wanted")
    kind = _only_kind(asked)
    if kind == "purge_everything":
        if asked[kind] is not True:
            raise RefusedError(1013, '"purge_everything" must be true')
        return Purge("everything")
    items = _items(kind, asked[kind], plan)
    if kind == "files":
        return Purge(kind, files=tuple(_file(item, domain) for item in items))
    check = {"tags": _tag, "hosts": _host, "prefixes": _prefix}[kind]
    return Purge(kind, names=tuple(check(item, domain) for item in items))


def _only_kind(asked: Mapping[str, Any]) -> str:
    if "purge_everything" in asked and len(asked) > 1:
        raise RefusedError(
            1092, 'Request cannot contain "purge_everything" and any of "files", "tags", "hosts" or "prefixes"'
        )
    if len(asked) != 1 or not asked.keys() <= _FIELDS:
        raise RefusedError(
            1012, 'Request must contain one of "purge_everything", "files", "tags", "hosts" or "prefixes"'
        )
    return next(iter(asked))


def _items(kind: str, items: Any, plan: Plan) -> Collection[Any]:
    if not isinstance(items, list):
        raise RefusedError(1014, '"files", "tags", "hosts" or "prefixes" must be an array')
    if not items:
        raise RefusedError(1012, f'Request must contain one of "purge_everything", or something in "{kind}"')
    most = plan.files_a_call if kind == "files" else plan.operations_a_call
    if len(items) > most:
        raise RefusedError(
            _TOO_MANY[kind], f"Exceeded maximum amount of {most} {kind} that can be purged on a single request"
        )
    return items


def _file(item: Any, domain: str) -> File:
    asked = {"url": item} if isinstance(item, str) else item
    if not isinstance(asked, dict) or not {"url"} <= asked.keys() <= {"url", "headers"}:
        raise RefusedError(1015, "Unable to purge: each of the files is a URL, or an object of url and headers")
    url, headers = asked["url"], asked.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(part, str) for pair in headers.items() for part in pair):
        raise RefusedError(1015, "Unable to purge: headers are an object of strings")
    if not isinstance(url, str) or not _absolute(url):
        raise RefusedError(1015, f"Unable to purge {url!r}: not an absolute URL of http or https")
    if not _within(urlsplit(url).hostname or "", domain):
        raise RefusedError(1082, f"Unable to purge '{url}'. You can only purge files for this zone")
    return File(url, headers)


def _absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    clean = re.search(r"[\x00-\x20\x7f]", url) is None and "@" not in parts.netloc
    return clean and parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.hostname or "") is not None


def _tag(item: Any, _: str) -> str:
    if not isinstance(item, str) or not _TAG.fullmatch(item):
        raise RefusedError(1100, "Invalid tag: printable ASCII without spaces, at least one character")
    if len(item) > LONGEST_TAG:
        raise RefusedError(1100, f"Tag exceeds maximum length of {LONGEST_TAG} characters")
    return item


def _host(item: Any, domain: str) -> str:
    if isinstance(item, str) and len(item) > LONGEST_HOST:
        raise RefusedError(1114, f"Host exceeds maximum length of {LONGEST_HOST} characters")
    if not isinstance(item, str) or not _HOST.fullmatch(item) or not _within(item, domain):
        raise RefusedError(1115, f"Invalid host: {item!r} is not a plain name of this zone")
    return item


def _prefix(item: Any, domain: str) -> str:
    if not isinstance(item, str) or re.search(r"[\x00-\x20\x7f]", item):
        raise RefusedError(1115, f"Invalid prefix: {item!r} is not a host with a path")
    if "?" in item or "#" in item:
        raise RefusedError(1115, f"Invalid prefix: {item!r} has a query or a fragment")
    if item.count("/") > MOST_SEPARATORS:
        raise RefusedError(1115, f"Invalid prefix: more than {MOST_SEPARATORS} path separators")
    _host(item.partition("/")[0], domain)
    return item


def _within(host: str, domain: str) -> bool:
    host = host.lower()
    return host == domain or host.endswith(f".{domain}")

"""The ways to say what became stale: every form of a payload, and payloads that say nothing."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from tests.support.racks import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def bare(keys: Sequence[str]) -> list[bytes]:
    return [key.encode() for key in keys]


def one_list(keys: Sequence[str]) -> list[bytes]:
    return [_json(keys=list(keys))]


def one_each(keys: Sequence[str]) -> list[bytes]:
    return [_json(keys=[key]) for key in keys]


def cloud_event(keys: Sequence[str]) -> list[bytes]:
    event = {"specversion": "1.0", "id": "e-1", "source": "/back-office", "type": "product.changed"}
    return [json.dumps({**event, "data": {"v": 1, "keys": list(keys)}}).encode()]


def with_urls(keys: Sequence[str]) -> list[bytes]:
    return [_json(keys=list(keys), urls=[f"http://{HOST}/{key}" for key in keys])]


KEYS: Mapping[str, Callable[[Sequence[str]], list[bytes]]] = {
    "bare keys": bare,
    "a list": one_list,
    "one message each": one_each,
    "a CloudEvent": cloud_event,
    "keys and URLs": with_urls,
}

WIDE: Mapping[str, bytes] = {
    "a bare prefix": b"product:1*",
    "a prefix": b'{"v":1,"prefixes":["product:1"]}',
    "a pattern": b'{"v":1,"patterns":["product:1*"]}',
    "a tag": b'{"v":1,"tags":["product"]}',
    "all": b'{"v":1,"all":true}',
    "a bare star": b"*",
}
"""Each covers at least every key that begins with `product:1`."""
WIDE_PREFIX = "product:1"

GARBAGE: Mapping[str, bytes] = {
    "nothing": b"",
    "bad UTF-8": b"\xff\xfe\x00",
    "half a JSON": b'{"v":1,"keys":["prod',
    "another version": b'{"v":99,"keys":["product:1"]}',
    "no target": b'{"v":1}',
    "depth": b'{"keys":' + b"[" * 2000,
    "oversize": b'{"keys":["' + b"x" * 20_000 + b'"]}',
    "numbers": b'{"v":1,"keys":[1,2,null]}',
    "a control character": b'{"v":1,"keys":["a\\u0000b"]}',
}


def _json(**fields: object) -> bytes:
    return json.dumps({"v": 1, "ts": time.time(), **fields}).encode()

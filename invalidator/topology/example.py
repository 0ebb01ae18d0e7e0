"""`config.example.yaml`: every setting with its default, and with its description beside it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from invalidator.topology.describe import Schema, flow, meaning, with_units
from invalidator.topology.models import Layout, RedisSettings, SupervisorSettings, WorkerSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

_COLUMN = 42
"""Where comments begin, unless the setting is longer."""
_WIDTH = 120

BACKENDS: dict[str, dict[str, Any]] = {
    "near": {"type": "lru", "path": "/run/invalidator/shop.gen"},
    "objects": {"type": "memcached", "servers": ["127.0.0.1:11211"], "key": "{key}"},
    "replica": {"type": "redis", "url": "redis://127.0.0.1:6380/0", "key": "{key}"},
    "edge": {"type": "http", "targets": ["http://127.0.0.1:6081"], "method": "PURGE", "path": "/{key}"},
    "cdn": {
        "type": "cloudflare",
        "zone": "023e105f4ecef8ad9ca31a8372d0c353",
        "token_file": "cloudflare.token",
        "plan": "free",
        "url": "https://shop.example/{key}",
    },
}
LANES: list[Any] = [
    "near",
    {"backend": "objects", "flush": {"all": True}},
    "replica",
    {"backend": "edge", "on_gap": "ignore", "after": "objects", "delay": "200ms"},
    {"backend": "cdn", "on_gap": "ignore"},
]

_HEADER = """\
# A topology of invalidator. Values shown are the defaults, except url, name, pattern, flush and the backends, which are
# examples. Every text can hold ${ENV}, ${ENV:-default}, ${file:/path} or ${cred:name} (systemd's credentials); $${ is a
# plain ${. Each backend type's options: docs/reference.md, or `invalidator plugins TYPE`.
"""


def example() -> str:
    """The text of the file."""
    return "\n".join([_HEADER.rstrip("\n"), *_lines(), ""])


def _lines() -> Iterator[str]:
    for name, field in _fields(Layout):
        match name:
            case "redis":
                yield from _section(name, field, RedisSettings)
            case "supervisor":
                yield from _section(name, field, SupervisorSettings)
            case "backends":
                yield _line("backends:", field)
                width = max(map(len, BACKENDS)) + 1
                yield from (f"  {backend + ':':{width}} {flow(options)}" for backend, options in BACKENDS.items())
            case "workers":
                yield _line("workers:", field)
                yield from _worker()
            case "journal":
                yield _line(f"# journal: {flow(_value(field))}", field)  # it is for workers with delivery: journal
            case _:
                yield _line(f"{name}: {flow(_value(field))}", field)


def _section(name: str, field: Schema, model: type[BaseModel]) -> Iterator[str]:
    yield _line(f"{name}:", field)
    for key, below in _fields(model):
        if "default_text" in below:
            yield _line(f"  # {key}: …", below, f" Default: {below['default_text']}.")
        else:
            yield _line(f"  {key}: {flow(_value(below))}", below)


def _worker() -> Iterator[str]:
    start = "  - "
    for key, field in _fields(WorkerSpec):
        if key == "redis":
            continue  # as at the top
        if key == "backends":
            yield _line(f"{start}backends:", field)
            yield from (f"      - {flow(lane)}" for lane in LANES)
        else:
            yield _line(f"{start}{key}: {flow(_value(field))}", field)
        start = "    "


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Schema]]:
    schema = with_units(model.model_json_schema())
    for name, field in schema["properties"].items():
        yield name, field | {"description": meaning(field, schema.get("$defs", {}))}


def _value(field: Schema) -> Any:
    """The default, or an example where there is none."""
    default = field.get("default")
    return field.get("examples", [None])[0] if default in (None, "") else default


def _line(text: str, field: Schema, more: str = "") -> str:
    comment = field["description"] + more
    line = f"{text:{_COLUMN}}  # {comment}"
    if len(line) <= _WIDTH:
        return line
    indent = " " * (len(text) - len(text.lstrip()))
    return "\n".join(
        [*textwrap.wrap(comment, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "), text]
    )

"""What is derived from the models: `config.example.yaml` and `docs/reference.md`.

`python -m invalidator.topology.reference [FOLDER]` writes both; a test fails when they are stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.plugins import load_installed
from invalidator.topology.describe import Row, described, kinds_text, sentence
from invalidator.topology.example import example
from invalidator.topology.models import (
    Flush,
    Journal,
    LaneSpec,
    Layout,
    RedisSettings,
    SupervisorSettings,
    WorkerSpec,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

    from invalidator.options import BackendOptions

EXAMPLE = Path("config.example.yaml")
PAGE = Path("docs", "reference.md")
TYPES = ("log", "lru", "memcached", "redis", "http", "cloudflare", "fastly")
"""The page is about the types of this repository, whatever else is installed where it is written."""

_HEADER = """\
# Reference of the topology

Written from the models by `python -m invalidator.topology.reference`; do not edit. `config.example.yaml` shows all of
it in one file, and `invalidator schema` prints it as a JSON Schema for editors.

- A duration is a number with a unit: `50ms`, `2s`, `5m`, `1h`. A size: `512B`, `8KiB`, `1MiB`.
- `${ENV}`, `${ENV:-default}`, `${file:/path}` and `${cred:name}` (a credential of systemd) are filled in wherever a
  value stands, once the file is parsed; what they bring is never shown. `$${` is a plain `${`.
- A relative path starts at the folder of the topology.
- YAML is read strictly: a key that stands twice, `yes`, `no`, `on`, `off`, `012`, `12:30:00` and tags are errors.
"""

_SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("redis", "", RedisSettings),
    ("journal", "", Journal),
    ("supervisor", "", SupervisorSettings),
    ("workers[]", "", WorkerSpec),
    ("workers[].backends[]", " A bare name is short for `{backend: name}`.", LaneSpec),
    ("flush", "", Flush),
)


def page(types: Mapping[str, type[BackendOptions]]) -> str:
    """The reference page, in Markdown."""
    parts = [_HEADER, "## At the top\n", _table(described(Layout, parts=False))]
    for name, more, model in _SECTIONS:
        parts += [
            f"## `{name}`\n",
            sentence(model.__doc__ or "") + more + "\n",
            _table(described(model), skip=_repeated(name)),
        ]
    parts.append("## `backends`\n")
    parts.append(
        "Each backend has a name of yours, a `type`, and the options of that type. `dry_run: true` beside them sends "
        "nothing to it, for all workers, and says in the log what it would.\n"
    )
    for name, model in types.items():
        parts += [f"### `type: {name}`\n", sentence(_first_paragraph(model)) + " " + kinds_text(model) + "\n"]
        parts.append(_table(described(model)))
    return "\n".join(parts)


def write(folder: Path) -> None:
    """Write both files below `folder`, the repository."""
    types = load_installed()[0].types
    (folder / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (folder / EXAMPLE).write_text(example(), encoding="utf-8")
    (folder / PAGE).write_text(page({name: types[name] for name in TYPES if name in types}), encoding="utf-8")


def _repeated(section: str) -> tuple[str, ...]:
    """What has a section of its own and need not be told again."""
    return ("redis.", "flush.") if section.startswith("workers") else ()


def _table(rows: Iterable[Row], skip: tuple[str, ...] = ()) -> str:
    lines = ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for row in rows:
        if not row.setting.startswith(skip):
            default = row.default if row.default in {"required", "none"} or " " in row.default else f"`{row.default}`"
            lines.append(f"| `{row.setting}` | {_cell(row.type)} | {_cell(default)} | {_cell(row.meaning)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _first_paragraph(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n\n")[0]


if __name__ == "__main__":
    folder = Path(*sys.argv[1:])
    if not folder.is_dir():
        sys.exit(f"usage: python -m invalidator.topology.reference [FOLDER]: {folder} is no folder")
    write(folder)

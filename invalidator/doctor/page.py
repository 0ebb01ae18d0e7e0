"""`docs/doctor.md`, derived from the kinds of findings: `python -m invalidator.doctor.page [FOLDER]` writes it.

A test fails when it is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.doctor.registry import SECTIONS

if TYPE_CHECKING:
    from invalidator.doctor.finding import Kind

PAGE = Path("docs", "doctor.md")

_HEADER = """\
# What `invalidator doctor` finds

Written from the code by `python -m invalidator.doctor.page`; do not edit.

`invalidator doctor -c FILE` looks at every Redis and every backend of a topology, and at the topology itself, within
some seconds. It ends with 1 when anything is `wrong`, also when something cannot be reached; `warning` and `note` leave
0; 78 means that the topology cannot be read. `--json` prints one object: `ok`, `file`, `counts`, and `findings`, each
with `id`, `level`, `subject`, `title`, `evidence`, `meaning` and `fix`. The ids are stable.

It changes nothing: as the worker's user it subscribes to each pattern and keeps a key of its own below `invalidator:`,
each for a moment, and where a backend can hold a key it stores one, `invalidator:doctor:…`, purges that, and looks. The
keys have a time to live of seconds. What costs money to purge is only connected to. It proves the server, the
credentials and the way of a purge; not that your application calls its keys what the topology says. What stands in
`{braces}` below is filled in.
"""


def page() -> str:
    """The page, in Markdown."""
    parts = [_HEADER]
    for title, kinds in SECTIONS:
        rows = "\n".join(map(_row, kinds))
        parts.append(
            f"## {title}\n\n| id | level | finding | meaning | fix |\n| --- | --- | --- | --- | --- |\n{rows}\n"
        )
    return "\n".join(parts)


def _row(kind: Kind) -> str:
    cells = (f"`{kind.id}`", kind.level, kind.title, kind.meaning, kind.fix)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('<', '&lt;') for cell in cells)} |"


def write(folder: Path) -> None:
    """Write it below `folder`, the repository."""
    (folder / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    folder = Path(*sys.argv[1:])
    if not folder.is_dir():
        sys.exit(f"usage: python -m invalidator.doctor.page [FOLDER]: {folder} is no folder")
    write(folder)

"""The static rules: flake8 with plugins/invalidator-flake8 finds nothing in this repository, and each rule can find.

A linter that was told of no rule finds nothing either. So it is also shown one bad snippet for each of its rules, with
the same configuration, and has to find exactly those.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gates.commands import done, end_of
from gates.gate import Verdict
from tests.support.environments import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SNIPPETS = {
    "INV001": """
import redis

client = redis.Redis(socket_timeout=2)


async def hear():
    for message in client.pubsub().listen():
        print(message)
""",
    "INV002": """
import redis.asyncio

client = redis.asyncio.Redis(socket_timeout=2)


async def hear():
    async for message in client.pubsub().listen():
        print(message)
""",
    "INV003": """
import redis

client = redis.Redis(host="x")
""",
    "INV004": """
import redis

client = redis.Redis(socket_timeout=2)
subscription = client.pubsub(ignore_subscribe_messages=True)
""",
    "INV005": """
import redis

client = redis.Redis(socket_timeout=2, decode_responses=True)
subscription = client.pubsub()
""",
}
_FOUND = re.compile(r"^(?:\./)?([^:]+):\d+:\d+: (INV\d+) ", re.MULTILINE)
_PATIENCE = 120.0


def judged(code: int, here: str, there: Mapping[str, set[str]]) -> Verdict:
    """Pure. `here` is what flake8 said of the repository, with its exit code; `there`, by snippet, what it found."""
    wrong = sorted(rule for rule in SNIPPETS if there.get(rule, set()) != {rule})
    figures = {"found": len(_FOUND.findall(here)), "blind": wrong}
    if code:
        return Verdict("failed", end_of(here), figures)
    if wrong:
        return Verdict(
            "failed", f"shows nothing: {', '.join(wrong)} did not find what they forbid, and only that", figures
        )
    return Verdict("passed", f"nothing found here; each of {len(SNIPPETS)} rules finds what it forbids", figures)


def rules(folder: Path) -> Verdict:
    """As `make check` has it, and then the snippets."""
    here = done(["flake8"], _PATIENCE)
    return judged(here.returncode, here.stdout + here.stderr, found_in(folder))


def found_in(folder: Path) -> dict[str, set[str]]:
    """What flake8 finds in each snippet."""
    for rule, snippet in SNIPPETS.items():
        (folder / f"{rule}.py").write_text(snippet.lstrip())
    names = [f"{rule}.py" for rule in SNIPPETS]
    said = done(["flake8", "--jobs=1", f"--config={REPOSITORY / '.flake8'}", *names], _PATIENCE, folder)
    found: dict[str, set[str]] = {}
    for file, code in _FOUND.findall(said.stdout):
        found.setdefault(file.removesuffix(".py"), set()).add(code)
    return found

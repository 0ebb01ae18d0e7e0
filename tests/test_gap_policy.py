"""What a gap does in a lane: `check` refuses what a backend cannot carry out, and says what it can."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from invalidator.errors import ConfigError
from invalidator.topology.load import load

if TYPE_CHECKING:
    from pathlib import Path

FLUSHES: dict[str, dict[str, Any]] = {"prefix": {"prefix": "users:"}, "tag": {"tags": ["users"]}, "all": {"all": True}}
TYPES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "lru": ({"type": "lru", "path": "/run/invalidator/shop.gen"}, {"prefix", "tag", "all"}),
    "memcached": ({"type": "memcached", "servers": ["127.0.0.1:11211"]}, {"all"}),
    "redis": ({"type": "redis", "url": "redis://127.0.0.1:6380/0"}, {"prefix", "all"}),
    "redis with tags": (
        {"type": "redis", "url": "redis://127.0.0.1:6380/0", "tag_key": "tags:{tag}"},
        {"prefix", "tag", "all"},
    ),
    "a plain http cache": ({"type": "http", "targets": ["http://127.0.0.1:6081"], "path": "/{key}"}, set()),
    "an http cache with bans": (
        {"type": "http", "targets": ["http://127.0.0.1:6081"], "method": "BAN", "ban_tag": "obj.http.xkey ~ {regex}"},
        {"prefix", "tag", "all"},
    ),
    "cloudflare": (
        {"type": "cloudflare", "zone": "0" * 32, "token": "t", "plan": "free", "url": "https://shop.example/{key}"},
        {"prefix", "tag", "all"},
    ),
    "fastly": ({"type": "fastly", "service": "s" * 22, "token": "t"}, {"tag", "all"}),
    "log": ({"type": "log"}, {"prefix", "tag", "all"}),
}
ONES_OWN = {"lru"}
"""Types that know themselves what a flush is."""


def problems(folder: Path, backend: dict[str, Any], lane: dict[str, Any], **worker: Any) -> list[str]:
    topology = {
        "redis": {"url": "redis://127.0.0.1:6379/0"},
        "backends": {"it": backend},
        "workers": [{"name": "users", "pattern": "cache:users:*", "backends": [{"backend": "it", **lane}], **worker}],
    }
    file = folder / "topology.yaml"
    file.write_text(yaml.safe_dump(topology))
    try:
        load(file, {})
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def choices(problem: str) -> list[dict[str, Any]]:
    """What the error says one could write, with something for what it leaves open."""
    _, _, said = problem.rpartition(": {backend")
    said = "{backend" + said if said else problem[problem.index("choose ") :]
    texts = re.findall(r"\{backend: it, .*?\}(?= or \{backend|$)", said)
    return [
        {
            key: value
            for key, value in yaml.safe_load(text.replace("[…]", "[x]").replace("…", "x")).items()
            if key != "backend"
        }
        for text in texts
    ]


@pytest.mark.parametrize("where", ["lane", "worker"])
@pytest.mark.parametrize("kind", FLUSHES)
@pytest.mark.parametrize("name", TYPES)
def test_a_flush_that_a_backend_cannot_do_is_refused_and_what_is_said_instead_is_not(
    name: str, kind: str, where: str, tmp_path: Path
) -> None:
    backend, can = TYPES[name]
    lane, worker = ({"flush": FLUSHES[kind]}, {}) if where == "lane" else ({}, {"flush": FLUSHES[kind]})
    found = problems(tmp_path, backend, lane, **worker)
    if kind in can:
        assert found == []
        return
    (problem,) = found
    assert f"for the backend 'it' ({backend['type']})" in problem
    offered = choices(problem)
    assert {next(iter(one["flush"])) for one in offered if "flush" in one} == {
        kind.replace("tag", "tags") for kind in can
    }
    assert {"on_gap": "ignore"} in offered
    for one in offered:
        assert problems(tmp_path, backend, one, **worker) == []


@pytest.mark.parametrize("name", TYPES)
def test_a_flush_that_nobody_has_described_is_refused_but_for_types_that_know_what_it_is(
    name: str, tmp_path: Path
) -> None:
    backend, can = TYPES[name]
    found = problems(tmp_path, backend, {})
    if name in ONES_OWN:
        assert found == []
        return
    (problem,) = found
    assert "say what flush means, or on_gap: ignore" in problem
    for one in choices(problem):
        assert problems(tmp_path, backend, one) == []
    assert len(choices(problem)) == len(can) + 1


@pytest.mark.parametrize("name", TYPES)
def test_to_ignore_gaps_is_always_possible_and_the_backend_has_the_last_word(name: str, tmp_path: Path) -> None:
    backend, _ = TYPES[name]
    assert problems(tmp_path, backend, {}, on_gap="ignore") == []
    assert problems(tmp_path, backend, {"on_gap": "ignore"}, flush=FLUSHES["prefix"]) == []
    assert bool(problems(tmp_path, backend, {"on_gap": "flush"}, on_gap="ignore")) == (name not in ONES_OWN)


def test_memcached_has_no_prefix_and_is_told_what_to_choose(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, TYPES["memcached"][0], {}, flush={"prefix": "users:"})
    assert problem.endswith(
        "flush asks for a prefix for the backend 'it' (memcached), which can purge all, key: "
        "choose {backend: it, flush: {all: true}} or {backend: it, on_gap: ignore}"
    )

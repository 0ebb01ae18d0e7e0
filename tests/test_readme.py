"""README.md: what it shows is there, and works as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from invalidator.messages import Target
from invalidator.pipeline.decoder import decode
from invalidator.topology.load import load

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def test_the_topology_of_the_ten_minutes_is_right(tmp_path: Path) -> None:
    (topology,) = blocks("yaml")
    file = tmp_path / "invalidator.yaml"
    file.write_text(topology)

    assert [worker.pattern for worker in load(file).topology.workers] == ["cache:invalidate:users:*"]


def test_the_payload_is_one_that_a_worker_takes() -> None:
    (payload,) = blocks("json")
    invalidation = decode(payload.strip().encode(), {"key", "tag", "prefix"}, 8192)

    assert Target("key", "users:42") in invalidation.targets


COMMANDS = sorted(
    {line.split()[1] for block in blocks("sh") for line in block.splitlines() if line[:12] == "invalidator "}
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_that_it_shows_is_there(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "invalidator", command, "--help"], capture_output=True, check=False)

    assert done.returncode == 0


def test_each_make_target_that_it_shows_is_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = {line.split()[1] for block in blocks("sh") for line in block.splitlines() if line.startswith("make ")}

    assert {"demo", "test", "check", "docs"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_each_file_of_the_picture_is_in_its_room() -> None:
    picture = next(block for block in blocks("") if "subscriber.py" in block)
    room, missing = Path(), []
    for line in picture.splitlines():
        if named := re.search(r"\b(\w+)/ ", line):
            room = Path(named[1])
        if line.strip().startswith(("plugins.py", "messages.py")):
            room = Path()
        missing += [
            name
            for name in re.findall(r"\b(\w+\.py)\b", line)
            if not (REPOSITORY / "invalidator" / room / name).exists()
        ]

    assert missing == []


def test_each_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]

    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_each_metric_that_it_names_exists() -> None:
    from invalidator.slots import Region  # noqa: PLC0415
    from invalidator.supervision.metrics import WorkerView, render  # noqa: PLC0415

    view = WorkerView("w", Region(["b"]).snapshot(), up=True, subscribed=True, restarts={})
    text = render([view], reload_ok=True, version="1")
    named = set(re.findall(r"`(?:invalidator_)?([a-z_]+)(?:\{\w+\})?`", README)) & {
        word.removeprefix("invalidator_") for word in re.findall(r"[a-z_]+", README) if word.endswith("_total")
    }

    assert named
    assert all(f"invalidator_{name.removeprefix('invalidator_')}" in text for name in named)

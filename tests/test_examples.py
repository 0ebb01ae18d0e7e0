"""examples/: each is copied out, checked and run as its README says, and does what its README says."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator.logs import text_line
from invalidator.topology.load import load
from tests.support.caches import Varnish
from tests.support.daemon import Daemon
from tests.support.documents import blocks, commands
from tests.support.required import require
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from tests.conftest import MakeMemcached
    from tests.support.origin import Origin
    from tests.support.stores import RedisServer

EXAMPLES = Path(__file__).parents[1] / "examples"
FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/topology.yaml"))
PUBLISH = "invalidator publish"
CHANNEL = "cache:invalidate:users:profile"


class Example(Daemon):
    """A copy of an example in a folder of its own: its topology as it stands, other ports through the environment."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        copy = folder / name
        shutil.copytree(EXAMPLES / name, copy)
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PWD": str(copy), "PATH": programs, "STATE_DIRECTORY": str(folder)}
        super().__init__(copy, {}, {**own, **environment})
        self._environment["METRICS"] = self.address
        # What else is run here is not the daemon's: it carries no mark of its run.
        self._around = {name: value for name, value in self._environment.items() if value != self._mark}
        self.readme = copy / "README.md"

    def write(self, topology: Mapping[str, Any]) -> None:
        """It brings a topology of its own."""

    def run(self, line: str) -> str:
        """What a command of the README prints."""
        done = subprocess.run(
            shlex.split(line), cwd=self.folder, env=self._around, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def publish(self) -> None:
        """Publish as the README does; the worker hears it."""
        (line,) = commands(self.readme, PUBLISH)
        assert "(1 receiver)" in self.run(line)

    def python(self, *arguments: str) -> subprocess.Popen[str]:
        """A Python program of the example, still running, with pipes to talk through."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self._around,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def example(cleanup: ExitStack, folder: Callable[[str], Path], source: RedisServer) -> Callable[..., Example]:
    """Copies an example, runs what its README says of `check`, and then the daemon; it is ready."""

    def start(name: str, **environment: str) -> Example:
        made = Example(name, folder("example"), {"REDIS_URL": source.url, **environment})
        cleanup.callback(made.close)
        (check,) = commands(made.readme, "invalidator check")
        assert ": ok: " in made.run(check)
        (line,) = commands(made.readme, "invalidator run")
        assert line == "invalidator run -c topology.yaml", "this is what the next line starts"
        made.start()
        return made

    return start


def test_messages_are_logged_and_nothing_else_happens(example: Callable[..., Example], source: RedisServer) -> None:
    run = example("01-log-only")

    def said() -> list[str]:
        events = [json.loads(line) for line in run.logs().splitlines()]
        return [text_line(0.0, event["level"], event["event"], dict(list(event.items())[3:])) for event in events]

    expected = blocks(run.readme, "")[0].splitlines()
    run.publish()
    wait_until(lambda: any(expected[1] in line for line in said()), 5, run.logs)
    (line,) = commands(run.readme, "redis-cli")
    with redis.Redis.from_url(source.url) as client:
        assert client.execute_command(*shlex.split(line)[1:]) == 1
    wait_until(lambda: any(expected[2] in line for line in said()), 5, run.logs)
    purged = [line for line in said() if "backend.purged" in line]
    assert [wanted in found for wanted, found in zip(expected, purged, strict=True)] == [True, True, True]
    assert "received_total" in run.get("/metrics").body


def test_one_message_reaches_both_layers(
    example: Callable[..., Example],
    memcached_server: MakeMemcached,
    origin: Origin,
    cleanup: ExitStack,
    folder: Callable[[str], Path],
) -> None:
    objects, edge = memcached_server(), Varnish(folder("varnish"), origin.address)
    vcl = (EXAMPLES / "02-two-cache-layers" / "shop.vcl").read_text()
    assert '"8000"' in vcl
    edge._vcl.write_text(vcl.replace('"8000"', f'"{origin.address.rpartition(":")[2]}"'))
    cleanup.callback(edge.kill)
    edge.start()
    run = example("02-two-cache-layers", MEMCACHED=objects.address, VARNISH=edge.address)
    for key in ("shop:users:42", "shop:users:43"):
        objects.set(key, "old")
    old = edge.get("/users:42").body
    new = origin.change("/users:42")
    assert edge.get("/users:42").body == old != new

    run.publish()
    wait_until(lambda: edge.get("/users:42").body == new, 5, run.logs)
    wait_until(lambda: objects.get("shop:users:42") is None, 5, run.logs)
    assert objects.get("shop:users:43") == "old"


def test_a_plugin_of_one_file_purges_a_folder_of_pages(example: Callable[..., Example]) -> None:
    run = example("03-own-plugin")
    pages = run.folder / "pages"
    pages.mkdir()
    for name in ("users:42.html", "users:43.html"):
        (pages / name).touch()

    run.publish()
    wait_until(lambda: [page.name for page in pages.iterdir()] == ["users:43.html"], 5, run.logs)
    assert run.stop() == 0
    run.start()
    assert list(pages.iterdir()) == [], "a start is a gap, and this backend's gap is a flush of everything"


def test_an_application_never_serves_what_is_stale(example: Callable[..., Example], cleanup: ExitStack) -> None:
    run = example("04-application-with-lru")
    first_name, second_name = commands(run.readme, "python back_office.py")
    assert commands(run.readme, "python application.py") == ["python application.py"]
    run.run(first_name)
    applications = [run.python("application.py"), run.python("application.py")]
    for application in applications:
        cleanup.callback(application.communicate, timeout=10)
        assert ask(application) == "(asking the database) Ada"
        assert ask(application) == "Ada"

    run.run(second_name)
    for application in applications:
        wait_until(lambda application=application: "Grace" in ask(application), 5)  # type: ignore[misc]
        assert ask(application) == "Grace", "and from then on it asks its memory again"
    assert run.stop() == 0
    for application in applications:
        assert [ask(application), ask(application)] == ["(asking the database) Grace"] * 2


def test_a_journal_is_published_to_from_any_language_and_nothing_is_missed(
    example: Callable[..., Example], source: RedisServer
) -> None:
    run = example("05-journal")

    def purged(key: str) -> bool:
        return any('"backend.purged"' in line and f'"{key}"' in line for line in run.logs().splitlines())

    (publish,) = commands(run.readme, "invalidator publish -c")
    assert "applied by 1 worker" in run.run(publish)
    assert "applied in 1 backend" in run.run(*commands(run.readme, "python publish.py"))
    (script,) = commands(run.readme, "invalidator publish --print-script")
    (run.folder / "publish.lua").write_text(run.run(script.partition(" > ")[0]))
    lines = {"users:44": "sh publish.sh", "users:45": "node publish.mjs", "users:43": "redis-cli --eval"}
    tried = {"users:41", "users:42"}
    for key, program in lines.items():
        (line,) = commands(run.readme, program)
        assert key in line
        if not installed("node" if program.startswith("node") else "redis-cli"):
            continue
        assert "-" in run.run(line.replace("redis-cli", f"redis-cli -u {source.url}"))
        tried.add(key)
    wait_until(lambda: all(purged(key) for key in tried), 5, run.logs)
    assert run.metrics().value("invalidator_messages_unjournaled_total", worker="users") == 0

    assert run.stop() == 0
    with redis.Redis.from_url(source.url) as client:
        client.eval((run.folder / "publish.lua").read_text(), 1, "invalidator:journal", CHANNEL, "users:46")
    run.start()
    wait_until(lambda: purged("users:46"), 5, run.logs)
    assert run.logs().count('"flush.done"') == 1, "of the first start, which had no cursor"


def installed(program: str) -> bool:
    """Whether it is here; in CI it has to be."""
    try:
        require(program)
    except pytest.skip.Exception:
        if os.environ.get("CI"):
            raise
        return False
    return True


def ask(application: subprocess.Popen[str]) -> str:
    """The answer to `users:42`."""
    assert application.stdin is not None
    assert application.stdout is not None
    application.stdin.write("users:42\n")
    application.stdin.flush()
    return application.stdout.readline().strip()


def test_every_example_is_listed_and_each_with_a_topology_is_run_here() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    here = Path(__file__).read_text()
    assert NAMES
    assert [name for name in FOLDERS if f"[{name}]({name}/)" not in listed] == []
    assert [name for name in NAMES if f'example("{name}"' not in here] == []


@pytest.mark.parametrize("name", NAMES)
def test_without_any_environment_an_example_is_for_the_usual_ports(name: str) -> None:
    topology = load(EXAMPLES / name / "topology.yaml", {"PWD": str(EXAMPLES / name)}).topology
    assert topology.redis is not None
    assert topology.redis.url.reveal() == "redis://127.0.0.1:6379/0"
    assert topology.supervisor.metrics == "127.0.0.1:9469"

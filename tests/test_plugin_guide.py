"""plugins/README.md: its code is run as it stands, and it tells of every hook."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import redis
import yaml

from invalidator import hookspecs
from invalidator.plugins import load_plugins
from tests.support.documents import blocks
from tests.support.environments import REPOSITORY, Environment, dependencies
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from invalidator import BackendOptions
    from tests.conftest import MakeDaemon, MakeRedis
    from tests.support.daemon import Daemon

GUIDE = REPOSITORY / "plugins" / "README.md"
TOLD = blocks(GUIDE, "python")[0]


def test_the_plugin_in_ten_lines_has_ten() -> None:
    lines = [line for line in TOLD.splitlines() if line.strip() and not line.startswith(("from", "import"))]
    assert len(lines) == 10


@pytest.fixture
def run_with(
    redis_server: MakeRedis, daemon: MakeDaemon, tmp_path: Path
) -> Iterator[Callable[[str], tuple[Daemon, Callable[[str], None]]]]:
    """The guide's topology with these plugins beside it, running; and what publishes to it."""
    source = redis_server()
    client = redis.Redis.from_url(source.url)

    def start(*codes: str) -> tuple[Daemon, Callable[[str], None]]:
        topology = yaml.safe_load(blocks(GUIDE, "yaml")[0])
        topology["plugins"] = []
        for number, code in enumerate(codes):
            (tmp_path / f"plugin{number}.py").write_text(code)
            topology["plugins"].append(str(tmp_path / f"plugin{number}.py"))
        topology["workers"][0]["allow"] = ["key", "all"]
        run = daemon(topology, environment={"REDIS_URL": source.url})

        def publish(payload: str) -> None:
            assert client.publish("cache:invalidate:users:x", payload) == 1

        return run, publish

    yield start
    client.close()


def test_the_plugin_in_ten_lines_works(
    run_with: Callable[..., tuple[Daemon, Callable[[str], None]]],
) -> None:
    run, publish = run_with(TOLD)
    publish("users:42")
    wait_until(lambda: "\nforget users:42\n" in run.logs(), 5, run.logs)


def test_the_wrapper_traces_every_purge_and_guards(
    run_with: Callable[..., tuple[Daemon, Callable[[str], None]]],
) -> None:
    run, publish = run_with(TOLD, code_below("Around every purge")[0])
    publish("users:42")
    wait_until(lambda: "\nwords 1 keys, 0 failed\n" in run.logs(), 5, run.logs)
    publish("users:43")
    wait_until(lambda: "\nforget users:43\n" in run.logs(), 5, run.logs)


def test_the_dry_run_purges_nothing(run_with: Callable[..., tuple[Daemon, Callable[[str], None]]]) -> None:
    run, publish = run_with(TOLD, code_below("Around every purge")[1])
    publish("users:42")
    wait_until(lambda: "\nwould purge users:42 from words\n" in run.logs(), 5, run.logs)
    run.wait_metric("invalidator_targets_total", 1, end="purged")
    assert "forget" not in run.logs()


def test_the_other_format_is_understood_beside_the_contract_s(
    run_with: Callable[..., tuple[Daemon, Callable[[str], None]]],
) -> None:
    run, publish = run_with(TOLD, code_below("Another format of messages")[0])
    publish("PURGE users:1 users:2")
    wait_until(lambda: "\nforget users:1 users:2\n" in run.logs(), 5, run.logs)
    publish("users:3")
    wait_until(lambda: "\nforget users:3\n" in run.logs(), 5, run.logs)


def code_below(heading: str) -> list[str]:
    return blocks(GUIDE, "python", after=heading)


def test_the_options_are_a_model_that_checks_and_hides(tmp_path: Path) -> None:
    code = code_below("A backend")[0]
    assert "class ShelfOptions" in code
    (tmp_path / "shelf.py").write_text(
        f"{code}\nfrom invalidator import hookimpl\n\n@hookimpl\ndef backend_types():\n"
        "    return {'shelf': ShelfOptions}\n"
    )
    plugins, problems = load_plugins(["./shelf.py"], [], tmp_path)
    assert problems == ()
    model: type[BackendOptions] = plugins.types["shelf"]
    options = model.model_validate({"server": "127.0.0.1:1", "timeout": "50ms", "token": "hidden"})
    assert options.kinds() == {"key", "prefix", "all"}
    assert "hidden" not in repr(options)
    assert options.default_flush() == {"all": True}


SIGNATURES = next(block for block in code_below("The hooks") if "backend_types()" in block).splitlines()
ROWS = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$", GUIDE.read_text(), re.MULTILINE)


def test_every_hook_is_documented_with_its_exact_signature() -> None:
    specs = [spec for spec in vars(hookspecs).values() if hasattr(spec, "invalidator_spec")]
    assert signature(purge_with_another_argument) not in SIGNATURES
    assert [signature(spec) for spec in specs] == SIGNATURES
    assert [row[0] for row in ROWS] == [spec.__name__ for spec in specs], "when, where, how often, and what if it fails"


def signature(spec: Callable[..., object]) -> str:
    found = inspect.signature(spec)
    parameters = ", ".join(f"{name}: {parameter.annotation}" for name, parameter in found.parameters.items())
    return f"{spec.__name__}({parameters}) -> {found.return_annotation}"


def purge_with_another_argument(batch: str, worker: str) -> str:
    return batch + worker


def test_the_distribution_can_be_installed_and_is_listed_with_its_command(tmp_path: Path) -> None:
    project, command = (
        blocks(GUIDE, "toml", after=heading)[0] for heading in ("A distribution of your own", "A command of your own")
    )
    folder = tmp_path / "invalidator-told"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(f"{project}\n{command.replace('invalidator_told', 'greeting')}")
    (folder / "invalidator_told.py").write_text(TOLD)
    environment = Environment(tmp_path / "venv", dependencies(REPOSITORY))
    environment.install(REPOSITORY, folder)
    assert re.search(r"^told\b.*invalidator-told", environment.run("invalidator", "plugins"), re.MULTILINE)
    assert re.search(r"^  greet ", environment.run("invalidator", "--help"), re.MULTILINE)


def test_the_command_runs(tmp_path: Path) -> None:
    info = tmp_path / "told-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: told\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[invalidator.commands]\ngreet = invalidator_told:greet\n")
    (tmp_path / "invalidator_told.py").write_text(code_below("A command of your own")[0])
    done = subprocess.run(
        [sys.executable, "-m", "invalidator", "greet", "Ada"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "hello Ada\n"), done.stderr


def test_the_conformance_suite_passes_for_the_example_s_plugin(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "examples" / "03-own-plugin" / "files.py", tmp_path)
    (tmp_path / "test_files.py").write_text(code_below("The conformance suite")[0])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_files.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout
    assert passed is not None
    assert int(passed[1]) > 40


def test_each_link_leads_somewhere() -> None:
    for document in (GUIDE, *REPOSITORY.glob("examples/**/README.md")):
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document}: {link}"

"""What must hold for the repository as a whole. Each rule is shown to find what it forbids."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import invalidator
from tests.support import required
from tests.support.environments import REPOSITORY

LONGEST = 300
LONG_FOR_A_REASON: dict[str, str] = {}
SLEEPS_FOR_A_REASON = {
    "invalidator/cdn/ledger.py": "flock knows no deadline, so that a lock is asked for again until one has passed",
    "invalidator/demo/faults.py": "a fault lasts as long as it is told to",
    "invalidator/demo/show.py": "the next frame of what a person looks at",
    "invalidator/drill/scene.py": "a fault lasts as long as it is told to, and is looked for until it shows",
    "invalidator/stage/building.py": "asks the daemon again until it is ready",
    "invalidator/stage/proxy.py": "what comes late on purpose",
    "invalidator/stage/oracle.py": "asks the daemon again until it has come to rest",
    "tests/support/gated.py": "a backend in the daemon's process looks whether its gate is open by now",
    "tests/test_demo.py": "what must not come is given more than the time in which it would have come",
}

PUBLIC = {"backend", "cdn", "errors", "hookspecs", "http", "logs", "messages", "options", "secret_file"}
PUBLIC |= {"topology.models", "topology.redis_url"}
HOOK = {"hookimpl"}  # the one name in lower case that `invalidator` itself offers
FOR_TESTS = {"embedded", "plugins", "testing"}
PLUGINS_OF_OTHERS = {"flake8": {"flake8.extension": {"INV": "invalidator_flake8:Checker"}}}

_SLEEP = re.compile(r"\b(time|asyncio)\.sleep\(|\bfrom time import .*\bsleep\b")
_REGISTRY = re.compile(r"\b(pypi|npmjs|debian|ubuntu|pythonhosted)[.](org|com)\b")
_MACHINE = re.compile(r"(?<![\w.$}])/(root|work|home(?!/me))/")


def files(*patterns: str) -> list[str]:
    """Every file that is, or could be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout")
    return [name for name in listed.stdout.splitlines() if (REPOSITORY / name).is_file()]


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(errors="replace")


def project(folder: Path) -> dict[str, object]:
    found = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert isinstance(found, dict)
    return found


PLUGINS = sorted(path.parent for path in REPOSITORY.glob("plugins/*/pyproject.toml"))


def test_no_file_has_grown_beyond_what_one_reads_at_once() -> None:
    code = [name for name in files("invalidator/*.py", "plugins/*.py") if "/tests/" not in name]
    long = {name for name in code if lines_of_code(text(name)) > LONGEST}
    assert long == set(LONG_FOR_A_REASON)


def lines_of_code(source: str) -> int:
    return sum(1 for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def test_nothing_sleeps_where_it_could_wait_for_a_condition() -> None:
    assert _SLEEP.search("time.sleep" + "(1)")
    assert {name for name in files("*.py") if _SLEEP.search(text(name))} == set(SLEEPS_FOR_A_REASON)


@pytest.mark.parametrize(
    ("rule", "forbidden"), [(_REGISTRY, "https://pypi" + ".org/x"), (_MACHINE, "see /" + "root/x")]
)
def test_no_file_names_a_registry_or_a_place_on_somebodys_machine(rule: re.Pattern[str], forbidden: str) -> None:
    assert rule.search(forbidden)
    assert not [name for name in files() if rule.search(text(name))]


def test_a_plugin_stands_on_the_public_types_alone() -> None:
    assert private_imports("from invalidator.lanes.lane import Lane", PUBLIC) == {"lanes.lane.Lane"}
    assert private_imports("if TYPE_CHECKING:\n    from invalidator.topology.models import Topology", PUBLIC) == set()
    wrong = {}
    for name in files("plugins/*.py"):
        allowed = PUBLIC | FOR_TESTS if "/tests/" in name else PUBLIC
        if found := private_imports(text(name), allowed):
            wrong[name] = found
    assert not wrong


def private_imports(source: str, allowed: set[str]) -> set[str]:
    """What a module imports from the rooms of `invalidator` at run time and may not."""
    tree = ast.parse(source)
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for child in node.body
        for inner in ast.walk(child)
    }
    modules: set[str] = set()
    for node in set(ast.walk(tree)) - typing_only:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    private = {name.removeprefix("invalidator.") for name in modules if name.startswith("invalidator.")}
    return {
        name
        for name in private
        if name[0].islower() and name not in HOOK and not any(f"{name}.".startswith(f"{ok}.") for ok in allowed)
    }


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: str(path.name))
def test_a_plugin_has_one_word_in_its_four_places(plugin: Path) -> None:
    word = plugin.name.removeprefix("invalidator-")
    declared = project(plugin)
    assert declared["name"] == plugin.name
    # Of a package whose other half is for applications, only the daemon's half is the plugin.
    assert declared["entry-points"] in (
        {"invalidator": {word: f"invalidator_{word}"}},
        {"invalidator": {word: f"invalidator_{word}.plugin"}},
        PLUGINS_OF_OTHERS.get(word),
    )
    assert (plugin / f"invalidator_{word}.py").exists() != (plugin / f"invalidator_{word}" / "__init__.py").exists()
    assert (plugin / "README.md").read_text().startswith(f"# {plugin.name}\n")
    assert declared["license"] == "Apache-2.0"
    mypy_path = tomllib.loads(text("pyproject.toml"))["tool"]["mypy"]["mypy_path"]
    assert f"$MYPY_CONFIG_FILE_DIR/plugins/{plugin.name}" in mypy_path


def test_no_two_test_files_share_a_name() -> None:
    names = [Path(name).name for name in files("tests/*.py", "plugins/*/tests/*.py")]
    assert sorted({name for name in names if names.count(name) > 1} - {"__init__.py"}) == []


def test_every_version_is_pinned_by_name_and_nothing_else() -> None:
    pins = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin)] == []
    pinned = {normal(pin.partition("==")[0]) for pin in pins}
    assert declared_requirements() - pinned == set()


def declared_requirements() -> set[str]:
    found: set[str] = set()
    for folder in [REPOSITORY, *PLUGINS]:
        declared = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        extras = declared.get("optional-dependencies", {}).values()
        found |= {line for group in [declared.get("dependencies", []), *extras] for line in group}
    return {normal(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in found} - {"invalidator"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_system_package_says_what_needs_it_and_none_is_missing() -> None:
    lines = [line for line in text("system-packages.txt").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.+-]+ +# \S.*", line) for line in lines), lines
    assert {line.split()[0] for line in lines} >= required.PACKAGES
    assert [path for line in lines for path in re.findall(r"\S+/\S+", line) if not (REPOSITORY / path).exists()] == []


def test_make_help_tells_of_every_target() -> None:
    makefile = text("Makefile")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE))
    assert {"demo", "test", "check"} <= set(phony[1].split())


def test_ci_here_and_elsewhere_is_the_same_script() -> None:
    script = text(".ci/run")
    assert "make check" in script
    assert "make test" in script
    assert ".ci/run" in text(".github/workflows/ci.yml")


def test_the_rules_for_subscriptions_are_run_here_and_find_what_they_forbid(tmp_path: Path) -> None:
    assert "flake8\n" in text("Makefile").partition("\ncheck:")[2].partition("\n\n")[0]
    (tmp_path / "long_lived.py").write_text("import os,redis\nclient = redis.Redis()\n")
    command = [sys.executable, "-m", "flake8", "--jobs=1", f"--config={REPOSITORY / '.flake8'}", "long_lived.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.fullmatch(r"long_lived.py:2:10: INV003 .*\n", done.stdout), "and leave the rest to ruff"
    assert done.returncode == 1


def test_what_is_released_is_written_down() -> None:
    assert "\n## [Unreleased]\n" in text("CHANGELOG.md")
    assert "Apache License" in text("LICENSE")
    assert project(REPOSITORY)["version"] == invalidator.__version__

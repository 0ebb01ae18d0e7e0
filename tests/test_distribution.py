"""What a user installs: the distributions, into an environment that has never seen this checkout."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.support.environments import REPOSITORY, Environment, dependencies

PLUGINS = sorted(path.parent for path in REPOSITORY.glob("plugins/*/pyproject.toml"))
TYPES = ["cloudflare", "fastly", "http", "log", "lru", "memcached", "redis"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The result of `pip install . ./plugins/*/`."""
    requirements = [text for project in [REPOSITORY, *PLUGINS] for text in dependencies(project)]
    environment = Environment(tmp_path_factory.mktemp("user") / "venv", requirements)
    environment.install(REPOSITORY, *PLUGINS)
    return environment


def test_the_installed_command_explains_itself(installed: Environment) -> None:
    for line in (installed.run("invalidator", "--help"), installed.run("python", "-m", "invalidator", "--help")):
        assert re.search(r"^  run +\w", line, re.MULTILINE)


def test_every_backend_type_is_listed_once_it_is_installed(installed: Environment) -> None:
    listed = installed.run("invalidator", "plugins")
    for name in TYPES:
        assert re.search(rf"^{name}\b", listed, re.MULTILINE), f"{name} is not in:\n{listed}"


def test_the_package_is_typed_for_its_users(installed: Environment) -> None:
    here = installed.run("python", "-c", "import invalidator; print(invalidator.__file__)").strip()
    assert Path(here).is_relative_to(installed.folder)
    assert (Path(here).parent / "py.typed").exists()


def test_an_application_needs_none_of_the_daemons_dependencies_for_its_lru(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(REPOSITORY / "plugins" / "invalidator-lru")
    environment.run("python", "-c", "from invalidator_lru import LRUCache")
    modules = environment.run("python", "-c", "import sys, json, invalidator_lru; print(json.dumps(list(sys.modules)))")
    assert not {"redis", "pydantic", "pluggy", "invalidator"} & set(json.loads(modules))


def test_a_plugin_copied_out_under_another_name_is_listed(tmp_path: Path) -> None:
    copy = copied_under_another_name(REPOSITORY / "plugins" / "invalidator-lru", "lru", "shelf", tmp_path / "mine")
    environment = Environment(tmp_path / "venv", dependencies(REPOSITORY))
    environment.install(REPOSITORY, copy)
    listed = environment.run("invalidator", "plugins")
    assert re.search(r"^shelf\b.*invalidator-shelf", listed, re.MULTILINE), listed
    assert not re.search(r"^lru\b", listed, re.MULTILINE), "the original must not be what was found"


def copied_under_another_name(plugin: Path, old: str, new: str, target: Path) -> Path:
    """A plugin's folder with its one word replaced wherever it stands: distribution, module, entry point and type."""
    shutil.copytree(plugin, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist"))
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_file():
            text = path.read_text()
            path.write_text(re.sub(rf"\b{old}\b", new, text.replace(f"invalidator_{old}", f"invalidator_{new}")))
        path.rename(path.with_name(path.name.replace(old, new)))
    return target

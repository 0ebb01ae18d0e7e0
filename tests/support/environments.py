"""Fresh virtual environments outside the checkout, made in a second and without asking a registry.

The third-party packages that a distribution declares, and nothing else, are linked in from the environment that runs
the tests: a dependency that is used but not declared is missing, as it would be for a user.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REPOSITORY = Path(__file__).parents[2]


class Environment:
    """A virtual environment in `folder`, with the third-party packages named by `requirements` and their own."""

    def __init__(self, folder: Path, requirements: Iterable[str] = ()) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        site = next(folder.glob("lib/python*/site-packages"))
        linked = folder / "third-party"
        linked.mkdir()
        # The build backend comes along: with it, pip builds without an environment of its own for each distribution.
        for dist in _closure([*requirements, "flit_core"]):
            for entry in _entries(dist):
                if not (linked / entry.name).exists():
                    (linked / entry.name).symlink_to(entry)
        (site / "third-party.pth").write_text(f"{linked}\n")

    def install(self, *projects: Path) -> None:
        """`pip install PROJECT…` into it, from folders. AssertionError with pip's words when it fails."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin" / "python"), "--quiet"]
        options = ["--no-index", "--no-build-isolation", "--disable-pip-version-check", "--no-cache-dir"]
        self._run([*pip, "install", *options, *map(str, projects)])

    def run(self, program: str, *arguments: str) -> str:
        """What `program` of this environment prints. AssertionError when it fails."""
        return self._run([str(self.folder / "bin" / program), *arguments])

    def _run(self, command: list[str]) -> str:
        # From a folder that holds nothing: what lies beside us must not be what is imported.
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout


def dependencies(project: Path) -> list[str]:
    """The third-party requirements that a project declares, extras apart."""
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"].get("dependencies", [])
    return [text for text in declared if Requirement(text).name != "invalidator"]


def _closure(requirements: Iterable[str]) -> Iterator[Distribution]:
    seen: set[str] = set()
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        if requirement.name in seen:
            continue
        seen.add(requirement.name)
        dist = distribution(requirement.name)
        yield dist
        inner = map(Requirement, dist.requires or ())
        todo += [r for r in inner if r.marker is None or r.marker.evaluate({"extra": ""})]


def _entries(dist: Distribution) -> set[Path]:
    """The files and folders of a distribution at the top of where it is installed."""
    root = Path(str(dist.locate_file("")))
    tops = {file.parts[0] for file in dist.files or () if file.parts[0] not in {"..", "__pycache__"}}
    return {root / top for top in tops}

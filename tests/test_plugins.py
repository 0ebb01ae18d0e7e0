"""Plugins: which are loaded, and what is said of a broken one. Entry points are real: a folder on the path has them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from invalidator.plugins import installed, load_installed, load_plugins
from tests.support.topologies import SOUND, problems

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = """\
from invalidator import BackendOptions, hookimpl

class Options(BackendOptions):
    pass

@hookimpl
def backend_types():
    return {"NAME": Options}
"""
MISSPELT = "from invalidator import hookimpl\n\n@hookimpl\ndef purg(batch):\n    return None\n"
WRONG_ARGUMENT = "from invalidator import hookimpl\n\n@hookimpl\ndef purge(bach):\n    return None\n"
NO_HOOKS = "def purge(batch):\n    return None\n"
RAISES = "raise RuntimeError('no licence')\n"
EXITS = "import sys\nsys.exit('bye')\n"
NO_SYNTAX = "def f(:\n"
TYPES_RAISE = "from invalidator import hookimpl\n\n@hookimpl\ndef backend_types():\n    raise KeyError('x')\n"
NO_MAPPING = "from invalidator import hookimpl\n\n@hookimpl\ndef backend_types():\n    return ['x']\n"
NO_MODEL = "from invalidator import hookimpl\n\n@hookimpl\ndef backend_types():\n    return {'x': dict}\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`install(name, source)` makes a distribution `name` with an entry point `name`, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def make(name: str, source: str, distribution: str = "") -> None:
        distribution = distribution or name
        module = f"plugin_{distribution}"
        monkeypatch.delitem(sys.modules, module, raising=False)
        (site / f"{module}.py").write_text(source.replace("NAME", name))
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[invalidator]\n{name} = {module}\n")

    return make


def names(allow: list[str], types: list[str], base: Path) -> tuple[list[str], list[str]]:
    """The plugins that are loaded, and what is wrong with others."""
    plugins, found = load_plugins(allow, types, base)
    return sorted(name for name, _ in plugins.list_name_plugin()), [
        f"{problem.name}: {problem.text}" for problem in found
    ]


def test_without_a_list_exactly_the_types_that_are_named_are_loaded(
    install: Callable[..., None], tmp_path: Path
) -> None:
    install("alpha", GOOD)
    install("beta", RAISES)
    assert names([], ["alpha", "log"], tmp_path) == (["alpha", "log"], [])
    assert "plugin_beta" not in sys.modules


def test_with_a_list_nothing_else_is_loaded(install: Callable[..., None], tmp_path: Path) -> None:
    install("alpha", GOOD)
    install("beta", GOOD)
    assert names(["alpha"], ["alpha", "beta"], tmp_path) == (["alpha", "log"], [])
    assert "plugin_beta" not in sys.modules


def test_a_type_that_the_list_leaves_out_is_told_so(install: Callable[..., None], tmp_path: Path) -> None:
    install("alpha", GOOD)
    text = SOUND.replace("type: table", "type: alpha").replace("[near, ", "[{backend: near, on_gap: ignore}, ")
    assert problems(tmp_path, text) == [
        (
            "5:16: backends.near.type: the plugin 'alpha' is installed, but plugins: does not list it: "
            "add it there, or leave that empty"
        )
    ]
    assert problems(tmp_path, text.replace("[./types.py]", "[./types.py, alpha]")) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (RAISES, "the plugin is broken: RuntimeError: no licence"),
        (EXITS, "the plugin is broken: SystemExit: bye"),
        (NO_SYNTAX, "the plugin is broken: SyntaxError: invalid syntax (plugin_alpha.py, line 1)"),
        (MISSPELT, "the plugin has an unknown hook 'purg' — did you mean 'purge'?"),
        (NO_HOOKS, "the plugin has no hooks: mark its functions with invalidator.hookimpl"),
        (TYPES_RAISE, "the plugin is broken: KeyError: 'x'"),
        (NO_MAPPING, "the plugin is broken: its backend_types() does not return a mapping"),
        (NO_MODEL, "the plugin is broken: the type 'x' has no model that extends BackendOptions"),
    ],
)
def test_a_broken_plugin_that_is_named_is_fatal_with_its_name_and_its_error(
    install: Callable[..., None], tmp_path: Path, source: str, said: str
) -> None:
    install("alpha", source)
    assert names([], ["alpha"], tmp_path) == (["log"], [f"alpha: {said}"])
    assert names(["alpha"], [], tmp_path) == (["log"], [f"alpha: {said}"])
    text = SOUND.replace("type: table", "type: alpha").replace("\nplugins: [./types.py]\n", "\n")
    assert f"5:16: backends.near.type: alpha: {said}" in problems(tmp_path, text)


def test_a_hook_with_an_argument_that_does_not_exist_is_an_error(install: Callable[..., None], tmp_path: Path) -> None:
    install("alpha", WRONG_ARGUMENT)
    (said,) = names(["alpha"], [], tmp_path)[1]
    assert "bach" in said


def test_a_broken_plugin_that_nobody_names_harms_nobody_and_is_shown(
    install: Callable[..., None], tmp_path: Path
) -> None:
    install("alpha", GOOD)
    install("beta", RAISES)
    assert names([], ["alpha"], tmp_path) == (["alpha", "log"], [])
    plugins, found = load_installed()
    assert "alpha" in plugins.types
    assert [(problem.name, problem.fatal) for problem in found] == [("beta", False)]
    shown = {plugin.name: plugin for plugin in installed()}
    assert (shown["alpha"].types, shown["alpha"].version, shown["alpha"].error) == (("alpha",), "1.0", "")
    assert shown["beta"].error == "the plugin is broken: RuntimeError: no licence"
    assert shown["log"].types == ("log",)


def test_two_distributions_with_one_name_are_an_error(install: Callable[..., None], tmp_path: Path) -> None:
    install("alpha", GOOD)
    install("alpha", GOOD, distribution="other")
    assert names(["alpha"], [], tmp_path)[1] == [
        "alpha: alpha and other both bring a plugin of this name: uninstall one"
    ]


def test_two_plugins_that_bring_one_type_are_an_error(install: Callable[..., None], tmp_path: Path) -> None:
    install("alpha", GOOD)
    (tmp_path / "mine.py").write_text(GOOD.replace("NAME", "alpha"))
    assert names(["alpha", "./mine.py"], ["alpha"], tmp_path)[1] == [
        "./mine.py: brings the type 'alpha', and so does the plugin 'alpha'"
    ]
    (tmp_path / "log.py").write_text(GOOD.replace("NAME", "log"))
    assert names(["./log.py"], [], tmp_path)[1] == ["./log.py: brings the type 'log', and so does the plugin 'log'"]


def test_a_name_that_is_not_installed_is_told_with_what_is(install: Callable[..., None], tmp_path: Path) -> None:
    install("alpha", GOOD)
    (said,) = names(["alhpa"], [], tmp_path)[1]
    assert said.startswith("alhpa: no plugin of this name is installed (installed: alpha")
    assert said.endswith(" — did you mean 'alpha'?")


def test_a_file_may_use_dataclasses_and_is_read_anew_each_time(tmp_path: Path) -> None:
    source = GOOD.replace("NAME", "mine") + "\nfrom dataclasses import dataclass\n"
    source += "\n@dataclass\nclass Thing:\n    count: 'int' = 0\n"
    (tmp_path / "mine.py").write_text(source)
    assert load_plugins(["./mine.py"], [], tmp_path)[0].types.keys() == {"log", "mine"}
    (tmp_path / "mine.py").write_text(source.replace('"mine"', '"changed"'))
    assert load_plugins(["./mine.py"], [], tmp_path)[0].types.keys() == {"log", "changed"}


def test_a_file_that_has_not_changed_is_the_same_plugin_so_that_a_reload_keeps_its_workers(tmp_path: Path) -> None:
    source = GOOD.replace("NAME", "mine")
    (tmp_path / "mine.py").write_text(source)
    first, second = (load_plugins(["./mine.py"], [], tmp_path)[0].types["mine"] for _ in range(2))
    (tmp_path / "mine.py").write_text(source + "# changed\n")
    third = load_plugins(["./mine.py"], [], tmp_path)[0].types["mine"]

    assert first is second
    assert third is not first


def test_a_file_with_nothing_but_hooks_is_known_by_its_content(tmp_path: Path) -> None:
    def files() -> dict[str, str]:
        return load_plugins(["./hooks.py", "log"], [], tmp_path)[0].files()

    hooks = (
        GOOD.replace("NAME", "mine").partition("class")[0] + "@hookimpl\ndef topology_applied(topology):\n    pass\n"
    )
    (tmp_path / "hooks.py").write_text(hooks)
    first, second = files(), files()
    (tmp_path / "hooks.py").write_text(hooks + "# changed\n")

    assert list(first) == ["./hooks.py"]
    assert first == second != files()


def test_a_broken_file_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RAISES)
    assert names(["./mine.py"], [], tmp_path)[1] == ["./mine.py: the plugin is broken: RuntimeError: no licence"]


def test_an_exception_in_an_option_s_model_is_a_problem_of_that_backend(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        GOOD.replace("NAME", "mine").replace("    pass\n", "    def kinds(self):\n        raise KeyError('x')\n")
    )
    text = SOUND.replace("type: table", "type: mine").replace("[./types.py]", "[./types.py, ./mine.py]")
    assert problems(tmp_path, text) == [
        "5:16: backends.near.type: the plugin of the type 'mine' is broken: KeyError: 'x'"
    ]


def test_a_file_is_what_it_says_now_even_if_it_said_something_as_long_a_moment_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "words.py"
    told = []
    for word in ("one", "two"):
        file.write_text(GOOD.replace("NAME", word))
        os.utime(file, (1_000_000_000, 1_000_000_000))
        told.append(set(load_plugins(["./words.py"], [], tmp_path)[0].types) & {"one", "two"})

    assert told == [{"one"}, {"two"}]
    assert [path.name for path in tmp_path.iterdir()] == ["words.py"], "and nothing is left beside it"

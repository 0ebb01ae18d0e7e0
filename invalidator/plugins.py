"""Plugins are found by their entry points, and loaded one by one: a broken one harms nobody who did not ask for it."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import pluggy

from invalidator import builtin, hookspecs
from invalidator.errors import PluginError
from invalidator.options import BackendOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

GROUP = "invalidator"
BUILTIN = "log"
"""The one plugin that is always there; called like its type, as all of ours are."""


class PluginProblem(NamedTuple):
    """What is wrong with the plugin of this name; `fatal` if the topology asked for it."""

    name: str
    text: str
    fatal: bool = True


@dataclass(frozen=True, slots=True)
class Installed:
    """An entry point as `invalidator plugins` shows it. `error` is empty for one that works."""

    name: str
    distribution: str
    version: str
    types: tuple[str, ...] = ()
    error: str = ""


class Plugins(pluggy.PluginManager):
    """The loaded plugins, `log` always among them. `types` are what they bring, with the models of the options."""

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self.add_hookspecs(hookspecs)
        self.types: dict[str, type[BackendOptions]] = {}
        self._origin: dict[str, str] = {}
        self.add(BUILTIN, builtin)

    def add(self, name: str, plugin: object) -> None:
        """Take a plugin in, checked whole; raises PluginError, and then the plugin is not there."""
        try:
            self.register(plugin, name)
            self._check_hooks(plugin)
            types = self._types_of(name)
        except (Exception, SystemExit) as error:  # a plugin's code may raise anything, and must not end ours
            if self.has_plugin(name):
                self.unregister(name=name)
            if isinstance(error, PluginError):
                raise
            raise PluginError(f"the plugin is broken: {_told(error)}") from error
        self.types |= types
        self._origin |= dict.fromkeys(types, name)

    def types_by(self, name: str) -> tuple[str, ...]:
        """The types that the plugin of this name brought."""
        return tuple(sorted(type_name for type_name, origin in self._origin.items() if origin == name))

    def files(self) -> dict[str, str]:
        """The plugins that are files, each with the name of its module: another one whenever its content changes."""
        named = self.list_name_plugin()
        return {name: plugin.__name__ for name, plugin in named if is_file(name) and isinstance(plugin, ModuleType)}

    def _check_hooks(self, plugin: object) -> None:
        # pluggy's check_pending() does the same for all plugins at once, and stops at the first.
        callers = self.get_hookcallers(plugin) or []
        if not callers:
            raise PluginError("the plugin has no hooks: mark its functions with invalidator.hookimpl")
        known = [name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), "invalidator_spec")]
        for caller in callers:
            optional = all(impl.optionalhook for impl in caller.get_hookimpls() if impl.plugin is plugin)
            if not caller.has_spec() and not optional:
                raise PluginError(f"the plugin has an unknown hook '{caller.name}'{suggestion(caller.name, known)}")

    def _types_of(self, name: str) -> dict[str, type[BackendOptions]]:
        types: dict[str, type[BackendOptions]] = {}
        for impl in self.hook.backend_types.get_hookimpls():
            if impl.plugin_name == name:
                types |= _checked_types(impl.function())
        for type_name in types:
            if type_name in self._origin:
                raise PluginError(f"brings the type '{type_name}', and so does the plugin '{self._origin[type_name]}'")
        return types


def load_plugins(allow: Sequence[str], types: Iterable[str], base: Path) -> tuple[Plugins, tuple[PluginProblem, ...]]:
    """The plugins that a topology asks for, and what is wrong with them.

    `allow` is its `plugins:`, entry points and `./file.py` from `base`. Empty, the entry points called like the `types`
    are loaded. Importing a plugin runs its code: nothing that the topology does not name is imported.
    """
    plugins, problems, entry_points = Plugins(), [], _entry_points()
    wanted = allow or [name for name in sorted(types) if name in entry_points and name not in plugins.types]
    for name in dict.fromkeys(wanted):
        if name == BUILTIN:
            continue  # may be listed, and is there all the same
        try:
            plugins.add(name, _from_file(base / name) if is_file(name) else _from_entry_point(name, entry_points))
        except PluginError as error:
            problems.append(PluginProblem(name, str(error)))
    return plugins, tuple(problems)


def load_installed() -> tuple[Plugins, tuple[PluginProblem, ...]]:
    """Every installed plugin that works, and what is wrong with the others: for what is shown, never for a daemon."""
    plugins, problems, entry_points = Plugins(), [], _entry_points()
    for name in sorted(entry_points):
        try:
            plugins.add(name, _from_entry_point(name, entry_points))
        except PluginError as error:
            problems.append(PluginProblem(name, str(error), fatal=False))
    return plugins, tuple(problems)


def installed() -> list[Installed]:
    """Every entry point on this machine, and `log`. Imports them all."""
    plugins, problems = load_installed()
    errors = {problem.name: problem.text for problem in problems}
    found = [Installed(BUILTIN, "invalidator", _own_version(), plugins.types_by(BUILTIN))]
    for name, entry_points in sorted(_entry_points().items()):
        for point in entry_points:
            distribution, version = (point.dist.name, point.dist.version) if point.dist else ("", "")
            found.append(Installed(name, distribution, version, plugins.types_by(name), errors.get(name, "")))
    return found


def installed_names() -> list[str]:
    """The names of the entry points on this machine. Imports none."""
    return sorted(_entry_points())


def is_file(name: str) -> bool:
    """Whether an entry of `plugins:` is a file's path rather than an entry point's name."""
    return name.endswith(".py") or "/" in name


def suggestion(name: str, known: Iterable[str]) -> str:
    """` — did you mean 'x'?`, or nothing if nothing is close."""
    close = difflib.get_close_matches(name[:80], list(known), n=1)
    return f" — did you mean '{close[0]}'?" if close else ""


def _checked_types(types: object) -> dict[str, type[BackendOptions]]:
    if not isinstance(types, Mapping):
        raise PluginError("the plugin is broken: its backend_types() does not return a mapping")
    for name, model in types.items():
        if not isinstance(name, str) or not (isinstance(model, type) and issubclass(model, BackendOptions)):
            raise PluginError(f"the plugin is broken: the type {name!r} has no model that extends BackendOptions")
    return dict(types)


def _entry_points() -> dict[str, list[metadata.EntryPoint]]:
    found: dict[str, list[metadata.EntryPoint]] = {}
    for point in metadata.entry_points(group=GROUP):
        known = found.setdefault(point.name, [])
        # A distribution whose metadata lies in two places on the path, as after an editable installation, is one.
        if not any(_distribution(point) == _distribution(other) for other in known):
            known.append(point)
    return found


def _distribution(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else ""


def _from_entry_point(name: str, known: Mapping[str, list[metadata.EntryPoint]]) -> object:
    found = known.get(name, [])
    if not found:
        there = ", ".join(sorted(known)) or "none"
        raise PluginError(f"no plugin of this name is installed (installed: {there}){suggestion(name, known)}")
    if len(found) > 1:
        raise PluginError(
            f"{' and '.join(sorted(map(_distribution, found)))} both bring a plugin of this name: uninstall one"
        )
    try:
        return found[0].load()
    except (Exception, SystemExit) as error:  # see above
        raise PluginError(f"the plugin is broken: {_told(error)}") from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PluginError("there is no such file beside the topology")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(f"cannot be read: {error.strerror}") from None
    # A name of its own for each path: two files of one name in two folders must not replace each other. And for each
    # content: what has not changed is the same module, with the same classes, so that a reload keeps its workers.
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + source).hexdigest()[:16]
    name = f"invalidator_file_{path.stem}_{digest}"
    if there := sys.modules.get(name):
        return there
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise PluginError("is not a Python file: its name ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pydantic look up the names in a module's annotations
    try:
        # Not the loader's exec_module: that may take what an earlier file of the same size, written in the same second,
        # was compiled to, and leaves such a file of its own beside the topology.
        exec(compile(source, path, "exec"), vars(module))  # noqa: S102  the operator's own code, from the allow-list
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"the plugin is broken: {_told(error)}") from error
    return module


def _told(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, pluggy.PluginValidationError):
        return "; ".join(lines)  # a hook with arguments that it is not given: which, and where
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _own_version() -> str:
    from invalidator import __version__  # noqa: PLC0415

    return __version__

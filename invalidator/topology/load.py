"""`load`: a file in, a checked topology out, or every problem at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invalidator.errors import ConfigError, Problem
from invalidator.plugins import Plugins, installed_names, load_plugins, suggestion
from invalidator.topology import lint, not_yet, references
from invalidator.topology.findings import Findings
from invalidator.topology.interpolation import Sources, interpolate
from invalidator.topology.models import BackendSpec, Flush, LaneSpec, Layout, Topology, WorkerSpec
from invalidator.topology.nodes import plain, scalars
from invalidator.topology.references import Draft
from invalidator.topology.shapes import read, salvage
from invalidator.topology.strict_yaml import MAX_BYTES, SyntaxFault, compose, decode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path as FilePath

    from invalidator.options import BackendOptions
    from invalidator.topology.nodes import Node, Path


@dataclass(frozen=True, slots=True)
class Loaded:
    """A topology that is right, the plugins that it needs, and what its operator should know.

    `source` is what the file says, with the places that must not be shown.
    """

    topology: Topology
    plugins: Plugins
    warnings: tuple[Problem, ...]
    source: Node

    def redacted(self, text: str) -> str:
        """`text` without anything that came from outside the file: it may be secret."""
        for scalar in scalars(self.source):
            if scalar.hidden and len(str(scalar.value)) > 2:  # less is no secret, and would be found in every text
                text = text.replace(str(scalar.value), "***")
        return text


def load(path: FilePath, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read and check a topology, offline. Runs the code of the plugins that it names.

    Raises ConfigError with everything that is wrong, in the order of the file.
    """
    findings = Findings(str(path))
    try:
        findings.root, faults = compose(decode(_contents(path)))
    except SyntaxFault as error:
        findings.faults([error.fault])
        raise ConfigError(findings.errors) from None
    findings.faults(faults)
    findings.root, faults = interpolate(findings.root, Sources(environ, path.parent))
    findings.faults(faults)
    raw = plain(findings.root)
    if not isinstance(raw, dict):
        findings.error((), "is empty" if raw is None else "must be a mapping, with redis:, backends: and workers:")
        raise ConfigError(findings.errors)
    return _Reading(path, findings, raw).loaded()


def _contents(path: FilePath) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}")]) from None


class _Reading:
    """One run over a file whose syntax is right. Each step reports to `findings`, and leaves what it could read."""

    def __init__(self, path: FilePath, findings: Findings, raw: dict[str, Any]) -> None:
        self._path = path
        self._base = path.parent
        self._findings = findings
        self._raw = raw

    def loaded(self) -> Loaded:
        findings = self._findings
        not_yet.refuse(self._raw, findings)
        plugins = self._plugins()
        backends = self._backends(plugins)
        drafts = self._drafts()
        topology = self._topology(backends, drafts)
        names = _mapping(self._raw.get("backends"))
        references.check(drafts, names, backends, findings, redis="redis" in self._raw)
        if topology is not None:
            lint.check(topology, findings)
        if topology is None or findings.root is None or findings.errors:
            raise ConfigError(findings.errors)
        lint.remark(topology, findings)
        return Loaded(topology, plugins, findings.warnings, findings.root)

    def _plugins(self) -> Plugins:
        listed = self._raw.get("plugins")
        allow = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        types = {str(backend.get("type")): name for name, backend in _mappings(self._raw.get("backends")).items()}
        plugins, problems = load_plugins(allow, types, self._base)
        for problem in problems:
            if isinstance(listed, list) and problem.name in listed:
                place: Path = ("plugins", listed.index(problem.name))
            else:
                place = ("backends", types.get(problem.name, ""), "type")
            report = self._findings.error if problem.fatal else self._findings.warning
            report(place, f"{problem.name}: {problem.text}")
        return plugins

    def _backends(self, plugins: Plugins) -> dict[str, BackendSpec]:
        backends = {}
        for name, raw in _mapping(self._raw.get("backends")).items():
            path: Path = ("backends", name)
            if not isinstance(raw, dict):
                self._findings.error(path, "must be a mapping, with the type and its options")
                continue
            options = self._options(path, raw, plugins)
            described = {"name": name, "type": raw.get("type"), "options": options} | _picked(raw, "dry_run")
            if options is not None and (spec := read(BackendSpec, described, path, self._findings, self._base)):
                backends[name] = spec
        return backends

    def _options(self, path: Path, raw: dict[str, Any], plugins: Plugins) -> BackendOptions | None:
        """The options as far as they are right."""
        findings, type_name = self._findings, raw.get("type")
        if not isinstance(type_name, str):
            findings.error((*path, "type"), "is missing" if "type" not in raw else "must be a text")
            return None
        model = plugins.types.get(type_name)
        if model is None:
            findings.error((*path, "type"), self._no_such_type(type_name, plugins))
            return None
        rest = {key: value for key, value in raw.items() if key not in {"type", "dry_run"}}
        try:
            options = read(model, rest, path, findings, self._base) or salvage(model, rest, self._base)
            if options is not None:
                options.kinds()
                if (flush := options.default_flush()) is not None:
                    Flush.model_validate(flush)
        except Exception as error:  # noqa: BLE001  a plugin's model may raise anything
            findings.error(
                (*path, "type"), f"the plugin of the type '{type_name}' is broken: {type(error).__name__}: {error}"
            )
            return None
        return options

    def _no_such_type(self, name: str, plugins: Plugins) -> str:
        there = installed_names()
        if name in there:
            return f"the plugin '{name}' is installed, but plugins: does not list it: add it there, or leave that empty"
        known = {*plugins.types, *there}
        return f"there is no type '{name[:80]}' (installed: {', '.join(sorted(known))}){suggestion(name, known)}"

    def _drafts(self) -> list[Draft]:
        drafts = []
        workers = self._raw.get("workers")
        for index, raw in enumerate(workers if isinstance(workers, list) else ()):
            # A file may have one mistake in each setting of a worker, and a name that leads nowhere as well: what can
            # stand in for the mistakes is only there to find that. Nobody calls a worker so.
            fallback = {"name": f"{index}@:", "pattern": "?", "backends": ["?"]}
            spec = read(WorkerSpec, raw, ("workers", index), self._findings, self._base)
            spec = spec or salvage(WorkerSpec, raw, self._base, fallback)
            if spec is None:
                continue
            lanes = raw.get("backends") if isinstance(raw, dict) else None
            drafts.append(Draft(index, spec, named=isinstance(raw.get("name"), str)))
            for position, lane in enumerate(lanes if isinstance(lanes, list) else ()):
                if (read_lane := salvage(LaneSpec, lane, self._base)) is not None:
                    drafts[-1].lanes.append((position, read_lane))
        return drafts

    def _topology(self, backends: dict[str, BackendSpec], drafts: list[Draft]) -> Topology | None:
        """The whole, or as much of it as is right: enough for each backend to be checked against the rest."""
        raw = dict(self._raw)
        if isinstance(raw.get("backends"), dict):
            raw["backends"] = backends
        if isinstance(raw.get("workers"), list) and raw["workers"]:
            raw["workers"] = [draft.spec for draft in drafts] or [_NOBODY]
        fallback = {"backends": backends, "workers": [_NOBODY]}
        layout = read(Layout, raw, (), self._findings, self._base) or salvage(Layout, raw, self._base, fallback)
        if layout is None:
            return None
        return Topology(file=self._path, **{name: getattr(layout, name) for name in Layout.model_fields})


_NOBODY = WorkerSpec(pattern="?", backends=(LaneSpec(backend="?"),))


def _picked(raw: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: raw[name]} if name in raw else {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> dict[str, dict[str, Any]]:
    return {name: item for name, item in _mapping(value).items() if isinstance(item, dict)}

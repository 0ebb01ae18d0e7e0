"""A topology as text again: normalised, with everything that may be secret as `***`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from invalidator.topology.describe import is_plain
from invalidator.topology.gaps import gap_policy, on_gap
from invalidator.topology.nodes import Mapping, Node, Scalar, Sequence
from invalidator.topology.redis_url import masked

if TYPE_CHECKING:
    from invalidator.topology.load import Loaded
    from invalidator.topology.models import LaneSpec, Topology, WorkerSpec

HIDDEN = "***"


def normalised(loaded: Loaded) -> dict[str, Any]:
    """Every setting with the value that it has, in the file's own form.

    A setting that was filled in from the environment, a file or a credential is `***` whole, and so is every secret.
    """
    topology = loaded.topology
    shown = topology.model_dump(mode="json", exclude={"file"})
    shown["workers"] = [_worker(topology, worker) for worker in topology.workers]
    hidden = _hidden(loaded.source, shown)
    return {name: hidden.get(name) for name in shown}


def to_yaml(shown: dict[str, Any]) -> str:
    """As text that `load` reads back, secrets apart."""
    return yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some reader of YAML could take for something else, and knows no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if is_plain(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value.replace("${", "$${"), style=style)


_Dumper.add_representer(str, _text)


def _worker(topology: Topology, worker: WorkerSpec) -> dict[str, Any]:
    shown = worker.model_dump(mode="json", exclude_none=True)
    shown["backends"] = [_lane(topology, worker, lane) for lane in worker.backends]
    return shown


def _lane(topology: Topology, worker: WorkerSpec, lane: LaneSpec) -> dict[str, Any]:
    """The lane with what it does on a gap said in full."""
    flush = gap_policy(topology, worker, lane)
    shown: dict[str, Any] = {"backend": lane.backend, "on_gap": on_gap(worker, lane)}
    if flush is not None or lane.flush is not None:
        shown["flush"] = (flush or lane.flush).model_dump(mode="json")  # type: ignore[union-attr]
    order = lane.model_dump(mode="json", include={"after", "delay", "rebound", "dry_run"}, exclude_defaults=True)
    return shown | {"unsupported": lane.unsupported} | order


def _hidden(node: Node | None, shown: Any) -> Any:
    """`shown` without what `node`, its place in the file, says is hidden."""
    match node, shown:
        case Scalar(hidden=True), _:
            return HIDDEN
        case Mapping(), dict():
            return {key: _hidden(node.items.get(key), value) for key, value in shown.items()}
        case Sequence(), list():
            items = dict(enumerate(node.items))
            return [_hidden(items.get(index), value) for index, value in enumerate(shown)]
    return _masked(shown)


def _masked(shown: Any) -> Any:
    # A plugin's model may not know that a URL has a password in it.
    match shown:
        case str():
            return masked(shown)
        case dict():
            return {key: _masked(value) for key, value in shown.items()}
        case list():
            return [_masked(value) for value in shown]
    return shown

"""What is derived from the models: never stale, never wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from invalidator.plugins import load_installed
from invalidator.topology.describe import described, flow, sentence
from invalidator.topology.example import BACKENDS, example
from invalidator.topology.load import load
from invalidator.topology.models import Layout, RedisSettings, SupervisorSettings, WorkerSpec
from invalidator.topology.reference import EXAMPLE, PAGE, TYPES, page
from invalidator.topology.schema import schema

if TYPE_CHECKING:
    from invalidator.options import Settings

REPOSITORY = Path(__file__).parents[1]
INSTALLED = load_installed()[0].types
missing = [name for name in TYPES if name not in INSTALLED]
needs_our_plugins = pytest.mark.skipif(
    bool(missing), reason=f"these types are not on this machine: {', '.join(missing)}"
)
HOW = "stale: run `python -m invalidator.topology.reference`"


def test_the_example_file_is_not_stale() -> None:
    assert (REPOSITORY / EXAMPLE).read_text() == example(), HOW


@needs_our_plugins
def test_the_reference_page_is_not_stale() -> None:
    assert (REPOSITORY / PAGE).read_text() == page({name: INSTALLED[name] for name in TYPES}), HOW


@needs_our_plugins
def test_the_example_file_is_a_topology_with_the_defaults_of_the_models() -> None:
    found = load(REPOSITORY / EXAMPLE, {})
    (worker,) = found.topology.workers
    assert found.topology.redis == RedisSettings.model_validate({"url": "redis://127.0.0.1:6379/0"})
    assert found.topology.supervisor == SupervisorSettings()
    least = {"pattern": worker.pattern, "backends": worker.backends, "name": worker.name, "flush": worker.flush}
    assert worker == WorkerSpec.model_validate(least)
    # Nothing but what the contract's own example would be warned of.
    assert all("cannot purge" in warning.text or "ignores gaps" in warning.text for warning in found.warnings)


def test_the_example_file_shows_every_setting() -> None:
    text = example()
    for model in (Layout, RedisSettings, SupervisorSettings, WorkerSpec):
        for name in model.model_fields:
            assert f"{name}:" in text, name


@needs_our_plugins
def test_the_schema_knows_every_option_of_every_type() -> None:
    defs = schema(INSTALLED)["$defs"]
    for name, model in INSTALLED.items():
        options = defs[f"type.{name}"]
        assert set(options["properties"]) == {"type", "dry_run", *model.model_fields}
        assert options["additionalProperties"] is False


def test_every_reference_in_the_schema_leads_somewhere() -> None:
    whole = schema(INSTALLED)
    assert set(references(whole)) <= {f"#/$defs/{name}" for name in whole["$defs"]}
    json.dumps(whole)


def test_the_schema_names_the_place_of_each_kind_of_mistake() -> None:
    whole = schema(INSTALLED)
    assert whole["additionalProperties"] is False
    assert whole["required"] == ["backends", "workers"]
    worker = whole["$defs"]["WorkerSpec"]
    assert worker["required"] == ["pattern", "backends"]
    assert worker["properties"]["max_payload"]["default"] == "8KiB"
    assert {"type": "string", "description": "A backend's name."} in whole["$defs"]["LaneSpec"]["anyOf"]


@pytest.mark.parametrize("name", BACKENDS)
def test_the_example_s_backends_are_written_as_they_are_read(name: str) -> None:
    assert yaml.safe_load(flow(BACKENDS[name])) == BACKENDS[name]


@pytest.mark.parametrize(
    "value", ["yes", "012", "12:30", "a: b", "a #b", "*x", "", "null", "-", "[a]", "users:", "é", "1e3"]
)
def test_a_text_that_could_be_misread_is_quoted(value: str) -> None:
    assert flow(value).startswith('"')
    assert yaml.safe_load(flow(value)) == value


@pytest.mark.parametrize(
    "value", ["50ms", "8KiB", "redis://127.0.0.1:6379/0", "127.0.0.1:9469", "flush", "/run/x.sock"]
)
def test_a_text_that_cannot_be_misread_is_not_quoted(value: str) -> None:
    assert flow(value) == value
    assert yaml.safe_load(value) == value


def test_every_setting_of_ours_says_what_it_means() -> None:
    models: list[type[Settings]] = [Layout, RedisSettings, SupervisorSettings, WorkerSpec]
    rows = [row for model in models for row in described(model, parts=False)]
    assert [row.setting for row in rows if not row.meaning] == []


def test_a_phrase_becomes_a_sentence() -> None:
    assert sentence("where it  is") == "Where it is."
    assert sentence("redis:// or unix://") == "redis:// or unix://."
    assert sentence("") == ""


def test_the_module_writes_both_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "invalidator.topology.reference", str(tmp_path)], check=True)
    assert (tmp_path / EXAMPLE).read_text() == example()
    assert (tmp_path / PAGE).is_file()


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for item in node for found in references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [found for item in node.values() for found in references(item)]

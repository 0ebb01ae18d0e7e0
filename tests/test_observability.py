"""examples/observability/: the alerts fire when they should, and nothing asks for a metric that the daemon lacks."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest
import redis
import yaml

from invalidator.lanes.policy import LANE_LIMIT
from invalidator.slots import PURGE_BOUNDS, Region
from invalidator.supervision.metrics import WorkerView, render
from tests.support import promql
from tests.support.environments import REPOSITORY
from tests.support.metrics import parse
from tests.support.prometheus import Prometheus, promtool
from tests.support.promql import Metric, faults, labels_of, read
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from tests.conftest import MakeDaemon, MakeMemcached, MakeRedis

FOLDER = REPOSITORY / "examples" / "observability"
RULES, RULE_TESTS, CONFIG, DASHBOARD, README = (
    FOLDER / name
    for name in (
        "invalidator.rules.yml",
        "invalidator.rules.test.yml",
        "prometheus.yml",
        "grafana-dashboard.json",
        "README.md",
    )
)
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES: list[dict[str, Any]] = [variable for variable in BOARD["templating"]["list"] if variable["type"] == "query"]
EXPRESSIONS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]

_ANY = {"worker", "backend", "version", "instance"}  # labels whose values are the operator's, or another day's


def exposed() -> dict[str, Metric]:
    """What a daemon exposes, read from what it really writes; with what Prometheus adds when it scrapes."""
    jobs = frozenset(job["job_name"] for job in yaml.safe_load(CONFIG.read_text())["scrape_configs"])
    view = WorkerView("w", Region(["b"]).snapshot(), up=True, subscribed=True, restarts={})
    text = render([view], reload_ok=True, version="1")
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    values: dict[str, dict[str, set[str]]] = {"up": {}}
    for name, labels in parse(text):
        of_name = values.setdefault(name, {})
        for label, value in labels:
            of_name.setdefault(label, set()).add(value)
    added: dict[str, frozenset[str] | None] = {"job": jobs, "instance": None}
    return {
        name: Metric(
            {**{label: None if label in _ANY else frozenset(has) for label, has in labels.items()}, **added},
            types.get(name) != "gauge" and name != "up",
        )
        for name, labels in values.items()
    }


METRICS = exposed()


def substituted(expression: str) -> str:
    """What Grafana makes of it, with every variable set to all."""
    return re.sub(r"\$__\w+", "5m", re.sub(r"\$(instance|worker|backend)\b", ".*", expression))


def test_the_rules_and_the_configuration_are_in_order() -> None:
    for kind, file in (("rules", RULES), ("config", CONFIG)):
        sound, said = promtool("check", kind, file)
        assert sound, said


def test_every_alert_does_what_its_tests_say() -> None:
    sound, said = promtool("test", "rules", RULE_TESTS)
    assert sound, said


def asked_about(alert: str, *, firing: bool | None = None) -> list[dict[str, Any]]:
    """Those rule tests that ask about this alert, and of each only what it asks: where it fires, is silent, or both."""
    found = []
    for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        asked = [one for one in test["alert_rule_test"] if one["alertname"] == alert]
        if wanted := [one for one in asked if firing is None or bool(one["exp_alerts"]) == firing]:
            found.append({**test, "alert_rule_test": wanted})
    return found


def careless(expression: str) -> str:
    """The same for every label's value."""
    return re.sub(r"\{[^}]*\}", "", expression)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_that_is_mutilated_fails_its_tests(alert: str, tmp_path: Path) -> None:
    rule = ALERTS[alert]
    fires, silent, both = (asked_about(alert, firing=firing) for firing in (True, False, None))

    assert passes(tmp_path, rule, both)
    assert not passes(tmp_path, {**rule, "expr": "vector(0) > 1"}, fires)
    assert not passes(tmp_path, {**rule, "expr": "vector(1)", "for": "0s"}, silent)
    if careless(rule["expr"]) != rule["expr"]:
        assert not passes(tmp_path, {**rule, "expr": careless(rule["expr"])}, both)
    if "for" in rule:
        assert not passes(tmp_path, {**rule, "for": "0s"}, silent)


def passes(folder: Path, rule: dict[str, Any], tests: list[dict[str, Any]]) -> bool:
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "test.yml").write_text(yaml.safe_dump(document))
    sound, said = promtool("test", "rules", folder / "test.yml")
    assert sound or "alertname:" in said, f"this is no failed expectation: {said}"
    return sound


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_asks_only_for_what_there_is(alert: str) -> None:
    rule = ALERTS[alert]
    assert faults(rule["expr"], METRICS) == []
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert shown <= labels_of(read(rule["expr"]), METRICS)


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("invalidator_pendings > 1", "no metric invalidator_pendings"),
        ("sum(rate(invalidator_purge_seconds[5m]))", "no metric invalidator_purge_seconds"),
        ('up{job="invalidatord"} == 0', "up has no job='invalidatord'"),
        ('invalidator_pending{node="a"}', "invalidator_pending has no label node"),
        ('increase(invalidator_targets_total{end="loss"}[5m])', "invalidator_targets_total has no end='loss'"),
        ('invalidator_gaps_total{cause=~"start|deploy"}', "invalidator_gaps_total has no cause='deploy'"),
        ('invalidator_gaps_total{cause!~".*start"}', "invalidator_gaps_total has no cause='.*start'"),
        ('invalidator_worker_restarts_total{reason="timeout"}', "invalidator_worker_restarts_total has no reason="),
        ('invalidator_purge_attempts_failed_total{reason="crash"}', "has no reason='crash'"),
        ('invalidator_purge_seconds_bucket{le="0.3"}', "invalidator_purge_seconds_bucket has no le='0.3'"),
        ("rate(invalidator_pending[5m])", "rate of invalidator_pending, which is a gauge"),
        ("sum by (backends) (invalidator_pending)", "no label backends to group by"),
        ("invalidator_pending / on (hosts) invalidator_pending", "no label hosts to group by"),
    ],
)
def test_what_there_is_not_is_found(expression: str, fault: str) -> None:
    (found,) = faults(expression, METRICS)
    assert fault in found


@pytest.mark.parametrize("expression", ['{job="invalidator"}', "up ~ 1", 'up{job="x} == 0'])
def test_what_cannot_be_read_is_no_query(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        faults(expression, METRICS)


def test_every_alert_has_a_severity_and_its_entry_in_the_runbook() -> None:
    entries = re.findall(r"^### (\w+)\n\n(page|ticket) · ", README.read_text(), re.MULTILINE)
    assert entries == sorted(entries, key=lambda entry: list(ALERTS).index(entry[0])), "in the order of the rules"
    assert dict(entries) == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
    links = {name: rule["annotations"]["runbook_url"] for name, rule in ALERTS.items()}
    place = README.relative_to(REPOSITORY)
    assert [name for name, url in links.items() if not url.endswith(f"/{place}#{name.lower()}")] == []


def test_the_runbook_names_only_alerts_metrics_and_events_that_exist() -> None:
    text = README.read_text()
    assert set(re.findall(r"\bInvalidator\w+", text)) == set(ALERTS)
    assert set(re.findall(r"\binvalidator_\w+", text)) <= set(METRICS)
    code = "".join(file.read_text() for file in (REPOSITORY / "invalidator").rglob("*.py"))
    events = set(re.findall(r"`([a-z]+\.[a-z_]+)`", text)) - {"supervisor.metrics"}
    assert events
    assert [event for event in events if f'"{event}"' not in code] == []


def test_the_bounds_of_the_rules_follow_from_ours() -> None:
    assert f"> {LANE_LIMIT // 2}" in ALERTS["InvalidatorLaneFilling"]["expr"]
    bound = float(ALERTS["InvalidatorPropagationSlow"]["expr"].rpartition("> ")[2])
    assert bound in PURGE_BOUNDS, "between two bounds, a quantile is a guess"


@pytest.mark.parametrize(("title", "target"), EXPRESSIONS, ids=[f"{t}-{x['refId']}" for t, x in EXPRESSIONS])
def test_a_panel_asks_only_for_what_there_is(title: str, target: dict[str, str]) -> None:
    expression = substituted(target["expr"])
    assert faults(expression, METRICS) == [], title
    query = read(expression)
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert shown <= (query.grouping or labels_of(query, METRICS)), "the legend shows a label that the result lacks"


def test_prometheus_can_read_every_panel(tmp_path: Path) -> None:
    def rules(*expressions: str) -> Path:
        made = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
        (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
        return tmp_path / "rules.yml"

    sound, said = promtool("check", "rules", rules(*(substituted(target["expr"]) for _, target in EXPRESSIONS)))
    assert sound, said
    assert f"{len(EXPRESSIONS)} rules found" in said
    sound, said = promtool("check", "rules", rules("sum by (le (up)"))
    assert not sound


def test_the_variables_of_the_dashboard_ask_only_for_what_there_is() -> None:
    assert [variable["name"] for variable in VARIABLES] == ["instance", "worker", "backend"]
    for variable in VARIABLES:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert match is not None
        assert variable["definition"] == match[0]
        assert faults(substituted(match[1]), METRICS) == []
        assert match[2] == variable["name"]
        assert match[2] in labels_of(promql.read(substituted(match[1])), METRICS)


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    everything = BOARD["panels"]
    assert BOARD["schemaVersion"] >= 36
    assert BOARD["uid"]
    assert BOARD["title"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    rows = [panel["title"] for panel in everything if panel["type"] == "row"]
    assert rows == ["Is it well?", "Traffic", "Latency", "Gaps and flushes", "Backends", "Workers"]
    assert BOARD["templating"]["list"][0]["type"] == "datasource"
    for panel in PANELS:
        assert panel["title"]
        assert len(panel["description"]) > 20
        assert panel["targets"]
        assert all(target["expr"] for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_no_two_panels_lie_on_each_other() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in BOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {selector.metric for _, target in EXPRESSIONS for selector in read(substituted(target["expr"])).selectors}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRICS}
    assert {re.sub(r"_bucket$", "", name) for name in shown} == families


@pytest.fixture
def observed(cleanup: ExitStack, folder: Callable[[str], Path]) -> Callable[[str], Prometheus]:
    """A real Prometheus with our files, as they are but for the address and for its patience."""

    def start(address: str) -> Prometheus:
        copy = folder("prometheus")
        shutil.copy(RULES, copy)
        config = yaml.safe_load(CONFIG.read_text())
        config["global"] = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [address]
        (copy / "prometheus.yml").write_text(yaml.safe_dump(config))
        server = Prometheus(copy / "prometheus.yml")
        cleanup.callback(server.kill)
        server.start()
        return server

    return start


def test_a_real_prometheus_alerts_of_a_real_daemon_and_not_before_it_should(
    redis_server: MakeRedis,
    memcached_server: MakeMemcached,
    daemon: MakeDaemon,
    observed: Callable[[str], Prometheus],
) -> None:
    source, objects = redis_server(), memcached_server()
    worker = {"name": "users", "pattern": "cache:users:*", "on_gap": "ignore", "backends": ["objects"]}
    backends = {"objects": {"type": "memcached", "servers": [objects.address]}}
    run = daemon({"redis": {"url": source.url}, "backends": backends, "workers": [worker]})
    prometheus = observed(run.address)

    def wait_for(alert: str, state: str) -> None:
        wait_until(lambda: prometheus.alerts().get(alert) == state, 10, lambda: f"{alert}: {prometheus.alerts()}")

    wait_until(lambda: prometheus.targets() == ["up"] and prometheus.evaluated(), 10, "nothing was scraped")
    wait_until(lambda: prometheus.alerts() == {}, 10, lambda: f"all is well, but {prometheus.alerts()}")

    objects.kill()
    with redis.Redis.from_url(source.url) as client:
        assert client.publish("cache:users:profile", "users:42") == 1
    wait_for("InvalidatorBackendFailing", "pending")
    wait_for("InvalidatorBackendBehind", "pending")
    assert "InvalidatorLost" not in prometheus.alerts()

    (pid,) = run.pids()
    os.kill(pid, signal.SIGKILL)
    wait_for("InvalidatorWorkerRestarted", "firing")
    wait_for("InvalidatorLost", "firing")  # what it had in its hands, and nothing to flush: `on_gap: ignore`

    assert run.stop() == 0
    wait_for("InvalidatorDown", "pending")

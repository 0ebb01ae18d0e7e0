"""metrics.py: counters as Prometheus reads them, across the incarnations of a worker."""

from __future__ import annotations

from invalidator.slots import ENDS, Region, Snapshot
from invalidator.supervision.metrics import Totals, WorkerView, render
from invalidator.supervision.remains import Remains
from tests.support.metrics import parse

BESIDES = {
    "invalidator_messages_unjournaled_total": {"worker"},
    "invalidator_messages_ignored_total": {"worker", "reason"},
    "invalidator_journal_breaks_total": {"worker", "reason"},
}
CONTRACT = {
    "invalidator_messages_received_total": {"worker"},
    "invalidator_messages_rejected_total": {"worker", "reason"},
    "invalidator_messages_missed_total": {"worker"},
    "invalidator_targets_received_total": {"worker", "backend"},
    "invalidator_targets_total": {"worker", "backend", "end"},
    "invalidator_pending": {"worker", "backend"},
    "invalidator_purge_attempts_failed_total": {"worker", "backend", "reason"},
    "invalidator_flushes_total": {"worker", "backend", "cause"},
    "invalidator_purge_seconds_bucket": {"worker", "backend", "le"},
    "invalidator_purge_seconds_count": {"worker", "backend"},
    "invalidator_purge_seconds_sum": {"worker", "backend"},
    "invalidator_propagation_seconds_bucket": {"worker", "backend", "le"},
    "invalidator_propagation_seconds_count": {"worker", "backend"},
    "invalidator_propagation_seconds_sum": {"worker", "backend"},
    "invalidator_gaps_total": {"worker", "cause"},
    "invalidator_gap_seconds_total": {"worker"},
    "invalidator_reconnects_total": {"worker", "cause"},
    "invalidator_worker_restarts_total": {"worker", "reason"},
    "invalidator_worker_up": {"worker"},
    "invalidator_subscribed": {"worker"},
    "invalidator_config_last_reload_successful": set(),
    "invalidator_build_info": {"version"},
}


def view(words: Snapshot, name: str = "users") -> WorkerView:
    return WorkerView(name, words, up=True, subscribed=True, restarts={"crash": 2})


def counted(**changes: int) -> Snapshot:
    region = Region(["b"])
    region.backend("b").add(changes)
    region.worker().add("received", 5)
    region.worker().add("gap_ns", 2_500_000_000)
    return region.snapshot()


def text(words: Snapshot, name: str = "users") -> str:
    return render([view(words, name)], reload_ok=True, version="1")


def test_every_metric_of_the_contract_is_there_from_the_beginning_with_its_labels() -> None:
    found: dict[str, set[str]] = {}
    for name, labels in parse(text(Region(["b"]).snapshot())):
        found.setdefault(name, set()).update(label for label, _ in labels)

    assert found == CONTRACT | BESIDES


def test_counters_show_what_was_counted() -> None:
    metrics = parse(text(counted(received=9, purged=4, pending=5)))

    assert metrics.value("invalidator_targets_received_total", worker="users", backend="b") == 9
    assert metrics.value("invalidator_targets_total", backend="b", end="purged") == 4
    assert metrics.value("invalidator_pending", backend="b") == 5
    assert metrics.value("invalidator_gap_seconds_total") == 2.5
    assert metrics.value("invalidator_worker_restarts_total", reason="crash") == 2


def test_buckets_are_cumulative_and_end_with_all() -> None:
    region = Region(["b"])
    for seconds in (0.0002, 0.02, 99.0):
        region.backend("b").add({}, purge=seconds)
    metrics = parse(text(region.snapshot()))

    def bucket(le: str) -> float:
        return metrics.value("invalidator_purge_seconds_bucket", le=le)

    assert [bucket("0.0001"), bucket("0.00025"), bucket("0.025"), bucket("+Inf")] == [0, 1, 2, 3]
    assert metrics.value("invalidator_purge_seconds_count") == 3


def test_counters_go_on_when_a_worker_is_restarted_and_what_was_pending_is_accounted_for() -> None:
    totals = Totals()
    totals.fold(counted(received=9, purged=4, pending=5), {"b": Remains("flushed", "flushed")})
    totals.fold(counted(received=2, pending=2), {})
    words = totals.plus([counted(received=3, purged=2, pending=1)], ["b"])
    backend = words.backends["b"]

    assert words.worker["received"] == 15
    assert (backend["received"], backend["purged"], backend["flushed"], backend["lost"]) == (14, 6, 5, 2)
    assert backend["received"] == sum(backend[end] for end in ENDS) + backend["pending"]


def test_two_processes_of_one_worker_are_one_sum_and_its_gauges_make_sense() -> None:
    one, other = Region(["b"]), Region(["b", "new"])
    for region in (one, other):
        region.backend("b").add({"received": 5, "purged": 2, "pending": 3})
    words = Totals().plus([one.snapshot(), other.snapshot()], ["b"]).backends

    assert (words["b"]["received"], words["b"]["purged"], words["b"]["pending"]) == (10, 4, 6)
    assert set(words) == {"b", "new"}, "what only one of them has counts too"


def test_a_backend_that_a_reload_added_begins_at_nothing() -> None:
    words = Totals().plus([], ["new"])

    assert words.backends["new"]["received"] == 0


def test_a_name_cannot_break_out_of_its_label() -> None:
    metrics = parse(text(Region(["b"]).snapshot(), name='a"b\\c\nd'))

    assert metrics.has("invalidator_worker_up", worker='a"b\\c\nd')

"""All runs, in the order in which they are done: what matters most comes first."""

from __future__ import annotations

from benchmarks.runs import bursts, growth, hand_off, hit, ingest, latency, process, profile, purge, purge_http

RUNS = (
    *ingest.RUNS,
    *bursts.RUNS,
    *purge.RUNS,
    *purge_http.RUNS,
    *latency.RUNS,
    *hit.RUNS,
    *process.RUNS,
    *growth.RUNS,
    *profile.RUNS,
    *hand_off.RUNS,
)

"""`python -m benchmarks`: does the runs, shows how they go, and keeps what they found."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import optional, results, table
from benchmarks.runs.registry import RUNS
from benchmarks.runs.run import Task
from tests.support.environments import REPOSITORY
from tests.support.experiment import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Result
    from benchmarks.runs.run import Run


def main() -> int:
    """Exit code 0 if every run that was asked for went through, whatever it found: no gate compares absolute times."""
    options = _options()
    if options.what == "table":
        table.write()
    elif options.what == "install":
        optional.install()
    elif options.list:
        for run in RUNS:
            print(f"{run.name:<20} {run.title:<56} {run.missing()}")
    else:
        return _run(options)
    return 0


def _run(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a daemon under test must not outlive us
    found = list(_do_all(options))
    bad = [result.run for result in found if result.problem]
    missed = [result for result in found if table.missed(result)]
    for result in missed:
        print(f"MISSED  {result.run}: {table.missed(result)}")
    print(f"{len(found)} runs, {len(missed)} of them below what we aim at; raw: {_kept().relative_to(REPOSITORY)}")
    if bad:
        print(f"failed: {', '.join(bad)}")
    return 1 if bad or not found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    what = {"choices": ["run", "table", "install"], "default": "run"}
    parser.add_argument("what", nargs="?", **what, help="table: write the README's; install: bring the optional peers")  # type: ignore[arg-type]
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="runs whose names begin so")
    parser.add_argument("--short", action="store_true", help="small sizes; the results are not for the table")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="at most, on a machine that is busy")
    parser.add_argument("--keep", action="store_true", help="put the results where the table is made from")
    parser.add_argument("--list", action="store_true", help="what there is, and what cannot be done on this machine")
    return parser.parse_args()


def _do_all(options: argparse.Namespace) -> Iterator[Result]:
    for run in RUNS:
        if options.only and not any(run.name.startswith(name) for name in options.only):
            continue
        if why := run.missing():
            print(f"{run.name:<20} left out: {why}", flush=True)
            continue
        result = do(run, short=options.short, rounds=options.rounds)
        result.append(_kept())
        if options.keep and not result.problem:
            result.keep(results.COMMITTED)
        yield result


def do(run: Run, *, short: bool, rounds: int = 0) -> Result:
    """One run, and in a line what it found."""
    print(f"{run.name:<20} ", end="", flush=True)
    began = time.monotonic()
    result = results.Result(run=run.name, rounds=0, values={}, short=short, environment=_environment())
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        try:
            found = run.do(Task(Path(folder), rounds, short=short))
            result = replace(result, rounds=found.rounds, values=found.values)
        except Exception as error:  # noqa: BLE001 -- the other runs are done all the same
            traceback.print_exc()
            result = replace(result, problem=f"{type(error).__name__}: {str(error)[:500]}")
    result = replace(result, seconds=round(time.monotonic() - began, 1))
    print(f"{result.seconds:6.1f} s  {result.problem.partition(chr(10))[0] or table.said(result)}", flush=True)
    return result


def _environment() -> dict[str, str]:
    """And what else happens on the machine, as a load average: of a run that begins at once after another, ours too."""
    return {**environment(), "load": f"{os.getloadavg()[0]:.1f}"}


def _kept() -> Path:
    optional.BUILD.mkdir(parents=True, exist_ok=True)
    return optional.BUILD / "results.jsonl"


if __name__ == "__main__":
    sys.exit(main())

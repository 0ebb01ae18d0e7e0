"""`python -m chaos`: does the runs, shows how they go, and keeps what they found."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from chaos import namespace, results, table
from chaos.delivery import MODES
from chaos.runs.registry import RUNS
from chaos.runs.run import Task
from chaos.trial import seed_of
from tests.support.environments import REPOSITORY
from tests.support.experiment import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.delivery import Mode
    from chaos.results import Result
    from chaos.runs.run import Run


def main() -> int:
    """Exit code 0 only if every run that was asked for went through and kept its promise."""
    options = _options()
    if options.what == "table":
        table.write()
        return 0
    namespace.enter(sys.argv[1:])
    if options.list:
        for run in RUNS:
            print(f"{run.name:<28} {run.title:<40} {run.missing()}")
        return 0
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    found = list(_do_all(options, seed))
    bad = [result for result in found if result.problem or table.broken(result)]
    for result in bad:
        print(f"NOT KEPT  {result.run} ({result.mode}): {result.problem or table.broken(result)}")
    print(f"{len(found)} runs, {len(bad)} of them bad; raw results in {results.BUILD.relative_to(REPOSITORY)}")
    return 1 if bad or not found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["run", "table"], default="run", help="table: write the README's")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="runs whose names begin so")
    parser.add_argument("--mode", choices=MODES, help="instead of both")
    parser.add_argument("--seed", type=int, help="of an earlier run; printed by each")
    parser.add_argument("--short", action="store_true", help="small sizes; the results are not for the table")
    parser.add_argument("--keep", action="store_true", help="put the results where the table is made from")
    parser.add_argument("--list", action="store_true", help="what there is, and what cannot be done on this machine")
    return parser.parse_args()


def _do_all(options: argparse.Namespace, seed: int) -> Iterator[Result]:
    chosen = [run for run in RUNS if not options.only or any(run.name.startswith(name) for name in options.only)]
    for run in chosen:
        if why := run.missing():
            print(f"{run.name:<28} left out: {why}", flush=True)
            continue
        for mode in run.modes:
            if options.mode in (None, mode):
                result = _do(run, mode, seed, short=options.short)
                _keep(result, committed=options.keep)
                yield result


def _do(run: Run, mode: Mode, seed: int, *, short: bool) -> Result:
    own = seed_of(mode, run.name, seed)
    print(f"{run.name:<28} {mode:<8} ", end="", flush=True)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    result = results.Result(run=run.name, mode=mode, seed=seed, samples=0, values={}, short=short)
    try:
        found = run.do(Task(folder, mode, own, short=short))
        result = replace(result, samples=found.samples, values=found.values)
    except Exception as error:  # noqa: BLE001 -- the other runs are done all the same; this one counts as not kept
        (folder / "traceback").write_text(traceback.format_exc())
        result = replace(result, problem=f"{type(error).__name__}: {str(error)[:500]}")
    result = replace(result, seconds=round(time.monotonic() - began, 1), environment=environment())
    print(f"{result.seconds:6.1f} s  {_outcome(result)}", flush=True)
    if result.problem:
        _save(folder, result)
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _outcome(result: Result) -> str:
    if result.problem:
        return result.problem.splitlines()[0][:150]
    broken = table.broken(result)
    return f"NOT KEPT  {broken}" if broken else table.said(result)


def _save(folder: Path, result: Result) -> None:
    """The logs of what went wrong."""
    place = results.BUILD / "failed" / result.file.removesuffix(".json")
    place.mkdir(parents=True, exist_ok=True)
    for name in ("traceback", "daemon.log", "writer.log", "application.log", "topology.yaml"):
        if (folder / name).exists():
            shutil.copy(folder / name, place / name)


def _keep(result: Result, *, committed: bool) -> None:
    results.BUILD.mkdir(parents=True, exist_ok=True)
    result.append(results.BUILD / "results.jsonl")
    if committed and not result.problem:
        result.keep(results.COMMITTED)


if __name__ == "__main__":
    sys.exit(main())

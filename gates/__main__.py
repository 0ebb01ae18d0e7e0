"""`python -m gates`: a line for each gate, with its figures, and exit code 1 if one has failed."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gates.gate import Verdict, again, settled
from gates.registry import GATES
from tests.support.experiment import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gates.gate import Gate


def main() -> int:
    """0: every gate that was asked for has been passed; 1: one has not; 2: there is no such gate."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a daemon under test must not outlive us
    chosen = [gate for gate in GATES if not options.only or any(gate.name.startswith(name) for name in options.only)]
    if unknown := [name for name in options.only if not any(gate.name.startswith(name) for gate in GATES)]:
        print(f"no gate is called {unknown[0]!r}; there are {', '.join(gate.name for gate in GATES)}", file=sys.stderr)
        return 2
    if options.list:
        for gate in chosen:
            print(f"{gate.name:<16} {gate.title}{_lacks(gate)}")
        return 0
    found = list(judge_all(chosen))
    if options.json:
        options.json.write_text(json.dumps(report(found), indent=1) + "\n", encoding="utf-8")
    failed = [one["gate"] for one in found if one["word"] != "passed"]
    print(f"{len(found)} gates, failed: {', '.join(failed)}" if failed else f"{len(found)} gates, all passed")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gates", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="gates whose names begin so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there")
    parser.add_argument("--list", action="store_true", help="what there is, and what this machine lacks for it")
    return parser.parse_args()


def judge_all(gates: Sequence[Gate]) -> Iterator[dict[str, Any]]:
    """Each in turn, and a line of it at once."""
    for gate in gates:
        print(f"{gate.name:<16} ", end="", flush=True)
        began = time.monotonic()
        verdicts = judge(gate)
        verdict = settled(verdicts)
        seconds = round(time.monotonic() - began, 1)
        print(f"{verdict.word:<7} {seconds:5.1f} s  {verdict.said}", flush=True)
        yield {"gate": gate.name, "title": gate.title, "attempts": len(verdicts), "seconds": seconds, **asdict(verdict)}


def judge(gate: Gate) -> list[Verdict]:
    """All attempts. For want of a program it has failed: green must mean that it was tried."""
    if why := gate.missing():
        return [Verdict("failed", why)]
    verdicts: list[Verdict] = []
    while again(verdicts, gate.attempts):
        with tempfile.TemporaryDirectory(prefix="gate-", ignore_cleanup_errors=True) as folder:
            try:
                verdicts.append(gate.do(Path(folder)))
            except Exception as error:  # noqa: BLE001 -- the other gates are judged all the same
                traceback.print_exc()
                verdicts.append(Verdict("failed", f"{type(error).__name__}: {str(error)[:500]}"))
    return verdicts


def report(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For a program."""
    return {"ok": all(one["word"] == "passed" for one in found), "environment": environment(), "gates": list(found)}


def _lacks(gate: Gate) -> str:
    return f" ({why})" if (why := gate.missing()) else ""


if __name__ == "__main__":
    sys.exit(main())

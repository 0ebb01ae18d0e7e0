"""The load: publishers that are processes of their own, as fast as Redis takes it or at a pace."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import CHANNEL
from chaos import programs
from invalidator.embedded import tied
from invalidator.stage.process import Child

if TYPE_CHECKING:
    from contextlib import ExitStack

    from invalidator.embedded import Server

RANDOM = "__rand_int__"
"""What redis-benchmark puts twelve digits in the place of: another number each time."""
KEY = f"shop:product:{RANDOM}"
PIPELINE = 64
ENVELOPE = '{"v":1,"id":"%s","ts":1732312345.123,"source":"checkout-7","keys":["%s"],"tags":[],"traceparent":"%s"}'


def bare(length: int = len(KEY)) -> str:
    """A bare key of so many bytes, twelve of which differ from message to message."""
    return "s" * (length - len(RANDOM)) + RANDOM if length != len(KEY) else KEY


def envelope(length: int = 190) -> str:
    """The JSON of the contract, in so many bytes: one of the keys, and an id of three numbers, never the same twice."""
    text = ENVELOPE % (3 * RANDOM, KEY, "")
    return ENVELOPE % (3 * RANDOM, KEY, "0" * (length - len(text)))


def missing() -> str:
    """Why there can be no flood."""
    return "" if programs.find("redis-benchmark") else "redis-benchmark is not on this machine"


def published(count: int) -> int:
    """How many that are, if so many are asked for: whole pipelines."""
    return -(-count // PIPELINE) * PIPELINE


def begin_flood(
    stack: ExitStack,
    broker: Server,
    payload: str,
    count: int,
    *,
    keys: int = 50_000,
    clients: int = 4,
    pipeline: int = PIPELINE,
) -> subprocess.Popen[bytes]:
    """redis-benchmark publishes `count` messages; the process, which ends when they are published.

    Not 50 clients with 64 in each pipeline: Redis writes at most 64 KB to a subscriber in each turn of its loop, and
    with so many publishers takes in more than that, so that it disconnects even a reader in C.
    """
    program = programs.find("redis-benchmark")
    assert program is not None
    words = ["-p", str(broker.port), "-n", str(count), "-P", str(pipeline), "-c", str(clients), "-r", str(keys), "-q"]
    process = subprocess.Popen(
        tied([program, *words, "PUBLISH", CHANNEL, payload]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(_end, process)
    return process


def publisher(stack: ExitStack, folder: Path, broker: Server, *arguments: str) -> Child:
    """benchmarks/publisher.py, which has made all its messages and waits for a line to begin."""
    child = Child(["benchmarks.publisher", str(broker.port), CHANNEL, *arguments], Path(folder) / "publisher.log")
    stack.callback(child.close)
    child.listen()
    return child


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()

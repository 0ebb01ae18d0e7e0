"""A network namespace in which there is nothing but a loopback: faults of the network reach nobody outside of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from chaos import programs

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK = "CHAOS_NAMESPACE"
_UP = 'ip link set lo up && exec "$@"'


def is_own() -> bool:
    """Whether we are in one."""
    return os.environ.get(_MARK) == str(Path("/proc/self/ns/net").stat().st_ino)


def missing() -> str:
    """Why there is none; empty if we are in one."""
    return "" if is_own() else "it needs a network namespace of its own, which this machine does not let us have"


@cache
def command() -> tuple[str, ...]:
    """What to put before a command so that it runs in one, as root or in a user namespace; empty if it may not."""
    for flags in (("--net",), ("--user", "--map-root-user", "--net")):
        words = ("unshare", *flags, "sh", "-c", _UP, "sh")
        if shutil.which("unshare") and programs.find("ip") and _succeeds([*words, "true"]):
            mark = f'{_MARK}=$(stat -Lc %i /proc/self/ns/net) exec "$@"'
            return (*words, "sh", "-c", mark, "sh")
    return ()


def enter(arguments: Sequence[str]) -> None:
    """Become `python -m chaos ARGUMENTS` in one. Returns if we are in one already, or may have none."""
    if not is_own() and (words := command()):
        os.environ["PATH"] = programs.path()
        os.execvp(words[0], [*words, sys.executable, "-m", "chaos", *arguments])  # noqa: S606 -- no shell is the point


@cache
def has_netem() -> bool:
    """Whether this kernel can delay packets by itself."""
    if not is_own() or programs.find("tc") is None:
        return False
    added = _succeeds(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"])
    return added and _succeeds(["tc", "qdisc", "del", "dev", "lo", "root"])


@cache
def has_queue() -> bool:
    """Whether packets can be handed to a process of ours instead."""
    return find_spec("netfilterqueue") is not None


def netem(address: str, what: str) -> list[list[str]]:
    """Commands by which what comes from this address, and nothing else, meets netem."""
    lines = (
        "tc qdisc add dev lo root handle 1: prio bands 3 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        f"tc qdisc add dev lo parent 1:3 handle 30: netem {what}",
        f"tc filter add dev lo parent 1: protocol ip u32 match ip src {address}/32 flowid 1:3",
    )
    return [line.split() for line in lines]


def _succeeds(words: Sequence[str]) -> bool:
    environment = {**os.environ, "PATH": programs.path()}
    return subprocess.run(words, capture_output=True, check=False, env=environment).returncode == 0

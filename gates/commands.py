"""A command of this project as a user has it, in a process that ends when we do, or when its time is over."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from invalidator.embedded import tied
from tests.support.environments import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_ENDING = 15.0


class OverdueError(Exception):
    """It did not end in its time."""


def done(words: Sequence[str], patience: float, folder: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """`python -m WORDS` once it has ended: its exit code, and what it said. Raises OverdueError."""
    command = tied([sys.executable, "-m", *words])
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            raise OverdueError(f"`python -m {' '.join(words)}` has not ended after {patience:g} s") from None
        finally:
            _end(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: subprocess.Popen[str]) -> None:
    """SIGTERM, so that it ends its own servers and takes its folder with it; SIGKILL if it does not."""
    process.terminate()
    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        process.kill()


def end_of(text: str) -> str:
    """What matters of a long text, for a line."""
    return " ".join(text.split())[-400:] or "it said nothing"

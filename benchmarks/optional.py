"""Peers that bring a lot along: `python -m benchmarks install` puts them into build/, and nothing else needs them."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.support.environments import REPOSITORY

BUILD = REPOSITORY / "build" / "benchmarks"
NODE = BUILD / "node"
PYTHON = BUILD / "python" / "bin" / "python"
_HINT = "`python -m benchmarks install` brings it"
_PYTHON_PACKAGES = ("faststream[redis]", "hiredis", "aiohttp")
_NODE_PACKAGES = ("redis", "ioredis")


def install() -> None:
    """All of them, from their registries. Raises CalledProcessError."""
    BUILD.mkdir(parents=True, exist_ok=True)
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PYTHON.parents[1])], check=True)
    subprocess.run([str(PYTHON), "-m", "pip", "install", "--quiet", *_PYTHON_PACKAGES], check=True)
    if npm := shutil.which("npm"):
        NODE.mkdir(exist_ok=True)
        subprocess.run([npm, "install", "--silent", "--prefix", str(NODE), *_NODE_PACKAGES], check=True)


def no_fast_stream() -> str:
    """Why FastStream is not there."""
    return "" if list(PYTHON.parents[1].glob("lib/*/site-packages/faststream")) else _HINT


def no_aiohttp() -> str:
    """Why aiohttp is not there."""
    return "" if list(PYTHON.parents[1].glob("lib/*/site-packages/aiohttp")) else _HINT


def no_node(package: str) -> str:
    """Why this client is not there."""
    if not shutil.which("node"):
        return "node is not on this machine"
    return "" if (NODE / "node_modules" / package).exists() else _HINT

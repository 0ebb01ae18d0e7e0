"""redis-py keeps our connections, and we take their sockets, which it does not promise to leave where they are.

All other tests run on the newest that constraints.txt allows; these are those of the connections, on the oldest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import redis
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support.environments import REPOSITORY

OLDEST = Path(sys.prefix) / "oldest"
"""Where scripts/venv has put it."""
TESTS = ("tests/test_connection.py", "tests/test_high_availability.py", "plugins/invalidator-redis/tests/test_redis.py")


def allowed() -> Requirement:
    """What pyproject.toml says of redis-py."""
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    return next(one for one in map(Requirement, declared) if one.name == "redis")


def on_the_oldest(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the oldest redis-py in the place of the installed one."""
    if not OLDEST.is_dir():
        pytest.skip("the oldest redis-py is not on this machine; scripts/venv installs it")
    environment = {**os.environ, "PYTHONPATH": str(OLDEST)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def test_it_is_the_oldest_that_is_allowed() -> None:
    found = Version(on_the_oldest("-c", "import redis; print(redis.__version__)").stdout.strip())
    assert [f">={found.major}.{found.minor}"] == [str(bound) for bound in allowed().specifier]
    assert found.micro == 0
    assert found < Version(redis.__version__), "or the same would be tried twice"


def test_connections_of_ours_work_with_it() -> None:
    done = on_the_oldest("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *TESTS)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]

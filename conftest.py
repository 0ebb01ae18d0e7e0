"""For the tests of the whole repository, the plugins' included."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test skips when a server "is not on this machine". In CI that is a failure: green must mean that it was tested.

    A plugin's test, wherever it is copied to, only has to skip in these words.
    """
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and os.environ.get("CI", "").lower() in {"true", "1"}:
        reason = report.longrepr[2]
        if "on this machine" in reason:
            report.outcome = "failed"
            report.longrepr = reason
    return report

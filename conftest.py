"""For the tests of the whole repository, the plugins' included."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

# How long an example takes says how busy the machine is: with tests side by side, nothing about the code.
settings.register_profile("busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: last, one of them would keep one process at work and the others idle."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


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

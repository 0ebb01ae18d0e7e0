"""builtin.py: the `log` backend, through the same suite as everybody's."""

from __future__ import annotations

from typing import Any

import pytest

from invalidator import builtin
from invalidator.testing import BackendConformance, CacheUnderTest


class Nothing(CacheUnderTest):
    """There is no cache behind `log`: what asks whether a key is gone is skipped, and says so."""

    def options(self) -> dict[str, Any]:
        return {}


class TestLogConforms(BackendConformance):
    plugin, type_name = builtin, "log"

    @pytest.fixture
    def cache(self) -> CacheUnderTest:
        return Nothing()

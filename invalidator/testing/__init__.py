"""For the tests of plugins, ours and yours: the suite that every backend passes, and a server that records each byte.

from invalidator.testing import BackendConformance, CacheUnderTest, RecordingServer
"""

from __future__ import annotations

import pytest

# Before the imports below: it is what makes a failing assertion of the suite show its values.
pytest.register_assert_rewrite("invalidator.testing.conformance", "invalidator.testing.rig")

# ruff: noqa: E402

from invalidator.testing.cache import CacheUnderTest
from invalidator.testing.conformance import BackendConformance
from invalidator.testing.recording import Conversation, RecordingServer, answering, hanging, saying

__all__ = [
    "BackendConformance",
    "CacheUnderTest",
    "Conversation",
    "RecordingServer",
    "answering",
    "hanging",
    "saying",
]

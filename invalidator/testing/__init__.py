"""For the tests of plugins, ours and yours: the suite that every backend passes, a server that records each byte, and
fakes of two CDNs' purge APIs that enforce what the vendors document.

from invalidator.testing import BackendConformance, CacheUnderTest, FakeCloudflare, FakeFastly, RecordingServer
"""

from __future__ import annotations

import pytest

# Before the imports below: it is what makes a failing assertion of the suite show its values.
pytest.register_assert_rewrite("invalidator.testing.conformance", "invalidator.testing.rig")

# ruff: noqa: E402

from invalidator.testing import faults
from invalidator.testing.bucket import TokenBucket, Window
from invalidator.testing.cache import CacheUnderTest
from invalidator.testing.cloudflare import FakeCloudflare
from invalidator.testing.conformance import BackendConformance
from invalidator.testing.edge import EdgeCache
from invalidator.testing.edge_under_test import EdgeUnderTest
from invalidator.testing.fastly import FakeFastly
from invalidator.testing.http_api import Call, FakeApi
from invalidator.testing.http_framing import Answer, Request, json_answer
from invalidator.testing.recording import Conversation, RecordingServer, answering, hanging, saying

__all__ = [
    "Answer",
    "BackendConformance",
    "CacheUnderTest",
    "Call",
    "Conversation",
    "EdgeCache",
    "EdgeUnderTest",
    "FakeApi",
    "FakeCloudflare",
    "FakeFastly",
    "RecordingServer",
    "Request",
    "TokenBucket",
    "Window",
    "answering",
    "faults",
    "hanging",
    "json_answer",
    "saying",
]

"""glob.py: which channels a pattern selects, measured by the one authority there is: a Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from invalidator.journal.glob import Glob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeRedis

LETTERS = "ab-^é*?[]\\"
PATTERNS = st.text(LETTERS, min_size=1, max_size=10)
NAMES = st.lists(st.binary(min_size=1, max_size=3) | st.text(LETTERS, min_size=1).map(str.encode), min_size=1)


@pytest.fixture
def client(redis_server: MakeRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server().url) as client:
        yield client


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATTERNS, NAMES)
@example("[a-é]", [bytes([byte]) for byte in range(256)])
@example("[^a]", [b"a", b"b"])
@example("[!a]", [b"a", b"b", b"!"])
@example("a*[", [b"a", b"a["])
@example("\\", [b"\\"])
def test_a_pattern_selects_what_redis_selects(client: redis.Redis, pattern: str, names: list[bytes]) -> None:
    client.flushall()
    client.mset(dict.fromkeys(names, 1))
    glob = Glob(pattern)

    assert {name for name in names if glob.matches(name)} == set(client.keys(pattern))


@pytest.mark.parametrize(
    ("pattern", "hears"), [("a*b", [b"ab", b"axb"]), ("*", [b"x"]), ("**", [b"x"]), ("ab", [b"ab"])]
)
def test_a_subscription_hears_the_same(client: redis.Redis, pattern: str, hears: list[bytes]) -> None:
    glob = Glob(pattern)
    with client.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.psubscribe(pattern)
        subscription.get_message(timeout=5)
        counts = {name: client.publish(name, "x") for name in (b"ab", b"axb", b"a", b"x", b"")}

    assert [name for name in counts if glob.matches(name)] == [name for name, heard in counts.items() if heard]
    assert set(hears) <= {name for name in counts if glob.matches(name)}


def test_a_pattern_of_many_stars_takes_no_longer_than_its_length_says() -> None:
    glob = Glob("a*" * 250 + "b")
    began = time.monotonic()

    assert not glob.matches(b"a" * 8_000)
    assert time.monotonic() - began < 1.0

"""How soon a subscription is tried again, by what it was refused for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from invalidator import logs
from invalidator.subscription.subscriber import AUTH_BACKOFF, Subscriber
from invalidator.wire.connection import Connector
from tests.support.ear import settings
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from invalidator.wire.connection import Link

LONGEST = 0.1  # of tests.support.ear.settings


def delays(*errors: Exception) -> list[float]:
    """Seconds to the next attempt after each of these, with the longest jitter there is."""
    coming = list(errors)

    def connect() -> Link:
        raise coming.pop(0)

    connector = Connector(connect, lambda: None)
    subscriber = Subscriber(
        settings("redis://nowhere:1"), "cache:*", connector, None, logs.get_logger(), 0.0, lambda: 1.0
    )
    now, found = 0.0, []
    for _ in errors:
        now = subscriber._due + 0.001  # between two attempts it looks for another password

        def refused(now: float = now) -> bool:
            subscriber.turn(now)
            return subscriber.state == "waiting"

        wait_until(refused)
        found.append(subscriber._due - now)
    return found


def test_a_long_outage_does_not_make_the_first_wrong_password_cost_half_a_minute() -> None:
    away, denied = OSError("Connection refused"), redis.AuthenticationError("WRONGPASS invalid username-password pair")
    found = delays(*[away] * 12, denied, denied, away)
    assert found[11] == pytest.approx(0.9 * LONGEST)
    assert found[12] < LONGEST, "an operator who gives a right back waited for as long as the outage had lasted"
    assert found[12] < found[13] < LONGEST
    assert found[14] == pytest.approx(0.9 * LONGEST)


def test_credentials_that_stay_wrong_are_tried_ever_more_seldom() -> None:
    found = delays(*[redis.AuthenticationError("NOAUTH Authentication required.")] * 14)
    assert found == pytest.approx(sorted(found))
    assert found[-1] == pytest.approx(0.9 * AUTH_BACKOFF)

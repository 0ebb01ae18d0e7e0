"""Who is subscribed, as Redis itself has it: a worker's own word would be no proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection

    from redis import Redis


def subscriptions(redis: Redis) -> dict[str, set[int]]:
    """The ids of the subscribed connections, by the worker that they belong to."""
    found: dict[str, set[int]] = {}
    for client in redis.client_list(_type="pubsub"):
        kind, _, worker = str(client["name"]).partition(":")
        if kind == "invalidator":
            found.setdefault(worker, set()).add(int(client["id"]))
    return found


def ports(redis: Redis, clients: Collection[int]) -> list[int]:
    """The ports from which these connections come."""
    return [int(each["addr"].rpartition(":")[2]) for each in redis.client_list() if int(each["id"]) in clients]


def await_new(redis: Redis, worker: str, old: set[int], deadline: float = 20.0) -> None:
    """Return as soon as a connection of this worker is subscribed that is none of the `old`."""
    wait_until(lambda: subscriptions(redis).get(worker, set()) - old, deadline, f"{worker} is not subscribed again")

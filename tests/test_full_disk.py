"""A Redis that cannot save, or has no memory left: it refuses writes, and PING with them, and goes on publishing."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from invalidator.logs import get_logger
from invalidator.pipeline.attendance import RIGHTS, Attendance
from invalidator.presence import INDEX
from invalidator.subscription import commands
from invalidator.wire.sideline import sideline_to
from tests.support.ear import DEADLINE, Ear, settings
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from tests.support.stores import RedisServer


@contextmanager
def cannot_save(client: redis.Redis) -> Iterator[None]:
    """Its dump would have to take the place of a folder that is not empty."""
    found: Any = client.config_get("dir", "dbfilename")
    (Path(found["dir"]) / found["dbfilename"] / "in the way").mkdir(parents=True)
    client.config_set("save", "3600 1")
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        client.ping()
    yield
    client.config_set("save", "")


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


@pytest.mark.parametrize("echo", [True, False])
def test_with_a_full_disk_a_worker_subscribes_hears_and_stays(
    server: RedisServer, client: redis.Redis, *, echo: bool
) -> None:
    with cannot_save(client):
        ear = Ear(settings(server.url), echo=echo)
        ear.until(lambda: ear.gaps)
        ear.turn_for(2 * DEADLINE)  # of which each PING is refused
        client.publish("cache:x", "users:1")
        ear.until(lambda: ear.messages)
        causes = ear.causes
        server.stop()
        try:
            ear.lost()  # it is still found dead when it is
        finally:
            server.cont()
        ear.close()
    assert causes == ["start"]


def test_were_that_taken_for_a_failure_nothing_would_be_heard_as_long_as_it_lasts(
    server: RedisServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control for the test above.
    monkeypatch.setattr(commands, "CANNOT_SAVE", "\0")
    with cannot_save(client):
        ear = Ear(settings(server.url), echo=True)
        ear.until(lambda: ear.subscriber._attempts >= 3)
        assert ear.gaps == []
        ear.close()


def no_memory(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)


def no_right(client: Any) -> None:
    client.execute_command("ACL", "SETUSER", "default", "-set")


def no_sorted_set(client: redis.Redis) -> None:
    client.set(INDEX, "a text of somebody else")


@pytest.mark.parametrize(
    ("fault", "said", "remedy"),
    [
        (no_memory, "used memory > 'maxmemory'", ""),
        (no_right, "no permissions", f"grant {RIGHTS}"),
        (no_sorted_set, "wrong kind of value", f"delete the key {INDEX}: somebody else has written it"),
    ],
)
def test_rights_are_asked_for_only_where_they_are_lacking(
    server: RedisServer,
    client: redis.Redis,
    cleanup: ExitStack,
    fault: Callable[[redis.Redis], None],
    said: str,
    remedy: str,
) -> None:
    fault(client)
    sideline = sideline_to(settings(server.url), "users", lambda: None)
    cleanup.callback(sideline.close)
    made = Attendance(sideline, "invalidator:{presence}:a", b"{}", 1.0, 3.0, get_logger())
    made.turn(0.0)

    def troubled() -> str:
        sideline.turn()
        return made.trouble

    wait_until(troubled)
    assert said in made.trouble
    assert ("; " in made.trouble) == bool(remedy)
    assert made.trouble.endswith(remedy)

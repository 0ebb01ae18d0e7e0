"""Publisher(journal=True): nothing is published that is not kept, and what Redis refuses is said with what to do."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from invalidator import Publisher, PublishError, UnreachableError
from invalidator.envelope import JOURNAL_STREAM
from invalidator.publisher.refusals import explained
from tests.support.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from tests.support.stores import RedisServer

CHANNEL = "cache:users:profile"


@pytest.fixture
def as_shop(server: RedisServer, client: redis.Redis) -> str:
    """The URL of a user that may do everything as yet."""
    rights("on", ">s3cret", "+@all", "~*", "&*")(client)
    return f"redis://shop:s3cret@{server.address}/0"


@pytest.fixture
def heard(client: redis.Redis) -> Iterator[Subscription]:
    with closing(Subscription(client)) as heard:
        yield heard


def entries(client: redis.Redis, stream: str = JOURNAL_STREAM) -> dict[str, dict[str, Any]]:
    """What the journal holds, by id."""
    listed: Any = client.xrange(stream)
    return {at.decode(): json.loads(fields[b"payload"]) for at, fields in listed}


def test_every_message_stands_in_the_journal_and_says_where(
    server: RedisServer, client: redis.Redis, heard: Subscription
) -> None:
    keys = [f"users:{number}" for number in range(20_000)]
    with Publisher(server.url, journal=True, timeout=10) as publisher:
        sent = publisher.invalidate(CHANNEL, keys)
    kept = entries(client)
    assert tuple(kept) == sent.journal
    assert len(kept) == sent.messages > 1
    assert [key for message in kept.values() for key in message["keys"]] == keys
    for at in sent.journal:
        assert heard.next() == {**kept[at], "journal": at}


def test_a_redis_that_has_forgotten_the_script_costs_nothing(
    server: RedisServer, client: redis.Redis, heard: Subscription
) -> None:
    with Publisher(server.url, journal=True) as publisher:
        for number in range(3):
            client.script_flush()
            publisher.invalidate(CHANNEL, [f"users:{number}"])
            assert heard.next()["keys"] == [f"users:{number}"]
    assert len(entries(client)) == 3, "and each of them once"
    server.restart()
    with Publisher(server.url, journal=True) as publisher:
        publisher.invalidate(CHANNEL, ["users:3"])


def test_stream_and_length_are_the_publishers_to_say(server: RedisServer, client: redis.Redis) -> None:
    with Publisher(server.url, journal=True, stream="shop:journal", keep=100) as publisher:
        for number in range(400):
            publisher.invalidate(CHANNEL, [f"users:{number}"])
    assert 100 <= client.xlen("shop:journal") < 300
    for stream, keep in (("", 1), ("shop:journal", 0)):
        with pytest.raises(PublishError, match="the name of a stream"):
            Publisher(server.url, journal=True, stream=stream, keep=keep)


def rights(*words: str) -> Callable[[redis.Redis], None]:
    """The publisher's user gets or loses these."""
    return lambda client: client.execute_command("ACL", "SETUSER", "shop", *words)  # type: ignore[no-untyped-call]


def full(client: redis.Redis) -> None:
    client.config_set("maxmemory", "1kb")


def a_replica(client: redis.Redis) -> None:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]


def another_type(client: redis.Redis) -> None:
    client.set(JOURNAL_STREAM, "a text")


@pytest.mark.parametrize(
    ("spoil", "advice"),
    [
        (
            rights("resetkeys", "~other"),
            r"ACL SETUSER shop \+eval \+evalsha \+xadd \+publish ~invalidator:journal &cache:users:profile",
        ),
        (rights("-eval", "-evalsha"), r"ACL SETUSER shop \+eval"),
        (rights("resetchannels", "&other"), r"ACL SETUSER shop \+eval"),
        (full, "nothing was published: raise its maxmemory"),
        (a_replica, "name the master"),
        (another_type, "the key invalidator:journal is no Stream"),
    ],
)
def test_what_redis_refuses_is_said_with_what_to_do_and_nothing_is_published(
    as_shop: str, client: redis.Redis, heard: Subscription, spoil: Callable[[redis.Redis], None], advice: str
) -> None:
    with Publisher(as_shop, journal=True) as publisher:
        spoil(client)
        with pytest.raises(UnreachableError, match=advice) as refused:
            publisher.invalidate(CHANNEL, ["users:secret-of-a-payload"])
    assert "secret-of-a-payload" not in str(refused.value)
    assert heard.is_silent()


@pytest.mark.parametrize(
    "text",
    [
        "this user has no permissions to run the 'evalsha' command",  # Redis 7
        "No permissions to access a key",  # Valkey
        "Error running script: The user executing the script can't publish to the channel mentioned in the command",
        "Error running script: The user executing the script can't access at least one of the keys",  # Redis 6
    ],
)
def test_a_refusal_is_known_by_the_words_of_each_server(text: str) -> None:
    assert explained(text, "shop", CHANNEL, JOURNAL_STREAM).startswith(f"{text}: ACL SETUSER shop +eval ")


def test_who_may_eval_but_not_by_a_scripts_name_publishes_all_the_same(
    as_shop: str, client: redis.Redis, heard: Subscription
) -> None:
    rights("-evalsha")(client)
    with Publisher(as_shop, journal=True) as publisher:
        publisher.invalidate(CHANNEL, ["users:42"])
    assert heard.next()["keys"] == ["users:42"]


def test_without_a_journal_redis_refusal_is_explained_too(as_shop: str, client: redis.Redis) -> None:
    rights("resetchannels")(client)
    with (
        Publisher(as_shop) as publisher,
        pytest.raises(UnreachableError, match=r"ACL SETUSER shop \+publish &cache:users:profile"),
    ):
        publisher.invalidate(CHANNEL, ["users:42"])

"""`invalidator publish`: what it sends, prints and exits with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.support.subscription import Subscription, subscribed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeRedis

CHANNEL = "cache:invalidate:users:profile"


@pytest.fixture
def url(redis_server: MakeRedis) -> str:
    return redis_server().url


@pytest.fixture
def subscription(url: str) -> Iterator[Subscription]:
    with subscribed(url, CHANNEL) as subscription:
        yield subscription


def publish(*args: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if name != "INVALIDATOR_URL"}
    command = [sys.executable, "-m", "invalidator", "publish", *args]
    return subprocess.run(
        command, input=stdin, capture_output=True, check=False, timeout=30, env={**clean, **environment}
    )


def test_keys_tags_and_all_that_is_named_is_published(url: str, subscription: Subscription) -> None:
    run = publish(
        *("--url", url, CHANNEL, "users:42", "users:43", "--tag", "t", "--tag", "u", "--prefix", "p:"),
        *("--url-target", "https://shop.example/a", "--all", "--soft"),
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.decode() == f"published 7 targets in 1 message to {CHANNEL} (1 receiver)\n"
    message = subscription.next()
    assert {name: message[name] for name in message.keys() - {"id", "ts", "source"}} == {
        "v": 1,
        "keys": ["users:42", "users:43"],
        "tags": ["t", "u"],
        "prefixes": ["p:"],
        "urls": ["https://shop.example/a"],
        "all": True,
        "soft": True,
    }


def test_the_url_is_taken_from_the_environment(url: str, subscription: Subscription) -> None:
    assert publish(CHANNEL, "a", INVALIDATOR_URL=url).returncode == 0
    assert subscription.next()["keys"] == ["a"]


def test_the_url_is_taken_from_a_topology_with_its_passwords_file(redis_server: MakeRedis, tmp_path: Path) -> None:
    server = redis_server(password="s3cret")
    (tmp_path / "password").write_text("s3cret\n")
    (tmp_path / "t.yaml").write_text(
        f"redis: {{url: 'redis://{server.address}/0', password_file: password}}\n"
        "backends: {seen: {type: log}}\n"
        "workers: [{name: users, pattern: 'cache:invalidate:*', backends: [seen], on_gap: ignore}]\n"
    )
    run = publish("-c", str(tmp_path / "t.yaml"), CHANNEL, "a", INVALIDATOR_URL="redis://127.0.0.1:1/0")
    assert (run.returncode, run.stderr) == (0, b"")
    with subscribed(server.url, CHANNEL) as subscription:
        publish("-c", str(tmp_path / "t.yaml"), CHANNEL, "a")
        assert subscription.next()["keys"] == ["a"]


def test_standard_input_is_published_line_by_line(url: str, subscription: Subscription) -> None:
    keys = [f"users:{number}" for number in range(20_000)]
    run = publish("--url", url, CHANNEL, "--stdin", "--json", stdin="\r\n".join([*keys, ""]).encode())
    said = json.loads(run.stdout)
    assert (said["channel"], said["targets"], said["receivers"]) == (CHANNEL, 20_000, 1)
    arrived: list[str] = []
    for _ in range(said["messages"]):
        arrived += subscription.next()["keys"]
    assert arrived == keys


def test_a_line_is_published_when_it_comes_while_the_pipe_stays_open(url: str, subscription: Subscription) -> None:
    command = [sys.executable, "-m", "invalidator", "publish", "--url", url, CHANNEL, "--stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("größe:1\n".encode())
        process.stdin.flush()
        assert subscription.next()["keys"] == ["größe:1"]
        process.stdin.write(b"unfinished")
        process.stdin.close()
        assert subscription.next()["keys"] == ["unfinished"]
        assert process.stdout.read().startswith(b"published 2 targets in 2 messages")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("args", "stdin", "why"),
    [
        ((CHANNEL,), b"", b"nothing to invalidate"),
        ((CHANNEL, "--stdin"), b"\n\n", b"nothing to invalidate"),
        (("cache:*", "a"), b"", b"glob"),
        ((CHANNEL, "a\nb"), b"", b"control character"),
        ((CHANNEL, "x" * 9000), b"", b"does not fit"),
        ((CHANNEL, "--stdin"), b"good\n\xff\n", b"line 2 of the standard input is not UTF-8"),
        ((CHANNEL, "--stdin"), b"good\n" + b"x" * 9000, b"line 2 of the standard input is longer"),
        ((CHANNEL, "a", "--wait", "0"), b"", b"more than 0"),
        ((CHANNEL, "a", "--wait", "soon"), b"", b"not a valid float"),
        ((), b"", b"CHANNEL"),
    ],
)
def test_what_cannot_be_published_is_a_matter_of_usage(
    url: str, args: tuple[str, ...], stdin: bytes, why: bytes
) -> None:
    run = publish("--url", url, *args, stdin=stdin)
    assert (run.returncode, run.stdout) == (2, b"")
    assert why in run.stderr
    assert b"Traceback" not in run.stderr


def test_with_a_journal_the_entry_is_kept_and_named(url: str, subscription: Subscription) -> None:
    run = publish("--url", url, CHANNEL, "users:42", "--journal", "--json")
    said = json.loads(run.stdout)
    assert (run.returncode, said["journal"]) == (0, [subscription.next()["journal"]])
    with Redis.from_url(url) as client:
        ((entry, fields),) = client.xrange("invalidator:journal")
    assert entry.decode() == said["journal"][0]
    assert json.loads(fields[b"payload"])["keys"] == ["users:42"]
    assert fields[b"channel"] == CHANNEL.encode()


def test_the_journal_is_the_one_that_a_topology_names(url: str, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(
        f"redis: {{url: '{url}'}}\njournal: {{stream: 'shop:journal', keep: 7}}\n"
        "backends: {seen: {type: log}}\n"
        "workers: [{name: users, pattern: 'cache:invalidate:*', backends: [seen], on_gap: ignore}]\n"
    )
    for more in ([], ["--url", url]):
        run = publish("-c", str(tmp_path / "t.yaml"), CHANNEL, "a", "--journal", *more)
        assert (run.returncode, run.stderr) == (0, b"")
    with Redis.from_url(url) as client:
        assert client.xlen("shop:journal") == 2
        assert not client.exists("invalidator:journal")


def test_the_script_is_printed_for_other_languages(url: str, subscription: Subscription) -> None:
    script = publish("--print-script").stdout.decode()
    with Redis.from_url(url) as client:
        client.eval(script, 1, "invalidator:journal", CHANNEL, "users:42")
    assert subscription.next()["keys"] == ["users:42"]


def test_a_redis_that_is_away_is_said_without_its_password() -> None:
    run = publish("--url", "redis://user:hunter2@127.0.0.1:1/0", CHANNEL, "a")
    assert (run.returncode, run.stdout) == (69, b"")
    assert b"127.0.0.1:1" in run.stderr
    assert b"hunter2" not in run.stderr
    assert b"Traceback" not in run.stderr

"""connection.py: every way to reach a Redis that its URL can name."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import redis

from invalidator.topology.models import RedisSettings
from invalidator.wire.connection import Link
from invalidator.wire.connection import connect as connect_by
from invalidator.wire.route import route_to
from tests.support.required import require
from tests.support.tls import tls_server
from tests.support.waiting import free_port, wait_until

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from tests.conftest import MakeRedis
    from tests.support.stores import RedisServer


def settings(url: str, **more: object) -> RedisSettings:
    return RedisSettings.model_validate({"url": url, **more})


def connect(settings: RedisSettings, name: str) -> Link:
    route = route_to(settings)
    try:
        return connect_by(route, name)
    finally:
        route.close()


def ask(link: Link, command: bytes) -> bytes:
    """The answer to one command, over the connection as a subscriber would use it."""
    link.write(command)
    answer = wait_until(link.read)
    assert answer is not None
    return answer


def shakes(settings: RedisSettings) -> bool:
    link = connect(settings, "test")
    try:
        return ask(link, b"PING\r\n") == b"+PONG\r\n"
    finally:
        link.close()


def test_over_tcp_with_a_password_and_a_database(redis_server: MakeRedis) -> None:
    server = redis_server(password="p@ss word")
    url = server.url.replace("p@ss word", "p%40ss%20word")
    link = connect(settings(url.rsplit("/", 1)[0] + "/3"), "seen-as")

    assert b"db=3" in ask(link, b"CLIENT INFO\r\n")
    assert b"name=seen-as" in ask(link, b"CLIENT INFO\r\n")
    link.close()


def test_a_passwords_file_wins_over_nothing_and_is_read_at_each_connection(
    redis_server: MakeRedis, tmp_path: Path
) -> None:
    server = redis_server(password="first")
    file = tmp_path / "password"
    wanted = settings(server.url.replace(":first@", ""), password_file=file)
    file.write_text("first\n")
    assert shakes(wanted)

    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "second")
    with pytest.raises(redis.AuthenticationError):
        shakes(wanted)
    file.write_text("second\n")
    assert shakes(wanted)


@pytest.mark.timeout(10)
def test_a_fifo_where_a_password_should_be_holds_nobody_up(redis_server: MakeRedis, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "password")
    with pytest.raises(OSError, match="not a regular file"):
        shakes(settings(redis_server().url, password_file=tmp_path / "password"))


def test_over_a_unix_socket(redis_server: MakeRedis) -> None:
    assert shakes(settings(redis_server(unix=True).url))


def test_over_tls(cleanup: ExitStack, tmp_path: Path) -> None:
    server = tls_server(cleanup, tmp_path)
    url = f"rediss://127.0.0.1:{server}/0?ssl_ca_certs={tmp_path}/cert.pem"

    assert shakes(settings(url))
    with pytest.raises(redis.ConnectionError, match="certificate"):
        shakes(settings(f"rediss://127.0.0.1:{server}/0"))


def test_everything_that_tls_holds_is_read_before_the_next_wait(cleanup: ExitStack, tmp_path: Path) -> None:
    port = tls_server(cleanup, tmp_path)
    link = connect(settings(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/cert.pem"), "test")
    link.write(b"PING\r\n" * 2000)
    received = b""

    def whole() -> bool:
        nonlocal received
        while chunk := link.read():
            received += chunk
        return received == b"+PONG\r\n" * 2000

    wait_until(whole)
    link.close()


def test_through_sentinel(cleanup: ExitStack, redis_server: MakeRedis, tmp_path: Path) -> None:
    master = redis_server()
    port = sentinel(cleanup, master, tmp_path)
    dead = free_port()
    url = f"redis+sentinel://127.0.0.1:{dead},127.0.0.1:{port}/shop/2"
    link = connect(settings(url), "test")

    assert b"db=2" in ask(link, b"CLIENT INFO\r\n")
    link.close()
    with pytest.raises(redis.ConnectionError, match="no Sentinel knows a master 'other'"):
        connect(settings(url.replace("shop", "other")), "test")


def test_nothing_listens_is_an_error_at_once() -> None:
    with pytest.raises(redis.ConnectionError, match="refused"):
        connect(settings(f"redis://127.0.0.1:{free_port()}/0"), "test")


def sentinel(cleanup: ExitStack, master: RedisServer, folder: Path) -> int:
    """The port of a Sentinel that watches `master` as `shop`."""
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(f"port {port}\nsentinel monitor shop 127.0.0.1 {master.port} 1\n")
    process = subprocess.Popen(
        [str(require("redis")), str(config), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    cleanup.callback(process.wait)
    cleanup.callback(process.kill)

    def answers() -> bool:
        try:
            with redis.Redis(port=port) as client:
                return client.ping() is True
        except redis.ConnectionError:
            return False

    wait_until(answers)
    return port

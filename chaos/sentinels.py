"""Three Sentinels that watch one master, and elect another within a second."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis

from invalidator.embedded import RedisServer, find_redis, free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

MASTER = "shop"
COUNT = 3
_CONFIG = """port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {master} 127.0.0.1 {watched} 2
sentinel down-after-milliseconds {master} 600
sentinel failover-timeout {master} 3000
sentinel parallel-syncs {master} 1
"""


class Sentinel(RedisServer):
    """One of them: a Redis with a file that it writes itself."""

    name = "sentinel"

    def __init__(self, folder: Path, watched: int) -> None:
        program = find_redis()
        assert program is not None, "there was a Redis a moment ago"
        super().__init__(program, folder, (), unix=False)
        self.port = free_port()
        self._file = folder / "sentinel.conf"
        self._file.write_text(_CONFIG.format(port=self.port, folder=folder, master=MASTER, watched=watched))

    def _arguments(self) -> list[str]:
        return [str(self._file), "--sentinel"]

    def _pid_that_answers(self) -> int:  # it knows no ECHO
        answer = self._ask(b"INFO server\r\nPING\r\n", rb"\+PONG")
        return int(answer.partition("process_id:")[2].split()[0])


class Sentinels:
    """All of them. `url` is what a topology takes."""

    def __init__(self, stack: ExitStack, folder: Path, watched: int) -> None:
        self._all: list[Sentinel] = []
        for number in range(COUNT):
            (folder / f"sentinel-{number}").mkdir()
            sentinel = Sentinel(folder / f"sentinel-{number}", watched)
            stack.callback(sentinel.kill)
            sentinel.start()
            self._all.append(sentinel)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(each.address for each in self._all)}/{MASTER}/0"

    def master(self) -> int:
        """The port of the master, as the first of them has it."""
        return int(self._asked()["port"])

    def await_replica(self) -> None:
        """Wait until all know each other and the replica, or they could not elect it."""
        wait_until(
            lambda: self._asked()["num-slaves"] >= 1 and self._asked()["num-other-sentinels"] >= COUNT - 1,
            30,
            "no replica",
        )

    def _asked(self) -> dict[str, Any]:
        with suppress(redis.RedisError), redis.Redis.from_url(self._all[0].url, socket_timeout=2) as client:
            return dict(client.sentinel_master(MASTER))
        return {"port": 0, "num-slaves": 0, "num-other-sentinels": 0}

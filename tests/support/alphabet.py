"""The fault alphabet of the stateful test: everything that needs no root, each as a function of the world.

A fault lasts until `World.heal`, or until another letter ends it; those that are over at once say so by their name.
What cannot be done in the present state of the world (a stopped Redis takes no command) does nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from invalidator.control.protocol import Pause, Restart, Resume
from tests.support.waiting import wait_until
from tests.support.world import STREAM, USER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.racks import Rack
    from tests.support.world import World


def _signal_a_worker(world: World, which: int, number: signal.Signals) -> None:
    if pids := world.workers():
        with suppress(ProcessLookupError):
            os.kill(pids[which % len(pids)], number)


def kill_a_worker(world: World, which: int) -> None:
    world.kills += 1
    _signal_a_worker(world, which, signal.SIGKILL)


def stop_a_worker(world: World, which: int) -> None:
    world.kills += 1  # its supervisor kills it when it has been silent for too long
    _signal_a_worker(world, which, signal.SIGSTOP)


def continue_the_workers(world: World, which: int) -> None:
    del which
    for pid in world.workers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


PROCESSES: Mapping[str, Callable[[World, int], None]] = {
    "kill -9 a worker": kill_a_worker,
    "SIGSTOP a worker": stop_a_worker,
    "SIGCONT the workers": continue_the_workers,
}


def kill_the_supervisor(world: World) -> None:
    """And start another one in its place, in the same folder, as systemd does."""
    world.run.signal(signal.SIGKILL)
    world.run.wait()
    world.kills = 0  # its counts went with it
    world.run.write(world.topology())
    world.run.start(ready=False)
    # It reads its file now, which the next letter may spoil; with an invalid one, a daemon does not start.
    wait_until(lambda: world.status() is not None, 10, world.run.logs)


def _reload(world: World) -> None:
    # Before the first answer of a daemon there is no handler for the signal, and it would end it.
    if world.status() is not None:
        world.run.signal(signal.SIGHUP)


def reload_the_same(world: World) -> None:
    world.run.write(world.topology())
    _reload(world)


def reload_changed(world: World) -> None:
    window = world.variant.get("shop", {}).get("window")
    world.variant["shop"] = {"window": "1ms" if window != "1ms" else "2ms"}
    reload_the_same(world)


def reload_one_more(world: World) -> None:
    """A third worker comes, or goes."""
    more = {"name": "more", "pattern": "cache:more:*", "backends": ["words"], "on_gap": "ignore"}
    world.variant["more"] = [] if world.variant.get("more") else [more]
    reload_the_same(world)


def reload_invalid(world: World) -> None:
    world.run.file.write_text("workers: [{pattern: 'cache:*', backends: [nobody]}]\n")
    _reload(world)


def restart(world: World) -> None:
    world.ask(Restart(workers=("shop",)))


def pause(world: World) -> None:
    world.ask(Pause(workers=("shop", "carts")))


def resume(world: World) -> None:
    world.ask(Resume(all=True))


def lose_the_state_dir(world: World) -> None:
    """A file where the folder was: nothing can be written below it, root or not."""
    if not world.state_dir.is_file():
        world.state_lost = True
        shutil.rmtree(world.state_dir, ignore_errors=True)
        world.state_dir.touch()


OPERATORS: Mapping[str, Callable[[World], None]] = {
    "kill -9 the supervisor": kill_the_supervisor,
    "HUP, nothing changed": reload_the_same,
    "HUP, a worker changed": reload_changed,
    "HUP, a worker more or less": reload_one_more,
    "HUP, an invalid file": reload_invalid,
    "restart shop": restart,
    "pause": pause,
    "resume": resume,
    "state_dir cannot be written": lose_the_state_dir,
}


def _command(world: World, *words: object) -> None:
    if world.broker_state == "up":
        with suppress(redis.RedisError):
            world.redis.execute_command(*words)  # type: ignore[no-untyped-call]


def kill_redis(world: World) -> None:
    world.broker.kill()
    world.broker_state = "down"


def start_redis(world: World) -> None:
    if world.broker_state == "down":
        world.broker.start()
        world.broker_state = "up"


def restart_redis(world: World) -> None:
    kill_redis(world)
    start_redis(world)


def lose_redis(world: World) -> None:
    """What it has written is gone as well: it comes back empty."""
    kill_redis(world)
    shutil.rmtree(world.broker.directory / "appendonlydir", ignore_errors=True)
    start_redis(world)


def stop_redis(world: World) -> None:
    if world.broker_state == "up":
        world.broker.stop()
        world.broker_state = "stopped"


def continue_redis(world: World) -> None:
    if world.broker_state == "stopped":
        world.broker.cont()
        world.broker_state = "up"


def kill_subscriptions(world: World) -> None:
    _command(world, "CLIENT", "KILL", "TYPE", "pubsub")


def kill_all_connections(world: World) -> None:
    _command(world, "CLIENT", "KILL", "USER", USER)


def take_the_channels(world: World) -> None:
    _command(world, "ACL", "SETUSER", USER, "resetchannels")


def give_the_channels(world: World) -> None:
    _command(world, "ACL", "SETUSER", USER, "allchannels")


def close_the_account(world: World) -> None:
    _command(world, "ACL", "SETUSER", USER, "off")


def open_the_account(world: World) -> None:
    _command(world, "ACL", "SETUSER", USER, "on")


def change_the_password(world: World) -> None:
    """In Redis first; the daemon's file follows when all is healed."""
    _command(world, "ACL", "SETUSER", USER, "resetpass", ">another")
    _command(world, "CLIENT", "KILL", "USER", USER)


def tiny_output_buffer(world: World) -> None:
    _command(world, "CONFIG", "SET", "client-output-buffer-limit", "pubsub 4096 4096 1")


def few_clients(world: World) -> None:
    _command(world, "CONFIG", "SET", "maxclients", 1)
    _command(world, "CLIENT", "KILL", "TYPE", "pubsub")


def trim_the_journal(world: World) -> None:
    _command(world, "XTRIM", STREAM, "MAXLEN", 0)


def delete_the_journal(world: World) -> None:
    _command(world, "DEL", STREAM)


def flush_redis(world: World) -> None:
    _command(world, "FLUSHALL")


REDIS: Mapping[str, Callable[[World], None]] = {
    "kill -9 Redis": kill_redis,
    "start Redis": start_redis,
    "kill -9 and start Redis": restart_redis,
    "kill -9 Redis, and start it empty": lose_redis,
    "SIGSTOP Redis": stop_redis,
    "SIGCONT Redis": continue_redis,
    "CLIENT KILL TYPE pubsub": kill_subscriptions,
    "CLIENT KILL USER": kill_all_connections,
    "ACL: no channels": take_the_channels,
    "ACL: all channels": give_the_channels,
    "ACL: account off": close_the_account,
    "ACL: account on": open_the_account,
    "another password": change_the_password,
    "a tiny output buffer": tiny_output_buffer,
    "maxclients 1": few_clients,
    "the journal is trimmed": trim_the_journal,
    "the journal is deleted": delete_the_journal,
    "FLUSHALL": flush_redis,
}

PATH: Mapping[str, Callable[[World], None]] = {
    "the path is cut": lambda world: world.proxy.cut(),
    "the connections end": lambda world: world.proxy.drop(),
    "the connections are reset": lambda world: world.proxy.reset(),
    "the path stalls": lambda world: world.proxy.stall(),
    "the connections are forgotten": lambda world: world.proxy.strand(),
    "the path takes 30 ms longer": lambda world: world.proxy.delay(0.03),
    "garbage in the stream": lambda world: world.proxy.garble(),
    "the path is whole again": lambda world: world.proxy.heal(),
}

CACHES: Mapping[str, Callable[[Rack, str], None]] = {
    "kill -9": lambda rack, kind: rack.kill(kind),
    "start": lambda rack, kind: rack.start(kind),
    "SIGSTOP": lambda rack, kind: rack.stop(kind),
    "SIGCONT": lambda rack, kind: rack.cont(kind),
    "empty": lambda rack, kind: rack.forget(kind),
}

"""What sort of server it is, and whether it is in a state to carry messages. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from invalidator.doctor.finding import Finding, Kind
from invalidator.doctor.wording import lasting
from invalidator.screen.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.doctor.facts import Facts
    from invalidator.doctor.servers import Server
    from invalidator.doctor.session import Sort, Unreached

OLDEST = (6, 0)

REACHED = Kind("redis.reached", "ok", "Redis answers")
AWAY = Kind(
    "redis.unreachable",
    "wrong",
    "Redis cannot be reached",
    "No worker can subscribe, and nothing is purged. Each keeps trying, and flushes once it is subscribed.",
    "See that it runs and listens there (redis-cli -u URL ping), and that redis.url names it; name resolution, firewall"
    " and TLS are between.",
)
SILENT = Kind(
    "redis.silent",
    "wrong",
    "Redis does not answer",
    "It takes a connection, and then says nothing: stopped, swapping, in a long script, or cut off without a word.",
    "On its host: is the process stopped (ps: T) or busy, and what does its log say? kill -CONT PID continues it.",
)
AUTH = Kind(
    "redis.auth",
    "wrong",
    "Redis refuses our user or password",
    "No worker can subscribe. They try again every half a minute, and read password_file anew each time.",
    "Correct the user and password in redis.url or password_file; on the server, ACL LIST shows its users.",
)
UNREAD = Kind(
    "redis.password_unread",
    "wrong",
    "The password's file cannot be read",
    "Nothing of this Redis was looked at. If the daemon runs as this user, it cannot connect either.",
    "Run the doctor as the daemon's user, or let this one read the file.",
)
FULL = Kind(
    "redis.full",
    "wrong",
    "Redis takes no more clients",
    "maxclients is reached. A worker that loses its connection now does not get another one.",
    "CONFIG SET maxclients 10000 (and the limit of open files of its process); CLIENT LIST shows who holds"
    " connections.",
)
LOADING = Kind(
    "redis.loading",
    "wrong",
    "Redis is still loading its data",
    "Until that ends it refuses PING and most commands: workers lose their subscription again and again.",
    'Wait, and watch INFO persistence (loading_eta_seconds). A server for messages alone needs no data: save "".',
)
BUSY = Kind(
    "redis.busy",
    "wrong",
    "Redis is busy with a script",
    "It runs a script that has taken longer than busy-reply-threshold, and delivers no message until that ends.",
    "SCRIPT KILL or FUNCTION KILL; then shorten the script.",
)
OLD = Kind(
    "redis.old",
    "warning",
    "This Redis is too old",
    "Before 6.0 there are no users with rights, and CLIENT LIST tells less; nothing here is tested with it.",
    "Upgrade to a version that is still maintained.",
)
STRANGE = Kind(
    "redis.kind",
    "note",
    "Neither Redis nor Valkey",
    "It speaks the protocol, but nothing here is tested with it; figures may be missing or mean something else.",
    "Watch invalidator_gaps_total more closely, or carry messages on a Redis or Valkey.",
)
REPLICA = Kind(
    "redis.replica",
    "warning",
    "The workers listen to a replica",
    "It passes on what its primary is told, a little later. What is published to the replica itself is heard there"
    " alone, and after a failover it may follow nobody.",
    "Let redis.url name the primary, or its Sentinels: redis+sentinel://HOST:26379/MASTER/0.",
)
CUT_OFF = Kind(
    "redis.replica_cut_off",
    "wrong",
    "The workers listen to a replica whose primary is away",
    "What is published to the primary does not reach it. The subscriptions look alive, and nothing is heard: a loss"
    " that no heartbeat can see.",
    "Let redis.url name the primary; or mend the link: INFO replication on both, masterauth, REPLICAOF.",
)
CLUSTER = Kind(
    "redis.cluster",
    "warning",
    "This is a node of a cluster",
    "A message goes to every node over the cluster's bus, so this works while the node belongs to it. If it leaves"
    " or is cut off, the subscription stays and nothing is heard.",
    "Let redis.url name the Cluster, redis+cluster://HOST:7000,HOST:7000: each worker's echo then goes through another"
    " node, and a node that is cut off is left.",
)
CLUSTER_DOWN = Kind(
    "redis.cluster_down",
    "wrong",
    "The cluster of this node is down",
    "The node cannot see enough of the others: messages published there do not reach it, and keys cannot be written.",
    "redis-cli --cluster check HOST:PORT shows what is missing.",
)
UNSAVED = Kind(
    "redis.cannot_save",
    "warning",
    "Redis cannot save its data",
    "Messages go on, but by default it refuses writes meanwhile (MISCONF), those of applications too, and a restart"
    " brings back old data.",
    "Its log says why: mostly a full disk, a missing folder, or no memory to fork (vm.overcommit_memory=1).",
)
KINDS = (
    REACHED, AWAY, SILENT, AUTH, UNREAD, FULL, LOADING, BUSY, OLD, STRANGE, REPLICA, CUT_OFF, CLUSTER, CLUSTER_DOWN,
    UNSAVED,
)  # fmt: skip
_KIND_OF: dict[Sort, Kind] = {
    "away": AWAY,
    "silent": SILENT,
    "auth": AUTH,
    "full": FULL,
    "loading": LOADING,
    "busy": BUSY,
    "denied": AUTH,
    "unread": UNREAD,
}
_SAVES = ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")


def unreached(server: Server, why: Unreached) -> Finding:
    """The finding about a server that could not be asked."""
    return _KIND_OF[why.sort].found(server.subject, f"{server.name}: {why.why}")


def findings(server: Server, facts: Facts) -> Iterator[Finding]:
    """What INFO says of the server as a whole."""
    yield REACHED.found(server.subject, _portrait(facts))
    name, version = identity(facts)
    if version and version < OLDEST:
        yield OLD.found(server.subject, f"{name} {_dotted(version)}")
    if name not in ("Redis", "Valkey"):
        yield STRANGE.found(server.subject, f"INFO calls it {name}")
    if facts.info.get("loading") == "1":
        done, left = facts.info.get("loading_loaded_perc", "?"), facts.info.get("loading_eta_seconds", "?")
        yield LOADING.found(server.subject, f"loading: 1, {done} % loaded, {left} s left by its own estimate")
    yield from _role(server, facts)
    yield from _cluster(server, facts)
    failed = [f"{name}: {facts.info[name]}" for name in _SAVES if facts.info.get(name, "ok") != "ok"]
    if failed:
        yield UNSAVED.found(server.subject, ", ".join(failed))


def identity(facts: Facts) -> tuple[str, tuple[int, ...]]:
    """What server it is, and its own version (Valkey also says which Redis it is like)."""
    info = facts.info
    if info.get("server_name") == "valkey" or "valkey_version" in info:
        return "Valkey", _version(info.get("valkey_version", ""))
    if "dragonfly_version" in info:
        return "Dragonfly", ()
    if "keydb" in info.get("executable", "").lower() or "mvcc_depth" in info:
        return "KeyDB", ()
    return info.get("server_name", "Redis") if "redis_version" not in info else "Redis", _version(
        info.get("redis_version", "")
    )


def _role(server: Server, facts: Facts) -> Iterator[Finding]:
    if facts.info.get("role") != "slave":
        return
    primary = f"{facts.info.get('master_host', '?')}:{facts.info.get('master_port', '?')}"
    link = facts.info.get("master_link_status", "?")
    evidence = f"role: slave of {primary}, master_link_status: {link}"
    if link == "up":
        yield REPLICA.found(server.subject, evidence)
        return
    since = facts.number("master_link_down_since_seconds")
    yield CUT_OFF.found(server.subject, evidence + (f" for {lasting(since)}" if since is not None else ""))


def _cluster(server: Server, facts: Facts) -> Iterator[Finding]:
    if facts.info.get("cluster_enabled") != "1":
        return
    state = facts.cluster_state or "unknown"
    if state != "fail" and all(settings.url.scheme == "redis+cluster" for _, settings in server.hears):
        return
    kind = CLUSTER_DOWN if state == "fail" else CLUSTER
    yield kind.found(server.subject, f"cluster_enabled: 1, cluster_state: {state}")


def _portrait(facts: Facts) -> str:
    name, version = identity(facts)
    parts = [f"{name} {_dotted(version)}".rstrip()]
    parts += [{"master": "primary", "slave": "replica"}.get(role, role) for role in (facts.info.get("role"),) if role]
    uptime = facts.number("uptime_in_seconds")
    parts += [f"up {lasting(uptime)}"] if uptime is not None else []
    return listed([*parts, f"PING took {facts.ping * 1000:.1f} ms"])


def _version(text: str) -> tuple[int, ...]:
    match = re.match(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,6}))?", text)
    return tuple(int(part) for part in match.groups() if part) if match else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "of unknown version"

"""Looks at the journal as its workers do, over the same connections: what it holds, how far this host is with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from invalidator.doctor.facts import JournalFacts, Place, config_of, info_of
from invalidator.doctor.servers import user_of
from invalidator.doctor.session import sideline, unreached
from invalidator.doctor.wording import shown
from invalidator.journal.cursors import load, path_of
from invalidator.journal.position import OLDEST
from invalidator.journal.reading import Chunk, Look, Unreadable, ask_end, ask_from, judge, seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.doctor.servers import Server
    from invalidator.journal.cursors import Cursors
    from invalidator.journal.entry import EntryId
    from invalidator.topology.models import RedisSettings, WorkerSpec
    from invalidator.wire.hub import Hub

_COUNT = 2
"""Entries: the one that a lane stands on, and the next."""
_MOST_PLACES = 100


def look_up(server: Server) -> tuple[JournalFacts, ...]:
    """The journal of each user and database of a server, as far as workers read it."""
    readers = {way: [one for one in workers if one.delivery == "journal"] for way, workers in server.ways.items()}
    return tuple(_seen(server, way, workers) for way, workers in readers.items() if workers)


def _seen(server: Server, settings: RedisSettings, workers: Sequence[WorkerSpec]) -> JournalFacts:
    user = user_of(settings)
    facts = JournalFacts(tuple(worker.name for worker in workers), user)
    try:
        with sideline(settings, key=server.journal.stream) as asked:
            return _described(facts, asked, server, workers)
    except (redis.RedisError, OSError, ValueError) as error:
        return facts._replace(trouble=Unreadable("unavailable", unreached(error).why))


def _described(facts: JournalFacts, asked: Hub, server: Server, workers: Sequence[WorkerSpec]) -> JournalFacts:
    stream = server.journal.stream
    start, end = seen(asked.exchange(ask_from(stream, OLDEST, 1))), seen(asked.exchange(ask_end(stream)))
    if isinstance(start, Unreadable) or isinstance(end, Unreadable):
        return facts._replace(trouble=next(look for look in (start, end) if isinstance(look, Unreadable)))
    info, appendfsync = asked.exchange([("INFO",), ("CONFIG", "GET", "appendfsync")])
    facts = facts._replace(
        stream=end.facts, oldest=_only(start), newest=_only(end), info=info_of(info), appendfsync=config_of(appendfsync)
    )
    return _kept(facts, asked, server, workers)


def _kept(facts: JournalFacts, asked: Hub, server: Server, workers: Sequence[WorkerSpec]) -> JournalFacts:
    """How far the workers of this host are, by their files."""
    places: list[Place] = []
    moved, unread = [], []
    for worker in workers:
        path = path_of(server.state_dir, worker.name)
        try:
            kept = load(path)
        except (OSError, ValueError) as error:
            unread.append((str(path), shown(getattr(error, "strerror", None) or str(error))))
            continue
        if kept is None or (kept.stream, kept.pattern) != (server.journal.stream, worker.pattern):
            continue
        if kept.server and kept.server != asked.server.run_id:
            moved.append(worker.name)
        else:
            places += _places(asked, worker.name, kept)
    return facts._replace(places=tuple(places), moved=tuple(moved), unread=tuple(unread))


def _places(asked: Hub, worker: str, kept: Cursors) -> Iterator[Place]:
    for lane, cursor in list(kept.lanes.items())[:_MOST_PLACES]:
        position = cursor.position
        if position is None:
            continue
        look = seen(asked.exchange(ask_from(kept.stream, position, _COUNT)))
        found = judge(position, look, _COUNT) if isinstance(look, Look) else None
        yield Place(worker, lane, position.at, None if isinstance(found, Chunk) else found)


def _only(look: Look) -> EntryId | None:
    return look.entries[0].id if look.entries else None

"""What is sent on a subscription's own connection, as bytes, and its answers: there, redis-py is out of the way."""

from __future__ import annotations

import hiredis

from invalidator.topology.patterns import is_glob

PING = b"*1\r\n$4\r\nPING\r\n"
CANNOT_SAVE = "MISCONF"
"""What a Redis whose disk is full says to PING, as to each write. It goes on publishing, and subscribes whoever asks:
a worker that took this for a failure would hear nothing until there is room again, and publishers would not know."""


def numbered_ping(number: int) -> bytes:
    """The answer says the number again, where something is subscribed to: one that is left out was swallowed."""
    return command(b"PING", b"%d" % number)


def pong(reply: object) -> bytes | None:
    """The text of the answer to a PING, empty where the server has left it out; None if this is no such answer."""
    match reply:
        case [b"pong", bytes(text)]:
            return text
        case bytes(text) if text == b"PONG" or text.isdigit():  # by whoever does not know that we subscribe
            return text
        case hiredis.ReplyError() if str(reply).startswith(CANNOT_SAVE):
            return b""
    return None


def subscribe_command(pattern: str) -> bytes:
    """PSUBSCRIBE, or SUBSCRIBE for a name without glob characters: each pattern slows down every PUBLISH."""
    return command(b"PSUBSCRIBE" if is_glob(pattern) else b"SUBSCRIBE", pattern.encode())


def command(*words: bytes) -> bytes:
    """Any command."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

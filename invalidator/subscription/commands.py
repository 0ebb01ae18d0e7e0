"""What is sent on a subscription's own connection, as bytes: there, redis-py is out of the way."""

from __future__ import annotations

from invalidator.topology.patterns import is_glob

PING = b"*1\r\n$4\r\nPING\r\n"


def numbered_ping(number: int) -> bytes:
    """The answer says the number again, where something is subscribed to: one that is left out was swallowed."""
    return command(b"PING", b"%d" % number)


def subscribe_command(pattern: str) -> bytes:
    """PSUBSCRIBE, or SUBSCRIBE for a name without glob characters: each pattern slows down every PUBLISH."""
    return command(b"PSUBSCRIBE" if is_glob(pattern) else b"SUBSCRIBE", pattern.encode())


def command(*words: bytes) -> bytes:
    """Any command."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

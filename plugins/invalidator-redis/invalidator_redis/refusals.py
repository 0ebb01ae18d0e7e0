"""What a server's error reply means for us. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.errors import BackendError

if TYPE_CHECKING:
    from invalidator.messages import FailureReason

AUTH_RETRY_AFTER = 5.0
"""Seconds. A wrong password is put right by a person, and some servers lock out who tries too often."""

_CLUSTER = "it is a node of a cluster, and this type purges single servers"
_MEANINGS: dict[str, tuple[FailureReason, str]] = {
    "NOAUTH": ("auth", "it wants a password"),
    "WRONGPASS": ("auth", "wrong user or password"),
    "NOPERM": ("auth", "this user may not do that"),
    "MOVED": ("unsupported", _CLUSTER),
    "ASK": ("unsupported", _CLUSTER),
    "CROSSSLOT": ("unsupported", _CLUSTER),
    "WRONGTYPE": ("rejected", "not a set"),
    "READONLY": ("server_error", "it is a replica and takes no writes: name its primary"),
    "LOADING": ("server_error", "it is still loading its data"),
    "MASTERDOWN": ("server_error", "it is a replica without its primary"),
    "CLUSTERDOWN": ("server_error", "its cluster is down"),
    "TRYAGAIN": ("server_error", "its cluster is being resharded"),
    "BUSY": ("server_error", "it is busy running a script"),
    "OOM": ("server_error", "it is out of memory"),
    "MISCONF": ("server_error", "it stopped taking writes because it cannot save"),
}
_GENERAL: tuple[tuple[str, FailureReason, str], ...] = (
    ("unknown command", "unsupported", "it does not know a command that is needed (UNLINK, SCAN, FLUSHDB)"),
    ("DB index is out of range", "unsupported", "it has no database of that number"),
    ("max number of clients reached", "server_error", "it takes no more clients"),
    ("password", "auth", "wrong user or password"),
    ("AUTH", "auth", "it does not take this way of authentication"),
)


def code_of(reply: str) -> str:
    """The first word of an error reply, if it is one of the codes: capitals."""
    code = reply.partition(" ")[0]
    return code if code.isascii() and code.isalpha() and code.isupper() and len(code) <= 20 else ""


def refusal(reply: str) -> BackendError:
    """The BackendError for an error reply. Of the reply only its code is shown: some servers quote what was sent.

    A wrong configuration is not tried again, wrong credentials slowly: they are often the file's, and on their way.
    """
    code = code_of(reply)
    reason, meaning = _MEANINGS.get(code) or _general(reply)
    shown = f"{meaning} ({code})" if code not in ("", "ERR") else meaning
    if reason == "auth":
        return BackendError(reason, shown, retry_after=AUTH_RETRY_AFTER)
    return BackendError(reason, shown, retry=reason == "server_error")


def _general(reply: str) -> tuple[FailureReason, str]:
    for words, reason, meaning in _GENERAL:
        if words in reply:
            return reason, meaning
    return "server_error", "it failed"

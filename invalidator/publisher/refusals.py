"""What Redis answers instead of publishing, and what to do about it. Pure."""

from __future__ import annotations

# Redis 7; Valkey; the script; and of what it does, Redis 6.
_NOT_ALLOWED = ("NOPERM", "no permission", "No permission", "may not PUBLISH", "The user executing the script can't")
_SCRIPT = "+eval +evalsha +xadd +publish"


def explained(text: str, user: str, channel: str, stream: str) -> str:
    """Redis' own words, and behind them what helps. `stream` is empty where there is no journal."""
    advice = _advice(text, user, channel, stream)
    return f"{text}: {advice}" if advice else text


def _advice(text: str, user: str, channel: str, stream: str) -> str:
    if _says(text, *_NOT_ALLOWED):
        rights = f"{_SCRIPT} ~{stream}" if stream else "+publish"
        return f"ACL SETUSER {user} {rights} &{channel}"
    if _says(text, "READONLY", "read only replica"):
        return "this is a replica: name the master, or the Sentinels, in the URL"
    if not stream:
        return ""
    if _says(text, "OOM", "maxmemory"):
        return "nothing was published: raise its maxmemory, or keep fewer entries in the journal"
    if _says(text, "WRONGTYPE", "wrong kind of value"):
        return f"the key {stream} is no Stream: delete it, or name another one as the journal's stream"
    return ""


def _says(text: str, *words: str) -> bool:
    return any(word in text for word in words)

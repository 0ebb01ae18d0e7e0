"""The script that keeps a message in the journal and publishes it in one step. Needs neither Redis nor pydantic."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

ROOM = len('"journal":"18446744073709551615-18446744073709551615",')
"""Bytes by which what is published is longer, at most, than a JSON payload that was given."""


@cache
def source() -> str:
    """The script, for EVAL with one key (the Stream), and the channel, the payload and how many entries to keep."""
    return Path(__file__).with_name("publish.lua").read_text(encoding="utf-8")


@cache
def digest() -> str:
    """Its name for EVALSHA."""
    return hashlib.sha1(source().encode(), usedforsecurity=False).hexdigest()

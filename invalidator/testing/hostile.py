"""Keys that break out of a protocol where they are not held in, and two plain ones that they must leave alone."""

from __future__ import annotations

FOUND, OTHER = "conformance:users:42", "conformance:orders:7"

HOSTILE_KEYS = (
    "",
    " ",
    "a b",
    f"{FOUND} {OTHER}",
    f"x\r\ndelete {OTHER}",
    f"x\r\nflush_all\r\nmd {OTHER}",
    f"x q\r\nmd {OTHER} q",
    "x\r\nFLUSHALL\r\n",
    f"*2\r\n$6\r\nUNLINK\r\n${len(OTHER)}\r\n{OTHER}\r\n",
    "x\r\n\r\nPURGE /conformance:orders:7 HTTP/1.1\r\nHost: x\r\n\r\n",
    "x\r\n folded: header",
    "x\n\tfolded",
    "\x00",
    f"{OTHER}\x00",
    "\x7f",
    "\x85",
    "k" * 251,
    "k" * 9000,
    "ключ:日本:é",
    "\ud800",
    "../../etc/passwd",
    f"x/../{OTHER}",
    f"x/%2e%2e/{OTHER}",
    f"x/%252e%252e/{OTHER}",
    "..",
    "http://192.0.2.1/",
    "//192.0.2.1/x",
    "@192.0.2.1",
    "user:secret@192.0.2.1:80/x",
    "?x=1#y",
    "*",
    "conformance:*",
    "[a-z]*",
    "{key}",
    "%s%n{0}",
    "${HOME}",
)
"""All of them must be refused, or be purged as what they are."""

"""How values are put into words. What a server says is a stranger's text: it must not drive a terminal. Pure."""

from __future__ import annotations

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_TIMES = ((86_400, "d"), (3_600, "h"), (60, "min"))


def shown(text: str | bytes, longest: int = 120) -> str:
    """A foreign text on one line, with `?` for what cannot be printed, and cut."""
    if isinstance(text, bytes):
        text = text[: 4 * longest].decode(errors="replace")
    clean = "".join(char if char.isprintable() else "?" for char in text[: longest + 1])
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def size(count: int) -> str:
    """Bytes, to three digits: `8 MiB`, `20.5 KiB`, `512 bytes`."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"
    return f"{count} bytes"


def lasting(seconds: float) -> str:
    """A span of time: `3 d`, `12 min`, `4 s`."""
    for unit, name in _TIMES:
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def micros(count: int) -> str:
    """Microseconds: `12 µs`, `3.2 ms`, `1.5 s`."""
    if count < 1_000:
        return f"{count} µs"
    return f"{count / 1_000:.3g} ms" if count < 1_000_000 else f"{count / 1_000_000:,.2f} s"

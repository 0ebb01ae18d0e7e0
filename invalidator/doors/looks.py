"""What the status page is dressed in: its style and script, both within the page, and the line of a rate.

The page's policy names the two by their hashes. Whatever a hostile text might become, no browser runs or loads it.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.screen.text import rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.screen.words import Tone

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
SIGNS: dict[str, str] = {"running": "✓", "starting": "…", "degraded": "!", "stopping": "–"}
_ICON_COLOURS: dict[Tone, str] = {"ok": "1e8e5a", "warn": "b07000", "bad": "c62f28", "idle": "6b747d"}
_HEIGHT = 36
_MOST_POINTS = 120


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_POLICY = (
    f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),  # for browsers that do not know frame-ancestors
)


def icon(tone: Tone) -> str:
    """The address of a dot in the state's colour, for the browser's tab."""
    circle = f"<circle cx='4' cy='4' r='4' fill='%23{_ICON_COLOURS[tone]}'/>"
    return escape(f"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'>{circle}</svg>")


def sparkline(rates: Sequence[float]) -> str:
    """The line of a rate over the last seconds, and the same in words for whoever cannot see it."""
    points = [value if 0 <= value < float("inf") else 0.0 for value in rates[-_MOST_POINTS:]]
    if len(points) < 2:
        return ""
    top = max(*points, 1.0)
    # Half a line's width is left at the bottom and at the top, or the line would be cut there.
    line = " ".join(f"{x},{_HEIGHT - 1 - value / top * (_HEIGHT - 2):.1f}" for x, value in enumerate(points))
    right = len(points) - 1
    words = f"{len(points)} seconds of messages: from {rate(min(points))} to {rate(max(points))}"
    return (
        f'<svg role="img" aria-label="{words}" viewBox="0 0 {right} {_HEIGHT}" preserveAspectRatio="none">'
        f"<title>{words}</title>"
        f'<polygon class="below" points="0,{_HEIGHT} {line} {right},{_HEIGHT}"/>'
        f'<polyline class="trace" points="{line}"/></svg>'
    )

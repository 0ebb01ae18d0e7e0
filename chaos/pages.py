"""The HTTP cache of the scene: Varnish where it is installed, and as the application sees it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from invalidator.stage.stores import HttpStore
from tests.support.caches import Varnish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from invalidator.stage.truth import Truth

# What is asked for with only-if-cached and is not there is answered with a dash, as HttpStore reads it; so is a PURGE.
_ONLY_IF_CACHED = """
sub vcl_miss {
    if (req.http.cache-control ~ "only-if-cached") { return (synth(504, "Not cached")); }
}
sub vcl_synth {
    set resp.http.content-type = "text/plain";
    synthetic({"-
"});
    return (deliver);
}
"""
_PURGED = re.compile(rb"[^\r]\n")


class PageCache(Varnish):
    """Varnish, whose objects live in memory: enough of it that nothing is evicted."""

    def __init__(self, folder: Path, origin: str) -> None:
        super().__init__(folder, origin)
        self._vcl.write_text(self._vcl.read_text() + _ONLY_IF_CACHED)

    def _arguments(self) -> list[str]:
        return [item.replace("malloc,16m", "malloc,192m") for item in super()._arguments()]


class PageStore(HttpStore):
    """Refills through the cache, and then looks again, as SharedStore says why.

    No cache that is purged while it fetches can win that race by itself: what it stores afterwards was loaded before.
    """

    def refill(self, keys: Sequence[str], truth: Truth) -> None:
        """See Store."""
        answers = zip(keys, self._get(keys, ""), strict=True)
        outdated = [key for key, version in answers if version is not None and truth.version(key) != version]
        if outdated:
            requests = "".join(f"PURGE /{key} HTTP/1.1\r\nHost: shop\r\n\r\n" for key in outdated)
            self._line.ask(requests.encode(), lambda seen: len(_PURGED.findall(seen)) == len(outdated))

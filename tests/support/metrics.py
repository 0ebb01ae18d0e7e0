"""The Prometheus text format, as a test wants to ask it."""

from __future__ import annotations

import re

from invalidator.slots import ENDS

Series = tuple[str, frozenset[tuple[str, str]]]

_LINE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


class Metrics(dict[Series, float]):
    """Every series with its value: `{(name, {(label, value), …}): 3.0}`."""

    def value(self, name: str, **labels: str) -> float:
        """The sum over all series of this name that carry these labels. KeyError when there is none."""
        wanted = set(labels.items())
        found = [number for (series, has), number in self.items() if series == name and wanted <= has]
        if not found:
            raise KeyError(f"no series {name} with {labels}")
        return sum(found)

    def has(self, name: str, **labels: str) -> bool:
        return any(series == name and set(labels.items()) <= has for series, has in self)


def parse(text: str) -> Metrics:
    """ValueError for a line that is neither a comment nor a sample, and for a series that comes twice."""
    metrics = Metrics()
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a sample: {line!r}")
        labels = frozenset((name, _unescape(value)) for name, value in _LABEL.findall(match["labels"] or ""))
        series = (match["name"], labels)
        if series in metrics:
            raise ValueError(f"this series comes twice: {line!r}")
        metrics[series] = float(match["value"])
    return metrics


def unaccounted(metrics: Metrics, worker: str, backend: str) -> float:
    """Targets received that have neither come to an end nor are pending."""
    lane = {"worker": worker, "backend": backend}
    ended = sum(metrics.value("invalidator_targets_total", **lane, end=end) for end in ENDS)
    received = metrics.value("invalidator_targets_received_total", **lane)
    return received - ended - metrics.value("invalidator_pending", **lane)


def _unescape(value: str) -> str:
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], value)

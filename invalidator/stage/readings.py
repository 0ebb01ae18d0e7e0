"""What the daemon says of itself at /metrics."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"invalidator_(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Readings:
    """Samples at one moment: name (without `invalidator_`), labels, value."""

    samples: list[tuple[str, dict[str, str], float]] = field(default_factory=list)

    def sum(self, name: str, **labels: str) -> int:
        """The sum over all series of this name with these labels; 0 if there is none."""
        return int(
            sum(value for sample, has, value in self.samples if sample == name and labels.items() <= has.items())
        )

    def by(self, name: str, label: str) -> dict[str, int]:
        """The sums of this name's series by one label's value, without those that are 0."""
        values = dict.fromkeys(has[label] for sample, has, _ in self.samples if sample == name)
        return {value: count for value in values if (count := self.sum(name, **{label: value}))}

    def quantile(self, name: str, share: float, **labels: str) -> float | None:
        """A histogram's quantile in seconds, interpolated within its bucket; None if nothing was observed."""
        buckets: dict[float, float] = {}
        for sample, has, value in self.samples:
            if sample == f"{name}_bucket" and labels.items() <= has.items():
                buckets[float(has["le"])] = buckets.get(float(has["le"]), 0) + value
        return _quantile(sorted(buckets.items()), share)


def parse(text: str) -> Readings:
    """Readings from Prometheus' text format."""
    found = (_SAMPLE.fullmatch(line) for line in text.splitlines())
    return Readings([(each[1], dict(_LABEL.findall(each[2])), float(each[3])) for each in found if each])


def ask(address: str, path: str) -> tuple[int, str]:
    """Status and text of a page of the daemon's endpoint; (0, "") if it does not answer."""
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def _quantile(buckets: list[tuple[float, float]], share: float) -> float | None:
    """`buckets` are upper bounds with the count of all that is below them, in ascending order."""
    if not buckets or not buckets[-1][1]:
        return None
    rank = share * buckets[-1][1]
    bound_before = count_before = 0.0
    for bound, count in buckets:
        if count >= rank and count > count_before:
            if bound == float("inf"):
                return bound_before
            return bound_before + (bound - bound_before) * (rank - count_before) / (count - count_before)
        bound_before, count_before = bound, count
    return bound_before

"""What a PromQL expression asks for: its metrics, its label matchers, its labels. `promtool` knows its grammar better.

A query that names a metric which nobody has is no error to Prometheus: it has no result, and its alert never fires.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TOKEN = re.compile(
    r"""\s*(?: (?P<string>"(?:[^"\\]|\\.)*") | (?P<word>[A-Za-z_:][\w:]*) | (?P<number>[\d.][\w.]*)
    | (?P<sign>=~|!~|!=|==|>=|<=|[][{}(),=<>+*/%^@:-]) )""",
    re.VERBOSE,
)
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_OF_COUNTERS = {"rate", "irate", "increase", "resets"}


class Matcher(NamedTuple):
    """One condition of a selector: `end=~"purged|flushed"`."""

    label: str
    operator: str
    value: str


class Selector(NamedTuple):
    """A metric, its conditions, and the function that is applied to it; empty if none is."""

    metric: str
    matchers: tuple[Matcher, ...]
    function: str


@dataclass
class Query:
    """What an expression asks for."""

    selectors: list[Selector] = field(default_factory=list)
    grouping: set[str] = field(default_factory=set)


class Metric(NamedTuple):
    """What there is under one name: each label with all of its values (None: any), and whether it only grows."""

    labels: Mapping[str, frozenset[str] | None]
    counter: bool


def read(expression: str) -> Query:
    """ValueError for what is no expression, as far as that can be seen from here."""
    tokens = _tokens(expression)
    query = Query()
    at = 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        if token == "{":
            raise ValueError(f"a selector without a metric's name: {expression}")
        if token in _GROUPING and following == "(":
            end = tokens.index(")", at)
            query.grouping |= set(tokens[at + 2 : end]) - {","}
            at = end
        elif _is_word(token) and following not in {"(", "by", "without"} and token.lower() not in _WORDS:
            end = tokens.index("}", at) if following == "{" else at
            function = tokens[at - 2] if at >= 2 and tokens[at - 1] == "(" and _is_word(tokens[at - 2]) else ""
            query.selectors.append(Selector(token, tuple(_matchers(tokens[at + 2 : end])), function))
            at = end
        at += 1
    return query


def faults(expression: str, metrics: Mapping[str, Metric]) -> list[str]:
    """Everything that it asks for and that is not among `metrics`."""
    query = read(expression)
    known = [selector for selector in query.selectors if selector.metric in metrics]
    found = [f"no metric {selector.metric}" for selector in query.selectors if selector not in known]
    for selector in known:
        metric = metrics[selector.metric]
        found += [fault for matcher in selector.matchers for fault in _mismatches(selector.metric, matcher, metric)]
        if selector.function in _OF_COUNTERS and not metric.counter:
            found.append(f"{selector.function} of {selector.metric}, which is a gauge")
    there = labels_of(query, metrics)
    return found + [f"no label {label} to group by" for label in sorted(query.grouping - there)]


def labels_of(query: Query, metrics: Mapping[str, Metric]) -> set[str]:
    """The labels of everything that it selects."""
    return {
        label for selector in query.selectors if selector.metric in metrics for label in metrics[selector.metric].labels
    }


def _mismatches(name: str, matcher: Matcher, metric: Metric) -> Iterator[str]:
    if matcher.label not in metric.labels:
        yield f"{name} has no label {matcher.label}"
    elif (values := metric.labels[matcher.label]) is not None:
        # Of a regular expression over a known set only the form `a|b` is wanted: it can be read, and checked.
        asked = matcher.value.split("|") if "~" in matcher.operator else [matcher.value]
        yield from (f"{name} has no {matcher.label}={value!r}" for value in asked if value not in values)


def _matchers(tokens: list[str]) -> Iterator[Matcher]:
    at = 0
    while at < len(tokens):
        label, operator, value = tokens[at : at + 3]
        yield Matcher(label, operator, value[1:-1])
        at += 4  # and the comma


def _is_word(token: str) -> bool:
    return re.fullmatch(r"[A-Za-z_:][\w:]*", token) is not None


def _tokens(expression: str) -> list[str]:
    found, at, text = [], 0, expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"what is this: {text[at:]!r}")
        found.append(match[match.lastgroup or 0])
        at = match.end()
    return found

"""What a batch becomes: the requests, and which targets each of them answers for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from invalidator.backend import targets_of
from invalidator.http import Request, encode, hazard, parse_url
from invalidator.messages import Failure, Target
from invalidator_http import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from invalidator.messages import Batch, Kind
    from invalidator_http.options import HttpOptions


class Call(NamedTuple):
    """One request, and the targets that are purged once it, and every other call that names them, has succeeded."""

    targets: tuple[Target, ...]
    request: Request


class Planner:
    """Turns batches into calls for one server, whose own `Host` is `authority`."""

    def __init__(self, options: HttpOptions, authority: str) -> None:
        self._options = options
        self._authority = authority
        self._hosts = options.host or (authority,)
        self._key_paths, self._tag_paths = options.key_paths, options.tag_paths
        self._headers = tuple((name, value.get_secret_value()) for name, value in options.headers.items())
        soft = options.soft
        self._soft_method = (soft and soft.method) or options.method
        extra = soft.headers if soft else {}
        replaced = {name.lower() for name in extra}
        self._soft_headers = (
            *((name, value) for name, value in self._headers if name.lower() not in replaced),
            *((name, value.get_secret_value()) for name, value in extra.items()),
        )
        self._tag_header = options.tag_header or ""
        self._separator = options.tag_separator or ("," if self._tag_header.lower() == "cache-tag" else " ")

    @property
    def host(self) -> str:
        """The `Host` of a request that is about no object."""
        return self._hosts[0]

    def plan(self, batch: Batch) -> tuple[list[Call], list[Failure]]:
        """The calls for a batch, and a failure for each target that must not become one."""
        calls: list[Call] = []
        failures: list[Failure] = []
        kinds = self._options.kinds()
        for target in targets_of(batch):
            if target.kind not in kinds:
                failures.append(Failure(target, "unsupported", retry=False, detail="not with these options"))
            elif target.kind == "tag" and self._tag_header:
                continue
            else:
                try:
                    calls += [Call((target,), request) for request in self._requests(target, soft=batch.soft)]
                except ValueError as error:
                    failures.append(Failure(target, "unsafe", retry=False, detail=str(error)))
        if self._tag_header:
            calls += self._packed(batch.tags, failures, soft=batch.soft)
        return calls, failures

    def alone(self, call: Call, *, soft: bool) -> list[Call]:
        """The same call as one for each of its tags: a server that refuses many may do so for one of them."""
        host = call.request.host
        return [Call((target,), self._tagged([target.value], host, soft=soft)) for target in call.targets]

    def told_by_headers(self, call: Call) -> str:
        """What a call's headers say of what it is about: `, Host: shop.example, xkey: a b`. The others are secrets."""
        told = {self._tag_header.lower(), self._options.ban_header.lower()} - {""}
        set_by_operator = {name.lower() for name, _ in (*self._headers, *self._soft_headers)}
        headers = [("Host", call.request.host)] if call.request.host != self._authority else []
        headers += [pair for pair in call.request.headers if pair[0].lower() in told - set_by_operator]
        return "".join(f", {name}: {value}" for name, value in headers)

    def _requests(self, target: Target, *, soft: bool) -> Iterable[Request]:
        if self._options.bans:
            return self._bans(target)
        if target.kind == "url":
            return [self._url(target.value, soft=soft)]
        if target.kind == "key":
            return self._paths(self._key_paths, "{key}", target.value, soft=soft)
        return self._paths(self._tag_paths, "{tag}", target.value, soft=soft)

    def _paths(self, templates: tuple[str, ...], place: str, value: str, *, soft: bool) -> list[Request]:
        encoded = encode(value)
        paths = [template.replace(place, encoded) for template in templates]
        # By itself too: in a query it is no path yet, but the server behind it may well use it as one.
        for path in (value, *(path.partition("?")[0] for path in paths)):
            if why := hazard(path):
                raise ValueError(why)
        return [self._request(path, host, soft=soft) for path in paths for host in self._hosts]

    def _url(self, text: str, *, soft: bool) -> Request:
        url = parse_url(text)
        if url.authority not in self._options.hosts:
            raise ValueError("its host is not among `hosts`")
        template = self._options.url_template or "{path}"
        return self._request(template.replace("{path}", url.target), url.authority, soft=soft)

    def _bans(self, target: Target) -> list[Request]:
        if target.kind == "tag":
            return self._ban(self._options.ban_tag or "{regex}", regex.word(target.value))
        if target.kind == "all":
            return self._ban(self._options.ban, "^/")
        make = _REGEXES[target.kind]
        return [
            request for path in self._key_paths for request in self._ban(self._options.ban, make(path, target.value))
        ]

    def _ban(self, template: str, expression: str) -> list[Request]:
        header = (self._options.ban_header, template.replace("{regex}", expression))
        return [Request("BAN", "/", self.host, (*self._headers, header))]

    def _packed(self, tags: Iterable[str], failures: list[Failure], *, soft: bool) -> list[Call]:
        """As few requests as the bound on the header allows."""
        safe: list[str] = []
        for tag in tags:
            if why := self._unfit(tag):
                failures.append(Failure(Target("tag", tag), "unsafe", retry=False, detail=why))
            else:
                safe.append(tag)
        return [
            Call(tuple(Target("tag", tag) for tag in some), self._tagged(some, host, soft=soft))
            for some in _packs(safe, self._options.tag_size)
            for host in self._hosts
        ]

    def _unfit(self, tag: str) -> str:
        if not tag or not tag.isascii() or not tag.isprintable() or " " in tag or "," in tag:
            return "a header of tags can only hold visible ASCII without spaces and commas"
        return "is longer than `tag_size`" if len(tag) > self._options.tag_size else ""

    def _tagged(self, tags: list[str], host: str, *, soft: bool) -> Request:
        return self._request(self._options.tag_path, host, (self._tag_header, self._separator.join(tags)), soft=soft)

    def _request(self, path: str, host: str, *more: tuple[str, str], soft: bool) -> Request:
        if soft and self._options.soft:
            return Request(self._soft_method, path, host, (*self._soft_headers, *more))
        return Request(self._options.method, path, host, (*self._headers, *more))


_REGEXES: dict[Kind, Callable[[str, str], str]] = {
    "key": regex.exact,
    "prefix": regex.starting,
    "pattern": regex.matching,
}


def _packs(tags: list[str], size: int) -> Iterator[list[str]]:
    pack: list[str] = []
    used = 0
    for tag in tags:
        if pack and used + len(tag) > size:
            yield pack
            pack, used = [], 0
        pack.append(tag)
        used += len(tag) + 1
    if pack:
        yield pack

"""The options of `type: http`, and what they say about the kinds of target that a server can purge."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 -- pydantic reads it
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from invalidator.http import Request, check_header, encode_request, hazard, parse_authority, parse_origin
from invalidator.options import BackendOptions, Duration, Secret, Settings, Size
from invalidator_http.regex import exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from invalidator.messages import Kind
    from invalidator.topology.models import Topology


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _origin(text: str) -> str:
    return str(parse_origin(text))


def _host(text: str) -> str:
    parse_authority(text, 80)
    return text.lower()


def _template(*places: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if sum(text.count(place) for place in places) != 1:
            raise ValueError(f"needs {' or '.join(places)} in it, once")
        example = text
        for place in places:
            example = example.replace(place, "/x" if place == "{path}" else "x")
        if "{" in example or "}" in example:
            raise ValueError(f"knows no other placeholder than {' and '.join(places)}")
        return _path_like(example) and text

    return check


def _path_like(text: str) -> str:
    encode_request(Request("GET", text, "localhost"))
    if why := hazard(text):
        raise ValueError(why)
    return text


def _header_name(name: str) -> str:
    check_header(name, "")
    return name


def _method(name: str) -> str:
    if name in {"CONNECT", "HEAD", "OPTIONS", "TRACE"}:
        raise ValueError("purges nothing anywhere")
    return name


def _expression(text: str) -> str:
    if text.count("{regex}") != 1:
        raise ValueError("needs {regex} in it, once")
    check_header("x", text)
    return text


OriginText = Annotated[str, AfterValidator(_origin)]
Host = Annotated[str, AfterValidator(_host)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
Method = Annotated[str, Field(pattern="^[A-Z][A-Z-]{0,31}$"), AfterValidator(_method)]
PathTemplate = Annotated[str, AfterValidator(_template("{key}", "{tag}"))]
UrlTemplate = Annotated[str, AfterValidator(_template("{path}"))]
PlainPath = Annotated[str, AfterValidator(_path_like)]
Expression = Annotated[str, AfterValidator(_expression)]
Headers = dict[HeaderName, Secret]


class HttpTimeouts(Settings):
    """How long one server may take."""

    connect: Duration = Field(default=1.0, gt=0, description="until a connection stands, TLS included")
    read: Duration = Field(default=2.0, gt=0, description="the longest silence before or within an answer")
    total: Duration = Field(default=5.0, gt=0, description="from a request's first byte to its answer's last")


class Soft(Settings):
    """What a request that marks stale has instead of, or beside, what one that removes has."""

    method: Method | None = Field(default=None, description="instead of `method`")
    headers: Headers = Field(default_factory=dict, description="beside `headers`")


class HttpOptions(BackendOptions):
    """A cache that is purged by HTTP requests. Every one of `targets` is purged, each at its own pace."""

    targets: tuple[OriginText, ...] = Field(
        min_length=1, description="the servers: `http://host:port`, `https://host` or `unix:/path`"
    )
    method: Method = Field(
        default="PURGE", description="the request's method; with `BAN`, targets become ban expressions"
    )
    path: Annotated[
        tuple[PathTemplate, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])
    ] = Field(
        default=("/{key}",),
        description="one path, or a list, in which an object is cached under its `{key}` (or `{tag}`)",
    )
    url_path: UrlTemplate | None = Field(
        default=None,
        description="the request's path for a message's URL, whose own is `{path}`; PURGE has `{path}` by default",
    )
    host: Annotated[tuple[Host, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])] = Field(
        default=(), description="one `Host`, or a list, under which objects are cached; the target's own by default"
    )
    hosts: tuple[Host, ...] = Field(default=(), description="the hosts that a message's URLs may name")
    headers: Headers = Field(default_factory=dict, description="headers of every request; their values are secrets")
    tag_header: HeaderName | None = Field(
        default=None, description="the header that takes several tags at once: `xkey`, `Surrogate-Key`, `Cache-Tag`"
    )
    tag_path: PlainPath = Field(default="/", description="the path of a request with `tag_header`")
    tag_separator: Literal[" ", ","] | None = Field(default=None, description="a comma for `Cache-Tag`, else a space")
    tag_size: Size = Field(default=4096, ge=256, le=65536, description="the longest value of `tag_header`")
    ban_header: HeaderName = Field(default="X-Ban", description="the header that carries a ban expression")
    ban: Expression = Field(
        default="obj.http.x-url ~ {regex}", description="the expression for keys, prefixes, patterns and all"
    )
    ban_tag: Expression | None = Field(
        default=None, description="the expression for tags, like `obj.http.xkey ~ {regex}`"
    )
    soft: Soft | None = Field(default=None, description="how this server is asked to mark stale instead of to remove")
    connections: int = Field(default=8, ge=1, le=64, description="the most connections to one server")
    pipeline: int = Field(
        default=8, ge=1, le=64, description="the most requests that wait for their answers on one connection"
    )
    timeouts: HttpTimeouts = HttpTimeouts()
    ca_file: Path | None = Field(default=None, description="certificates to trust instead of the system's")

    def kinds(self) -> frozenset[Kind]:
        kinds: set[Kind] = set()
        if self.bans:
            kinds |= {"prefix", "pattern"} if self.key_paths else set()
            kinds |= {"all"}
            kinds |= {"tag"} if self.ban_tag else set()
        if self.key_paths:
            kinds.add("key")
        if self.tag_paths or self.tag_header:
            kinds.add("tag")
        if self.url_template:
            kinds.add("url")
        return frozenset(kinds)

    def soft_kinds(self) -> frozenset[Kind]:
        return self.kinds() if self.soft else frozenset()

    def problems(self, topology: Topology) -> Iterable[str]:
        del topology
        if self.ca_file and not self.ca_file.is_file():
            yield f"ca_file: there is no file {self.ca_file}"

    @property
    def bans(self) -> bool:
        """Whether targets become ban expressions."""
        return self.method == "BAN"

    @property
    def key_paths(self) -> tuple[str, ...]:
        """The paths that have `{key}`."""
        return tuple(path for path in self.path if "{key}" in path)

    @property
    def tag_paths(self) -> tuple[str, ...]:
        """The paths that have `{tag}`."""
        return tuple(path for path in self.path if "{tag}" in path)

    @property
    def url_template(self) -> str | None:
        """`url_path`, or what the method implies: PURGE takes the URL itself; a GET of it would only fill the cache."""
        return self.url_path or ("{path}" if self.method == "PURGE" else None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for headers in (self.headers, self.soft.headers if self.soft else {}):
            for name, value in headers.items():
                check_header(name, value.get_secret_value())
        if self.bans and (self.soft or self.tag_header or self.tag_paths or self.url_path):
            raise ValueError("method BAN goes with `path`, `ban` and `ban_tag` alone: a ban is neither soft nor a path")
        if self.tag_header and self.tag_paths:
            raise ValueError("a tag goes into `tag_header` or into a path, not into both")
        for path in self.key_paths if self.bans else ():
            exact(path, "")
        if not self.bans and self.ban_tag:
            raise ValueError("ban_tag needs `method: BAN`")
        if not self.kinds():
            raise ValueError("there is nothing that this could purge: give `path`, `url_path` or `tag_header`")
        if len(set(self.targets)) < len(self.targets):
            raise ValueError("a target is named twice")
        if self.ca_file and not any(target.startswith("https:") for target in self.targets):
            raise ValueError("ca_file is for https targets, and there is none")
        return self

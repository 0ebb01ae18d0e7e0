"""The options that every CDN has: where its API is, who we are there, and what is purged below which hosts."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 -- pydantic reads it
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from invalidator.cdn.templates import parse_template
from invalidator.cdn.token import checked
from invalidator.errors import BackendError
from invalidator.http import Origin, Request, encode_request, hazard, parse_authority, parse_origin
from invalidator.options import BackendOptions, Duration, Secret, Settings
from invalidator.topology.models import PathBeside  # noqa: TC001 -- so too

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invalidator.topology.models import Topology


class Base(NamedTuple):
    """Where an API is: its server, and the path that all of its calls begin with (`/client/v4`, or nothing)."""

    origin: Origin
    path: str


def parse_base(text: str) -> Base:
    """`https://host[:port][/path]`, or `unix:/path` of a socket, as a Base. Raises ValueError."""
    if text.startswith("unix:"):
        if text.startswith("unix://"):
            raise ValueError("a unix socket is unix:/path, with one slash")
        return Base(parse_origin(text), "")
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise ValueError("an API's URL carries no credentials: the token stands in `token_file`, or in `token`")
    origin = parse_origin(f"{scheme}://{authority}" if rest else text)
    path = (slash + path).rstrip("/")
    encode_request(Request("GET", path or "/", "localhost"))
    if "?" in path or "#" in path or hazard(path):
        raise ValueError("a base URL ends with a path, without `?`, `#` and `..`")
    return Base(origin, path)


def _base(text: str) -> str:
    parse_base(text)
    return text


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _template(text: str) -> str:
    return str(parse_template(text))


def _host(text: str) -> str:
    parse_authority(text, 80)
    return text.lower()


def placed(placeholder: str) -> AfterValidator:
    """A validator: a tag's template, with the placeholder in it once and no other."""

    def check(text: str) -> str:
        before, found, after = text.partition(placeholder)
        if not found or "{" in before + after or "}" in before + after:
            raise ValueError(f"needs {placeholder} in it, once, and no other placeholder")
        if not (before + after).isascii() or any(char <= " " or char == "\x7f" for char in before + after):
            raise ValueError("is made of visible ASCII without spaces")
        return text

    return AfterValidator(check)


BaseUrl = Annotated[str, AfterValidator(_base)]
Host = Annotated[str, AfterValidator(_host)]
UrlTemplates = Annotated[
    tuple[Annotated[str, AfterValidator(_template)], ...],
    BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...]),
    Field(max_length=16),
]
KeyTag = Annotated[str, placed("{key}")]
TagTemplate = Annotated[str, placed("{tag}")]


class CdnTimeouts(Settings):
    """How long the API may take."""

    connect: Duration = Field(default=2.0, gt=0, description="until a connection stands, TLS included")
    read: Duration = Field(default=4.0, gt=0, description="the longest silence before or within an answer")
    total: Duration = Field(default=5.0, gt=0, description="from a request's first byte to its answer's last")


class CdnOptions(BackendOptions):
    """What every CDN's options begin with. A subclass gives `api` its default, and says which kinds it has."""

    api: BaseUrl = Field(description="the base URL of the API; another one for a proxy, or a fake")
    token: Secret | None = Field(default=None, description="the API token; better in a file, or as `${cred:name}`")
    token_file: PathBeside | None = Field(
        default=None, validate_default=True, description="a file with the token, read anew each time: it may be rotated"
    )
    url: UrlTemplates = Field(
        default=(),
        description="one URL, or a list, under which the object of a `{key}` is cached",
        examples=["https://shop.example/{key}"],
    )
    hosts: tuple[Host, ...] = Field(
        default=(), max_length=1000, description="the hosts that a message's URLs may name; none: no URLs"
    )
    key_tag: KeyTag | None = Field(
        default=None, description="the tag that the object of a `{key}` carries: keys are purged by it, not by URL"
    )
    tag: TagTemplate = Field(default="{tag}", description="what a message's `{tag}` is called at the edge")
    account: str = Field(
        default="",
        max_length=200,
        description="a name of yours for the account: backends that give the same share its limits; default: the token",
    )
    limits_dir: PathBeside | None = Field(
        default=None, description="a folder in which the daemons of a host share those limits; default: the state_dir"
    )
    connections: int = Field(default=8, ge=1, le=64, description="the most connections of one worker to the API")
    timeouts: CdnTimeouts = CdnTimeouts()
    ca_file: Path | None = Field(default=None, description="certificates to trust instead of the system's")

    def problems(self, topology: Topology) -> Iterable[str]:
        del topology
        # Not of token_file: a credential of systemd is there for the service alone.
        if self.ca_file and not self.ca_file.is_file():
            yield f"ca_file: there is no file {self.ca_file}"

    @property
    def base(self) -> Base:
        """Where the API is."""
        return parse_base(self.api)

    @property
    def identity(self) -> tuple[str, ...]:
        """Whose limits these are, as far as we can tell. A rotated token in the same file is the same account's."""
        if self.account:
            return ("account", self.api, self.account)
        if self.token_file:
            return ("file", self.api, str(self.token_file.absolute()))
        return ("token", self.api, self.token.get_secret_value() if self.token else "")

    # Of the field, not of the model: so it is said beside whatever else is wrong, and hides nothing.
    @field_validator("token_file")
    @classmethod
    def _one_token(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if "token" in info.data and (info.data["token"] is None) == (file is None):
            raise ValueError(
                "is one token too many: give token_file or token" if file else "needs a token_file, or a token"
            )
        return file

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.token is not None:
            try:
                checked(self.token.get_secret_value(), "token")
            except BackendError as error:
                raise ValueError(error.detail) from None
        if self.url and self.key_tag:
            raise ValueError("keys are purged by `url` or by `key_tag`, not by both")
        if self.ca_file and not self.api.startswith("https:"):
            raise ValueError("ca_file is for an https api")
        return self

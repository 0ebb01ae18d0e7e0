"""The Fastly backend against the fake that enforces what Fastly documents."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import ValidationError

import invalidator_fastly
from invalidator import Backend, BackendContext, BackendError, Batch, Target
from invalidator.testing import BackendConformance, CacheUnderTest, EdgeUnderTest
from invalidator.testing.bucket import TokenBucket
from invalidator.testing.fastly import FakeFastly
from invalidator.testing.faults import saying, server_error, too_many, unsuccessful
from invalidator.testing.rig import attempt, purge, settled
from invalidator_fastly.options import FastlyOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from invalidator.messages import Kind
    from invalidator.testing.faults import Fault

URL = "https://shop.example/{key}"


class Service(EdgeUnderTest[FakeFastly]):
    secret = "fake-fastly-token-0123456789abcdef"

    def __init__(self, fake: FakeFastly, **options: Any) -> None:
        super().__init__(fake)
        self._options = options

    def options(self) -> dict[str, Any]:
        return {
            "api": self.fake.url,
            "token": self.fake.token,
            "service": self.fake.service,
            "hosts": ["shop.example"],
            **self._options,
        }

    def store(self, key: str, tags: Sequence[str] = ()) -> None:
        self.fake.edge.put(self.url(key), tags=[key, *tags])


class TestFastlyConforms(BackendConformance):
    plugin = invalidator_fastly
    type_name = "fastly"

    @pytest.fixture
    def cache(self) -> Iterator[CacheUnderTest]:
        with FakeFastly() as fake:
            yield Service(fake)


class TestFastlyConformsByUrl(BackendConformance):
    plugin = invalidator_fastly
    type_name = "fastly"
    many = 1_000  # a call for each

    @pytest.fixture
    def cache(self) -> Iterator[CacheUnderTest]:
        with FakeFastly() as fake:
            yield Service(fake, url=URL)


@pytest.fixture
def fake() -> Iterator[FakeFastly]:
    with FakeFastly() as fake:
        yield fake


def options(fake: FakeFastly, **more: Any) -> FastlyOptions:
    return FastlyOptions.model_validate({**Service(fake).options(), **more})


@contextmanager
def backend(
    fake: FakeFastly, folder: Path | None = None, asked: frozenset[Kind] = frozenset(), **more: Any
) -> Iterator[Backend]:
    context = BackendContext("shop", "cdn", folder, asked)
    made = invalidator_fastly.make_backend(type="fastly", options=options(fake, **more), context=context)
    assert isinstance(made, Backend)
    try:
        yield made
    finally:
        made.close()


def batch(*, seconds: float = 5.0, **targets: Any) -> Batch:
    return Batch(worker="shop", backend="cdn", deadline=time.monotonic() + seconds, **targets)


@pytest.mark.parametrize(
    ("more", "targets", "path", "body"),
    [
        ({}, {"keys": ("a", "b")}, "/service/{service}/purge", {"surrogate_keys": ["a", "b"]}),
        ({"key_tag": "k-{key}"}, {"keys": ("a",)}, "/service/{service}/purge", {"surrogate_keys": ["k-a"]}),
        ({"url": URL}, {"keys": ("a b",)}, "/purge/shop.example/a%20b", None),
        ({"tag": "t-{tag}"}, {"tags": ("blue",)}, "/service/{service}/purge", {"surrogate_keys": ["t-blue"]}),
        ({}, {"urls": ("https://SHOP.example/x?y=1",)}, "/purge/shop.example/x?y=1", None),
        ({}, {"all": True}, "/service/{service}/purge_all", None),
    ],
)
def test_each_kind_is_what_the_vendor_calls_it(
    fake: FakeFastly, more: dict[str, Any], targets: dict[str, Any], path: str, body: Any
) -> None:
    with backend(fake, **more) as cdn:
        assert purge([cdn], batch(**targets)) == []
        assert purge([cdn], batch(**targets, soft=True)) == []
    hard, soft = fake.purges
    assert (hard.path, soft.path) == (path.replace("{service}", fake.service),) * 2
    assert [call.json if body else call.body for call in (hard, soft)] == [body or b""] * 2
    assert (hard.soft, soft.soft) == (False, "all" not in targets), "everything is never purged softly"


def test_the_kinds_follow_from_the_options(fake: FakeFastly) -> None:
    assert options(fake).kinds() == {"key", "tag", "url", "all"}
    assert options(fake, hosts=[]).kinds() == {"key", "tag", "all"}
    assert options(fake).soft_kinds() == {"key", "tag", "url"}


def test_a_call_takes_256_keys_and_no_more(fake: FakeFastly) -> None:
    with backend(fake) as cdn:
        assert purge([cdn], batch(keys=tuple(f"k{n}" for n in range(600)))) == []
    assert sorted(call.count for call in fake.purges) == [600 - 512, 256, 256]


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        ({"tags": ("a b",)}, "visible ASCII"),
        ({"keys": ("é",)}, "visible ASCII"),
        ({"keys": ("k" * 1025,)}, "longer than 1024"),
        ({"urls": ("https://elsewhere.example/x",)}, "`hosts`"),
        ({"urls": (f"https://shop.example/{'x' * 7900}",)}, "longer than"),
        ({"prefixes": ("x",)}, "not with these options"),
    ],
)
def test_what_the_vendor_would_not_take_never_reaches_it(fake: FakeFastly, targets: dict[str, Any], why: str) -> None:
    with backend(fake) as cdn:
        (failure,) = purge([cdn], batch(**targets))
    assert not failure.retry
    assert why in failure.detail
    assert fake.calls == ()


@pytest.mark.parametrize(
    ("fault", "reason", "retry"),
    [
        (server_error(503), "server_error", True),
        (unsuccessful(), "server_error", True),
        (saying(200, {"status": "error", "id": "x"}), "", False),  # a key of that name, and what became of it
        (saying(200, b"<html>Welcome</html>"), "protocol", True),
        (saying(401, {"msg": "Provided credentials are missing or invalid"}), "auth", False),
        (saying(404, {"msg": "Record not found"}), "unsupported", False),
        (saying(301, b"", headers=(("Location", "http://192.0.2.1/"),)), "unsupported", False),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_an_answer_means(fake: FakeFastly, fault: Fault, reason: str, *, retry: bool) -> None:
    with backend(fake) as cdn:
        fake.fail(fault)
        failures = attempt([cdn], batch(keys=("k",)))
    assert [(failure.reason, failure.retry) for failure in failures] == ([(reason, retry)] if reason else [])


@pytest.mark.parametrize("date", [False, True])
def test_too_many_with_a_time_makes_all_workers_wait(fake: FakeFastly, tmp_path: Path, *, date: bool) -> None:
    fake.fail(too_many(30, date=date))
    with backend(fake, tmp_path) as one, backend(fake, tmp_path) as other:
        with pytest.raises(BackendError) as raised:
            settled(one, batch(keys=("k",)))
        assert 28 <= raised.value.retry_after <= 30
        result = other.purge(batch(keys=("k",), last=True))
    assert result.deferred == (Target("key", "k"),)
    assert 27 <= result.retry_after <= 30


def test_too_many_without_a_time_waits_until_the_limit_is_reset(fake: FakeFastly) -> None:
    fake.selects = TokenBucket(1.0, 300)
    fake.selects.take(fake.clock(), 300)
    with backend(fake) as cdn:
        with pytest.raises(BackendError) as raised:
            settled(cdn, batch(keys=tuple(f"k{n}" for n in range(11))))
        assert raised.value.reason == "rate_limited"
        assert 1.0 <= raised.value.retry_after <= 300.0, "Fastly-RateLimit-Reset"


@pytest.mark.parametrize("scope", ["global", "purge_select", "purge_select purge_all"])
def test_connect_proves_token_and_service_and_purges_nothing(scope: str) -> None:
    with FakeFastly(scope=scope) as fake, backend(fake) as cdn:
        fake.edge.put("https://shop.example/a", tags=["a"])
        cdn.connect()
        assert fake.purges == ()
        assert {call.method for call in fake.calls} == {"GET"}
        assert fake.edge.is_fresh("https://shop.example/a")


@pytest.mark.parametrize(
    ("scope", "more", "why"),
    [
        ("global:read", {}, "it needs purge_select"),
        ("global", {"token": "wrong"}, "credentials are missing or invalid"),
        ("global", {"service": "elsewhere"}, "for other services"),
    ],
)
def test_connect_says_what_is_wrong(scope: str, more: dict[str, Any], why: str) -> None:
    with (
        FakeFastly(scope=scope) as fake,
        backend(fake, **more) as cdn,
        pytest.raises(BackendError, match=re.escape(why)) as raised,
    ):
        cdn.connect()
    assert (raised.value.reason, raised.value.retry) == ("auth", False)


EVERYTHING: frozenset[Kind] = frozenset({"key", "all"})


def test_connect_wants_the_right_to_purge_everything_where_that_may_be_asked_for() -> None:
    with FakeFastly(scope="purge_select") as fake:
        with (
            backend(fake, asked=EVERYTHING) as cdn,
            pytest.raises(
                BackendError, match="'purge_select': it needs purge_all, as `all` may be asked for"
            ) as raised,
        ):
            cdn.connect()
        assert (raised.value.reason, raised.value.retry) == ("auth", False)
        with backend(fake, asked=frozenset({"key"})) as cdn:
            cdn.connect()
    for scope in ("purge_select purge_all", "global"):
        with FakeFastly(scope=scope) as fake, backend(fake, asked=EVERYTHING) as cdn:
            cdn.connect()


def test_a_call_for_everything_spares_the_others_of_its_batch(fake: FakeFastly) -> None:
    targets: dict[str, Any] = {"keys": ("a",), "tags": ("t",), "urls": ("https://shop.example/x",), "all": True}
    with backend(fake) as cdn:
        assert list(cdn.preview(batch(**targets))) == [f"POST /service/{fake.service}/purge_all"]
        assert purge([cdn], batch(**targets)) == []
    assert [call.count for call in fake.purges] == [1]


def test_what_it_would_have_covered_is_purged_by_itself_if_it_is_refused() -> None:
    with FakeFastly(scope="purge_select") as fake, backend(fake) as cdn:
        failures = purge([cdn], batch(keys=("a",), tags=("t",), all=True))
        assert [(failure.target.kind, failure.reason) for failure in failures] == [("all", "auth")]
        assert [call.json for call in fake.purges] == [{"surrogate_keys": ["a", "t"]}]


def test_daemons_with_a_limits_dir_in_common_share_what_is_left(fake: FakeFastly, tmp_path: Path) -> None:
    fake.fail(too_many(30))
    common: dict[str, Any] = {"limits_dir": str(tmp_path / "common")}
    with backend(fake, tmp_path / "one", **common) as one, backend(fake, tmp_path / "other", **common) as other:
        with pytest.raises(BackendError, match="429"):
            settled(one, batch(keys=("k",)))
        assert other.purge(batch(keys=("k",), last=True)).deferred == (Target("key", "k"),)
    with backend(fake, tmp_path / "other") as alone:
        assert purge([alone], batch(keys=("k",))) == [], "a state_dir of its own is a limit of its own"


def test_the_readme_says_what_is_true() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    example = yaml.safe_load(block)["backends"]["cdn"]
    assert example.pop("type") == "fastly"
    assert FastlyOptions.model_validate(example).kinds() == {"key", "tag", "all"}
    assert [f"`{name}`" in text for name in FastlyOptions.model_fields] == [True] * len(FastlyOptions.model_fields)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"service": "a/b"}, "pattern"),
        ({"token": None}, "needs a token_file, or a token"),
        ({"url": URL, "key_tag": "{key}"}, "not by both"),
        ({"purges_an_hour": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_options_are_refused_with_a_reason(fake: FakeFastly, more: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(why)):
        options(fake, **more)

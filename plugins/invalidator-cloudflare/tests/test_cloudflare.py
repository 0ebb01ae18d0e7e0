"""The Cloudflare backend against the fake that enforces what Cloudflare documents."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import ValidationError

import invalidator_cloudflare
from invalidator import Backend, BackendContext, BackendError, Batch, PurgeResult, Target
from invalidator.cdn import Limit, printable
from invalidator.testing import BackendConformance, CacheUnderTest, EdgeUnderTest
from invalidator.testing.bucket import TokenBucket
from invalidator.testing.cloudflare import FakeCloudflare
from invalidator.testing.faults import half_an_answer, huge, reset, saying, server_error, too_many, unsuccessful
from invalidator.testing.rig import attempt, purge, settled
from invalidator_cloudflare.api import Cloudflare
from invalidator_cloudflare.limits import LATE, PLANS, buckets
from invalidator_cloudflare.options import CloudflareOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator.testing.faults import Fault
    from invalidator_cloudflare.limits import Plan, PlanName

URL = "https://shop.example/{key}"


class Zone(EdgeUnderTest[FakeCloudflare]):
    secret = "fake-cloudflare-token-0123456789abcdefghij"

    def __init__(self, fake: FakeCloudflare, **options: Any) -> None:
        super().__init__(fake)
        self._options = options

    def options(self) -> dict[str, Any]:
        return {
            "api": self.fake.url,
            "token": self.fake.token,
            "zone": self.fake.zone,
            "plan": "enterprise",
            "files_count": "urls",
            "url": URL,
            "hosts": ["shop.example"],
            **self._options,
        }


class TestCloudflareConforms(BackendConformance):
    plugin = invalidator_cloudflare
    type_name = "cloudflare"
    patience = 30.0  # ten thousand URLs take four seconds of the plan's limit

    @pytest.fixture
    def cache(self) -> Iterator[CacheUnderTest]:
        with FakeCloudflare() as fake:
            yield Zone(fake)


# What a target becomes.


@pytest.fixture
def fake() -> Iterator[FakeCloudflare]:
    with FakeCloudflare() as fake:
        yield fake


def options(fake: FakeCloudflare, **more: Any) -> CloudflareOptions:
    return CloudflareOptions.model_validate({**Zone(fake).options(), **more})


@contextmanager
def backend(fake: FakeCloudflare, folder: Path | None = None, **more: Any) -> Iterator[Backend]:
    context = BackendContext("shop", "cdn", folder)
    made = invalidator_cloudflare.make_backend(type="cloudflare", options=options(fake, **more), context=context)
    assert isinstance(made, Backend)
    try:
        yield made
    finally:
        made.close()


def batch(*, seconds: float = 5.0, **targets: Any) -> Batch:
    return Batch(worker="shop", backend="cdn", deadline=time.monotonic() + seconds, **targets)


def bodies(fake: FakeCloudflare) -> list[tuple[str, Any]]:
    return [(call.path.rpartition("/")[2], call.json) for call in fake.purges]


@pytest.mark.parametrize(
    ("targets", "body"),
    [
        ({"keys": ("a b/ü",)}, {"files": ["https://shop.example/a%20b/%C3%BC"]}),
        ({"urls": ("HTTPS://x", "https://SHOP.example:443/x?y=1")}, {"files": ["https://shop.example/x?y=1"]}),
        ({"tags": ("blue",)}, {"tags": ["blue"]}),
        ({"prefixes": ("users:",)}, {"prefixes": ["shop.example/users:"]}),
        ({"all": True}, {"purge_everything": True}),
    ],
)
def test_each_kind_is_what_the_vendor_calls_it(fake: FakeCloudflare, targets: dict[str, Any], body: Any) -> None:
    with backend(fake) as cdn:
        purge([cdn], batch(**targets))
        purge([cdn], batch(**targets, soft=True))
    assert bodies(fake) == [("purge_cache", body), ("invalidate_cache", body)]


def test_templates_say_what_keys_tags_and_prefixes_are(fake: FakeCloudflare) -> None:
    urls = ["https://shop.example/p/{key}.html", "https://img.shop.example/{key}", "https://shop.example/?id={key}"]
    with backend(fake, url=urls, tag="shop-{tag}") as cdn:
        assert purge([cdn], batch(keys=("k",), tags=("t",), prefixes=("p/",))) == []
    assert sorted(body.popitem() for _, body in bodies(fake)) == [
        ("files", [url.replace("{key}", "k") for url in urls]),
        ("prefixes", ["shop.example/p/p/", "img.shop.example/p/"]),
        ("tags", ["shop-t"]),
    ]


def test_keys_can_be_tags(fake: FakeCloudflare) -> None:
    with backend(fake, url=[], key_tag="key-{key}") as cdn:
        assert purge([cdn], batch(keys=("k",), tags=("key-k", "t"))) == []
    assert bodies(fake) == [("purge_cache", {"tags": ["key-k", "t"]})]


def test_all_can_mean_the_hosts_alone(fake: FakeCloudflare) -> None:
    fake.edge.put("https://shop.example/a")
    fake.edge.put("https://other.shop.example/a")
    with backend(fake, all_by="hosts") as cdn:
        assert purge([cdn], batch(all=True)) == []
    assert bodies(fake) == [("purge_cache", {"hosts": ["shop.example"]})]
    assert fake.edge.has("https://other.shop.example/a")


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ({}, {"key", "tag", "prefix", "url", "all"}),
        ({"hosts": []}, {"key", "tag", "prefix", "all"}),
        ({"url": []}, {"tag", "url", "all"}),
        ({"url": [], "key_tag": "{key}"}, {"key", "tag", "url", "all"}),
        ({"url": "https://shop.example/?id={key}"}, {"key", "tag", "url", "all"}),
    ],
)
def test_the_kinds_follow_from_the_options(fake: FakeCloudflare, more: dict[str, Any], kinds: set[str]) -> None:
    assert options(fake, **more).kinds() == options(fake, **more).soft_kinds() == kinds


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        ({"tags": ("a b",)}, "visible ASCII"),
        ({"tags": ("a,b",)}, "visible ASCII"),
        ({"tags": ("é",)}, "visible ASCII"),
        ({"tags": ("t" * 1025,)}, "longer than 1024"),
        ({"keys": ("k" * 9000,)}, "longer than 8000"),
        ({"keys": ("a\nb",)}, "control character"),
        ({"keys": ("../x",)}, "segment"),
        ({"prefixes": ("",)}, "everything"),
        ({"prefixes": ("x/" * 32,)}, "31 slashes"),
        ({"urls": ("https://elsewhere.example/x",)}, "`hosts`"),
        ({"urls": ("ftp://shop.example/x",)}, "not an absolute"),
        ({"patterns": ("*",)}, "not with these options"),
    ],
)
def test_what_the_vendor_would_not_take_never_reaches_it(
    fake: FakeCloudflare, targets: dict[str, Any], why: str
) -> None:
    with backend(fake) as cdn:
        (failure,) = purge([cdn], batch(**targets))
    assert not failure.retry
    assert why in failure.detail
    assert fake.calls == ()


def test_a_dry_run_shows_each_call_and_contacts_nobody(fake: FakeCloudflare) -> None:
    with backend(fake) as cdn:
        lines = list(cdn.preview(batch(keys=("a", "../b"), tags=("t",), soft=True)))
    path = f"/client/v4/zones/{fake.zone}/invalidate_cache"
    assert sorted(lines) == [
        "refused: key '../b': has a `.` or `..` segment",
        f'soft POST {path} {{"files":["https://shop.example/a"]}}',
        f'soft POST {path} {{"tags":["t"]}}',
    ]
    assert fake.calls == ()


def test_a_call_for_everything_spares_the_others_of_its_batch_and_one_for_hosts_does_not(fake: FakeCloudflare) -> None:
    targets: dict[str, Any] = {"keys": ("a",), "tags": ("t",), "all": True}
    with backend(fake) as cdn:
        assert purge([cdn], batch(**targets)) == []
        assert purge([cdn], batch(**targets, soft=True)) == []
    path = "{}_cache".format
    everything = {"purge_everything": True}
    assert bodies(fake) == [(path("purge"), everything), (path("invalidate"), everything)]
    with backend(fake, all_by="hosts") as cdn:
        assert purge([cdn], batch(**targets)) == []
    assert sorted(kind for _, body in bodies(fake)[2:] for kind in body) == ["files", "hosts", "tags"]


# When a call is sent.


def test_a_lone_target_waits_for_company_and_not_for_long(fake: FakeCloudflare) -> None:
    with backend(fake) as cdn:
        result = cdn.purge(batch(keys=("k",)))
        assert result.deferred == (Target("key", "k"),)
        assert 0 < result.retry_after <= 0.02
        assert fake.calls == ()
        assert settled(cdn, batch(keys=("k",))) == []
        assert [call.count for call in fake.purges] == [1]


@pytest.mark.parametrize("why", [{"last": True}, {"cause": "disconnect"}])
def test_what_nothing_will_be_added_to_is_sent_at_once(fake: FakeCloudflare, why: dict[str, Any]) -> None:
    with backend(fake) as cdn:
        assert cdn.purge(batch(tags=("t",), **why)) == PurgeResult()
    assert [call.count for call in fake.purges] == [1]


def test_a_call_by_url_counts_against_both_limits_unless_the_operator_knows_better(fake: FakeCloudflare) -> None:
    assert Cloudflare(options(fake, files_count="both")).cost("files", 100) == (1.0, 100.0)
    assert Cloudflare(options(fake, files_count="urls")).cost("files", 100) == (0.0, 100.0)
    assert Cloudflare(options(fake)).cost("tags", 100) == (1.0, 0.0)


def refusals(limit: Limit, vendor: TokenBucket, slowness: float) -> int:
    """How many of the calls of ten seconds a vendor refuses whose first ones are so many seconds on their way."""
    tokens, arrivals = limit.burst, []
    for step in range(1000):
        now = step / 100
        tokens = limit.refilled(tokens, 1 / 100)
        while tokens >= 1.0:
            tokens -= 1.0
            arrivals.append(now + slowness if now == 0 else now)
    return sum(vendor.take(arrival) > 0 for arrival in sorted(arrivals))


@pytest.mark.parametrize("name", ["pro", "business", "enterprise"])
def test_calls_that_arrive_less_evenly_than_they_were_sent_are_not_refused(name: PlanName) -> None:
    plan = PLANS[name]
    calls, _ = buckets(plan)
    assert refusals(calls, TokenBucket(plan.requests, plan.burst), slowness=0.4) == 0
    brim = Limit(plan.requests, plan.burst)
    assert refusals(brim, TokenBucket(plan.requests, plan.burst), slowness=0.4) > 0, "without the margin"


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_no_second_has_more_urls_than_the_limit(plan: Plan) -> None:
    _, urls = buckets(plan)
    assert urls.burst + urls.rate * (1 + LATE) <= plan.urls, "the first of them may arrive late"
    assert urls.burst >= plan.files, "a full call fits"


# What an answer means.


def test_one_bad_target_rejects_only_itself(fake: FakeCloudflare) -> None:
    good = tuple(f"https://shop.example/{n}" for n in range(399))
    bad = "https://elsewhere.example/x"  # among our hosts, and not of this zone
    with backend(fake, hosts=["shop.example", "elsewhere.example"]) as cdn:
        failures = purge([cdn], batch(urls=(*good[:200], bad, *good[200:])))
    assert [(failure.target.value, failure.reason, failure.retry) for failure in failures] == [(bad, "rejected", False)]
    assert sorted(url for _, body in bodies(fake) for url in body["files"]) == sorted(good)
    assert len(fake.calls) <= 1 + 2 * 9, "halved until it is found: 400 in nine steps"


@pytest.mark.parametrize("date", [False, True])
def test_too_many_to_one_worker_makes_all_of_them_wait(fake: FakeCloudflare, tmp_path: Path, *, date: bool) -> None:
    fake.fail(too_many(30, date=date))
    with backend(fake, tmp_path) as one, backend(fake, tmp_path) as other, backend(fake) as stranger:
        with pytest.raises(BackendError) as raised:
            settled(one, batch(tags=("t",)))
        assert (raised.value.reason, raised.value.retry) == ("rate_limited", True)
        assert 28 <= raised.value.retry_after <= 30
        for worker in (one, other):
            result = worker.purge(batch(tags=("t",), last=True))
            assert result.deferred == (Target("tag", "t"),)
            assert 27 <= result.retry_after <= 30
        assert len(fake.calls) == 1
        assert settled(stranger, batch(tags=("t",))) == [], "who keeps no file with them knows of nothing"


@pytest.mark.parametrize(
    ("fault", "reason", "retry"),
    [
        (server_error(502), "server_error", True),
        (unsuccessful(), "server_error", True),
        (saying(200, b"<html>Welcome</html>"), "protocol", True),
        (saying(200, {"success": False, "errors": [{"code": 9109, "message": "Unauthorized"}]}), "auth", False),
        (saying(302, b"", headers=(("Location", "http://192.0.2.1/"),)), "unsupported", False),
        (saying(403, b"<html>WAF</html>"), "auth", False),
        (saying(404, b""), "unsupported", False),
        (saying(404, {"errors": [{"code": 7003, "message": "Could not route"}]}), "unsupported", False),
        (saying(200, b'{"success": true, "errors": [{"code": "x"}, 7]}'), "", False),
        (huge(1 << 20), "protocol", True),
        (reset(), "closed", True),
        (half_an_answer(), "closed", True),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_an_answer_means(fake: FakeCloudflare, fault: Fault, reason: str, *, retry: bool) -> None:
    with backend(fake) as cdn:
        fake.fail(fault, fault)  # a connection that was reset is tried once more
        failures = attempt([cdn], batch(keys=("k",)))
    assert [(failure.reason, failure.retry) for failure in failures] == ([(reason, retry)] if reason else [])


def test_a_redirect_is_explained_and_where_it_leads_to_is_not_said(fake: FakeCloudflare) -> None:
    fault = saying(302, b"", headers=(("Location", "http://192.0.2.1/"),))
    with backend(fake) as cdn:
        fake.fail(fault)
        (failure,) = purge([cdn], batch(keys=("k",)))
        fake.fail(fault)
        with pytest.raises(BackendError) as raised:
            cdn.connect()
    for text in (failure.detail, raised.value.detail):
        assert text.endswith("status 302: redirects are never followed: `api` must name the final address")
        assert "192.0.2.1" not in text


def test_an_unknown_zone_is_no_success(fake: FakeCloudflare) -> None:
    with backend(fake, zone="f" * 32) as cdn:
        (failure,) = purge([cdn], batch(keys=("k",)))
    assert (failure.reason, failure.retry) == ("auth", False)


# The token.


class Rotating(FakeCloudflare):
    """Its token is replaced, in the file too, when the first call arrives."""

    file: Path
    fresh = "a-token-that-came-with-the-rotation-012345"

    def respond(self, request: Any, now: float) -> Any:
        self.token = self.fresh
        self.file.write_text(self.fresh + "\n")
        return super().respond(request, now)


def test_a_token_that_is_rotated_meanwhile_loses_nothing(tmp_path: Path) -> None:
    with Rotating() as fake:
        fake.file = tmp_path / "token"
        fake.file.write_text(fake.token)
        with backend(fake, token=None, token_file=str(fake.file)) as cdn:
            assert purge([cdn], batch(keys=("k",), tags=("t",))) == []
        assert len(fake.purges) == 2
        assert {call.status for call in fake.refused} == {401}


def test_a_token_that_is_refused_and_stays_the_same_is_a_fault_of_the_configuration(
    fake: FakeCloudflare, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("wrong-token")
    with backend(fake, token=None, token_file=str(file)) as cdn:
        (failure,) = purge([cdn], batch(keys=("k",)))
        assert (failure.reason, failure.retry) == ("auth", False)
        file.write_text(fake.token)
        assert purge([cdn], batch(keys=("k",))) == [], "read anew"
        file.unlink()
        with pytest.raises(BackendError, match="token_file cannot be read: No such file") as raised:
            settled(cdn, batch(keys=("k",)))
        assert raised.value.retry
        file.write_text("two words")
        with pytest.raises(BackendError, match="holds no token") as raised:
            settled(cdn, batch(keys=("k",)))
        assert "words" not in str(raised.value).replace("word of", "")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_a_token_file_that_is_no_file_holds_nobody_up(fake: FakeCloudflare, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "token"
    os.mkfifo(file) if kind == "fifo" else file.mkdir() if kind == "folder" else file.symlink_to("/dev/zero")
    with backend(fake, token=None, token_file=str(file)) as cdn:
        for ask in (cdn.connect, lambda: settled(cdn, batch(keys=("k",)))):
            with pytest.raises(BackendError, match="token_file cannot be read: not a regular file"):
                ask()
    assert fake.calls == ()


def test_a_server_that_repeats_the_token_does_not_get_it_into_a_log(fake: FakeCloudflare) -> None:
    with backend(fake) as cdn:
        fake.fail(saying(400, {"success": False, "errors": [{"code": 1, "message": f"no such token {fake.token}"}]}))
        (failure,) = purge([cdn], batch(keys=("k",)))
        assert "***" in failure.detail
        fake.fail(saying(500, {"success": False, "errors": [{"code": 1, "message": f"no such token {fake.token}"}]}))
        with pytest.raises(BackendError) as raised:
            cdn.connect()
    for text in (failure.detail, str(raised.value), repr(options(fake)), str(options(fake).model_dump())):
        assert fake.token not in text


def test_nor_does_one_in_whose_words_the_token_is_cut_off(fake: FakeCloudflare) -> None:
    beginning = fake.token[:4]
    with backend(fake) as cdn:
        for padding in range(150, 190):
            said = f"{'x' * padding} {fake.token} and more" + "y" * 200
            fake.fail(saying(500, {"success": False, "errors": [{"code": 1, "message": said}]}))
            with pytest.raises(BackendError) as raised:
                cdn.connect()
            assert beginning in printable(f"1 {said}"), "which is cut off, and would tell it"
            assert beginning not in str(raised.value)


# check --connect.


@pytest.mark.parametrize("account_owned", [False, True])
@pytest.mark.parametrize("permissions", [("Cache Purge", "Zone Read"), ("Cache Purge",)])
def test_connect_proves_token_and_zone_and_purges_nothing(permissions: tuple[str, ...], *, account_owned: bool) -> None:
    with FakeCloudflare(permissions=permissions, account_owned=account_owned) as fake, backend(fake) as cdn:
        fake.edge.put("https://shop.example/a")
        cdn.connect()
        assert fake.purges == ()
        assert fake.edge.is_fresh("https://shop.example/a")


@pytest.mark.parametrize(
    ("permissions", "more", "why"),
    [
        ((), {}, "the token is valid, but may not purge this zone"),
        (("Cache Purge",), {"zone": "f" * 32}, "the token is valid, but may not purge this zone"),
        (("Cache Purge", "Zone Read"), {"zone": "f" * 32}, "the token is valid, but may not purge this zone"),
        (("Cache Purge", "Zone Read"), {"token": "wrong"}, "the token is not valid"),
    ],
)
def test_connect_says_what_is_wrong(permissions: tuple[str, ...], more: dict[str, Any], why: str) -> None:
    with FakeCloudflare(permissions=permissions) as fake, backend(fake, **more) as cdn:
        with pytest.raises(BackendError, match=re.escape(why)) as raised:
            cdn.connect()
        assert raised.value.reason == "auth"
        assert fake.purges == ()


# The options.


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"zone": "shop.example"}, "its domain is none"),
        ({"zone": "../x"}, "is not a zone's ID"),
        ({"token": None}, "needs a token_file, or a token"),
        ({"token": None, "tokn": "x"}, "needs a token_file, or a token"),
        ({"token": None, "tokn": "x"}, "Extra inputs"),
        ({"token_file": "/run/token"}, "one token too many"),
        ({"token": "a b"}, "holds no token"),
        ({"plan": "gold"}, "'free', 'pro'"),
        ({"plan": {"requests": 5, "burst": 25, "urls": "800/s"}}, "is not a rate"),
        ({"url": "https://shop.example/"}, "needs {key} in it, once"),
        ({"url": "https://{key}/"}, "whole URL with {key} in its path"),
        ({"url": "/{key}"}, "whole URL"),
        ({"url": "https://shop.example/{key}/{tag}"}, "no other placeholder"),
        ({"url": URL, "key_tag": "{key}"}, "not by both"),
        ({"tag": "t"}, "needs {tag}"),
        ({"hosts": ["https://shop.example"]}, "is not a host"),
        ({"all_by": "hosts", "hosts": []}, "needs `hosts`"),
        ({"api": "ftp://x"}, "is not an origin"),
        ({"api": "https://user:secret@x"}, "carries no credentials: the token stands in `token_file`, or in `token`"),
        ({"api": "https://x/?y"}, "base URL"),
        ({"api": "unix:///run/x.sock"}, "with one slash"),
    ],
)
def test_bad_options_are_refused_with_a_reason(fake: FakeCloudflare, more: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as raised:
        options(fake, **more)
    assert why in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_contract_can_have_numbers_of_its_own(fake: FakeCloudflare) -> None:
    own = options(fake, plan={"requests": "100/m", "burst": 40, "urls": "4000/s", "files": 200})
    assert buckets(own.numbers) == (Limit(100 / 60, 36), Limit(2400, 1000))


def test_the_readme_says_what_is_true() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    example = yaml.safe_load(block)["backends"]["cdn"]
    assert example.pop("type") == "cloudflare"
    assert CloudflareOptions.model_validate(example).kinds() == {"key", "tag", "prefix", "url", "all"}
    told = {row[0]: row[1:] for row in (line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line)}
    assert [f"{plan.urls:,}/s" for plan in PLANS.values()] == told["URLs (files)"]
    assert [str(plan.burst) for plan in PLANS.values()] == told["calls saved up"]
    assert [str(plan.files) for plan in PLANS.values()] == told["URLs in one call"]
    assert [f"`{name}`" in text for name in CloudflareOptions.model_fields] == [True] * len(
        CloudflareOptions.model_fields
    )


@pytest.mark.parametrize("path", ["", "/", "/client/v4", "/client/v4/"])
def test_an_api_without_a_path_has_the_vendors_own(fake: FakeCloudflare, path: str) -> None:
    with backend(fake, api=fake.url.removesuffix("/client/v4") + path) as cdn:
        assert purge([cdn], batch(keys=("k",))) == []

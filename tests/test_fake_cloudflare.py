"""The fake of Cloudflare's API: each rule that it enforces is shown to refuse, next to a call that it accepts."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.testing import FakeCloudflare
from invalidator.testing.cloudflare_limits import PLANS
from invalidator.testing.cloudflare_rules import LISTS, RefusedError, read_purge
from tests.support.vendors import Clock, Reply, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "https://shop.example/a"
OTHER = "fedcba98765432100123456789abcdef"


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(zones={"023e105f4ecef8ad9ca31a8372d0c353": "shop.example", OTHER: "blog.example"}) as fake:
        yield fake


def purge(fake: FakeCloudflare, body: Any, *, soft: bool = False, zone: str = "", **headers: str) -> Reply:
    sent = {"Authorization": f"Bearer {fake.token}", "Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    end = "invalidate_cache" if soft else "purge_cache"
    return ask(fake.url, "POST", f"/zones/{zone or fake.zone}/{end}", body, sent)


def errors(reply: Reply) -> list[tuple[int, str]]:
    """What an error's envelope says, after a look at the envelope."""
    said = reply.json
    assert said["success"] is False
    assert said["result"] is None
    assert said["messages"] == []
    return [(error["code"], error["message"]) for error in said["errors"]]


# What is accepted, and what it does.


def test_a_purge_by_files_takes_those_and_leaves_their_neighbours(cloudflare: FakeCloudflare) -> None:
    for path in ("a", "a?x=1", "ab", "A"):
        cloudflare.edge.put(f"https://shop.example/{path}")
    cloudflare.edge.put("http://shop.example/a")
    reply = purge(cloudflare, {"files": ["https://SHOP.example/a", "https://shop.example/never"]})
    assert reply.status == 200
    assert reply.json == {"success": True, "errors": [], "messages": [], "result": {"id": cloudflare.zone}}
    assert not cloudflare.edge.has(FILE)
    for left in ("https://shop.example/a?x=1", "https://shop.example/ab", "https://shop.example/A"):
        assert cloudflare.edge.is_fresh(left)
    assert cloudflare.edge.is_fresh("http://shop.example/a")


def test_a_file_with_headers_is_another_entry_than_the_one_without(cloudflare: FakeCloudflare) -> None:
    phone = {"CF-Device-Type": "mobile"}
    cloudflare.edge.put(FILE)
    cloudflare.edge.put(FILE, headers=phone)
    assert purge(cloudflare, {"files": [FILE]}).status == 200
    assert cloudflare.edge.has(FILE, phone)
    assert purge(cloudflare, {"files": [{"url": FILE, "headers": {"cf-device-type": "mobile"}}]}).status == 200
    assert not cloudflare.edge.has(FILE, phone)


def test_a_purge_by_tag_does_not_heed_case_nor_leave_its_zone(cloudflare: FakeCloudflare) -> None:
    cloudflare.edge.put(FILE, tags=["Blue", "big"])
    cloudflare.edge.put("https://shop.example/b", tags=["bluer"])
    cloudflare.edge.put("https://blog.example/", tags=["blue"])
    assert purge(cloudflare, {"tags": ["bLUE"]}).status == 200
    assert not cloudflare.edge.has(FILE)
    assert len(cloudflare.edge) == 2


def test_a_purge_by_host_takes_that_host_alone(cloudflare: FakeCloudflare) -> None:
    cloudflare.edge.put("https://www.shop.example/a")
    cloudflare.edge.put("http://www.shop.example/b")
    cloudflare.edge.put(FILE)
    assert purge(cloudflare, {"hosts": ["www.shop.example"]}).status == 200
    assert len(cloudflare.edge) == 1
    assert cloudflare.edge.has(FILE)


def test_a_purge_by_prefix_takes_every_path_and_query_that_begins_with_it(cloudflare: FakeCloudflare) -> None:
    for path in ("users/1", "users/1?x=1", "users", "user", "orders/1"):
        cloudflare.edge.put(f"https://shop.example/{path}")
    assert purge(cloudflare, {"prefixes": ["shop.example/users"]}).status == 200
    assert len(cloudflare.edge) == 2
    assert purge(cloudflare, {"prefixes": ["shop.example"]}).status == 200
    assert len(cloudflare.edge) == 0


def test_everything_is_everything_of_that_zone(cloudflare: FakeCloudflare) -> None:
    cloudflare.edge.put(FILE)
    cloudflare.edge.put("https://www.shop.example/")
    cloudflare.edge.put("https://blog.example/")
    assert purge(cloudflare, {"purge_everything": True}).status == 200
    assert len(cloudflare.edge) == 1
    assert cloudflare.edge.has("https://blog.example/")


@pytest.mark.parametrize(
    "body",
    [
        {"files": [FILE]},
        {"tags": ["t"]},
        {"hosts": ["shop.example"]},
        {"prefixes": ["shop.example/a"]},
        {"purge_everything": True},
    ],
)
def test_the_same_bodies_invalidate_softly(cloudflare: FakeCloudflare, body: dict[str, Any]) -> None:
    cloudflare.edge.put(FILE, tags=["t"])
    assert purge(cloudflare, body, soft=True).status == 200
    assert cloudflare.edge.has(FILE)
    assert cloudflare.edge.is_stale(FILE)
    cloudflare.edge.put(FILE, tags=["t"])
    assert cloudflare.edge.is_fresh(FILE)
    assert purge(cloudflare, body).status == 200
    assert not cloudflare.edge.has(FILE)
    assert [call.soft for call in cloudflare.purges] == [True, False]


def test_each_call_is_recorded_with_what_it_asked_and_was_told(cloudflare: FakeCloudflare) -> None:
    purge(cloudflare, {"tags": ["a", "b"]})
    purge(cloudflare, {"tags": ["a b"]})
    good, bad = cloudflare.wait_for(lambda calls: len(calls) == 2)
    assert (good.status, good.reason, good.kind, good.count, good.json) == (200, "", "tags", 2, {"tags": ["a", "b"]})
    assert (bad.status, bad.kind, bad.count) == (400, "", 0)
    assert bad.reason.startswith("400 1100: Invalid tag")
    assert cloudflare.purges == (good,)
    assert cloudflare.refused == (bad,)
    assert cloudflare.token not in repr(cloudflare.calls)
    with pytest.raises(TimeoutError, match="Invalid tag"):
        cloudflare.wait_for(lambda calls: len(calls) == 3, timeout=0.01)


# Who may ask.


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 400, 9106),
        ({"Authorization": "Bearer"}, 400, 6003),
        ({"Authorization": "Bearer two words"}, 400, 6003),
        ({"Authorization": "Basic dXNlcg=="}, 400, 6003),
        ({"Authorization": "Bearer wrong-token-0123456789"}, 401, 10000),
    ],
)
def test_without_the_right_token_nothing_is_purged(
    cloudflare: FakeCloudflare, headers: dict[str, str], status: int, code: int
) -> None:
    cloudflare.edge.put(FILE)
    sent = {"Content-Type": "application/json", **headers}
    reply = ask(cloudflare.url, "POST", f"/zones/{cloudflare.zone}/purge_cache", {"purge_everything": True}, sent)
    assert reply.status == status
    assert [number for number, _ in errors(reply)] == [code]
    assert cloudflare.edge.has(FILE)
    if code == 6003:
        assert reply.json["errors"][0]["error_chain"] == [
            {"code": 6111, "message": "Invalid format for Authorization header"}
        ]


def test_a_token_is_verified_and_a_zone_described_without_a_purge(cloudflare: FakeCloudflare) -> None:
    bearer = {"Authorization": f"Bearer {cloudflare.token}"}
    verified = ask(cloudflare.url, "GET", "/user/tokens/verify", headers=bearer)
    assert verified.status == 200
    assert verified.json["result"]["status"] == "active"
    described = ask(cloudflare.url, "GET", f"/zones/{cloudflare.zone}", headers=bearer)
    assert described.json["result"]["name"] == "shop.example"
    wrong = ask(cloudflare.url, "GET", "/user/tokens/verify", headers={"Authorization": "Bearer wrong"})
    assert (wrong.status, errors(wrong)) == (401, [(1000, "Invalid API Token")])
    assert cloudflare.purges == ()


def test_a_token_for_purging_alone_purges_and_verifies_itself_and_cannot_read_its_zone() -> None:
    with FakeCloudflare(permissions=["Cache Purge"]) as fake:
        bearer = {"Authorization": f"Bearer {fake.token}"}
        assert purge(fake, {"tags": ["t"]}).status == 200
        assert ask(fake.url, "GET", "/user/tokens/verify", headers=bearer).status == 200
        reply = ask(fake.url, "GET", f"/zones/{fake.zone}", headers=bearer)
        assert (reply.status, errors(reply)) == (403, [(9109, "Unauthorized to access requested resource")])


def test_a_token_without_the_permission_to_purge_may_not() -> None:
    with FakeCloudflare(permissions=["Zone Read"]) as fake:
        reply = purge(fake, {"tags": ["t"]})
        assert (reply.status, errors(reply)) == (403, [(10000, "Authentication error")])


def test_a_token_of_the_account_is_verified_there_and_not_at_the_user() -> None:
    with FakeCloudflare(account_owned=True) as fake:
        bearer = {"Authorization": f"Bearer {fake.token}"}
        assert ask(fake.url, "GET", "/user/tokens/verify", headers=bearer).status == 401
        assert ask(fake.url, "GET", f"/accounts/{fake.account}/tokens/verify", headers=bearer).status == 200
        assert ask(fake.url, "GET", f"/accounts/{OTHER}/tokens/verify", headers=bearer).status == 401


def test_another_zone_than_the_tokens_is_refused_and_what_is_no_zone_is_not_found(cloudflare: FakeCloudflare) -> None:
    assert purge(cloudflare, {"tags": ["t"]}, zone=OTHER).status == 200
    unknown = purge(cloudflare, {"tags": ["t"]}, zone="0" * 32)
    assert (unknown.status, errors(unknown)) == (403, [(10000, "Authentication error")])
    nonsense = purge(cloudflare, {"tags": ["t"]}, zone="shop.example")
    assert nonsense.status == 404
    [(code, message)] = errors(nonsense)
    assert code == 7003
    assert message.endswith("perhaps your object identifier is invalid?")


def test_other_paths_and_methods_are_refused(cloudflare: FakeCloudflare) -> None:
    bearer = {"Authorization": f"Bearer {cloudflare.token}"}
    lost = ask(cloudflare.url, "POST", "/zones", headers=bearer)
    assert (lost.status, errors(lost)) == (404, [(7000, "No route for that URI")])
    base = cloudflare.url.removesuffix("/client/v4")
    assert ask(base, "POST", f"/zones/{cloudflare.zone}/purge_cache", headers=bearer).status == 404
    got = ask(cloudflare.url, "GET", f"/zones/{cloudflare.zone}/purge_cache", headers=bearer)
    assert (got.status, errors(got)) == (405, [(7001, "Method GET not available for that URI.")])


# What may be asked.

BAD_BODIES: list[tuple[Any, int]] = [
    (b"", 6007),
    (b"{", 6007),
    (b"[]", 6007),
    (b"[" * 100_000, 6007),
    (b'{"tags": ["\xff"]}', 6007),
    ({}, 1012),
    ({"urls": [FILE]}, 1012),
    ({"files": []}, 1012),
    ({"tags": ["t"], "hosts": ["shop.example"]}, 1012),
    ({"purge_everything": True, "tags": ["t"]}, 1092),
    ({"purge_everything": False}, 1013),
    ({"purge_everything": 1}, 1013),
    ({"files": FILE}, 1014),
    ({"tags": {"t": 1}}, 1014),
    ({"files": [FILE] * 501}, 1094),
    ({"tags": ["t"] * 101}, 1101),
    ({"hosts": ["shop.example"] * 101}, 1111),
    ({"prefixes": ["shop.example"] * 101}, 1111),
    ({"files": ["/a"]}, 1015),
    ({"files": ["shop.example/a"]}, 1015),
    ({"files": ["//shop.example/a"]}, 1015),
    ({"files": ["ftp://shop.example/a"]}, 1015),
    ({"files": ["https://shop.example/a b"]}, 1015),
    ({"files": ["https://user@shop.example/a"]}, 1015),
    ({"files": ["https://shop.example:x/a"]}, 1015),
    ({"files": [1]}, 1015),
    ({"files": [{"headers": {}}]}, 1015),
    ({"files": [{"url": FILE, "headers": {"x": 1}}]}, 1015),
    ({"files": [{"url": FILE, "tags": []}]}, 1015),
    ({"files": [FILE, "https://other.example/a"]}, 1082),
    ({"files": ["https://notshop.example/a"]}, 1082),
    ({"tags": ["t" * 1025]}, 1100),
    ({"tags": [""]}, 1100),
    ({"tags": ["a b"]}, 1100),
    ({"tags": ["é"]}, 1100),
    ({"tags": [1]}, 1100),
    ({"hosts": ["https://shop.example"]}, 1115),
    ({"hosts": ["shop.example/"]}, 1115),
    ({"hosts": ["shop.example:443"]}, 1115),
    ({"hosts": ["other.example"]}, 1115),
    ({"hosts": [".".join(["a" * 60] * 4)]}, 1114),
    ({"prefixes": ["https://shop.example/a"]}, 1115),
    ({"prefixes": ["shop.example/a?x=1"]}, 1115),
    ({"prefixes": ["shop.example/a#b"]}, 1115),
    ({"prefixes": ["/a"]}, 1115),
    ({"prefixes": ["other.example/a"]}, 1115),
    ({"prefixes": ["shop.example" + "/a" * 32]}, 1115),
]


@pytest.mark.parametrize(("body", "code"), BAD_BODIES, ids=lambda value: ascii(value)[:60])
def test_a_body_that_breaks_a_rule_is_refused_whole(cloudflare: FakeCloudflare, body: Any, code: int) -> None:
    cloudflare.edge.put(FILE, tags=["t"])
    reply = purge(cloudflare, body)
    assert reply.status == 400
    assert [number for number, _ in errors(reply)] == [code]
    assert cloudflare.edge.is_fresh(FILE)
    assert cloudflare.requests.level(cloudflare.clock()) == 500


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("https://shop.example/a"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(["url", "headers"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*LISTS, "purge_everything", "x"]), anything, max_size=2) | anything)
def test_any_json_is_read_as_a_purge_or_refused(asked: Any) -> None:
    with suppress(RefusedError):
        assert read_purge(json.dumps(asked).encode(), PLANS["free"], "shop.example").count >= 1


@pytest.mark.parametrize(
    "body",
    [
        {"files": [f"{FILE}{number}" for number in range(500)]},
        {"files": [FILE, {"url": FILE}, {"url": FILE, "headers": {}}]},
        {"files": ["https://www.shop.example:8443/ключ?x=%20"]},
        {"tags": ["t" * 1024] * 100},
        {"tags": ["a,b"]},
        {"hosts": ["shop.example", "a-b.c.shop.example"] * 50},
        {"prefixes": ["shop.example" + "/a" * 31] * 100},
        {"prefixes": ["shop.example/"]},
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_just_within_the_limits_is_accepted(cloudflare: FakeCloudflare, body: dict[str, Any]) -> None:
    reply = purge(cloudflare, body)
    assert reply.status == 200, reply.body
    assert cloudflare.purges[0].count == len(next(iter(body.values())))


@pytest.mark.parametrize("plan", ["free", "pro", "business"])
def test_only_enterprise_purges_more_than_a_hundred_files_a_call(plan: str) -> None:
    with FakeCloudflare(plan=plan) as fake:
        assert purge(fake, {"files": [FILE] * 100}).status == 200
        [(code, message)] = errors(purge(fake, {"files": [FILE] * 101}))
        assert (code, "100 files" in message) == (1094, True)


def test_a_body_is_to_be_declared_as_json(cloudflare: FakeCloudflare) -> None:
    assert purge(cloudflare, {"tags": ["t"]}, Content_Type="application/json; charset=utf-8").status == 200
    for other in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = purge(cloudflare, {"tags": ["t"]}, Content_Type=other)
        assert (reply.status, [code for code, _ in errors(reply)]) == (400, [6003])


# How often.


@pytest.mark.parametrize(("plan", "burst", "refill"), [("free", 25, 12), ("pro", 25, 0.2), ("business", 50, 0.1)])
def test_calls_beyond_the_bucket_are_refused_until_it_has_refilled(plan: str, burst: int, refill: float) -> None:
    clock = Clock()
    with FakeCloudflare(plan=plan, clock=clock) as fake:
        for number in range(burst):
            assert purge(fake, {"tags": ["t"]}, soft=number % 2 == 0).status == 200
        reply = purge(fake, {"tags": ["t"]})
        assert reply.status == 429
        why = "Unable to purge, rate limit reached. Please wait and consider throttling your request speed"
        assert errors(reply) == [(1134, why)]
        assert reply.headers["Retry-After"] == str(max(1, refill))
        assert reply.headers["Ratelimit"].startswith('"default";r=0;')
        clock.now += refill * 0.9
        assert purge(fake, {"hosts": ["shop.example"]}).status == 429
        clock.now += refill * 0.1
        assert purge(fake, {"hosts": ["shop.example"]}).status == 200
        assert purge(fake, {"purge_everything": True}).status == 429
        assert len(fake.refused) == 3
        clock.now += 1e6
        assert fake.requests.level(clock.now) == burst, "it never holds more than a burst"


@pytest.mark.parametrize("plan", PLANS)
def test_files_are_counted_by_url_and_apart_from_other_calls(plan: str) -> None:
    clock = Clock()
    limits = PLANS[plan]
    with FakeCloudflare(plan=plan, clock=clock) as fake:
        full = {"files": [FILE] * limits.files_a_call}
        calls = int(limits.urls_a_second) // limits.files_a_call
        assert [purge(fake, full).status for _ in range(calls)] == [200] * calls
        refused = purge(fake, full)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert purge(fake, {"tags": ["t"]}).status == 200, "of another bucket"
        clock.now += limits.files_a_call / limits.urls_a_second
        assert [purge(fake, full).status for _ in range(2)] == [200, 429]


def test_each_answer_to_a_purge_tells_what_is_left() -> None:
    with FakeCloudflare(plan="free", clock=Clock()) as fake:
        reply = purge(fake, {"tags": ["t"]})
        assert reply.headers["Ratelimit"] == '"default";r=24;t=12'
        assert reply.headers["Ratelimit-Policy"] == '"default";q=25;w=300'
        assert "Retry-After" not in reply.headers


def test_the_fewest_calls_are_full_ones_by_kind() -> None:
    many = [f"{number}" for number in range(20_000)]
    with FakeCloudflare(plan="enterprise") as enterprise, FakeCloudflare(plan="free") as free:
        assert (enterprise.fewest_calls(files=many), free.fewest_calls(files=many)) == (40, 200)
        assert enterprise.fewest_calls(tags=many[:101], hosts=many[:100], prefixes=many[:1]) == 4
        assert enterprise.fewest_calls(tags=["A", "a"] * 60) == 1
        assert enterprise.fewest_calls(files=many, everything=True) == 1
        assert enterprise.fewest_calls() == 0


def test_a_client_that_keeps_to_the_rate_is_never_refused_and_one_that_does_not_is() -> None:
    clock = Clock()
    batches = [{"tags": [f"t{start + number}" for number in range(100)]} for start in range(0, 20_000, 100)]
    with FakeCloudflare(plan="free", clock=clock) as fake:
        hasty = [purge(fake, batch).status for batch in batches[:40]]
        assert (hasty.count(200), hasty.count(429)) == (25, 15)
        clock.now += 25 * 12
        before = len(fake.calls)
        for batch in batches:
            clock.now += 0 if fake.requests.level(clock.now) >= 1 else 12
            purge(fake, batch)
        patient = fake.calls[before:]
        assert {call.status for call in patient} == {200}
        assert len(patient) == fake.fewest_calls(tags=[tag for batch in batches for tag in batch["tags"]])

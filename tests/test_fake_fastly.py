"""The fake of Fastly's API: each rule that it enforces is shown to refuse, next to a call that it accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from invalidator.testing import FakeFastly
from tests.support.vendors import Clock, Reply, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "https://shop.example/a"


@pytest.fixture
def fastly() -> Iterator[FakeFastly]:
    with FakeFastly() as fake:
        yield fake


def post(fake: FakeFastly, path: str, body: Any = None, **headers: str) -> Reply:
    sent = {"Fastly-Key": fake.token, **({"Content-Type": "application/json"} if body is not None else {})}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(fake.url, "POST", path.replace("{id}", fake.service), body, sent)


def get(fake: FakeFastly, path: str) -> Reply:
    return ask(fake.url, "GET", path.replace("{id}", fake.service), headers={"Fastly-Key": fake.token})


# What is accepted, and what it does.


def test_a_batch_of_keys_takes_what_bears_them_and_answers_with_an_id_for_each(fastly: FakeFastly) -> None:
    fastly.edge.put(PAGE, tags=["blue", "big"])
    fastly.edge.put("https://shop.example/b", tags=["Blue"])
    reply = post(fastly, "/service/{id}/purge", {"surrogate_keys": ["blue", "never"]})
    assert reply.status == 200
    assert set(reply.json) == {"blue", "never"}
    assert len(set(reply.json.values())) == 2
    assert not fastly.edge.has(PAGE)
    assert fastly.edge.is_fresh("https://shop.example/b"), "keys differ by case"


def test_keys_may_come_in_a_header_instead(fastly: FakeFastly) -> None:
    fastly.edge.put(PAGE, tags=["blue"])
    assert set(post(fastly, "/service/{id}/purge", Surrogate_Key="red  blue").json) == {"red", "blue"}
    assert not fastly.edge.has(PAGE)
    assert fastly.purges[0].count == 2


@pytest.mark.parametrize(("path", "key"), [("blue", "blue"), ("a%2Fb%25", "a/b%"), ("a/b", "a/b")])
def test_one_key_stands_in_the_path(fastly: FakeFastly, path: str, key: str) -> None:
    fastly.edge.put(PAGE, tags=[key])
    reply = post(fastly, f"/service/{{id}}/purge/{path}")
    assert reply.json["status"] == "ok"
    assert not fastly.edge.has(PAGE)


def test_a_url_is_purged_without_its_scheme_and_with_its_query(fastly: FakeFastly) -> None:
    for url in (PAGE, "http://shop.example/a?x=1", "https://shop.example/ab"):
        fastly.edge.put(url)
    assert post(fastly, "/purge/shop.example/a").json["status"] == "ok"
    assert not fastly.edge.has("http://shop.example/a")
    assert len(fastly.edge) == 2
    assert post(fastly, "/purge/SHOP.example/a?x=1").status == 200
    assert len(fastly.edge) == 1


def test_a_url_with_a_scheme_or_of_a_strange_host_is_not_found(fastly: FakeFastly) -> None:
    fastly.edge.put(PAGE)
    for target in ("https://shop.example/a", "other.example/a", "", "/a"):
        reply = post(fastly, f"/purge/{target}")
        assert (reply.status, reply.json) == (404, {"msg": "Record not found", "detail": "Cannot find service"})
    assert fastly.edge.has(PAGE)


def test_the_method_purge_is_for_the_services_own_host_and_asks_for_no_token(fastly: FakeFastly) -> None:
    fastly.edge.put(PAGE)
    assert ask(fastly.url, "PURGE", "/a", headers={"Host": "shop.example"}).status == 200
    assert not fastly.edge.has(PAGE)
    assert ask(fastly.url, "PURGE", "/a", headers={"Host": "other.example"}).status == 404


@pytest.mark.parametrize("value", ["1", "0", "yes"])
@pytest.mark.parametrize("path", ["/service/{id}/purge", "/service/{id}/purge/blue", "/purge/shop.example/a"])
def test_the_header_makes_a_purge_soft_whatever_its_value(fastly: FakeFastly, path: str, value: str) -> None:
    body = {"surrogate_keys": ["blue"]} if path.endswith("purge") else None
    fastly.edge.put(PAGE, tags=["blue"])
    assert post(fastly, path, body, Fastly_Soft_Purge=value).status == 200
    assert fastly.edge.is_stale(PAGE)
    assert post(fastly, path, body).status == 200
    assert not fastly.edge.has(PAGE)
    assert [call.soft for call in fastly.purges] == [True, False]


def test_everything_is_never_purged_softly(fastly: FakeFastly) -> None:
    fastly.edge.put(PAGE)
    reply = post(fastly, "/service/{id}/purge_all", Fastly_Soft_Purge="1")
    assert (reply.status, reply.json) == (200, {"status": "ok"})
    assert not fastly.edge.has(PAGE)
    assert [(call.kind, call.soft) for call in fastly.purges] == [("all", False)]


# Who may ask.


@pytest.mark.parametrize("headers", [{}, {"Fastly-Key": "wrong"}, {"Authorization": "Bearer {token}"}])
@pytest.mark.parametrize(
    "path", ["/service/{id}/purge", "/service/{id}/purge/a", "/service/{id}/purge_all", "/purge/shop.example/a"]
)
def test_without_the_right_key_nothing_is_purged(fastly: FakeFastly, path: str, headers: dict[str, str]) -> None:
    fastly.edge.put(PAGE, tags=["a"])
    sent = {name: value.replace("{token}", fastly.token) for name, value in headers.items()}
    reply = ask(fastly.url, "POST", path.replace("{id}", fastly.service), headers=sent)
    assert (reply.status, reply.json) == (401, {"msg": "Provided credentials are missing or invalid"})
    assert fastly.edge.has(PAGE)


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("global", {"service", "key", "url", "all"}),
        ("global:read", {"service"}),
        ("purge_select", {"key", "url"}),
        ("purge_all", {"all"}),
        ("purge_select purge_all", {"key", "url", "all"}),
    ],
)
def test_a_tokens_scope_says_what_it_may_do_and_it_may_always_describe_itself(scope: str, allowed: set[str]) -> None:
    with FakeFastly(scope=scope) as fake:
        replies = {
            "service": get(fake, "/service/{id}"),
            "key": post(fake, "/service/{id}/purge", {"surrogate_keys": ["a"]}),
            "url": post(fake, "/purge/shop.example/a"),
            "all": post(fake, "/service/{id}/purge_all"),
        }
        assert {name for name, reply in replies.items() if reply.status == 200} == allowed
        for name in replies.keys() - allowed:
            assert (replies[name].status, replies[name].json["msg"]) == (
                403,
                "You are not authorized to perform this action",
            )
        token = get(fake, "/tokens/self").json
        assert (token["scope"], token["services"]) == (scope, [fake.service])


def test_another_service_is_not_found(fastly: FakeFastly) -> None:
    assert get(fastly, "/service/{id}").json["id"] == fastly.service
    for reply in (get(fastly, "/service/other"), post(fastly, "/service/other/purge_all")):
        assert (reply.status, reply.json["msg"]) == (404, "Record not found")
    assert get(fastly, "/nowhere").status == 404
    assert get(fastly, "/service/{id}/purge_all").status == 405


# What may be asked.


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "malformed JSON"),
        (b"[" * 100_000, "malformed JSON"),
        (b"\xff", "malformed JSON"),
        ([], "an object is wanted"),
        ({}, "an object is wanted"),
        ({"surrogate_keys": "a"}, "an object is wanted"),
        ({"surrogate_keys": [1]}, "an object is wanted"),
        ({"surrogate_keys": ["a"], "soft": True}, "an object is wanted"),
        ({"surrogate_keys": []}, "no surrogate key"),
        ({"surrogate_keys": [f"k{number}" for number in range(257)]}, "at most 256"),
        ({"surrogate_keys": ["blue", "k" * 1025]}, "1025 bytes: at most 1024"),
        ({"surrogate_keys": ["blue", "a b"]}, "without a space"),
        ({"surrogate_keys": ["blue", ""]}, "not empty"),
        ({"surrogate_keys": ["blue", "é"]}, "printable ASCII"),
        ({"surrogate_keys": ["blue", "\ud800"]}, "printable ASCII"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_batch_that_breaks_a_rule_is_refused_whole(fastly: FakeFastly, body: Any, detail: str) -> None:
    fastly.edge.put(PAGE, tags=["blue"])
    reply = post(fastly, "/service/{id}/purge", body)
    assert (reply.status, reply.json["msg"]) == (400, "Bad request")
    assert detail in reply.json["detail"]
    assert fastly.edge.is_fresh(PAGE)
    assert detail in fastly.refused[0].reason


def test_what_is_just_within_the_limits_is_accepted(fastly: FakeFastly) -> None:
    keys = ["k" * 1024, *(f"k{number}" for number in range(255))]
    assert post(fastly, "/service/{id}/purge", {"surrogate_keys": keys}).status == 200
    assert post(fastly, "/service/{id}/purge", Surrogate_Key="k" * 1000 + " k" * 255).status == 200
    assert post(fastly, f"/service/{{id}}/purge/{'k' * 1024}").status == 200
    assert [call.count for call in fastly.purges] == [256, 256, 1]


def test_a_header_is_held_to_the_same_rules_and_does_not_come_beside_a_body(fastly: FakeFastly) -> None:
    path = "/service/{id}/purge"
    assert "at most 256" in post(fastly, path, Surrogate_Key="k " * 257).json["detail"]
    assert "at most 1024" in post(fastly, path, Surrogate_Key="k" * 1025).json["detail"]
    assert "16384" in post(fastly, path, Surrogate_Key=" ".join(["k" * 1000] * 17)).json["detail"]
    assert "no surrogate key" in post(fastly, path, Surrogate_Key="").json["detail"]
    both = post(fastly, path, {"surrogate_keys": ["a"]}, Surrogate_Key="b")
    assert "send one of them" in both.json["detail"]
    assert fastly.purges == ()


def test_a_body_is_to_be_declared_as_json(fastly: FakeFastly) -> None:
    reply = post(fastly, "/service/{id}/purge", {"surrogate_keys": ["a"]}, Content_Type="text/plain")
    assert (reply.status, reply.json["detail"]) == (400, "the body is to be application/json")


def test_a_target_of_more_than_eight_kilobytes_is_refused(fastly: FakeFastly) -> None:
    longest = "/purge/shop.example/".ljust(8 * 1024, "a")
    assert post(fastly, longest).status == 200
    assert post(fastly, longest + "a").status == 414


# How often.


def test_a_thousand_calls_for_everything_are_accepted_in_an_hour() -> None:
    clock = Clock()
    with FakeFastly(clock=clock, wall=lambda: 1_800_000_000 + clock.now) as fake:
        assert fake.requests.take(clock.now, 999) == 0
        reply = post(fake, "/service/{id}/purge_all")
        assert (reply.status, reply.headers["Fastly-RateLimit-Remaining"]) == (200, "0")
        clock.now += 3599
        refused = post(fake, "/service/{id}/purge_all")
        assert (refused.status, refused.json["msg"]) == (429, "Too many requests")
        assert refused.headers["Fastly-RateLimit-Reset"] == str(1_800_000_000 + 1000 + 3600)
        assert "Retry-After" not in refused.headers
        assert post(fake, "/service/{id}/purge", {"surrogate_keys": ["a"]}).status == 200, "which is not counted"
        clock.now += 1
        assert post(fake, "/service/{id}/purge_all").headers["Fastly-RateLimit-Remaining"] == "999"


def test_a_hundred_thousand_purges_by_key_and_url_are_accepted_in_an_hour_on_average() -> None:
    clock = Clock()
    keys = {"surrogate_keys": [f"k{number}" for number in range(256)]}
    with FakeFastly(clock=clock, wall=lambda: 1_800_000_000 + clock.now) as fake:
        assert fake.selects.take(clock.now, 100_000 - 257) == 0
        assert post(fake, "/service/{id}/purge", keys).headers["Fastly-RateLimit-Remaining"] == "1"
        assert post(fake, "/service/{id}/purge", keys).status == 429
        assert post(fake, "/purge/shop.example/a").status == 200
        refused = post(fake, "/purge/shop.example/a")
        assert refused.status == 429
        clock.now = int(refused.headers["Fastly-RateLimit-Reset"]) - 1_800_000_000
        assert post(fake, "/service/{id}/purge", keys).status == 200, "when it said it would be"
        assert len(fake.refused) == 2


def test_what_only_reads_is_not_counted(fastly: FakeFastly) -> None:
    assert "Fastly-RateLimit-Remaining" not in get(fastly, "/tokens/self").headers


def test_the_fewest_calls_are_full_batches_and_a_call_for_each_url(fastly: FakeFastly) -> None:
    keys = [f"k{number}" for number in range(20_000)]
    assert fastly.fewest_calls(keys=keys) == 79
    assert fastly.fewest_calls(keys=keys + keys, urls=["shop.example/a", "shop.example/b"]) == 81
    assert fastly.fewest_calls(keys=keys, everything=True) == 1

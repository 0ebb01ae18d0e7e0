"""What the http backend sends, byte for byte, and what it makes of the answers."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from invalidator import BackendError, Batch, PurgeResult, Target
from invalidator.http import encode, hazard
from invalidator.testing import RecordingServer, answering, saying
from invalidator.testing.hostile import HOSTILE_KEYS
from invalidator_http import make_backend, regex
from invalidator_http.backend import HttpBackend
from invalidator_http.options import HttpOptions
from invalidator_http.plan import Planner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invalidator import Failure
    from invalidator.testing import Conversation

END = b"\r\n\r\n"
EMPTY = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n"


def options(**given: Any) -> HttpOptions:
    return HttpOptions.model_validate({"targets": ["http://cache:6081"], **given})


def batch(seconds: float = 5.0, **targets: Any) -> Batch:
    return Batch(worker="w", backend="b", deadline=time.monotonic() + seconds, **targets)


@contextmanager
def purging(server: RecordingServer, **given: Any) -> Iterator[HttpBackend]:
    target = f"http://{server.address}"
    backend = HttpBackend(target, options(**{"targets": [target], "connections": 1, **given}))
    try:
        with server:
            yield backend
    finally:
        backend.close()


def requests(server: RecordingServer) -> list[bytes]:
    """All requests, without the end of each."""
    return b"".join(server.received).split(END)[:-1]


def planned(batch: Batch, **given: Any) -> list[tuple[str, str, str, dict[str, str]]]:
    calls, failures = Planner(options(**given), "cache:6081").plan(batch)
    assert failures == []
    return [(c.request.method, c.request.target, c.request.host, dict(c.request.headers)) for c in calls]


def refused(batch: Batch, **given: Any) -> list[Failure]:
    calls, failures = Planner(options(**given), "cache:6081").plan(batch)
    assert calls == []
    return failures


# The wire.

MORE_HOSTILE = (
    "a\rb", "a\nb", "a\x0bb", "a\x1fb", "\tx", "x\t", "a\r\n\tb: c", "a HTTP/1.1", "a HTTP/1.0\r\n\r\nGET /", "/",
    "//", "///evil.example/", "/../", "./", "/.", "a/.", "a/..", "a/./b", ".%2e", "%2e.", "%2E%2E/", "..%2f",
    "..%5c..%5c", "..\\..\\", "a%2f..%2fb", "%2f..%2f", "%252e%252e%252f", "%25252e%25252e%25252f",
    "%c0%ae%c0%ae%c0%af", "..%c0%af..", "..;/", "..;x=y/a", "%2e%2e;/", "a/..?b", "a/..#b", "%0d%0aX:%20y",
    "%0D%0ASet-Cookie:a", "%00", "a%00b", "%250d%250a", "http:evil", "https://evil.example:443/x", "HTTP://EVIL/",
    "evil.example:80", "@evil.example/", "user@evil", "a@b:c@d", ":80", "::1", "[::1]", "\\\\evil\\x", "\\", "a\\b",
    "#", "?", "&a=b", ";a", "%", "%%", "%zz", "%2", "100%", "+", "a+b", "'", '"', "<script>", "{tag}", "{path}",
    "{{key}}", "{0}", "$(id)", "`id`", "|", "^", "~", "*/*", "\u2028", "\u0085", "\ufeff", "\u202e", "．．／", "é",
    "e\u0301", "😀", "\x80", "\xa0", "a" * 7999, "é" * 4000, "...", "....//", ". .",
)  # fmt: skip


@pytest.mark.parametrize("key", dict.fromkeys(HOSTILE_KEYS + MORE_HOSTILE), ids=lambda key: ascii(key)[:40])
def test_a_hostile_key_is_one_path_or_nothing(key: str) -> None:
    server = RecordingServer(answering(END, EMPTY % b"200 OK"))
    with purging(server, host="shop.example") as backend:
        result = backend.purge(batch(keys=(key, "after")))
        sent = requests(server)
    around = b"PURGE /%s HTTP/1.1\r\nHost: shop.example"
    if result.failures:
        (failure,) = result.failures
        assert (failure.target, failure.reason, failure.retry) == (Target("key", key), "unsafe", False)
        assert sent == [around % b"after"]
    else:
        assert sent == [around % encode(key).encode(), around % b"after"]
        assert not hazard(key)


def test_what_the_guard_refuses_would_else_be_sent() -> None:
    keys = [key for key in HOSTILE_KEYS + MORE_HOSTILE if refused_key(key)]
    assert len(keys) >= 40
    assert all("\n" not in encode(key) for key in keys if key.isascii()), "the negative control: encoding is not enough"
    assert {"..", "x/../conformance:orders:7", "..;/"} <= set(keys)


def refused_key(key: str) -> bool:
    return bool(Planner(options(), "a").plan(batch(keys=(key,)))[1])


@given(st.text())
def test_a_key_is_encoded_or_refused_and_never_repaired(key: str) -> None:
    calls, failures = Planner(options(), "a").plan(batch(keys=(key,)))
    assert len(calls) + len(failures) == 1
    for call in calls:
        assert call.request.target == "/" + encode(key)


def test_all_requests_say_what_they_must_and_no_more() -> None:
    server = RecordingServer(answering(END, EMPTY % b"204 No Content"))
    with purging(server, headers={"Authorization": "Bearer x"}) as backend:
        assert backend.purge(batch(keys=("users:42",))).failures == ()
    host = server.address.encode()
    assert requests(server) == [b"PURGE /users:42 HTTP/1.1\r\nHost: " + host + b"\r\nAuthorization: Bearer x"]


# The plan.


def test_every_path_is_purged_under_every_host() -> None:
    calls = planned(batch(keys=("é 1",)), path=["/{key}", "/api/{key}?full"], host=["a.example", "b.example:81"])
    assert [(host + target) for _, target, host, _ in calls] == [
        "a.example/%C3%A9%201",
        "b.example:81/%C3%A9%201",
        "a.example/api/%C3%A9%201?full",
        "b.example:81/api/%C3%A9%201?full",
    ]


def test_a_url_goes_to_the_configured_server_under_its_own_host_byte_for_byte() -> None:
    (call,) = planned(batch(urls=("https://Shop.example/%7ea//b?c=%2F..",)), hosts=["shop.example"])
    assert call == ("PURGE", "/%7ea//b?c=%2F..", "shop.example", {})
    (call,) = planned(
        batch(urls=("http://shop.example/a?b",)), hosts=["SHOP.example"], method="GET", url_path="/purge{path}"
    )
    assert call[:2] == ("GET", "/purge/a?b")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/", "https://shop.example.evil.example/", "https://shop.example:8443/", "https://shop.example@evil/",
        "https://evil/@shop.example", "//shop.example/", "/a", "https://shop.example/../a", "https://shop.example/%2e%2e/a",
        "https://shop.example/a b", "https://shop.example/a\r\nX: y", "https://shop.example/#a", "ftp://shop.example/",
    ],
)  # fmt: skip
def test_a_url_that_is_not_granted_is_refused(url: str) -> None:
    (failure,) = refused(batch(urls=(url,)), hosts=["shop.example"])
    assert (failure.target, failure.reason, failure.retry) == (Target("url", url), "unsafe", False)


def test_tags_share_requests_as_far_as_the_header_may_grow() -> None:
    tags = tuple(f"tag-{number:03}" for number in range(100))
    calls = planned(batch(tags=tags), tag_header="xkey", tag_size="256B", tag_path="/tags")
    assert {call[:2] for call in calls} == {("PURGE", "/tags")}
    assert [tag for call in calls for tag in call[3]["xkey"].split(" ")] == list(tags)
    assert len(calls) == 4
    assert all(len(call[3]["xkey"]) <= 256 for call in calls)
    assert planned(batch(tags=("a", "b")), tag_header="Cache-Tag")[0][3] == {"Cache-Tag": "a,b"}


@pytest.mark.parametrize("tag", ["", "a b", "a,b", "a\nb", "a\r\nX: y", "\0", "ü", "a\tb", "x" * 4097])
def test_a_tag_that_would_be_another_one_is_refused(tag: str) -> None:
    (failure,) = refused(batch(tags=(tag,)), tag_header="xkey")
    assert (failure.target, failure.reason, failure.retry) == (Target("tag", tag), "unsafe", False)


def test_soft_is_what_the_server_calls_it() -> None:
    soft = {"method": "SOFTPURGE", "headers": {"x-mode": "soft"}}
    given: dict[str, Any] = {"soft": soft, "headers": {"X-Mode": "hard"}, "tag_header": "xkey"}
    assert planned(batch(keys=("a",), soft=True), **given) == [("SOFTPURGE", "/a", "cache:6081", {"x-mode": "soft"})]
    assert planned(batch(keys=("a",)), **given) == [("PURGE", "/a", "cache:6081", {"X-Mode": "hard"})]
    assert planned(batch(tags=("a",), soft=True), **given)[0][3] == {"x-mode": "soft", "xkey": "a"}
    assert planned(batch(keys=("a",), soft=True))[0][0] == "PURGE", "soft without support is hard"


def test_bans_are_expressions() -> None:
    calls = planned(
        batch(keys=("a.b",), prefixes=("u:",), patterns=("x*[ab]?",), tags=("t.1",), all=True),
        method="BAN", path=["/{key}", "/p/{key}.html"], ban="obj.http.x-host == a && obj.http.x-url ~ {regex}",
        ban_tag="obj.http.xkey ~ {regex}", ban_header="X-B",
    )  # fmt: skip
    assert {call[:3] for call in calls} == {("BAN", "/", "cache:6081")}
    before = "obj.http.x-host == a && obj.http.x-url ~ "
    any_byte = "([^%]|%[0-9A-Fa-f][0-9A-Fa-f])"
    assert [call[3]["X-B"] for call in calls] == [
        before + "^/a[.]b$",
        before + "^/p/a[.]b[.]html$",
        "obj.http.xkey ~ (^|[[:space:],])t[.]1([[:space:],]|$)",
        before + "^/u:",
        before + "^/p/u:.*[.]html$",
        before + "^/x.*(a|b)" + any_byte + "$",
        before + "^/p/x.*(a|b)" + any_byte + "[.]html$",
        before + "^/",
    ]


@given(st.text(), st.sampled_from([regex.exact, regex.starting, regex.matching]))
def test_a_ban_is_one_word_whatever_a_message_brings(text: str, make: Any) -> None:
    try:
        expression = make("/{key}", text)
    except UnicodeEncodeError:
        return
    assert re.fullmatch(r"[!-~]+", expression)
    assert not set(expression) & set("\"'\\")
    re.compile(expression)


@given(st.text(alphabet="ab.é/:^$[]()*+?|{} "))
def test_a_key_in_a_ban_stands_for_itself(key: str) -> None:
    assert re.search(regex.exact("/{key}", key), "/" + encode(key))
    assert re.search(regex.starting("/{key}", key), "/" + encode(key) + "more")
    assert not re.search(regex.exact("/{key}", key), "/" + encode(key) + "x")
    assert not re.search(regex.exact("/{key}", key + "x"), "/" + encode(key) + "y")


@pytest.mark.parametrize("tag", ["", "a b", "a,b", 'a"', "a\\", "ü", "a\n", "'"])
def test_a_tag_that_breaks_out_of_an_expression_is_refused(tag: str) -> None:
    (failure,) = refused(batch(tags=(tag,)), method="BAN", ban_tag="obj.http.xkey ~ {regex}")
    assert (failure.reason, failure.retry) == ("unsafe", False)


def test_a_kind_that_these_options_lack_is_refused_and_harms_no_other() -> None:
    failures = refused(batch(tags=("t",), prefixes=("p",), patterns=("p*",), all=True))
    assert [(failure.target.kind, failure.reason, failure.retry) for failure in failures] == [
        (kind, "unsupported", False) for kind in ("tag", "prefix", "pattern", "all")
    ]


# The answers.


@pytest.mark.parametrize(
    ("status", "reason", "retry"),
    [
        (b"200 OK", "", False), (b"201 Created", "", False), (b"202 Accepted", "", False), (b"204 No", "", False),
        (b"404 Not Found", "", False), (b"410 Gone", "", False), (b"412 Precondition Failed", "", False),
        (b"301 Moved", "unsupported", False), (b"401 No", "auth", False), (b"403 No", "auth", False),
        (b"405 No", "unsupported", False), (b"501 No", "unsupported", False), (b"400 No", "rejected", False),
        (b"429 Later", "rate_limited", True), (b"500 Oops", "server_error", True), (b"503 Oops", "server_error", True),
    ],
)  # fmt: skip
def test_an_answer_decides_about_its_own_target(status: bytes, reason: str, retry: bool) -> None:
    def script(talk: Conversation) -> None:
        while True:
            talk.send(EMPTY % (status if b"/bad " in talk.read_until(END) else b"200 OK"))

    with purging(RecordingServer(script)) as backend:
        failures = backend.purge(batch(keys=("good", "bad", "fine"))).failures
    assert [(f.target, f.reason, f.retry) for f in failures] == (
        [(Target("key", "bad"), reason, retry)] if reason else []
    )


def test_the_server_says_when_to_ask_again() -> None:
    later = b"HTTP/1.1 429 Later\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    with purging(RecordingServer(answering(END, later))) as backend:
        assert backend.purge(batch(keys=("a",))).retry_after == 7.0
    # Varnish says it of whatever it makes up itself, by default: of what is not in the cache, too.
    for purged in (b"200 OK", b"404 Not Found"):
        with purging(RecordingServer(answering(END, later.replace(b"429 Later", purged)))) as backend:
            assert backend.purge(batch(keys=("a",))) == PurgeResult()


def test_of_several_requests_for_a_target_all_must_succeed() -> None:
    def script(talk: Conversation) -> None:
        while True:
            line = talk.read_until(END)
            talk.send(EMPTY % (b"400 No" if b"/one/" in line else b"500 Oops" if b"/two/" in line else b"200 OK"))

    with purging(RecordingServer(script), path=["/one/{key}", "/two/{key}", "/three/{key}"]) as backend:
        (failure,) = backend.purge(batch(keys=("a",))).failures
        assert (failure.reason, failure.retry) == ("server_error", True), "what may be retried is not buried"
    with purging(RecordingServer(script), path=["/one/{key}", "/three/{key}"]) as backend:
        (failure,) = backend.purge(batch(keys=("a",))).failures
        assert (failure.reason, failure.retry) == ("rejected", False)


def test_one_bad_tag_rejects_only_itself() -> None:
    def script(talk: Conversation) -> None:
        while True:
            talk.send(EMPTY % (b"400 No" if b"poison" in talk.read_until(END) else b"200 OK"))

    server = RecordingServer(script)
    with purging(server, tag_header="xkey") as backend:
        (failure,) = backend.purge(batch(tags=("a", "poison", "b"))).failures
    assert (failure.target, failure.reason) == (Target("tag", "poison"), "rejected")
    assert [request.rpartition(b"xkey: ")[2] for request in requests(server)] == [b"a poison b", b"a", b"poison", b"b"]


def test_a_server_that_answers_nothing_is_one_error() -> None:
    with purging(RecordingServer(saying(b"", after=END))) as backend:
        with pytest.raises(BackendError) as raised:
            backend.purge(batch(keys=("a", "b")))
        assert (raised.value.reason, raised.value.retry) == ("closed", True)
        with pytest.raises(BackendError):
            backend.connect()


def test_connecting_asks_for_a_head_and_takes_any_answer() -> None:
    server = RecordingServer(answering(END, b"HTTP/1.1 503 Oops\r\nContent-Length: 99\r\n\r\n"))
    with purging(server, host="shop.example") as backend:
        backend.connect()
        backend.connect()
    assert requests(server) == [b"HEAD / HTTP/1.1\r\nHost: shop.example"] * 2


# The options.


def test_every_target_is_a_backend_of_its_own() -> None:
    made = make_backend("http", options(targets=["http://a:1", "https://B/", "unix:/run/v.sock"]), None)  # type: ignore[arg-type]
    assert made is not None
    assert [backend.node for backend in made] == ["http://a:1", "https://b", "unix:/run/v.sock"]
    assert make_backend("other", options(), None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        ({}, {"key", "url"}),
        ({"method": "GET", "path": "/purge/{key}"}, {"key"}),
        ({"method": "GET", "path": "/purge/{key}", "url_path": "/purge{path}"}, {"key", "url"}),
        ({"path": ["/{key}", "/tags/{tag}"]}, {"key", "tag", "url"}),
        ({"path": [], "tag_header": "Surrogate-Key"}, {"tag", "url"}),
        ({"method": "POST", "path": "/tags/{tag}"}, {"tag"}),
        ({"method": "BAN"}, {"key", "prefix", "pattern", "all"}),
        ({"method": "BAN", "ban_tag": "obj.http.xkey ~ {regex}"}, {"key", "prefix", "pattern", "all", "tag"}),
        ({"method": "BAN", "path": []}, {"all"}),
    ],
)
def test_the_options_say_what_can_be_purged(given: dict[str, Any], kinds: set[str]) -> None:
    assert options(**given).kinds() == kinds
    assert options(**given).soft_kinds() == set()
    assert options(**given).default_flush() is None
    if given.get("method") != "BAN":
        assert options(**given, soft={"method": "SOFT"}).soft_kinds() == kinds


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"targets": []}, "at least 1"),
        ({"targets": ["http://u:p@a"]}, "no credentials"),
        ({"targets": ["a:80"]}, "not an origin"),
        ({"targets": ["http://a", "http://A:80/"]}, "twice"),
        ({"method": "purge"}, "pattern"),
        ({"method": "HEAD"}, "purges nothing"),
        ({"path": "{key}"}, "must start with"),
        ({"path": "/a"}, "needs {key} or {tag}"),
        ({"path": "/{key}/{tag}"}, "once"),
        ({"path": "/{key}{x}"}, "no other placeholder"),
        ({"path": "/a b/{key}"}, "visible ASCII"),
        ({"path": "/../{key}"}, "segment"),
        ({"path": [], "method": "GET"}, "nothing that this could purge"),
        ({"url_path": "/x"}, "needs {path}"),
        ({"host": "a/b"}, "not a host"),
        ({"hosts": ["https://a"]}, "not a host"),
        ({"headers": {"X": "a\r\nY: b"}}, "one line"),
        ({"headers": {"X": "a\n b"}}, "one line"),
        ({"headers": {"X\r\nY": "a"}}, "name"),
        ({"headers": {"Host": "a"}}, "not yours"),
        ({"soft": {"headers": {"Content-Length": "1"}}}, "not yours"),
        ({"tag_header": "x y"}, "name"),
        ({"tag_header": "xkey", "path": "/{tag}"}, "not into both"),
        ({"ban_tag": "x ~ {regex}"}, "needs `method: BAN`"),
        ({"method": "BAN", "ban": "x"}, "needs {regex}"),
        ({"method": "BAN", "ban": "x\r\n{regex}"}, "one line"),
        ({"method": "BAN", "soft": {}}, "goes with"),
        ({"method": "BAN", "path": "/\"/{key}"}, "cannot hold"),
        ({"ca_file": "/x"}, "none"),
        ({"connections": 0}, "greater than or equal to 1"),
        ({"timeouts": {"read": 0}}, "greater than 0"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as raised:
        options(**given)
    assert says in str(raised.value)


def test_a_secret_header_is_never_shown() -> None:
    secret = options(headers={"Authorization": "Bearer open-sesame"}, soft={"headers": {"X-Key": "open-sesame"}})
    for shown in (repr(secret), secret.model_dump_json(), str(secret.model_dump())):
        assert "open-sesame" not in shown
    with pytest.raises(ValidationError) as raised:
        options(headers={"Authorization": "open-sesame\n"})
    assert "open-sesame" not in str(raised.value)


def test_a_missing_file_of_certificates_is_a_problem_for_check() -> None:
    given = options(targets=["https://a"], ca_file="/nonexistent/ca.pem")
    assert list(given.problems(None)) == ["ca_file: there is no file /nonexistent/ca.pem"]  # type: ignore[arg-type]
    assert list(options().problems(None)) == []  # type: ignore[arg-type]


# What a dry run says.


def previewed(batch: Batch, **given: Any) -> list[str]:
    backend = HttpBackend("http://cache:6081", options(**given))
    try:
        return list(backend.preview(batch))
    finally:
        backend.close()


def test_a_preview_has_a_line_for_each_request_and_no_secret() -> None:
    given: dict[str, Any] = {"host": ["cache:6081", "shop.example"], "headers": {"X-Token": "s3cr3t"}}
    assert previewed(batch(keys=("users:42", "a b", "../x")), **given) == [
        "PURGE http://cache:6081/users:42",
        "PURGE http://cache:6081/users:42, Host: shop.example",
        "PURGE http://cache:6081/a%20b",
        "PURGE http://cache:6081/a%20b, Host: shop.example",
        "no request for key ../x: has a `.` or `..` segment",
    ]


def test_a_preview_says_what_stands_in_a_header_instead_of_the_path() -> None:
    tags: dict[str, Any] = {"tag_header": "xkey", "headers": {"X-Ban": "s3cr3t"}}
    assert previewed(batch(tags=("a", "b")), **tags) == ["PURGE http://cache:6081/, xkey: a b"]
    assert previewed(batch(all=True), method="BAN") == ["BAN http://cache:6081/, X-Ban: obj.http.x-url ~ ^/"]

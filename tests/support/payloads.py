"""Payloads of all kinds for hypothesis, and what a worker takes in of them, together and one by one."""

from __future__ import annotations

import json
from itertools import repeat
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from invalidator.channel import pair
from invalidator.logs import get_logger
from invalidator.messages import KINDS, Messages
from invalidator.pipeline.bulk import decode_envelopes, decode_keys
from invalidator.pipeline.decoder import decode
from invalidator.pipeline.formats import InBulk
from invalidator.pipeline.ignoring import Ignoring
from invalidator.pipeline.intake import Intake
from invalidator.pipeline.tap import Tap
from invalidator.slots import Region

if TYPE_CHECKING:
    from collections.abc import Sequence


LONGEST = 80

ENVELOPE = st.fixed_dictionaries(
    {
        "keys": st.lists(
            st.sampled_from(["a", "b", "b:1", "é", "", "x\n", '"keys"', "{", "[", "x" * LONGEST]), max_size=2
        )
    },
    optional={
        "v": st.sampled_from([1, 1, 1, 2, None]),
        "id": st.sampled_from(["1", "2", "3", "", None, 5]),
        "ts": st.sampled_from([1.5, 2, None, "soon"]),
        "source": st.sampled_from(["shop", "web-1", None]),
        "soft": st.booleans(),
        "all": st.booleans(),
        "tags": st.sampled_from([[], [], ["t"]]),
        "prefixes": st.sampled_from([[], [], ["p"]]),
        "reply": st.sampled_from([None, "invalidator:reply:1"]),
        "journal": st.just("1-1"),
        "hops": st.sampled_from([0, 9]),
        "specversion": st.just("1.0"),
        "more": st.sampled_from([1, [], {}]),
    },
).map(lambda said: json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode())
PLAIN = st.builds(
    b'{"id":"%d","ts":1.5,"keys":["%b"]}'.__mod__, st.tuples(st.integers(1, 4), st.sampled_from([b"a", b"b"]))
)
PIECE = st.sampled_from(
    [
        b'{"keys":["a"]},{"keys":["b"]}',
        b'{"keys":["a"],"keys":["b"]}',
        b'{"keys":["a}',
        b'{","keys":["x"]}',
        b'{"more":[{}',
        b'{}],"keys":["y"]},{"keys":["z"]}',
        b'{"keys":["a"]',
        b'{"keys":["a"]}]',
        b'{"keys":["a"]} ',
        b' {"keys":["a"]}',
        b'{"keys":["\x7f"]}',
        b'{"keys":["\x01"]}',
        b'{"":"}',
        b'{"keys":["a"]},',
        b'{"keys":["keys"],"id":"1","id":"2"}',
        b'{"keys":["a"],"tags":["t"],"tags":[]}',
        b'{"keys":["a"],"soft":true,"soft":false}',
        b'{"keys":[],"id":"[]"}',
        b"{}",
        b"{",
    ]
)
BARE = st.text(st.sampled_from("ab:1é\x00\n\r\x7f\x85*?[{ \u2028"), max_size=6).map(str.encode)
KEY = st.text(st.sampled_from("ab:1é"), min_size=1, max_size=6).map(str.encode)
PAYLOAD = st.one_of(
    KEY, KEY, KEY, PLAIN, PLAIN, PLAIN, BARE, ENVELOPE, PIECE, st.binary(max_size=4), st.just(b"x" * (LONGEST + 1))
)


IN_BULK = InBulk(
    lambda payloads: decode_keys(payloads, KINDS, LONGEST), lambda payloads: decode_envelopes(payloads, KINDS, LONGEST)
)


def taken_in(payloads: Sequence[bytes], *, bulk: bool, tapped: bool = False) -> tuple[Any, ...]:
    """What a worker takes in of these, and all that it has counted."""
    region = Region([])
    ours, theirs = pair()
    tap = Tap(theirs, "users")
    tap.on = tapped
    log = get_logger()
    declined: list[tuple[Any, ...]] = []
    intake = Intake(
        lambda message: decode(message.payload, KINDS, LONGEST),
        Ignoring(["web-*"]),
        lambda: 0,
        lambda *what: declined.append(what),
        region.worker(),
        tap,
        log,
    )
    intake.hear_alone(IN_BULK if bulk else None)
    invalidations = intake.take(Messages([b"cache:x"] * len(payloads), list(payloads)))
    heard = len(list(ours.receive(1000)))
    ours.close()
    theirs.close()
    counts = {name: count for name, count in region.snapshot().worker.items() if name != "last_message_ns"}
    seen = [
        (one.soft, target, ts)
        for one in invalidations
        for target, ts in zip(one.targets, getattr(one.targets, "times", ()) or repeat(one.ts), strict=False)
    ]
    return seen, counts, sorted(declined, key=repr), heard

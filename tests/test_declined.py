"""pipeline/declined.py: on the first of two ways it is new, on the second it is not, and nothing grows without end."""

from __future__ import annotations

import pytest

from invalidator.pipeline.declined import MOST_WAITING, Declined, place_in


def test_what_was_heard_is_not_new_when_it_is_read_and_the_other_way_round() -> None:
    declined = Declined()
    assert (declined.heard("1-1"), declined.read("1-1")) == (True, False)
    assert (declined.read("2-1"), declined.heard("2-1")) == (True, False)
    assert (declined.heard("3-1"), declined.read("4-1")) == (True, True)


def test_on_one_way_alone_each_one_is_new() -> None:
    declined = Declined()
    assert [declined.heard(at) for at in ("1-1", "1-1", "", "")] == [True] * 4, "each of them was sent to us"


def test_what_never_comes_on_the_other_way_is_forgotten() -> None:
    declined = Declined()
    for number in range(MOST_WAITING + 1):
        declined.heard(f"{number}-0")
    assert declined.read("0-0")
    assert not declined.read("1-0")


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        (b'{"journal":"12-3","keys":7}', "12-3"),
        (b'{"specversion":"1.0","data":{ "journal" : "12-3", ', "12-3"),
        (b'{"journal":12,"keys":7}', ""),
        (b"users:42", ""),
        (b"x" * (1 << 20) + b'"journal":"12-3"', ""),
    ],
)
def test_the_place_of_what_nobody_can_decode(payload: bytes, place: str) -> None:
    assert place_in(payload) == place

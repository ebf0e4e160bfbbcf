"""What `make soak` does to links and processes, and which calls it takes for violations."""

from __future__ import annotations

import itertools
import random

from embedded.history import Json
from embedded.network import PAIRS, Fault
from embedded.soak import LINKS, deck, told, wrong_calls


def call(**fields: object) -> Json:
    return {"id": "p", "version": 1, "outcome": "stored", "concurrent": False, "time": "now"} | (
        fields
    )


def test_every_link_suffers_from_every_fault_that_it_may_have() -> None:
    left_out = {(("sync", "supplyChain"), Fault.ORPHAN)}
    assert set(LINKS) == set(itertools.product(PAIRS, Fault)) - left_out


def test_a_deck_gives_every_card_before_it_gives_one_again() -> None:
    cards = deck(range(10), random.Random(1))
    for _ in range(2):
        assert sorted(itertools.islice(cards, 10)) == list(range(10))


def test_a_seed_decides_the_order() -> None:
    first, second = (list(itertools.islice(deck(LINKS, random.Random(7)), 50)) for _ in range(2))
    assert first == second


def test_a_stale_call_is_found() -> None:
    assert list(wrong_calls([call(), call(outcome="stale")])) == [
        ("p", "version 1 was sent after a newer one")
    ]


def test_two_calls_at_once_are_found() -> None:
    assert list(wrong_calls([call(), call(concurrent=True)])) == [
        ("p", "two calls at once, at now")
    ]


def test_a_violation_is_told_with_the_product() -> None:
    assert list(told([("p", "lost")], {})) == ["p: lost"]

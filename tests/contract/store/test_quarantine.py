"""The quarantine: poison letters are kept, listed in the order of their ids, and discarded."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.poison import ALL_POISON, PoisonLetter, PoisonSelection
from tests.fakes import START

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def at(minutes: int) -> PoisonSelection:
    return PoisonSelection(since=START + timedelta(minutes=minutes))


A = PoisonLetter("a", "the event is not JSON", "{", START)
B = PoisonLetter("b", "no (Cloud)Event", "é\n" * 1000, START + timedelta(minutes=1))
C = PoisonLetter("c", None, "", START + timedelta(minutes=2))


def test_at_first_the_quarantine_is_empty(store: Store) -> None:
    assert store.quarantined(ALL_POISON, 10) == []
    assert store.count_quarantined(ALL_POISON) == 0
    assert store.quarantine_bytes() == 0
    assert store.discard(["a"]) == 0


def test_letters_are_read_as_they_were_written(store: Store) -> None:
    store.quarantine([C, A, B])
    store.quarantine([])

    assert store.quarantined(ALL_POISON, 10) == [A, B, C]
    assert store.count_quarantined(ALL_POISON) == 3
    assert store.quarantine_bytes() >= 1000


def test_a_letter_that_comes_again_stays_as_it_was(store: Store) -> None:
    store.quarantine([A])
    store.quarantine([PoisonLetter("a", "another", "?", C.seen_at), B])

    assert store.quarantined(ALL_POISON, 10) == [A, B]


def test_pages_go_on_after_a_letter(store: Store) -> None:
    store.quarantine([A, B, C])

    assert store.quarantined(ALL_POISON, 2) == [A, B]
    assert store.quarantined(ALL_POISON, 2, after="b") == [C]
    named = PoisonSelection(message_ids=frozenset("bc"))
    assert store.quarantined(named, 1) == [B]
    assert store.quarantined(named, 1, after="b") == [C]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (PoisonSelection(reason="json"), [A]),
        (PoisonSelection(reason="(cloud)E"), [B]),
        (PoisonSelection(reason=".*"), []),
        (at(1), [B, C]),
        (PoisonSelection(until=B.seen_at), [A, B]),
        (PoisonSelection(reason="e", since=B.seen_at, until=B.seen_at), [B]),
        (PoisonSelection(message_ids=frozenset("acz")), [A, C]),
        (PoisonSelection(message_ids=frozenset()), []),
        (PoisonSelection(reason="json", message_ids=frozenset("ac")), [A]),
    ],
)
def test_what_is_selected_is_found_and_counted(
    store: Store, selection: PoisonSelection, expected: list[PoisonLetter]
) -> None:
    store.quarantine([A, B, C])

    assert store.quarantined(selection, 10) == expected
    assert store.count_quarantined(selection) == len(expected)


def test_the_letters_with_these_ids_are_discarded_and_no_others(store: Store) -> None:
    store.quarantine([A, B, C])

    assert store.discard(["a", "b", "z"]) == 2
    assert store.quarantined(ALL_POISON, 10) == [C]

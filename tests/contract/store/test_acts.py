"""The acts of operators: each is kept, and found newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.adapters.mongo.documents import new_product_id
from chalicelib.domain.acts import Act, ActKind
from tests.fakes import START

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store

PRODUCT, OTHER = "a" * 24, "b" * 24


def kept(store: Store, what: ActKind = ActKind.PAUSE, product_id: str | None = None) -> Act:
    """Keep an act."""
    act = Act(new_product_id(), START, "jane", what, product_id=product_id)
    store.add_act(act)
    return act


def test_at_first_nobody_has_done_anything(store: Store) -> None:
    assert store.acts(10) == []


@pytest.mark.parametrize(
    "act",
    [
        Act(
            "0" * 24,
            START,
            "jane",
            ActKind.REDRIVE,
            "they have mended it",
            PRODUCT,
            {"status": "exhausted", "count": 3, "dryRun": False, "kinds": ["a.b"], "of": {"$x": 1}},
        ),
        Act("1" * 24, START, "jane", ActKind.RESUME),
        Act("2" * 24, START, "jane", "something new"),
    ],
    ids=["full", "bare", "of a later release"],
)
def test_an_act_is_read_as_it_was_kept(store: Store, act: Act) -> None:
    store.add_act(act)

    assert store.acts(10) == [act]


def test_acts_are_found_page_by_page_newest_first(store: Store) -> None:
    acts = [kept(store) for _ in range(5)]

    first = store.acts(2)
    second = store.acts(2, before=first[-1].id)
    third = store.acts(2, before=second[-1].id)

    assert first + second + third == acts[::-1]


def test_acts_about_a_product_are_found(store: Store) -> None:
    mine = [kept(store, ActKind.REPLAY, PRODUCT) for _ in range(2)]
    kept(store, ActKind.REPLAY, OTHER)
    kept(store)

    assert store.acts(10, product_id=PRODUCT) == mine[::-1]
    assert store.acts(1, product_id=PRODUCT, before=mine[1].id) == [mine[0]]

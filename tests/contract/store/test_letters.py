"""Failed products, and whether their dead letters are sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import FAILED_STATUSES, SyncState, SyncStatus
from tests.contract.store.steps import (
    LATEST,
    change,
    claimed,
    ids,
    insert,
    inserted,
    recorded,
    redriven,
    replay,
    stored,
    without_outbox,
)
from tests.fakes import a_failed_state, a_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.usecases.ports import Store


def failed(store: Store) -> Product:
    """A product whose dead letter is owed, as its result has it."""
    product = inserted(store)
    return recorded(store, product, 422).product


def test_a_product_whose_dead_letter_is_sent_owes_none_and_has_no_message(store: Store) -> None:
    product = failed(store)
    before = stored(store, product)
    assert before.sync.message_id is not None

    store.letters_sent([product])

    sync = replace(before.sync, overdue_at=None, message_id=None)
    assert stored(store, product) == replace(before, sync=sync, revision=before.revision + 1)
    assert store.overdue(LATEST, 10) == []


def test_the_dead_letters_of_several_products_are_noted_at_once(store: Store) -> None:
    products = [failed(store) for _ in range(3)]

    store.letters_sent(products[:2])

    assert ids(store.overdue(LATEST, 10)) == [products[2].id]


SINCE_THE_RESULT: dict[str, Callable[[Store, Product], object]] = {
    "a write": change,
    "a replay": replay,
    "a redrive": redriven,
    "a claim": claimed,
}


@pytest.mark.parametrize("what", SINCE_THE_RESULT)
def test_a_dead_letter_is_not_noted_where_something_came_since_the_result(
    store: Store, what: str
) -> None:
    product = failed(store)
    SINCE_THE_RESULT[what](store, product)
    before = stored(store, product)

    store.letters_sent([product])

    assert stored(store, product) == before


def test_a_dead_letter_that_reconcile_was_to_send_later_is_noted(store: Store) -> None:
    product = failed(store)
    assert product.sync.overdue_at is not None
    store.postpone({product.id: (product.sync.overdue_at, LATEST)})

    store.letters_sent([product])

    assert stored(store, product).sync.overdue_at is None


def test_a_product_that_is_gone_owes_no_dead_letter(store: Store) -> None:
    store.letters_sent([a_product()])
    store.letters_sent([])

    assert store.failed(10) == []


def test_failed_products_whose_dead_letters_are_sent_are_found_oldest_first_and_limited(
    store: Store,
) -> None:
    made = [
        a_product(sync=a_failed_state(status))
        for status in (SyncStatus.EXHAUSTED, SyncStatus.REJECTED, SyncStatus.EXHAUSTED)
    ]
    insert(store, *reversed(made))

    assert ids(store.failed(10)) == ids(made)
    assert ids(store.failed(2)) == ids(made[:2])


def test_a_failed_product_that_owes_its_dead_letter_is_not_among_them(store: Store) -> None:
    product = failed(store)
    assert store.failed(10) == []

    store.letters_sent([product])

    assert ids(store.failed(10)) == [product.id]


def test_letters_that_are_owed_hide_no_others(store: Store) -> None:
    failed(store)
    sent = failed(store)
    store.letters_sent([sent])

    assert ids(store.failed(1)) == [sent.id]


@pytest.mark.parametrize("status", sorted(set(SyncStatus) - FAILED_STATUSES))
def test_a_product_that_has_not_failed_is_not_among_them(store: Store, status: SyncStatus) -> None:
    inserted(store, sync=SyncState(status))

    assert store.failed(10) == []


def test_failed_products_are_as_get_many_shows_them(store: Store) -> None:
    product = failed(store)
    store.letters_sent([product])

    (found,) = store.failed(10)

    assert found == store.get_many([product.id]).products[product.id]
    assert found == without_outbox(found)

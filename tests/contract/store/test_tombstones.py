"""Deleted products go once their deletion is confirmed and published."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.domain.product import Product
from tests.contract.store.steps import (
    LATER,
    LATEST,
    a_claim,
    a_result,
    change,
    claimed,
    empty_outbox,
    ids,
    inserted,
    recorded,
    replay,
    stored,
)

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def tombstone(store: Store) -> Product:
    return change(store, inserted(store), deleted_at=LATER)


def confirmed(store: Store) -> Product:
    product = tombstone(store)
    recorded(store, product)
    return stored(store, product)


def test_a_tombstone_goes_when_its_deletion_is_confirmed_and_published(store: Store) -> None:
    product, neighbour = confirmed(store), inserted(store)
    empty_outbox(store, product)

    assert store.drop_tombstones([product]) == 1
    assert store.get(product.id) is None
    assert store.get(neighbour.id) is not None


def test_a_confirmed_deletion_is_overdue_at_once(store: Store) -> None:
    product = confirmed(store)

    assert product.id in ids(store.overdue(LATER, 10))


def test_a_delivered_product_is_never_overdue(store: Store) -> None:
    recorded(store, inserted(store))

    assert store.overdue(LATEST, 10) == []


def test_a_tombstone_stays_until_its_events_are_published(store: Store) -> None:
    product = confirmed(store)

    assert store.drop_tombstones([product]) == 0
    assert store.get(product.id) is not None


def test_a_tombstone_that_has_changed_since_stays(store: Store) -> None:
    product = confirmed(store)
    empty_outbox(store, product)
    replay(store, product)

    assert store.drop_tombstones([product]) == 0
    assert store.get(product.id) is not None


def test_a_product_that_is_not_deleted_is_never_dropped(store: Store) -> None:
    product = inserted(store)
    recorded(store, product)
    empty_outbox(store, product)

    assert store.drop_tombstones([stored(store, product)]) == 0
    assert store.get(product.id) is not None


def test_a_deletion_that_a_failover_took_back_to_unconfirmed_is_not_dropped(store: Store) -> None:
    product = tombstone(store)
    claimed(store, product)
    empty_outbox(store, product)
    # The other node has another change under the number of the revision that was read.
    unconfirmed = stored(store, product)
    confirmed_here = a_result(a_claim(unconfirmed, "another")).product

    assert store.drop_tombstones([replace(confirmed_here, revision=unconfirmed.revision)]) == 0
    assert store.get(product.id) is not None

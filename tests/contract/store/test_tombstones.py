"""Deleted products go once their deletion is confirmed and published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.domain.product import Product
from tests.contract.store.steps import LATER, change, empty_outbox, inserted, recorded

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def tombstone(store: Store) -> Product:
    return change(store, inserted(store), deleted_at=LATER)


def test_a_tombstone_goes_when_its_deletion_is_confirmed_and_published(store: Store) -> None:
    product = tombstone(store)
    recorded(store, product)
    empty_outbox(store, product)

    assert store.drop_tombstones() == 1
    assert store.get(product.id) is None


def test_a_tombstone_stays_until_its_deletion_is_confirmed(store: Store) -> None:
    product = tombstone(store)
    recorded(store, product, 500)
    empty_outbox(store, product)

    assert store.drop_tombstones() == 0


def test_a_tombstone_stays_until_its_events_are_published(store: Store) -> None:
    recorded(store, tombstone(store))

    assert store.drop_tombstones() == 0


def test_a_product_that_is_not_deleted_is_never_dropped(store: Store) -> None:
    product = inserted(store)
    recorded(store, product)
    empty_outbox(store, product)

    assert store.drop_tombstones() == 0

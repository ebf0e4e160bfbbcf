"""Deleted products go once their deletion is confirmed and published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.domain.events import Event
from chalicelib.domain.product import Product
from tests.contract.store.steps import LATER, a_result, change, claimed, delivered, inserted, stored

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def tombstone(store: Store) -> Product:
    return change(store, inserted(store), deleted_at=LATER)


def empty_outbox(store: Store, product: Product) -> None:
    events: list[Event] = list(stored(store, product).outbox)
    store.remove_events(events)


def test_a_tombstone_goes_when_its_deletion_is_confirmed_and_published(store: Store) -> None:
    product = tombstone(store)
    delivered(store, product)
    empty_outbox(store, product)

    assert store.drop_tombstones() == 1
    assert store.get(product.id) is None


def test_a_tombstone_stays_until_its_deletion_is_confirmed(store: Store) -> None:
    product = tombstone(store)
    store.record([a_result(claimed(store, product), 500)])
    empty_outbox(store, product)

    assert store.drop_tombstones() == 0


def test_a_tombstone_stays_until_its_events_are_published(store: Store) -> None:
    delivered(store, tombstone(store))

    assert store.drop_tombstones() == 0


def test_a_product_that_is_not_deleted_is_never_dropped(store: Store) -> None:
    product = inserted(store)
    delivered(store, product)
    empty_outbox(store, product)

    assert store.drop_tombstones() == 0

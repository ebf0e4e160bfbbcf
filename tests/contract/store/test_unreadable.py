"""Documents that this version of the code cannot read: they hold up nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.domain.errors import UnreadableDocumentError
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.usecases.ports import ProductQuery
from tests.contract.conftest import Spoil
from tests.contract.store.steps import LATEST, ids, insert, inserted
from tests.fakes import START, a_failed_state, a_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.domain.product import Product
    from chalicelib.usecases.ports import Store


UNKNOWN_STATUS: dict[str, Any] = {"$set": {"sync.status": "of a later release"}}
MISSING_FIELD: dict[str, Any] = {"$unset": {"quantity": ""}}
WAYS = {
    "an unknown status": UNKNOWN_STATUS,
    "a missing field": MISSING_FIELD,
    "a number of another type": {"$set": {"price": "12.50"}},
    "a text of another type": {"$set": {"sku": 7}},
    "a map of another type": {"$set": {"attributes": "red"}},
    "a time of another type": {"$set": {"sync.nextAttemptAt": "soon"}},
    "a count of another type": {"$set": {"sync.budget": "none"}},
    "a lease of another type": {"$set": {"sync.lease.until": 0}},
}


@pytest.mark.parametrize("way", WAYS)
def test_of_many_products_those_that_cannot_be_read_are_named(
    store: Store, spoil: Spoil, way: str
) -> None:
    product, neighbour = inserted(store), inserted(store)
    spoil(product, WAYS[way])

    found = store.get_many([product.id, neighbour.id, a_product().id])

    assert set(found.products) == {neighbour.id}
    assert found.unreadable == {product.id}


@pytest.mark.parametrize("majority", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_product_that_cannot_be_read_is_an_error_that_names_it(
    store: Store, spoil: Spoil, way: str, *, majority: bool
) -> None:
    product = inserted(store)
    spoil(product, WAYS[way])

    with pytest.raises(UnreadableDocumentError, match=product.id):
        store.get(product.id, majority=majority)


LISTS: dict[str, Callable[[Store, int], list[Product]]] = {
    "find": lambda store, limit: store.find(ProductQuery(limit)),
    "overdue": lambda store, limit: store.overdue(LATEST, limit),
    "unpublished": lambda store, limit: store.unpublished(LATEST, limit),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_passes_over_what_cannot_be_read_and_is_as_long_as_ever(
    store: Store, spoil: Spoil, name: str
) -> None:
    products = [a_product(sync=SyncState(overdue_at=START)) for _ in range(6)]
    insert(store, *products)
    readable = [products[index] for index in (1, 4, 5)]
    for index in (0, 2, 3):
        spoil(products[index], MISSING_FIELD)

    # A list that is shorter than its limit would seem to be the last page.
    assert len(LISTS[name](store, 2)) == 2
    assert sorted(ids(LISTS[name](store, 10))) == sorted(ids(readable))


def test_the_failed_products_are_those_that_can_be_read(store: Store, spoil: Spoil) -> None:
    products = [inserted(store, sync=a_failed_state(SyncStatus.EXHAUSTED)) for _ in range(3)]
    spoil(products[0], MISSING_FIELD)

    assert ids(store.failed(1)) == [products[1].id]


def test_nothing_is_listed_where_nothing_can_be_read(store: Store, spoil: Spoil) -> None:
    for _ in range(3):
        spoil(inserted(store), MISSING_FIELD)

    assert store.find(ProductQuery(2)) == []


def test_the_summary_counts_unknown_statuses_on_their_own(store: Store, spoil: Spoil) -> None:
    inserted(store)
    spoil(inserted(store), UNKNOWN_STATUS)
    spoil(inserted(store), UNKNOWN_STATUS)

    summary = store.summary(LATEST)

    assert summary.unreadable == 2
    assert summary.products[SyncStatus.PENDING] == 1
    # Its events wait, whatever its status means; nobody knows whether it is stuck.
    assert summary.outbox_backlog == 3
    assert summary.oldest == {SyncStatus.PENDING: START}


def test_the_summary_of_a_store_that_can_be_read_counts_none(store: Store) -> None:
    inserted(store)

    assert store.summary(LATEST).unreadable == 0

"""Products by id, lists of products, and the summary."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.product import OUTBOX_PAGE
from chalicelib.domain.sync_state import Position, SyncState, SyncStatus
from chalicelib.usecases.ports import Found, Order, ProductQuery
from tests.contract.store.steps import (
    LATER,
    LATEST,
    change,
    history,
    ids,
    insert,
    inserted,
    recorded,
    stored,
    without_outbox,
)
from tests.fakes import START, a_failed_state, a_product, fields

if TYPE_CHECKING:
    from chalicelib.domain.product import Product
    from chalicelib.usecases.ports import Store

DELIVERED = frozenset({SyncStatus.DELIVERED})


def undelivered(limit: int, after: Position | None = None) -> ProductQuery:
    return ProductQuery(limit, after, order=Order.BEHIND_SINCE)


def paged(store: Store, query: ProductQuery) -> list[str]:
    """The ids of all pages of a list."""
    pages: list[str] = []
    while page := store.find(query):
        pages += ids(page)
        query = replace(query, after=page[-1].position)
    return pages


@pytest.mark.parametrize("majority", [False, True])
def test_an_unknown_product_is_not_found(store: Store, *, majority: bool) -> None:
    assert store.get(a_product().id, majority=majority) is None


def test_a_product_that_is_older_than_a_rule_is_read(store: Store) -> None:
    product = inserted(store, fields=fields().model_copy(update={"name": " "}))

    assert stored(store, product).fields.name == " "


@pytest.mark.parametrize("majority", [False, True])
def test_a_product_comes_with_its_history_and_without_its_outbox(
    store: Store, *, majority: bool
) -> None:
    product = inserted(store)
    result = recorded(store, product)

    found = store.get(product.id, majority=majority)

    sync = replace(result.product.sync, history=history(result))
    assert found == without_outbox(replace(result.product, sync=sync))


def test_a_product_is_found_with_the_newest_events_of_its_outbox(store: Store) -> None:
    product = inserted(store)
    for _ in range(OUTBOX_PAGE):
        product = change(store, product)

    found = store.get(product.id, outbox=True)

    assert found is not None
    assert [event.version for event in found.outbox] == list(range(1, OUTBOX_PAGE + 1))
    assert without_outbox(found) == stored(store, product)


@pytest.mark.parametrize("majority", [False, True])
def test_a_tombstone_is_found(store: Store, *, majority: bool) -> None:
    product = change(store, inserted(store), deleted_at=LATER)

    assert store.get(product.id, majority=majority) == without_outbox(product)


def test_many_products_are_found_by_id_with_tombstones_and_without_unknown_ones(
    store: Store,
) -> None:
    alive, dead = inserted(store), inserted(store)
    change(store, dead, deleted_at=LATER)

    found = store.get_many({alive.id, dead.id, a_product().id})

    assert set(found.products) == {alive.id, dead.id}
    assert found.products[dead.id].deleted_at == LATER
    assert found.unreadable == frozenset()


def test_many_products_come_without_their_outboxes_and_histories(store: Store) -> None:
    product = inserted(store)
    recorded(store, product)

    found = store.get_many([product.id]).products[product.id]

    whole = stored(store, product)
    assert whole.sync.history
    assert found == replace(whole, sync=replace(whole.sync, history=()))


def test_no_ids_find_no_products(store: Store) -> None:
    inserted(store)

    assert store.get_many([]) == Found({})


@pytest.mark.parametrize("product_id", ["", "\x00", "$where", "x" * 10_000])
def test_an_id_that_no_product_can_have_finds_nothing(store: Store, product_id: str) -> None:
    assert store.get_many([product_id]) == Found({})
    assert store.get(product_id) is None


def test_a_list_is_ordered_by_id_and_limited(store: Store) -> None:
    products = [a_product() for _ in range(5)]
    insert(store, *reversed(products))

    assert ids(store.find(ProductQuery(3))) == ids(products)[:3]


def test_a_list_goes_on_after_the_given_id(store: Store) -> None:
    products = [a_product() for _ in range(5)]
    insert(store, *products)

    assert ids(store.find(ProductQuery(10, after=Position(products[2].id)))) == ids(products)[3:]


def test_a_list_leaves_tombstones_out(store: Store) -> None:
    alive, dead = inserted(store), inserted(store)
    change(store, dead, deleted_at=LATER)

    assert ids(store.find(ProductQuery(10))) == [alive.id]


def test_a_list_by_status_shows_the_tombstones_too(store: Store) -> None:
    pending, dead, done = inserted(store), inserted(store), inserted(store)
    change(store, dead, deleted_at=LATER)
    recorded(store, done)

    found = store.find(undelivered(10))

    assert ids(found) == [pending.id, dead.id]


def test_a_list_of_what_is_not_delivered_begins_with_the_oldest_change(store: Store) -> None:
    waiting = [
        inserted(store, sync=SyncState(behind_since=START + timedelta(hours=hours)))
        for hours in (2, 1, 3, 1)
    ]

    found = store.find(undelivered(10))

    assert ids(found) == ids([waiting[index] for index in (1, 3, 0, 2)])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_list_of_what_is_not_delivered_goes_on_after_the_given_position(
    store: Store, size: int
) -> None:
    for hours in (1, 1, 1, 2, 2, 3):
        inserted(store, sync=SyncState(behind_since=START + timedelta(hours=hours)))
    whole = store.find(undelivered(10))

    assert paged(store, undelivered(size)) == ids(whole)
    assert len(whole) == 6


def test_a_list_by_several_statuses_is_in_one_order(store: Store) -> None:
    statuses = [SyncStatus.REJECTED, SyncStatus.PENDING, SyncStatus.EXHAUSTED, SyncStatus.RETRYING]
    products = [
        inserted(store, sync=SyncState(status, behind_since=START + timedelta(hours=hours)))
        for hours, status in enumerate(statuses)
    ]
    wanted = frozenset(statuses[:3])

    found = paged(store, replace(undelivered(2), statuses=wanted))

    assert found == ids(products[:3])


def test_a_list_by_several_statuses_with_the_delivered_ones_is_in_the_order_of_ids(
    store: Store,
) -> None:
    done, waiting, failed = inserted(store), inserted(store), inserted(store)
    recorded(store, done)
    recorded(store, failed, 422)

    found = store.find(ProductQuery(9, statuses=DELIVERED | {SyncStatus.PENDING}))

    assert ids(found) == ids([done, waiting])


NAMES = ["Lamp", "lamp", "Lam", "La", "Lamps", "Lamp", "Lan", "Lam\ud7ff", "Lam\U0010ffff", "Lam🚀"]


def named(store: Store) -> list[Product]:
    return [inserted(store, fields=fields(name=name)) for name in NAMES]


@pytest.mark.parametrize("size", [1, 2, 10])
@pytest.mark.parametrize(
    "prefix", ["Lam", "Lamp", "l", "Lam\ud7ff", "Lam\U0010ffff", "Lamp ", "🚀"]
)
def test_a_list_by_the_beginning_of_the_name_is_in_the_order_of_names(
    store: Store, prefix: str, size: int
) -> None:
    products = sorted(named(store), key=lambda product: (product.fields.name, product.id))

    found = paged(store, ProductQuery(size, name=prefix, order=Order.NAME))

    assert found == ids([item for item in products if item.fields.name.startswith(prefix)])


def changed_at(store: Store, *hours: int) -> list[Product]:
    return [inserted(store, updated_at=START + timedelta(hours=each)) for each in hours]


@pytest.mark.parametrize("size", [1, 2, 10])
def test_a_list_in_the_order_of_changes_goes_on_after_the_given_position(
    store: Store, size: int
) -> None:
    products = changed_at(store, 3, 1, 2, 1, 1)

    found = paged(store, ProductQuery(size, order=Order.UPDATED_AT))

    assert found == ids([products[index] for index in (1, 3, 4, 2, 0)])


@pytest.mark.parametrize("size", [1, 10])
def test_a_list_of_what_was_changed_begins_at_that_time(store: Store, size: int) -> None:
    products = changed_at(store, 3, 1, 2, 0)
    query = ProductQuery(size, updated_since=START + timedelta(hours=1), order=Order.UPDATED_AT)

    assert paged(store, query) == ids([products[index] for index in (1, 2, 0)])


@pytest.mark.parametrize("order", [Order.NAME, Order.UPDATED_AT])
def test_no_list_but_that_of_undelivered_products_has_tombstones(
    store: Store, order: Order
) -> None:
    alive, dead = inserted(store), inserted(store)
    change(store, dead, deleted_at=LATER)

    assert ids(
        store.find(ProductQuery(9, name="Anvil" if order is Order.NAME else None, order=order))
    ) == [alive.id]


def test_what_is_not_delivered_can_be_filtered_by_name_and_change(store: Store) -> None:
    one, other = (inserted(store, fields=fields(name=name)) for name in ("Lamp", "Lump"))
    late = inserted(store, fields=fields(name="Lamps"), updated_at=LATER)

    assert ids(store.find(replace(undelivered(9), name="Lamp"))) == ids([one, late])
    assert ids(store.find(replace(undelivered(9), updated_since=LATER))) == [late.id]
    assert other.id not in ids(store.find(replace(undelivered(9), name="La")))


def test_a_list_of_what_is_delivered_leaves_tombstones_out(store: Store) -> None:
    alive, dead = inserted(store), inserted(store)
    recorded(store, change(store, dead, deleted_at=LATER))
    recorded(store, alive)

    found = store.find(ProductQuery(10, statuses=DELIVERED))

    assert ids(found) == [alive.id]


def test_a_list_by_sku_holds_that_product_only(store: Store) -> None:
    wanted = inserted(store, fields=fields(sku="A"))
    inserted(store, fields=fields(sku="B"))

    assert ids(store.find(ProductQuery(10, sku="A"))) == [wanted.id]


def test_every_filter_of_a_list_must_hold(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A"))

    assert store.find(ProductQuery(10, sku="A", statuses=DELIVERED)) == []
    assert store.find(ProductQuery(10, sku="A", after=Position(product.id))) == []


def test_the_summary_counts_the_statuses_and_the_outboxes(store: Store) -> None:
    inserted(store)
    inserted(store, outbox=(), sync=a_failed_state(SyncStatus.EXHAUSTED))
    change(store, inserted(store), deleted_at=LATER)

    summary = store.summary(LATEST)

    assert summary.products == {
        SyncStatus.PENDING: 2,
        SyncStatus.EXHAUSTED: 1,
        SyncStatus.RETRYING: 0,
        SyncStatus.DELIVERED: 0,
        SyncStatus.REJECTED: 0,
    }
    assert summary.outbox_backlog == 2


def test_the_summary_tells_since_when_the_oldest_of_each_status_is_behind(store: Store) -> None:
    for status, first in ((SyncStatus.PENDING, 1), (SyncStatus.REJECTED, 4)):
        for hours in (first + 1, first, first + 2):
            since = START + timedelta(hours=hours)
            inserted(store, sync=SyncState(status, behind_since=since))

    assert store.summary(LATEST).oldest == {
        SyncStatus.PENDING: START + timedelta(hours=1),
        SyncStatus.REJECTED: START + timedelta(hours=4),
    }


def test_the_summary_counts_what_is_delivered_too(store: Store) -> None:
    inserted(store)
    for _ in range(2):
        recorded(store, inserted(store))

    assert store.summary(LATEST).products[SyncStatus.DELIVERED] == 2


def test_nothing_is_behind_when_all_is_delivered(store: Store) -> None:
    recorded(store, inserted(store))

    assert store.summary(LATEST).oldest == {}

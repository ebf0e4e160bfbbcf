"""The products that reconcile enqueues again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.product import OPTIONAL_FIELDS, Product
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.usecases.ports import Order, ProductQuery
from tests.contract.store.steps import (
    LATER,
    LATEST,
    ids,
    inserted,
    recorded,
    stored,
    without_outbox,
)
from tests.fakes import GRACE, START, a_failed_state, a_product, every_field, fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.usecases.ports import Store


def overdue_at(store: Store, moment: datetime | None) -> Product:
    return inserted(store, sync=SyncState(overdue_at=moment))


def test_overdue_products_are_found_longest_overdue_first_and_limited(store: Store) -> None:
    products = [overdue_at(store, START + timedelta(seconds=n)) for n in (3, 1, 2, 4)]
    overdue_at(store, None)

    found = store.overdue(START + timedelta(seconds=3), 2)

    assert ids(found) == [products[1].id, products[2].id]


def test_a_product_is_overdue_from_that_very_moment_on(store: Store) -> None:
    product = overdue_at(store, START)

    assert store.overdue(START - timedelta(milliseconds=1), 10) == []
    assert ids(store.overdue(START, 10)) == [product.id]


def test_a_failed_product_whose_dead_letter_is_owed_is_overdue(store: Store) -> None:
    product = inserted(store)
    recorded(store, product, 422)

    assert ids(store.overdue(LATER + GRACE, 10)) == [product.id]


def test_overdue_products_come_without_their_outboxes_and_histories(store: Store) -> None:
    product = inserted(store)
    recorded(store, product, 500)

    (found,) = store.overdue(LATER + timedelta(days=1), 10)

    sync = replace(stored(store, product).sync, history=())
    assert (found.outbox, found.sync) == ((), sync)


def test_a_postponed_product_is_overdue_later(store: Store) -> None:
    product = overdue_at(store, START)

    store.postpone({product.id: (START, LATER)})

    assert stored(store, product) == without_outbox(
        replace(product, sync=replace(product.sync, overdue_at=LATER))
    )


def test_a_product_that_was_moved_meanwhile_is_not_postponed(store: Store) -> None:
    product = overdue_at(store, LATER)

    store.postpone({product.id: (START, LATER + GRACE)})

    assert stored(store, product).sync.overdue_at == LATER


def test_each_of_several_products_is_postponed_to_its_own_time(store: Store) -> None:
    products = [overdue_at(store, START) for _ in range(3)]
    times = {product.id: START + timedelta(days=n) for n, product in enumerate(products)}

    store.postpone({product_id: (START, then) for product_id, then in times.items()})

    assert {item.id: stored(store, item).sync.overdue_at for item in products} == times


def test_of_many_that_are_postponed_together_those_that_were_moved_meanwhile_are_not(
    store: Store,
) -> None:
    products = [overdue_at(store, START) for _ in range(60)]
    moved, earlier = overdue_at(store, LATER), overdue_at(store, START - GRACE)

    wanted = {item.id: (START, LATEST) for item in (*products, moved, earlier, a_product())}
    assert store.postpone(wanted) == len(products) + 1

    assert {stored(store, item).sync.overdue_at for item in (*products, earlier)} == {LATEST}
    assert stored(store, moved).sync.overdue_at == LATER


def test_what_has_no_time_any_more_is_not_postponed(store: Store) -> None:
    product = overdue_at(store, None)

    store.postpone({product.id: (START, LATER)})

    assert stored(store, product).sync.overdue_at is None


LOOKS: dict[str, Callable[[Store, bool], list[Product]]] = {
    "by id": lambda store, details: list(
        store.get_many(ids(store.overdue(LATEST, 9)), details=details).products.values()
    ),
    "by status": lambda store, details: store.find(
        ProductQuery(9, order=Order.BEHIND_SINCE, details=details)
    ),
    "all": lambda store, details: store.find(ProductQuery(9, details=details)),
}
BIG = {
    name: value
    for name, value in every_field().items()
    # Of which only one product may have it.
    if name in OPTIONAL_FIELDS - {"sku"}
}


@pytest.mark.parametrize("look", LOOKS)
def test_products_can_be_read_without_what_takes_most_of_the_memory(
    store: Store, look: str
) -> None:
    failed = replace(a_failed_state(SyncStatus.REJECTED), overdue_at=START)
    inserted(store, sync=failed, fields=fields(**BIG))

    (whole,), (bare,) = (LOOKS[look](store, details) for details in (True, False))

    assert whole.fields == fields(**BIG)
    assert bare == replace(whole, fields=fields())


def test_reconcile_reads_what_is_overdue_and_what_has_failed_without_details(store: Store) -> None:
    late = inserted(store, sync=SyncState(overdue_at=START), fields=fields(**BIG))
    failed = inserted(store, sync=a_failed_state(SyncStatus.REJECTED), fields=fields(**BIG))

    found = [*store.overdue(START, 9), *store.failed(9)]

    assert ids(found) == [late.id, failed.id]
    assert [item.fields for item in found] == [fields(), fields()]


def test_postponing_nothing_is_fine(store: Store) -> None:
    assert store.postpone({}) == 0

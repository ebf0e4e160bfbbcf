"""The events that wait in the documents."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from chalicelib.domain.product import OUTBOX_PAGE
from tests.contract.store.steps import LATER, LATEST, change, events, ids, inserted, stored
from tests.fakes import GRACE, START

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def test_published_events_leave_the_outbox_and_others_stay(store: Store) -> None:
    product = inserted(store)
    following = change(store, product)

    store.remove_events([(product.id, product.outbox[0].id)])

    assert events(store, product) == following.outbox


def test_events_of_several_products_are_removed_at_once(store: Store) -> None:
    products = [inserted(store) for _ in range(3)]

    store.remove_events([(item.id, event.id) for item in products for event in item.outbox])

    assert store.unpublished(LATEST, 10) == []


def test_a_published_event_that_leaves_the_outbox_is_no_new_revision(store: Store) -> None:
    product = inserted(store)

    store.remove_events([(product.id, product.outbox[0].id)])

    assert stored(store, product).revision == product.revision


def test_of_the_outboxes_those_with_an_old_event_can_be_counted(store: Store) -> None:
    inserted(store)
    inserted(store, updated_at=LATER)
    inserted(store, outbox=())

    assert store.summary(LATEST).outbox_backlog == 2
    assert store.summary(LATER).outbox_backlog == 1
    assert store.summary(START).outbox_backlog == 0


def test_an_outbox_with_several_old_events_is_counted_once(store: Store) -> None:
    change(store, inserted(store))

    assert store.summary(LATEST).outbox_backlog == 1


def test_removing_no_event_or_an_unknown_one_changes_nothing(store: Store) -> None:
    product = inserted(store)

    other = inserted(store)

    store.remove_events([])
    # The event is one of another product, and the product is not there.
    store.remove_events([(product.id, other.outbox[0].id), ("nobody", product.outbox[0].id)])

    assert events(store, product) == product.outbox


def test_products_with_old_events_are_unpublished_oldest_first(store: Store) -> None:
    times = [START + timedelta(seconds=seconds) for seconds in (3, 1, 2, 9)]
    products = [inserted(store, updated_at=time) for time in times]

    found = store.unpublished(START + timedelta(seconds=9), 10)

    assert ids(found) == [products[1].id, products[2].id, products[0].id]


def test_of_a_long_outbox_the_first_events_are_given(store: Store) -> None:
    product = inserted(store)
    waiting = list(product.outbox)
    for _ in range(OUTBOX_PAGE):
        product = change(store, product)
        waiting += product.outbox

    (found,) = store.unpublished(LATER + GRACE, 1)

    assert list(found.outbox) == waiting[:OUTBOX_PAGE]
    store.remove_events([(product.id, event.id) for event in found.outbox])
    assert list(events(store, product)) == waiting[OUTBOX_PAGE:]


def test_unpublished_products_come_with_their_events_and_limited(store: Store) -> None:
    product = inserted(store)
    following = change(store, product)
    inserted(store, updated_at=LATER)

    (found,) = store.unpublished(LATER + GRACE, 1)

    assert found.outbox == (*product.outbox, *following.outbox)


def test_a_product_with_an_empty_outbox_is_not_unpublished(store: Store) -> None:
    inserted(store, outbox=())

    assert store.unpublished(LATER, 10) == []

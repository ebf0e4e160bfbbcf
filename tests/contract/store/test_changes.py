"""The next version of a product, written only on top of the expected one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import DuplicateSkuError
from chalicelib.domain.product import OUTBOX_LIMIT
from chalicelib.domain.sync_state import Lease, SyncStatus
from tests.contract.store.steps import LATER, change, changed, claimed, delivered, inserted, stored
from tests.fakes import a_failed_state, a_product, fields

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def test_a_change_writes_fields_version_times_and_a_fresh_budget(store: Store) -> None:
    product = inserted(store, outbox=(), sync=a_failed_state(SyncStatus.EXHAUSTED))

    following = change(store, product, fields=fields(name="Other", attributes={"a": 1}))

    assert stored(store, product) == following


def test_a_change_removes_the_optional_fields_that_it_lacks(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A", description="d", attributes={"a": 1}))
    change(store, product, fields=fields())

    assert stored(store, product).fields == fields()


def test_a_change_of_another_version_than_the_expected_writes_nothing(store: Store) -> None:
    product = inserted(store)
    following = change(store, product, fields=fields(name="first"))

    late = changed(product, fields=fields(name="second"))

    assert not store.save_change(late, expected_version=0)
    assert stored(store, product).fields == following.fields


def test_a_product_that_is_not_there_cannot_be_changed(store: Store) -> None:
    assert not store.save_change(changed(a_product()), expected_version=0)


def test_a_tombstone_cannot_be_changed(store: Store) -> None:
    tombstone = change(store, inserted(store), deleted_at=LATER)

    revived = changed(tombstone, deleted_at=None)

    assert not store.save_change(revived, expected_version=tombstone.version)


def test_a_change_leaves_lease_delivered_version_and_history_alone(store: Store) -> None:
    product = inserted(store)
    read = stored(store, product)
    delivered(store, product)
    first = change(store, read)
    claim = claimed(store, product)
    change(store, first, fields=fields(name="third"))

    sync = stored(store, product).sync
    assert sync.lease == Lease("worker", claim.until, 1)
    assert sync.delivered_version == 0
    assert [attempt.version for attempt in sync.history] == [0]


def test_a_change_adds_its_event_to_those_that_wait(store: Store) -> None:
    product = inserted(store)
    following = change(store, product)

    assert stored(store, product).outbox == (*product.outbox, *following.outbox)


def test_an_outbox_keeps_the_newest_events(store: Store) -> None:
    product = inserted(store)
    for _ in range(OUTBOX_LIMIT):
        product = change(store, product)

    versions = [event.version for event in stored(store, product).outbox]
    assert versions == list(range(1, OUTBOX_LIMIT + 1))


def test_a_change_to_a_taken_sku_is_refused(store: Store) -> None:
    inserted(store, fields=fields(sku="taken"))
    product = inserted(store, fields=fields(sku="own"))

    with pytest.raises(DuplicateSkuError):
        store.save_change(changed(product, fields=fields(sku="taken")), expected_version=0)
    assert stored(store, product) == product


def test_the_sku_of_a_tombstone_is_free_again(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A"))
    change(store, product, deleted_at=LATER)

    inserted(store, fields=fields(sku="A"))
    assert stored(store, product).fields.sku is None


def test_a_sku_that_was_given_up_is_free_again(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A"))
    change(store, product, fields=fields(sku="B"))

    inserted(store, fields=fields(sku="A"))

"""The next version of a product, written only on top of the expected one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import DuplicateSkuError
from chalicelib.domain.product import OUTBOX_LIMIT
from chalicelib.domain.sync_state import SyncState, SyncStatus
from tests.contract.store.steps import (
    LATER,
    change,
    changed,
    claimed,
    empty_outbox,
    events,
    inserted,
    recorded,
    stored,
    without_outbox,
)
from tests.fakes import GRACE, START, a_failed_state, a_product, fields

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def test_a_change_writes_fields_version_times_and_a_fresh_budget(store: Store) -> None:
    failed = a_failed_state(SyncStatus.EXHAUSTED)
    product = inserted(store, sync=replace(failed, budget=3, message_id="message"))

    following = change(store, product, fields=fields(name="Other", attributes={"a": 1}))

    assert stored(store, product) == without_outbox(following)
    fresh = SyncState(budget=0, behind_since=START, overdue_at=LATER + GRACE)
    assert following.sync == fresh
    assert following.revision == product.revision + 1


def test_a_change_removes_the_optional_fields_that_it_lacks(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A", description="d", attributes={"a": 1}))
    change(store, product, fields=fields())

    assert stored(store, product).fields == fields()


def test_a_change_of_another_version_than_the_expected_writes_nothing(store: Store) -> None:
    product = inserted(store)
    following = change(store, product, fields=fields(name="first"))

    late = changed(product, fields=fields(name="second"))

    assert not store.save_change(late, expected_version=0)
    assert stored(store, product) == without_outbox(following)
    assert events(store, product) == (*product.outbox, *following.outbox)


def test_a_change_goes_by_the_version_whatever_else_has_changed(store: Store) -> None:
    product = inserted(store)
    recorded(store, product, 500)

    change(store, product)

    # The revision that is stored counts on, whatever the writer saw.
    assert stored(store, product).revision == product.revision + 3


def test_a_product_that_is_not_there_cannot_be_changed(store: Store) -> None:
    assert not store.save_change(changed(a_product()), expected_version=0)


def test_who_saw_a_product_before_it_was_deleted_does_not_revive_it(store: Store) -> None:
    product = inserted(store)
    tombstone = change(store, product, deleted_at=LATER)

    assert not store.save_change(changed(product), expected_version=product.version)
    assert stored(store, product) == without_outbox(tombstone)


def test_a_change_leaves_delivered_version_and_history_alone(store: Store) -> None:
    product = inserted(store)
    # The writer has read the product before it was delivered.
    result = recorded(store, product)

    change(store, product)

    sync = stored(store, product).sync
    assert (sync.delivered_version, sync.history) == (0, (result.attempt,))


def test_a_change_ends_the_claim_and_keeps_the_lease(store: Store) -> None:
    product = inserted(store)
    claim = claimed(store, product)

    # The writer has read the product before it was claimed.
    change(store, product)

    sync = stored(store, product).sync
    assert (sync.claim, sync.message_id) == (None, None)
    assert sync.lease == claim.product.sync.lease
    assert sync.lease is not None


def test_a_change_adds_its_event_to_those_that_wait(store: Store) -> None:
    product = inserted(store)
    following = change(store, product)

    assert events(store, product) == (*product.outbox, *following.outbox)


def test_an_outbox_keeps_the_newest_events(store: Store) -> None:
    product = inserted(store)
    for _ in range(OUTBOX_LIMIT):
        product = change(store, product)

    versions = [event.version for event in empty_outbox(store, product)]
    assert versions == list(range(1, OUTBOX_LIMIT + 1))


def test_a_change_to_a_taken_sku_is_refused(store: Store) -> None:
    holder = inserted(store, fields=fields(sku="taken"))
    product = inserted(store, fields=fields(sku="own"))

    with pytest.raises(DuplicateSkuError) as raised:
        store.save_change(changed(product, fields=fields(sku="taken")), expected_version=0)
    assert raised.value.product_id == holder.id
    assert stored(store, product) == without_outbox(product)


def test_the_sku_of_a_tombstone_is_free_again(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A"))
    change(store, product, deleted_at=LATER)

    inserted(store, fields=fields(sku="A"))
    assert stored(store, product).fields.sku is None


def test_a_sku_that_was_given_up_is_free_again(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A"))
    change(store, product, fields=fields(sku="B"))

    inserted(store, fields=fields(sku="A"))

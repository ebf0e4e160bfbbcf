"""New products, and the idempotency keys that they were created under."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import DuplicateIdempotencyKeyError, DuplicateSkuError
from chalicelib.domain.events import EventType
from chalicelib.domain.sync_state import Attempt, Lease, SyncState, SyncStatus
from chalicelib.usecases.ports import Creation
from tests.contract.store.steps import (
    LATER,
    change,
    events,
    insert,
    inserted,
    stored,
    without_outbox,
)
from tests.fakes import GRACE, START, a_product, fields

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def test_an_inserted_product_is_found_as_it_was(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A-1", description="ein Amboß\x00 🛠"))

    assert store.get(product.id) == without_outbox(product)
    assert events(store, product) == product.outbox


def test_every_part_of_the_sync_state_is_kept(store: Store) -> None:
    attempt = Attempt(START, 0, None, 0.25, "no answer in time")
    sync = SyncState(
        SyncStatus.RETRYING,
        budget=4,
        attempts=3,
        delivered_version=0,
        first_attempt_at=START,
        next_attempt_at=LATER,
        aim_at=LATER + timedelta(seconds=1),
        ends_at=LATER + timedelta(hours=72),
        behind_since=START,
        overdue_at=LATER + GRACE,
        lease=Lease("token", LATER, 2, 4),
        claim="token",
        message_id="message",
        last_error="HTTP 500",
        history=(attempt, replace(attempt, status=500, error=None)),
        bulk=True,
    )
    product = inserted(store, version=2, revision=9, sync=sync)

    assert stored(store, product) == without_outbox(product)


def test_each_of_many_products_has_its_own_result(store: Store) -> None:
    inserted(store, fields=fields(sku="taken"))
    skus = {3: "taken", 17: "taken"}
    products = [a_product(fields=fields(sku=skus.get(n, f"own {n}"))) for n in range(25)]

    failures = store.insert([(product, None) for product in products])

    assert {n for n, failure in enumerate(failures) if failure is not None} == skus.keys()
    assert all(isinstance(failures[n], DuplicateSkuError) for n in skus)
    assert len(store.get_many([product.id for product in products]).products) == 23


def test_a_write_of_one_product_ends_that_it_is_bulk(store: Store) -> None:
    product = inserted(store, sync=SyncState(bulk=True))

    change(store, product)

    assert not stored(store, product).sync.bulk


def test_the_event_of_a_bulk_product_is_kept_as_bulk(store: Store) -> None:
    product = inserted(store, sync=SyncState(bulk=True))

    assert [event.bulk for event in events(store, product)] == [True]


def test_the_trace_of_an_event_is_kept(store: Store) -> None:
    product = a_product(outbox=()).with_event(EventType.CREATED, START, "Root=1-2-3")
    insert(store, product)

    assert events(store, product) == product.outbox


def test_of_a_batch_only_the_item_with_a_taken_sku_is_refused(store: Store) -> None:
    inserted(store, fields=fields(sku="taken"))
    batch = [a_product(fields=fields(sku=sku)) for sku in ("one", "taken", "two")]

    failures = store.insert([(product, None) for product in batch])

    assert [type(failure) for failure in failures] == [type(None), DuplicateSkuError, type(None)]
    assert [store.get(product.id) is not None for product in batch] == [True, False, True]


def test_the_product_that_has_a_sku_is_named(store: Store) -> None:
    holders = [inserted(store, fields=fields(sku=sku)) for sku in ("A", "B")]
    batch = [a_product(fields=fields(sku=sku)) for sku in ("B", "C", "C", "A")]

    failures = store.insert([(product, None) for product in batch])

    named = [f.product_id if isinstance(f, DuplicateSkuError) else None for f in failures]
    assert named == [holders[1].id, None, batch[1].id, holders[0].id]
    assert holders[1].id in str(failures[0])


def test_of_two_items_of_a_batch_with_the_same_sku_the_first_is_taken(store: Store) -> None:
    batch = [(a_product(fields=fields(sku="same")), None) for _ in range(2)]

    first, second = store.insert(batch)

    assert first is None
    assert isinstance(second, DuplicateSkuError)


def test_products_without_a_sku_do_not_collide(store: Store) -> None:
    insert(store, *[a_product() for _ in range(3)])


def test_a_creation_is_found_under_its_key(store: Store) -> None:
    creation = Creation("key", "fingerprint", '{"price":12.50}')
    store.insert([(a_product(), creation)])

    assert store.created_under("key") == creation


def test_the_creations_of_a_batch_are_found_under_their_keys(store: Store) -> None:
    batch = [Creation(key, "fingerprint", "{}", 3) for key in ("one", "two")]
    store.insert([(a_product(), creation) for creation in batch])
    store.insert([(a_product(), Creation("other", "fingerprint", "{}"))])

    found = store.created_in_batch(["two", "one", "never"])

    assert sorted(found, key=lambda creation: creation.key) == batch


def test_nothing_is_found_under_a_key_that_was_never_used(store: Store) -> None:
    assert store.created_under("never") is None


def test_of_a_batch_only_the_item_with_a_used_key_is_refused(store: Store) -> None:
    store.insert([(a_product(), Creation("used", "f", "{}"))])
    batch = [(a_product(), Creation(key, "f", "{}")) for key in ("one", "used", "two")]

    failures = store.insert(batch)

    refused = DuplicateIdempotencyKeyError
    assert [type(failure) for failure in failures] == [type(None), refused, type(None)]
    assert store.get(batch[1][0].id) is None


def test_a_refused_creation_leaves_the_first_one_under_its_key(store: Store) -> None:
    first = Creation("key", "first", "{}")
    store.insert([(a_product(), first)])
    store.insert([(a_product(), Creation("key", "second", "{}"))])

    assert store.created_under("key") == first


def test_a_key_is_still_known_after_the_product_was_changed(store: Store) -> None:
    product, creation = a_product(), Creation("key", "f", "{}")
    store.insert([(product, creation)])
    change(store, product, fields=fields(name="other"))

    assert store.created_under("key") == creation


@pytest.mark.parametrize("details", [True, False])
def test_a_product_knows_whether_it_was_created_under_a_key(store: Store, *, details: bool) -> None:
    keyed, bare = a_product(keyed=True), a_product()
    store.insert([(keyed, Creation("key", "f", "{}")), (bare, None)])

    found = store.get_many([keyed.id, bare.id], details=details).products

    assert (found[keyed.id].keyed, found[bare.id].keyed) == (True, False)
    assert stored(store, keyed).keyed

"""The store's contract, on the fake and on the adapter with its server."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from pymongo import MongoClient
from pymongo.errors import ServerSelectionTimeoutError
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.domain.delivery import (
    Claim,
    Outcome,
    SyncResult,
    conclude,
    judge,
)
from chalicelib.domain.errors import (
    DuplicateIdempotencyKeyError,
    DuplicateSkuError,
    StoreUnavailableError,
)
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.product import (
    MAX_INT64,
    OUTBOX_LIMIT,
    OUTBOX_PAGE,
    Product,
)
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    HISTORY_LIMIT,
    Attempt,
    Lease,
    SyncState,
    SyncStatus,
)
from chalicelib.usecases.ports import Creation, ProductQuery
from tests.contract.conftest import NOWHERE
from tests.fakes import GRACE, START, a_product, fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.collection import Collection as MongoCollection

    from chalicelib.usecases.ports import Store
    from embedded.services import Endpoints

LATER = START + timedelta(hours=1)
LEASE = timedelta(seconds=70)
SCHEDULE = Schedule()
WRITES = {"insert", "update", "delete"}
ODD_KEYS = ["a.b", "$x", "$set", "_id", " ", ".", "\x00", "naïve 名 🚀", "\u202e"]


def insert(store: Store, *products: Product) -> None:
    assert store.insert([(product, None) for product in products]) == [None] * len(products)


def inserted(store: Store, **changes: object) -> Product:
    product = a_product(**changes)
    insert(store, product)
    return product


def stored(store: Store, product: Product) -> Product:
    found = store.get(product.id)
    assert found is not None
    return found


def changed(product: Product, **changes: object) -> Product:
    """The next version of a product, as the catalog would write it."""
    return a_product(
        id=product.id,
        version=product.version + 1,
        created_at=product.created_at,
        updated_at=LATER,
        sync=product.sync.restarted(LATER, LATER + GRACE),
        **{"fields": product.fields, **changes},
    )


def change(store: Store, product: Product, **changes: object) -> Product:
    following = changed(product, **changes)
    assert store.save_change(following, expected_version=product.version)
    return following


def a_claim(
    product: Product,
    owner: str = "worker",
    *,
    now: datetime = LATER,
    message_id: str = "message",
    fresh: bool = False,
) -> Claim:
    until = now + LEASE
    return Claim(product, owner, message_id, now, until, until + GRACE, fresh)


def claimed(store: Store, product: Product, owner: str = "worker") -> Claim:
    claim = a_claim(stored(store, product), owner)
    assert store.claim([claim]) == {product.id}
    return claim


def a_result(claim: Claim, status: int = 200, schedule: Schedule = SCHEDULE) -> SyncResult:
    """What is to be written after an attempt that was answered with this status."""
    deleting = claim.product.deleted_at is not None
    error = None if status == 200 else f"HTTP {status}"
    attempt = Attempt(claim.now, claim.product.version, status, 0.5, error)
    outcome = Outcome(attempt, judge(status, deleting=deleting, reject_statuses={422}))
    result, _ = conclude(
        claim, outcome, schedule, now=claim.now, jitter=0.0, grace=GRACE, trace=None
    )
    return result


def delivered(store: Store, product: Product) -> SyncResult:
    result = a_result(claimed(store, product))
    store.record([result])
    return result


def stuck(status: SyncStatus) -> SyncState:
    return SyncState(status=status, attempts=18, behind_since=START, last_error="HTTP 500")


def ids(products: list[Product]) -> list[str]:
    return [product.id for product in products]


# ---- insert ----


def test_an_inserted_product_is_found_as_it_was(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A-1", description="ein Amboß\x00 🛠"))

    assert store.get(product.id) == product


def test_every_part_of_the_sync_state_is_kept(store: Store) -> None:
    attempt = Attempt(START, 0, None, 0.25, "no answer in time")
    sync = SyncState(
        SyncStatus.RETRYING,
        attempts=3,
        delivered_version=0,
        first_attempt_at=START,
        next_attempt_at=LATER,
        behind_since=START,
        overdue_at=LATER + GRACE,
        lease=Lease("worker", LATER, 2),
        message_id="message",
        last_error="HTTP 500",
        history=(attempt, replace(attempt, status=500, error=None)),
    )
    product = inserted(store, version=2, sync=sync, sync_completed_at=None)

    assert stored(store, product).sync == sync


def test_the_trace_of_an_event_is_kept(store: Store) -> None:
    product = a_product(outbox=()).with_event(EventType.CREATED, START, "Root=1-2-3")
    insert(store, product)

    assert stored(store, product).outbox == product.outbox


def test_of_a_batch_only_the_item_with_a_taken_sku_is_refused(store: Store) -> None:
    inserted(store, fields=fields(sku="taken"))
    batch = [a_product(fields=fields(sku=sku)) for sku in ("one", "taken", "two")]

    failures = store.insert([(product, None) for product in batch])

    assert [type(failure) for failure in failures] == [type(None), DuplicateSkuError, type(None)]
    assert [store.get(product.id) is not None for product in batch] == [True, False, True]


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


# ---- exactness ----


@pytest.mark.parametrize(
    "text", ["0.0001", "12.50", "1000", "9" * 30 + ".9999", "123456789012345678.1"]
)
def test_a_price_is_kept_digit_by_digit(store: Store, text: str) -> None:
    product = inserted(store, fields=fields(price=Decimal(text)))

    assert str(stored(store, product).fields.price) == text


@pytest.mark.parametrize(
    "value",
    [True, False, 0, 1, -MAX_INT64, MAX_INT64, "", "x" * 1000, "\x00", "12.50", "naïve 🚀"],
)
def test_an_attribute_keeps_its_value_and_type(store: Store, value: object) -> None:
    product = inserted(store, fields=fields(attributes={"a": value}))

    kept = (stored(store, product).fields.attributes or {})["a"]
    assert kept == value
    assert isinstance(kept, bool) is isinstance(value, bool)


@pytest.mark.parametrize("text", ["1." + "1" * 20, "-" + "9" * 14 + "." + "9" * 20, "1.0"])
def test_a_fraction_among_the_attributes_is_kept_digit_by_digit(store: Store, text: str) -> None:
    product = inserted(store, fields=fields(attributes={"a": Decimal(text)}))

    assert str((stored(store, product).fields.attributes or {})["a"]) == text


def test_odd_attribute_keys_are_kept_in_their_order(store: Store) -> None:
    attributes = {key: index for index, key in enumerate(ODD_KEYS)}
    product = inserted(store, fields=fields(attributes=attributes))

    assert list((stored(store, product).fields.attributes or {}).items()) == list(
        attributes.items()
    )


@pytest.mark.parametrize("attributes", [None, {}])
def test_no_attributes_are_something_else_than_empty_ones(
    store: Store, attributes: dict[str, object] | None
) -> None:
    product = inserted(store, fields=fields(attributes=attributes))

    assert stored(store, product).fields.attributes == attributes


def test_the_largest_quantity_is_kept(store: Store) -> None:
    product = inserted(store, fields=fields(quantity=MAX_INT64))

    assert stored(store, product).fields.quantity == MAX_INT64


# ---- reading ----


def test_an_unknown_product_is_not_found(store: Store) -> None:
    assert store.get(a_product().id) is None


def test_many_products_are_found_by_id_with_tombstones_and_without_unknown_ones(
    store: Store,
) -> None:
    alive, dead = inserted(store), inserted(store)
    change(store, dead, deleted_at=LATER)

    found = store.get_many({alive.id, dead.id, a_product().id})

    assert set(found) == {alive.id, dead.id}
    assert found[dead.id].deleted_at == LATER


def test_many_products_come_without_their_outboxes_and_histories(store: Store) -> None:
    product = inserted(store)
    delivered(store, product)

    found = store.get_many([product.id])[product.id]

    assert (found.outbox, found.sync.history) == ((), ())
    assert found.sync.status is SyncStatus.DELIVERED


def test_no_ids_find_no_products(store: Store) -> None:
    inserted(store)

    assert store.get_many([]) == {}


@pytest.mark.parametrize("product_id", ["", "\x00", "$where", "x" * 10_000])
def test_an_id_that_no_product_can_have_finds_nothing(store: Store, product_id: str) -> None:
    assert store.get_many([product_id]) == {}
    assert store.get(product_id) is None


def test_a_list_is_ordered_by_id_and_limited(store: Store) -> None:
    products = [a_product() for _ in range(5)]
    insert(store, *reversed(products))

    assert ids(store.find(ProductQuery(3))) == ids(products)[:3]


def test_a_list_goes_on_after_the_given_id(store: Store) -> None:
    products = [a_product() for _ in range(5)]
    insert(store, *products)

    assert ids(store.find(ProductQuery(10, after=products[2].id))) == ids(products)[3:]


def test_a_list_leaves_tombstones_out(store: Store) -> None:
    alive, dead = inserted(store), inserted(store)
    change(store, dead, deleted_at=LATER)

    assert ids(store.find(ProductQuery(10))) == [alive.id]


def test_a_list_by_status_shows_the_tombstones_too(store: Store) -> None:
    pending, dead, done = inserted(store), inserted(store), inserted(store)
    change(store, dead, deleted_at=LATER)
    delivered(store, done)

    found = store.find(ProductQuery(10, status=SyncStatus.PENDING))

    assert ids(found) == [pending.id, dead.id]


def test_a_list_of_what_is_delivered_leaves_tombstones_out(store: Store) -> None:
    alive, dead = inserted(store), inserted(store)
    delivered(store, change(store, dead, deleted_at=LATER))
    delivered(store, alive)

    found = store.find(ProductQuery(10, status=SyncStatus.DELIVERED))

    assert ids(found) == [alive.id]


def test_a_list_by_sku_holds_that_product_only(store: Store) -> None:
    wanted = inserted(store, fields=fields(sku="A"))
    inserted(store, fields=fields(sku="B"))

    assert ids(store.find(ProductQuery(10, sku="A"))) == [wanted.id]


def test_every_filter_of_a_list_must_hold(store: Store) -> None:
    product = inserted(store, fields=fields(sku="A"))

    assert store.find(ProductQuery(10, sku="A", status=SyncStatus.DELIVERED)) == []
    assert store.find(ProductQuery(10, sku="A", after=product.id)) == []


def test_the_summary_counts_the_statuses_and_the_outboxes(store: Store) -> None:
    inserted(store)
    inserted(store, outbox=(), sync=stuck(SyncStatus.EXHAUSTED))
    change(store, inserted(store), deleted_at=LATER)

    summary = store.summary()

    assert summary.products == {
        SyncStatus.PENDING: 2,
        SyncStatus.EXHAUSTED: 1,
        SyncStatus.RETRYING: 0,
        SyncStatus.DELIVERED: 0,
        SyncStatus.REJECTED: 0,
    }
    assert summary.outbox_backlog == 2


def test_the_summary_tells_since_when_the_oldest_is_behind(store: Store) -> None:
    for hours in (2, 1, 3):
        inserted(store, sync=SyncState(behind_since=START + timedelta(hours=hours)))

    assert store.summary().behind_since == START + timedelta(hours=1)


def test_nothing_is_behind_when_all_is_delivered(store: Store) -> None:
    delivered(store, inserted(store))

    assert store.summary().behind_since is None


# ---- changing ----


def test_a_change_writes_fields_version_times_and_a_fresh_budget(store: Store) -> None:
    product = inserted(store, outbox=(), sync=stuck(SyncStatus.EXHAUSTED))

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


# ---- the outbox ----


def test_published_events_leave_the_outbox_and_others_stay(store: Store) -> None:
    product = inserted(store)
    following = change(store, product)

    store.remove_events(product.outbox)

    assert stored(store, product).outbox == following.outbox


def test_events_of_several_products_are_removed_at_once(store: Store) -> None:
    products = [inserted(store) for _ in range(3)]

    store.remove_events([event for product in products for event in product.outbox])

    assert store.summary().outbox_backlog == 0


def test_of_the_outboxes_those_with_an_old_event_can_be_counted(store: Store) -> None:
    inserted(store)
    inserted(store, updated_at=LATER)
    inserted(store, outbox=())

    assert store.summary().outbox_backlog == 2
    assert store.summary(outbox_before=LATER).outbox_backlog == 1
    assert store.summary(outbox_before=START).outbox_backlog == 0


def test_removing_no_event_or_an_unknown_one_changes_nothing(store: Store) -> None:
    product = inserted(store)

    store.remove_events([])
    store.remove_events(a_product().outbox)

    assert stored(store, product) == product


def test_products_with_old_events_are_left_behind_oldest_first(store: Store) -> None:
    times = [START + timedelta(seconds=seconds) for seconds in (3, 1, 2, 9)]
    products = [inserted(store, updated_at=time) for time in times]

    found = store.unpublished(START + timedelta(seconds=9), 10)

    assert ids(found) == [products[1].id, products[2].id, products[0].id]


def test_of_a_long_outbox_the_first_events_are_given(store: Store) -> None:
    product = inserted(store)
    events = list(product.outbox)
    for _ in range(OUTBOX_PAGE):
        product = change(store, product)
        events += product.outbox

    (found,) = store.unpublished(LATER + GRACE, 1)

    assert list(found.outbox) == events[:OUTBOX_PAGE]
    assert list(stored(store, product).outbox) == events


def test_left_behind_products_come_with_their_events_and_limited(store: Store) -> None:
    product = inserted(store)
    following = change(store, product)
    inserted(store, updated_at=LATER)

    (found,) = store.unpublished(LATER + GRACE, 1)

    assert found.outbox == (*product.outbox, *following.outbox)


def test_a_product_with_an_empty_outbox_is_not_left_behind(store: Store) -> None:
    inserted(store, outbox=())

    assert store.unpublished(LATER, 10) == []


# ---- overdue products ----


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


def test_a_postponed_product_is_overdue_later(store: Store) -> None:
    product = overdue_at(store, START)

    store.postpone({product.id: (START, LATER)})

    assert stored(store, product).sync.overdue_at == LATER


def test_a_product_that_was_moved_meanwhile_is_not_postponed(store: Store) -> None:
    product = overdue_at(store, LATER)

    store.postpone({product.id: (START, LATER + GRACE)})

    assert stored(store, product).sync.overdue_at == LATER


def test_each_of_several_products_is_postponed_to_its_own_time(store: Store) -> None:
    products = [overdue_at(store, START) for _ in range(3)]
    times = {product.id: START + timedelta(days=n) for n, product in enumerate(products)}

    store.postpone({product_id: (START, then) for product_id, then in times.items()})

    assert {item.id: stored(store, item).sync.overdue_at for item in products} == times


def test_postponing_nothing_is_fine(store: Store) -> None:
    store.postpone({})


# ---- fresh budgets ----


def test_a_restarted_product_is_pending_overdue_and_has_a_fresh_budget(store: Store) -> None:
    product = inserted(store, outbox=(), sync=stuck(SyncStatus.EXHAUSTED))

    assert store.restart(product, LATER)

    expected = SyncState(behind_since=START, overdue_at=LATER, restarted_at=LATER)
    assert stored(store, product).sync == expected


def test_a_restarted_product_that_was_delivered_is_behind_from_now_on(store: Store) -> None:
    product = inserted(store)
    delivered(store, product)

    assert store.restart(stored(store, product), LATER)

    again = stored(store, product)
    assert (again.sync.behind_since, again.sync.delivered_version) == (LATER, 0)
    assert again.sync_completed_at is None
    assert len(again.sync.history) == 1


def test_a_restart_leaves_a_running_call_its_lease(store: Store) -> None:
    product = inserted(store)
    claimed(store, product)

    assert store.restart(product, LATER)

    lease = stored(store, product).sync.lease
    assert lease is not None
    assert lease.owner == "worker"


def test_a_version_that_is_not_the_newest_is_not_restarted(store: Store) -> None:
    product = inserted(store)
    following = change(store, product)

    assert not store.restart(product, LATER + GRACE)
    assert stored(store, product).sync == following.sync


def test_all_stuck_products_are_restarted_and_counted(store: Store) -> None:
    exhausted = inserted(store, sync=stuck(SyncStatus.EXHAUSTED))
    rejected = inserted(store, sync=stuck(SyncStatus.REJECTED))
    inserted(store)

    assert store.restart_failed(FAILED_STATUSES, LATER) == 2
    fresh = SyncState(behind_since=START, overdue_at=LATER, restarted_at=LATER)
    assert [stored(store, item).sync for item in (exhausted, rejected)] == [fresh, fresh]


def test_only_products_of_the_given_stuck_status_are_restarted(store: Store) -> None:
    inserted(store, sync=stuck(SyncStatus.EXHAUSTED))
    rejected = inserted(store, sync=stuck(SyncStatus.REJECTED))

    assert store.restart_failed({SyncStatus.EXHAUSTED}, LATER) == 1
    assert stored(store, rejected) == rejected


@pytest.mark.parametrize("status", sorted(set(SyncStatus) - FAILED_STATUSES))
def test_products_that_are_not_stuck_are_never_restarted_as_stuck(
    store: Store, status: SyncStatus
) -> None:
    product = inserted(store, sync=SyncState(status))

    assert store.restart_failed({status}, LATER) == 0
    assert stored(store, product) == product


def test_a_restart_of_the_stuck_keeps_what_the_supply_chain_holds(store: Store) -> None:
    product = inserted(store)
    delivered(store, product)
    change(store, stored(store, product))
    store.record([a_result(claimed(store, product), 422)])

    store.restart_failed(FAILED_STATUSES, LATER)

    sync = stored(store, product).sync
    assert sync.delivered_version == 0
    assert [attempt.status for attempt in sync.history] == [200, 422]


# ---- claims ----


def test_a_won_claim_sets_lease_carrier_and_when_it_is_overdue(store: Store) -> None:
    product = inserted(store)

    claim = claimed(store, product)

    sync = stored(store, product).sync
    assert sync == replace(
        product.sync,
        lease=Lease("worker", claim.until, 0),
        message_id="message",
        overdue_at=claim.overdue_at,
    )


def test_a_claim_is_lost_while_another_worker_holds_the_lease(store: Store) -> None:
    product = inserted(store)
    claim = claimed(store, product, "first")

    late = a_claim(product, "second", now=claim.until - timedelta(milliseconds=1))

    assert store.claim([late]) == set()
    assert stored(store, product).sync.lease == Lease("first", claim.until, 0)


def test_a_lease_that_has_run_out_can_be_taken(store: Store) -> None:
    product = inserted(store)
    claim = claimed(store, product, "first")

    assert store.claim([a_claim(product, "second", now=claim.until)]) == {product.id}


def test_a_lease_that_was_given_back_can_be_taken(store: Store) -> None:
    product = inserted(store)
    store.record([a_result(claimed(store, product, "first"), 500)])

    claimed(store, product, "second")


def test_a_claim_of_a_version_that_is_not_the_newest_is_lost(store: Store) -> None:
    product = inserted(store)
    change(store, product)

    assert store.claim([a_claim(product)]) == set()
    assert stored(store, product).sync.lease is None


def test_a_claim_is_lost_when_an_attempt_was_made_since_the_look(store: Store) -> None:
    retrying = SyncState(SyncStatus.RETRYING, attempts=1, first_attempt_at=START)
    product = inserted(store, sync=retrying)
    store.record([a_result(claimed(store, product, "first"), 500)])

    assert stored(store, product).sync.status is SyncStatus.RETRYING
    assert store.claim([a_claim(product, "second")]) == set()


def test_a_claim_is_lost_when_the_product_was_delivered_since_the_look(store: Store) -> None:
    product = inserted(store)
    delivered(store, product)
    seen = replace(product, sync=replace(stored(store, product).sync, status=SyncStatus.PENDING))

    assert store.claim([a_claim(seen, "second")]) == set()


def test_of_a_mixed_batch_the_claims_that_were_won_are_named(store: Store) -> None:
    free, held, changed_since = (inserted(store) for _ in range(3))
    claimed(store, held, "another")
    change(store, changed_since)

    won = store.claim([a_claim(product) for product in (free, held, changed_since)])

    assert won == {free.id}


def test_a_claim_of_a_product_that_is_gone_is_lost(store: Store) -> None:
    assert store.claim([a_claim(a_product())]) == set()


def test_no_claims_win_nothing(store: Store) -> None:
    assert store.claim([]) == set()


def test_a_fresh_claim_resets_the_budget(store: Store) -> None:
    product = inserted(store, sync=replace(stuck(SyncStatus.REJECTED), first_attempt_at=START))

    assert store.claim([a_claim(product, fresh=True)]) == {product.id}

    sync = stored(store, product).sync
    assert (sync.status, sync.attempts) == (SyncStatus.PENDING, 0)
    assert (sync.first_attempt_at, sync.next_attempt_at) == (None, None)


def test_a_claim_that_is_not_fresh_keeps_the_budget(store: Store) -> None:
    product = inserted(store)
    store.record([a_result(claimed(store, product), 500)])
    before = stored(store, product).sync
    claimed(store, product, "second")

    after = stored(store, product).sync
    assert (after.attempts, after.first_attempt_at) == (1, before.first_attempt_at)
    assert after.status is SyncStatus.RETRYING


def test_of_two_workers_that_claim_at_once_exactly_one_wins(store: Store) -> None:
    barrier = threading.Barrier(2)

    def take(product: Product, owner: str) -> set[str]:
        claim = a_claim(product, owner)
        barrier.wait(timeout=10)
        return store.claim([claim])

    with ThreadPoolExecutor(2) as pool:
        for _ in range(40):
            product = inserted(store)
            wins = list(pool.map(take, (product, product), ("one", "two")))

            lease = stored(store, product).sync.lease
            assert sorted(map(len, wins)) == [0, 1]
            assert lease is not None
            assert lease.owner == ("one" if wins[0] else "two")


# ---- results ----


def test_a_delivered_product_is_up_to_date(store: Store) -> None:
    product = inserted(store)

    result = delivered(store, product)

    done = stored(store, product)
    assert done.sync == replace(result.sync, history=(result.attempt,))
    assert done.sync.delivered_version == 0
    assert (done.sync.behind_since, done.sync.lease, done.sync.overdue_at) == (None, None, None)
    assert done.sync_completed_at == LATER


def test_a_delivery_puts_its_event_into_the_outbox(store: Store) -> None:
    product = inserted(store)

    result = delivered(store, product)

    assert result.event is not None
    assert stored(store, product).outbox == (*product.outbox, result.event)


def test_a_failed_attempt_is_counted_and_the_next_one_is_planned(store: Store) -> None:
    product = inserted(store)
    result = a_result(claimed(store, product), 500)

    store.record([result])

    sync, planned = stored(store, product).sync, result.sync.next_attempt_at
    assert (sync.status, sync.attempts, sync.lease) == (SyncStatus.RETRYING, 1, None)
    assert (sync.history, sync.last_error) == ((result.attempt,), "HTTP 500")
    # To the millisecond, which is what BSON keeps.
    assert planned is not None
    assert sync.next_attempt_at is not None
    assert planned - sync.next_attempt_at < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("status", "attempts", "expected"),
    [(500, 1, SyncStatus.EXHAUSTED), (422, 18, SyncStatus.REJECTED)],
)
def test_a_product_can_get_stuck(
    store: Store, status: int, attempts: int, expected: SyncStatus
) -> None:
    product = inserted(store)
    schedule = Schedule(attempts, 0 if attempts == 1 else 259_200)
    store.record([a_result(claimed(store, product), status, schedule)])

    sync = stored(store, product).sync
    assert (sync.status, sync.overdue_at, sync.lease) == (expected, None, None)
    assert sync.last_error is not None
    assert sync.behind_since == START


def test_the_results_of_a_batch_are_each_written(store: Store) -> None:
    products = [inserted(store) for _ in range(3)]
    claims = [a_claim(product) for product in products]
    assert store.claim(claims) == set(ids(products))

    store.record([a_result(claim, s) for claim, s in zip(claims, (200, 500, 422), strict=True)])

    statuses = [stored(store, product).sync.status for product in products]
    assert statuses == [SyncStatus.DELIVERED, SyncStatus.RETRYING, SyncStatus.REJECTED]


def test_recording_nothing_is_fine(store: Store) -> None:
    store.record([])


def test_the_history_keeps_the_newest_attempts(store: Store) -> None:
    attempt = Attempt(START, 0, 500, 0.1, "old")
    product = inserted(store, sync=SyncState(history=(attempt,) * HISTORY_LIMIT))

    result = delivered(store, product)

    assert stored(store, product).sync.history == (*[attempt] * 17, result.attempt)


@pytest.mark.parametrize(("status", "delivered_version"), [(200, 0), (500, None)])
def test_a_result_for_a_version_that_was_replaced_meanwhile_leaves_the_new_one_alone(
    store: Store, status: int, delivered_version: int | None
) -> None:
    product = inserted(store)
    claim = claimed(store, product)
    following = change(store, product)
    result = a_result(claim, status)

    store.record([result])

    after = stored(store, product)
    assert after.sync == replace(
        following.sync,
        lease=None,
        history=(result.attempt,),
        delivered_version=delivered_version,
    )
    assert after.sync_completed_at is None
    assert after.outbox == (*product.outbox, *following.outbox)


@pytest.mark.parametrize(("status", "delivered_version"), [(200, 0), (500, None), (422, None)])
def test_a_result_of_a_call_during_which_a_replay_was_asked_for_leaves_the_new_budget_alone(
    store: Store, status: int, delivered_version: int | None
) -> None:
    product = inserted(store)
    result = a_result(claimed(store, product), status)
    store.restart(product, LATER)
    replayed = stored(store, product)

    store.record([result])

    after = stored(store, product)
    assert after.sync == replace(
        replayed.sync,
        lease=None,
        history=(result.attempt,),
        delivered_version=delivered_version,
    )
    assert (after.sync.status, after.sync_completed_at) == (SyncStatus.PENDING, None)
    assert after.outbox == product.outbox


def test_a_result_for_an_older_version_leaves_a_newer_one_alone_whoever_carries_it(
    store: Store,
) -> None:
    product = inserted(store)
    result = a_result(claimed(store, product))
    held = SyncState(
        lease=Lease(result.owner, LATER, 0), message_id=result.sync.message_id, behind_since=START
    )
    newer = inserted(store, version=1, sync=held)

    store.record([replace(result, product_id=newer.id)])

    after = stored(store, newer)
    assert (after.sync.status, after.sync.message_id) == (SyncStatus.PENDING, held.message_id)
    assert (after.sync_completed_at, after.outbox) == (None, newer.outbox)


def test_an_old_delivery_never_lowers_the_delivered_version(store: Store) -> None:
    product = inserted(store, sync=SyncState(delivered_version=7))
    claim = claimed(store, product)

    store.record([a_result(claim)])

    assert stored(store, product).sync.delivered_version == 7


@pytest.mark.parametrize("replaced", [False, True])
def test_a_result_of_a_worker_that_lost_its_lease_changes_nothing(
    store: Store, *, replaced: bool
) -> None:
    product = inserted(store)
    claim = claimed(store, product, "slow")
    if replaced:
        product = change(store, product)
    store.claim([a_claim(product, "second", now=claim.until)])
    before = stored(store, product)

    store.record([a_result(claim)])

    assert stored(store, product) == before


def test_a_result_that_is_written_twice_counts_once(store: Store) -> None:
    product = inserted(store)
    result = a_result(claimed(store, product), 500)

    store.record([result])
    store.record([result])

    assert len(stored(store, product).sync.history) == 1


# ---- tombstones ----


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


# ---- away ----


def test_a_store_that_answers_can_be_pinged(store: Store) -> None:
    store.ping()


EVERY_METHOD: dict[str, Callable[[Store, Product], object]] = {
    "insert": lambda store, product: store.insert([(product, None)]),
    "created_under": lambda store, _: store.created_under("key"),
    "get": lambda store, product: store.get(product.id),
    "get_many": lambda store, product: store.get_many([product.id]),
    "save_change": lambda store, product: store.save_change(product, expected_version=0),
    "find": lambda store, _: store.find(ProductQuery(1)),
    "summary": lambda store, _: store.summary(),
    "remove_events": lambda store, product: store.remove_events(product.outbox),
    "unpublished": lambda store, _: store.unpublished(LATER, 1),
    "overdue": lambda store, _: store.overdue(LATER, 1),
    "postpone": lambda store, product: store.postpone({product.id: (START, LATER)}),
    "restart": lambda store, product: store.restart(product, LATER),
    "restart_failed": lambda store, _: store.restart_failed(FAILED_STATUSES, LATER),
    "claim": lambda store, product: store.claim([a_claim(product)]),
    "record": lambda store, product: store.record([a_result(a_claim(product))]),
    "drop_tombstones": lambda store, _: store.drop_tombstones(),
    "ping": lambda store, _: store.ping(),
}


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_store_that_is_away_says_so(store_away: Store, method: str) -> None:
    with pytest.raises(StoreUnavailableError):
        EVERY_METHOD[method](store_away, a_product())


# ---- the adapter alone ----


class Commands(CommandListener):
    """Keeps what is sent to the server."""

    def __init__(self) -> None:
        self.sent: list[CommandStartedEvent] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.sent.append(event)

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


def test_each_write_waits_for_the_disks_of_most_nodes(servers: Endpoints) -> None:
    commands = Commands()
    with MongoClient[Document](servers.mongodb, event_listeners=[commands]) as client:
        store = MongoStore(lambda: client, f"test-{uuid.uuid4().hex}")
        product = inserted(store)
        change(store, product)
        store.remove_events(product.outbox)
        client.drop_database(store._database)

    writes = [event.command for event in commands.sent if event.command_name in WRITES]
    assert len(writes) == 3
    for write in writes:
        assert dict(write["writeConcern"]) == {"w": "majority", "j": True}


def test_requests_while_the_server_is_away_do_not_wait_for_one_another() -> None:
    uri = f"mongodb://{NOWHERE}/?directConnection=true"
    together = threading.Barrier(3)

    class Waiting(MongoStore):
        """Meets the others in the middle of making the indexes, which fails."""

        @property
        def _collection(self) -> MongoCollection[Document]:
            together.wait(10)
            raise ServerSelectionTimeoutError("nobody is there")

    def look(_: int) -> None:
        with pytest.raises(StoreUnavailableError):
            store.get("any")

    with MongoClient[Document](uri) as client, ThreadPoolExecutor(3) as pool:
        store = Waiting(lambda: client, "test")
        list(pool.map(look, range(3)))


def test_a_document_of_before_a_field_was_added_can_be_read(servers: Endpoints) -> None:
    with MongoClient[Document](servers.mongodb) as client:
        store = MongoStore(lambda: client, f"test-{uuid.uuid4().hex}")
        product = inserted(store)
        added = {"sync.restartedAt": "", "sync.failedAt": ""}
        client[store._database]["products"].update_many({}, {"$unset": added})

        found = stored(store, product)

        assert found.sync == replace(product.sync, restarted_at=None, failed_at=None)
        assert store.claim([a_claim(found)]) == {product.id}
        client.drop_database(store._database)

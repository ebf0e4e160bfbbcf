"""What is written after an attempt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.delivery import SyncResult
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import HISTORY_LIMIT, Attempt, Lease, SyncState, SyncStatus
from tests.contract.store.steps import (
    LATER,
    a_claim,
    a_result,
    change,
    claimed,
    delivered,
    ids,
    inserted,
    stored,
)
from tests.fakes import START

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


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
def test_a_product_can_fail(store: Store, status: int, attempts: int, expected: SyncStatus) -> None:
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


def left_alone(product: Product, result: SyncResult, delivered_version: int | None) -> SyncState:
    """The state of a product that a late result adds to its history and to nothing else."""
    history = (result.attempt,)
    return replace(product.sync, lease=None, history=history, delivered_version=delivered_version)


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
    assert after.sync == left_alone(following, result, delivered_version)
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
    assert after.sync == left_alone(replayed, result, delivered_version)
    assert (after.sync.status, after.sync_completed_at) == (SyncStatus.PENDING, None)
    assert after.outbox == product.outbox


def test_a_result_for_an_older_version_leaves_a_newer_one_with_the_same_message_alone(
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

"""Replays and redrives: products that get a fresh budget of attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.sync_state import FAILED_STATUSES, SyncState, SyncStatus
from tests.contract.store.steps import LATER, a_result, change, claimed, delivered, inserted, stored
from tests.fakes import GRACE, START, a_failed_state

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def test_a_restarted_product_is_pending_overdue_and_has_a_fresh_budget(store: Store) -> None:
    product = inserted(store, outbox=(), sync=a_failed_state(SyncStatus.EXHAUSTED))

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


def test_all_failed_products_are_restarted_and_counted(store: Store) -> None:
    exhausted = inserted(store, sync=a_failed_state(SyncStatus.EXHAUSTED))
    rejected = inserted(store, sync=a_failed_state(SyncStatus.REJECTED))
    inserted(store)

    assert store.restart_failed(FAILED_STATUSES, LATER) == 2
    fresh = SyncState(behind_since=START, overdue_at=LATER, restarted_at=LATER)
    assert [stored(store, item).sync for item in (exhausted, rejected)] == [fresh, fresh]


def test_only_products_of_the_given_failed_status_are_restarted(store: Store) -> None:
    inserted(store, sync=a_failed_state(SyncStatus.EXHAUSTED))
    rejected = inserted(store, sync=a_failed_state(SyncStatus.REJECTED))

    assert store.restart_failed({SyncStatus.EXHAUSTED}, LATER) == 1
    assert stored(store, rejected) == rejected


@pytest.mark.parametrize("status", sorted(set(SyncStatus) - FAILED_STATUSES))
def test_products_that_have_not_failed_are_never_restarted_as_failed(
    store: Store, status: SyncStatus
) -> None:
    product = inserted(store, sync=SyncState(status))

    assert store.restart_failed({status}, LATER) == 0
    assert stored(store, product) == product


def test_a_restart_of_failed_products_keeps_what_the_supply_chain_holds(store: Store) -> None:
    product = inserted(store)
    delivered(store, product)
    change(store, stored(store, product))
    store.record([a_result(claimed(store, product), 422)])

    store.restart_failed(FAILED_STATUSES, LATER)

    sync = stored(store, product).sync
    assert sync.delivered_version == 0
    assert [attempt.status for attempt in sync.history] == [200, 422]

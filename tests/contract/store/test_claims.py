"""The lease that a worker takes before it calls."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Lease, SyncState, SyncStatus
from tests.contract.store.steps import (
    a_claim,
    a_result,
    change,
    claimed,
    delivered,
    inserted,
    stored,
)
from tests.fakes import START, a_failed_state, a_product

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


def test_a_won_claim_sets_lease_message_id_and_when_it_is_overdue(store: Store) -> None:
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
    product = inserted(
        store, sync=replace(a_failed_state(SyncStatus.REJECTED), first_attempt_at=START)
    )

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

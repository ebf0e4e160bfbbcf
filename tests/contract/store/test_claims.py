"""The lease that a worker takes before it calls."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncState, SyncStatus
from tests.contract.store.steps import (
    LATEST,
    a_claim,
    change,
    claimed,
    events,
    inserted,
    recorded,
    redriven,
    replay,
    stored,
    without_outbox,
)
from tests.fakes import START, a_failed_state, a_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.usecases.ports import Store


def test_a_won_claim_takes_the_lease_and_is_the_next_revision(store: Store) -> None:
    product = inserted(store)

    claim = claimed(store, product)

    assert stored(store, product) == without_outbox(claim.product)
    assert claim.product.sync.lease is not None
    assert claim.product.sync.claim == "worker"
    assert claim.product.revision == product.revision + 1


def test_a_claim_by_what_get_many_shows_keeps_history_and_delivered_version(store: Store) -> None:
    product = inserted(store)
    recorded(store, product)
    change(store, stored(store, product))
    before = stored(store, product).sync

    seen = store.get_many([product.id]).products[product.id]
    assert store.claim([a_claim(seen)]) == {product.id}

    sync = stored(store, product).sync
    assert len(sync.history) == 1
    assert (sync.history, sync.delivered_version) == (before.history, 0)


SINCE_THE_LOOK: dict[str, Callable[[Store, Product], object]] = {
    "a write": change,
    "a replay": replay,
    "another claim": lambda store, product: claimed(store, product, "another"),
    "a result": lambda store, product: recorded(store, product, 500),
    "a delivery": recorded,
}


@pytest.mark.parametrize("what", SINCE_THE_LOOK)
def test_a_claim_is_lost_to_what_happened_since_the_look(store: Store, what: str) -> None:
    product = inserted(store)
    SINCE_THE_LOOK[what](store, product)
    before = stored(store, product)

    late = a_claim(product, "late", event_id=product.outbox[0].id)

    assert store.claim([late]) == set()
    assert stored(store, product) == before
    assert product.outbox[0] in events(store, product)


@pytest.mark.parametrize("what", ["a redrive", "a dead letter that was sent"])
def test_a_claim_of_a_failed_product_is_lost_to_what_happened_since_the_look(
    store: Store, what: str
) -> None:
    product = inserted(store, sync=a_failed_state(SyncStatus.EXHAUSTED))
    if what == "a redrive":
        redriven(store, product)
    else:
        store.letters_sent([product])

    assert store.claim([a_claim(product, budget=1)]) == set()


def test_a_claim_is_not_lost_to_a_relay_or_to_reconcile_that_postpones(store: Store) -> None:
    product = inserted(store)
    assert product.sync.overdue_at is not None
    store.remove_events([(product.id, product.outbox[0].id)])
    store.postpone({product.id: (product.sync.overdue_at, LATEST)})

    claim = a_claim(product)

    assert store.claim([claim]) == {product.id}
    # The claim's own time holds, not that of reconcile.
    assert stored(store, product).sync.overdue_at == claim.product.sync.overdue_at


def test_a_lease_that_was_given_back_can_be_taken(store: Store) -> None:
    product = inserted(store)
    recorded(store, product, 500)

    claimed(store, product, "second")


def test_of_a_mixed_batch_the_claims_that_were_won_are_named(store: Store) -> None:
    free, held, changed_since = (inserted(store) for _ in range(3))
    claimed(store, held, "another")
    change(store, changed_since)

    # A worker has one token for its batch.
    won = store.claim([a_claim(product) for product in (free, held, changed_since)])

    assert won == {free.id}


def test_a_claim_of_a_product_that_is_gone_is_lost(store: Store) -> None:
    assert store.claim([a_claim(a_product())]) == set()


def test_no_claims_win_nothing(store: Store) -> None:
    assert store.claim([]) == set()


def test_a_claim_of_the_next_budget_starts_it(store: Store) -> None:
    product = inserted(
        store, sync=replace(a_failed_state(SyncStatus.REJECTED), first_attempt_at=START)
    )

    assert store.claim([a_claim(product, budget=1)]) == {product.id}

    sync = stored(store, product).sync
    assert (sync.status, sync.budget, sync.attempts) == (SyncStatus.PENDING, 1, 0)
    assert (sync.first_attempt_at, sync.last_error) == (None, None)
    assert sync.behind_since == START


def test_a_claim_of_the_present_budget_keeps_its_schedule(store: Store) -> None:
    product = inserted(store)
    recorded(store, product, 500)
    before = stored(store, product).sync

    claimed(store, product, "second")

    after = stored(store, product).sync
    assert (after.status, after.attempts) == (SyncStatus.RETRYING, 1)
    assert (after.aim_at, after.ends_at) == (before.aim_at, before.ends_at)
    assert after.aim_at is not None


# ---- the event that its message names ----


def test_a_claim_pulls_exactly_the_event_that_its_message_names(store: Store) -> None:
    product = inserted(store)
    following = change(store, product)

    seen = stored(store, product)
    assert store.claim([a_claim(seen, event_id=following.outbox[0].id)]) == {product.id}

    assert events(store, product) == product.outbox


@pytest.mark.parametrize("event_id", [None, "of another product"])
def test_a_claim_that_names_no_event_of_the_product_pulls_none(
    store: Store, event_id: str | None
) -> None:
    product = inserted(store)

    assert store.claim([a_claim(product, event_id=event_id)]) == {product.id}

    assert events(store, product) == product.outbox


def test_a_claim_of_a_product_with_an_empty_outbox_is_won(store: Store) -> None:
    product = inserted(store, outbox=())

    assert store.claim([a_claim(product, event_id="pulled by the relay")]) == {product.id}


# ---- several workers ----


def test_of_two_workers_that_claim_at_once_exactly_one_wins(store: Store) -> None:
    barrier = threading.Barrier(2)

    def take(product: Product, token: str) -> set[str]:
        claim = a_claim(product, token)
        barrier.wait(timeout=10)
        return store.claim([claim])

    with ThreadPoolExecutor(2) as pool:
        for _ in range(40):
            product = inserted(store, sync=SyncState())
            wins = list(pool.map(take, (product, product), ("one", "two")))

            assert sorted(map(len, wins)) == [0, 1]
            assert stored(store, product).sync.claim == ("one" if wins[0] else "two")

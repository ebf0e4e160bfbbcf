"""Replays, redrives, and products whose worker died: a new state of the sync."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.delivery import bring_forward, failure_of, park, worker_died
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import FAILED_STATUSES, SyncState, SyncStatus
from tests.contract.store.steps import (
    LATER,
    LATEST,
    a_redrive,
    a_result,
    change,
    claimed,
    events,
    inserted,
    recorded,
    redriven,
    replay,
    replayed,
    stored,
    without_outbox,
)
from tests.fakes import GRACE, START, a_failed_state, a_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.usecases.ports import Store


# ---- save_sync ----


def test_a_replayed_product_is_pending_overdue_and_in_its_next_budget(store: Store) -> None:
    product = inserted(store, sync=replace(a_failed_state(SyncStatus.EXHAUSTED), budget=2))

    replay(store, product)

    after = stored(store, product)
    assert after.sync == SyncState(budget=3, behind_since=START, overdue_at=LATER + GRACE)
    assert (after.version, after.revision) == (product.version, product.revision + 1)
    assert events(store, product) == product.outbox


def test_a_replayed_product_that_was_delivered_is_behind_from_now_on(store: Store) -> None:
    product = inserted(store)
    result = recorded(store, product)

    replay(store, product)

    after = stored(store, product)
    assert (after.sync.behind_since, after.sync_completed_at) == (LATER, None)
    assert (after.sync.delivered_version, after.sync.history) == (0, (result.attempt,))


def test_a_replay_ends_the_claim_and_keeps_the_lease(store: Store) -> None:
    product = inserted(store)
    claim = claimed(store, product)

    replay(store, product)

    sync = stored(store, product).sync
    assert (sync.claim, sync.message_id) == (None, None)
    assert sync.lease == claim.product.sync.lease
    assert sync.lease is not None


def test_a_product_whose_worker_died_is_exhausted_and_its_lease_is_free(store: Store) -> None:
    product = inserted(store)
    claim = claimed(store, product)

    dead = worker_died(claim.product, "letter", LATEST)
    assert store.save_sync(dead, expected_revision=claim.product.revision)

    assert stored(store, product) == without_outbox(dead)
    assert (dead.sync.status, dead.sync.lease) == (SyncStatus.EXHAUSTED, None)


def test_an_event_goes_into_the_outbox_with_the_state(store: Store) -> None:
    product = inserted(store)
    dead = worker_died(stored(store, product), "letter", LATER)
    event = failure_of(dead, LATER, "Root=1-2-3")

    assert store.save_sync(dead, expected_revision=product.revision, event=event)

    assert events(store, product) == (*product.outbox, event)


def test_an_event_of_a_state_that_is_not_written_is_dropped(store: Store) -> None:
    product = inserted(store)
    dead = worker_died(stored(store, product), "letter", LATER)
    event = failure_of(dead, LATER, None)
    replay(store, product)

    assert not store.save_sync(dead, expected_revision=product.revision, event=event)

    assert events(store, product) == product.outbox


def test_a_state_that_is_written_by_a_look_without_history_keeps_history_and_delivered_version(
    store: Store,
) -> None:
    product = inserted(store)
    result = recorded(store, product)
    change(store, stored(store, product))
    seen = store.get_many([product.id]).products[product.id]

    dead = worker_died(replace(seen, sync=replace(seen.sync, delivered_version=None)), "m", LATER)
    assert store.save_sync(dead, expected_revision=seen.revision)

    sync = stored(store, product).sync
    assert (sync.delivered_version, sync.history) == (0, (result.attempt,))


SINCE_THE_LOOK: dict[str, Callable[[Store, Product], object]] = {
    "a write": change,
    "another replay": replay,
    "a claim": claimed,
    "a result": recorded,
    "a dead letter that was sent": lambda store, product: store.letters_sent([product]),
}


@pytest.mark.parametrize("what", SINCE_THE_LOOK)
def test_a_state_is_not_written_where_something_came_since_the_look(
    store: Store, what: str
) -> None:
    product = inserted(store)
    SINCE_THE_LOOK[what](store, product)
    before = stored(store, product)

    assert not store.save_sync(replayed(product), expected_revision=product.revision)

    assert stored(store, product) == before


def test_a_state_is_written_though_reconcile_postponed_or_relayed_since_the_look(
    store: Store,
) -> None:
    product = inserted(store)
    assert product.sync.overdue_at is not None
    store.postpone({product.id: (product.sync.overdue_at, LATEST)})
    store.remove_events([(product.id, product.outbox[0].id)])

    assert store.save_sync(replayed(product), expected_revision=product.revision)


def test_the_state_of_a_product_that_is_gone_is_not_written(store: Store) -> None:
    product = a_product()

    assert not store.save_sync(product, expected_revision=0)
    assert store.get(product.id) is None


# ---- apply ----


def test_each_redriven_product_begins_its_next_budget(store: Store) -> None:
    failed = [a_failed_state(status) for status in sorted(FAILED_STATUSES)]
    products = [
        inserted(store, revision=budget, sync=replace(sync, budget=budget, message_id="message"))
        for budget, sync in enumerate(failed)
    ]

    assert store.apply([a_redrive(product) for product in products]) == {
        product.id for product in products
    }

    after = [stored(store, product) for product in products]
    assert [item.sync for item in after] == [
        SyncState(
            budget=budget,
            behind_since=START,
            overdue_at=LATER,
            bulk=True,
            redrive_started_at=LATER,
        )
        for budget in (1, 2)
    ]
    assert [item.revision for item in after] == [1, 2]


def test_a_redrive_during_a_call_keeps_its_lease_and_takes_its_token_away(store: Store) -> None:
    product = inserted(store)
    recorded(store, product, 500)
    claim = claimed(store, stored(store, product), "second")
    lease = claim.product.sync.lease

    assert redriven(store, stored(store, product))

    sync = stored(store, product).sync
    assert (sync.status, sync.budget, sync.lease) == (SyncStatus.PENDING, 1, lease)
    assert store.record([a_result(claim)]) == set()
    after = stored(store, product).sync
    assert (after.status, after.lease, after.delivered_version) == (SyncStatus.PENDING, None, 0)


def test_a_product_remembers_the_redrive_that_has_restarted_it(store: Store) -> None:
    failed = inserted(store, sync=a_failed_state(SyncStatus.EXHAUSTED))
    redriven(store, failed)

    replay(store, failed)

    assert stored(store, failed).sync.redrive_started_at == LATER


def test_a_product_that_has_changed_is_not_changed_again_and_its_neighbours_are(
    store: Store,
) -> None:
    changed = inserted(store, sync=a_failed_state(SyncStatus.EXHAUSTED))
    other = inserted(store, sync=a_failed_state(SyncStatus.EXHAUSTED))
    change(store, changed)
    before = stored(store, changed)

    assert store.apply([a_redrive(item) for item in (changed, other)]) == {other.id}
    assert stored(store, changed) == before


def test_a_redrive_keeps_what_the_supply_chain_holds(store: Store) -> None:
    product = inserted(store)
    recorded(store, product)
    change(store, stored(store, product))
    failed = recorded(store, product, 422).product

    assert redriven(store, failed)

    sync = stored(store, product).sync
    assert (sync.status, sync.delivered_version) == (SyncStatus.PENDING, 0)
    assert [attempt.status for attempt in sync.history] == [200, 422]


def test_a_parked_product_loses_its_message_and_its_own_event_only(store: Store) -> None:
    product = inserted(store)
    change(store, product)
    newer = stored(store, product)
    own, other = (event.id for event in reversed(events(store, product)))
    claimed(store, newer)
    waiting = stored(store, product)
    message = SyncMessage(product.id, *newer.pair, event_id=own)

    assert store.apply([park(waiting, message, 0, LATER, LATEST)]) == {product.id}

    after = stored(store, product)
    assert (after.sync.message_id, after.sync.overdue_at) == (None, LATEST)
    assert after.revision == waiting.revision + 1
    assert other in [event.id for event in events(store, product)]
    assert own not in [event.id for event in events(store, product)]


def test_what_is_brought_forward_keeps_its_plan(store: Store) -> None:
    product = inserted(store)
    waiting = recorded(store, product, 500).product
    planned = waiting.sync.next_attempt_at
    early = bring_forward(waiting, LATER, LATER)
    assert early is not None

    assert store.apply([early]) == {product.id}

    sync = stored(store, product).sync
    assert (sync.planned_at, sync.next_attempt_at, sync.overdue_at) == (planned, LATER, LATER)
    assert sync.message_id is None

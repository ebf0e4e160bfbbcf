"""What is written after an attempt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.delivery import completion_of, news_of, worker_died
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import HISTORY_LIMIT, Attempt, SyncState, SyncStatus
from tests.contract.store.steps import (
    LATER,
    ONE_ATTEMPT,
    a_claim,
    a_result,
    change,
    claimed,
    empty_outbox,
    events,
    history,
    ids,
    inserted,
    recorded,
    replay,
    stored,
    without_outbox,
)
from tests.fakes import GRACE, START, a_failed_state, a_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.usecases.ports import Store


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, SyncStatus.DELIVERED),
        (500, SyncStatus.RETRYING),
        (422, SyncStatus.REJECTED),
    ],
)
def test_a_result_is_written_as_it_was_concluded(
    store: Store, status: int, expected: SyncStatus
) -> None:
    product = inserted(store)

    result = recorded(store, product, status)

    done = stored(store, product)
    sync = replace(result.product.sync, history=history(result))
    assert done == without_outbox(replace(result.product, sync=sync))
    assert (done.sync.status, done.sync.lease, done.sync.claim) == (expected, None, None)
    assert done.revision == product.revision + 2


def test_a_delivered_product_is_up_to_date(store: Store) -> None:
    product = inserted(store)

    recorded(store, product)

    done = stored(store, product)
    assert (done.sync_completed_at, done.sync.delivered_version) == (LATER, 0)
    assert (done.sync.behind_since, done.sync.overdue_at) == (None, None)


def test_a_failed_product_owes_its_dead_letter(store: Store) -> None:
    product = inserted(store)

    assert store.record([a_result(claimed(store, product), 500, ONE_ATTEMPT)]) == {product.id}

    sync = stored(store, product).sync
    assert (sync.status, sync.overdue_at) == (SyncStatus.EXHAUSTED, LATER + GRACE)
    assert (sync.behind_since, sync.last_error) == (START, "HTTP 500")


def test_a_result_leaves_the_outbox_alone(store: Store) -> None:
    product = inserted(store)

    recorded(store, product)

    assert events(store, product) == product.outbox


def test_a_result_keeps_the_event_that_could_not_be_published(store: Store) -> None:
    product = inserted(store)
    result = a_result(claimed(store, product))
    event = completion_of(result, LATER, "Root=1-2-3")

    store.record([replace(result, events=(event,))])

    assert events(store, product) == (*product.outbox, event)


def test_the_results_of_a_batch_are_each_written(store: Store) -> None:
    products = [inserted(store) for _ in range(3)]
    claims = [a_claim(product) for product in products]
    assert store.claim(claims) == set(ids(products))

    results = [a_result(claim, s) for claim, s in zip(claims, (200, 500, 422), strict=True)]
    assert store.record(results) == set(ids(products))

    statuses = [stored(store, product).sync.status for product in products]
    assert statuses == [SyncStatus.DELIVERED, SyncStatus.RETRYING, SyncStatus.REJECTED]


def test_recording_nothing_is_fine(store: Store) -> None:
    assert store.record([]) == set()


def test_the_history_keeps_the_newest_attempts(store: Store) -> None:
    attempt = Attempt(START, 0, 500, 0.1, "old")
    product = inserted(store, sync=SyncState(history=(attempt,) * HISTORY_LIMIT))

    result = recorded(store, product)

    assert stored(store, product).sync.history == (*[attempt] * 17, result.attempt)


def test_an_old_delivery_never_lowers_the_delivered_version(store: Store) -> None:
    product = inserted(store, sync=SyncState(delivered_version=7))

    recorded(store, product)

    assert stored(store, product).sync.delivered_version == 7


def test_a_result_that_is_written_twice_counts_once(store: Store) -> None:
    product = inserted(store)
    result = recorded(store, product, 500)
    before = stored(store, product)

    store.record([result])

    assert stored(store, product) == before


def test_an_attempt_is_recorded_though_reconcile_postponed_or_relayed_meanwhile(
    store: Store,
) -> None:
    product = inserted(store)
    claim = claimed(store, product)
    assert claim.product.sync.overdue_at is not None
    store.postpone({product.id: (claim.product.sync.overdue_at, LATER)})
    store.remove_events([(product.id, product.outbox[0].id)])

    assert store.record([a_result(claim)]) == {product.id}
    assert stored(store, product).sync.status is SyncStatus.DELIVERED


# ---- what happened during the call ----


DURING_THE_CALL: dict[str, Callable[[Store, Product], Product]] = {
    "a write": lambda store, product: change(store, stored(store, product)),
    "a replay": replay,
}


@pytest.mark.parametrize("what", DURING_THE_CALL)
@pytest.mark.parametrize(("status", "delivered"), [(200, 0), (500, None), (422, None)])
def test_a_result_is_not_counted_where_something_came_during_its_call(
    store: Store, what: str, status: int, delivered: int | None
) -> None:
    product = inserted(store)
    result = a_result(claimed(store, product), status)
    following = DURING_THE_CALL[what](store, product)
    assert stored(store, product).sync.lease == result.claim.product.sync.lease

    assert store.record([result]) == set()

    # The lease is free, the call is remembered, and what the supply chain holds is known.
    sync = replace(following.sync, lease=None, history=history(result), delivered_version=delivered)
    after = without_outbox(replace(following, sync=sync, revision=following.revision + 1))
    assert stored(store, product) == after
    assert (sync.status, sync.attempts) == (SyncStatus.PENDING, 0)


@pytest.mark.parametrize("status", [422, 200])
def test_the_news_of_a_result_is_kept_with_it(store: Store, status: int) -> None:
    product = inserted(store, sync=SyncState(failed_at=START, behind_since=START))
    result = a_result(claimed(store, product), status)
    news = news_of(result, LATER, "Root=1-2-3")
    assert len(news) == 1

    assert store.record([replace(result, events=news)]) == {product.id}

    assert events(store, product) == (*product.outbox, *news)


def test_a_result_keeps_several_events_in_their_order(store: Store) -> None:
    product = inserted(store, outbox=(), sync=SyncState(failed_at=START, behind_since=START))
    result = a_result(claimed(store, product))
    both = (completion_of(result, LATER, None), *news_of(result, LATER, None))

    store.record([replace(result, events=both)])

    assert events(store, product) == both


@pytest.mark.parametrize("what", DURING_THE_CALL)
@pytest.mark.parametrize("status", [422, 200])
def test_the_news_of_a_result_that_is_not_counted_is_dropped(
    store: Store, what: str, status: int
) -> None:
    product = inserted(store, outbox=(), sync=SyncState(failed_at=START, behind_since=START))
    result = a_result(claimed(store, product), status)
    news = news_of(result, LATER, None)
    DURING_THE_CALL[what](store, product)
    empty_outbox(store, product)

    assert store.record([replace(result, events=news)]) == set()

    assert events(store, product) == ()


@pytest.mark.parametrize("what", DURING_THE_CALL)
def test_an_event_that_could_not_be_published_is_kept_though_its_result_is_not_counted(
    store: Store, what: str
) -> None:
    product = inserted(store, outbox=())
    result = a_result(claimed(store, product))
    event = completion_of(result, LATER, None)
    DURING_THE_CALL[what](store, product)
    store.remove_events([(product.id, waiting.id) for waiting in events(store, product)])

    assert store.record([replace(result, events=(event,))]) == set()

    assert events(store, product) == (event,)


def test_a_product_whose_result_was_not_counted_can_be_claimed(store: Store) -> None:
    product = inserted(store)
    result = a_result(claimed(store, product))
    change(store, stored(store, product))
    store.record([result])

    claimed(store, product, "second")


def test_of_a_mixed_batch_the_results_that_were_written_are_named(store: Store) -> None:
    counted, retried, written_to, replayed_since = products = [inserted(store) for _ in range(4)]
    claims = [a_claim(product) for product in products]
    assert store.claim(claims) == set(ids(products))
    change(store, stored(store, written_to))
    replay(store, replayed_since)

    statuses = (200, 500, 200, 200)
    results = [a_result(claim, s) for claim, s in zip(claims, statuses, strict=True)]

    assert store.record(results) == {counted.id, retried.id}


def test_a_result_of_a_product_that_is_gone_is_not_counted(store: Store) -> None:
    assert store.record([a_result(a_claim(a_product()))]) == set()


def later_claims(store: Store, product: Product) -> None:
    # The first worker's lease has run out: who claims now goes by the document as it is.
    claimed(store, product, "second")


def later_claims_and_records(store: Store, product: Product) -> None:
    recorded_by_second = a_result(claimed(store, product, "second"), 500)
    assert store.record([recorded_by_second]) == {product.id}


def its_worker_died(store: Store, product: Product) -> None:
    seen = stored(store, product)
    dead = worker_died(seen, "letter", LATER)
    assert store.save_sync(dead, expected_revision=seen.revision)


def the_worker_died_and_a_person_redrives(store: Store, product: Product) -> None:
    its_worker_died(store, product)
    replay(store, product)


@pytest.mark.parametrize(
    "since",
    [
        later_claims,
        later_claims_and_records,
        its_worker_died,
        the_worker_died_and_a_person_redrives,
    ],
)
@pytest.mark.parametrize("status", [200, 500])
def test_a_result_of_a_worker_that_lost_its_lease_changes_nothing(
    store: Store, since: Callable[[Store, Product], None], status: int
) -> None:
    product = inserted(store)
    late = a_result(claimed(store, product, "slow"), status)
    since(store, product)
    before = stored(store, product)

    assert store.record([late]) == set()

    assert stored(store, product) == before


def test_a_result_within_a_redrive_is_counted_in_its_budget(store: Store) -> None:
    product = inserted(store, sync=a_failed_state(SyncStatus.EXHAUSTED))
    claim = a_claim(product, budget=1)
    assert store.claim([claim]) == {product.id}

    assert store.record([a_result(claim, 500)]) == {product.id}

    sync = stored(store, product).sync
    assert (sync.status, sync.budget, sync.attempts) == (SyncStatus.RETRYING, 1, 1)

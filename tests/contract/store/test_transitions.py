"""Changes of many products' syncs without a call, of which some may lose a race."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.delivery import Transition, bring_forward, park
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncState, SyncStatus
from tests.contract.store.steps import (
    LATER,
    LATEST,
    a_redrive,
    a_result,
    change,
    claimed,
    inserted,
    recorded,
    replay,
    stored,
    without_outbox,
)
from tests.fakes import START, FakeStore, a_failed_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.usecases.ports import Store

MANY = 60
"""More than one command of the adapter writes."""


def a_parking(product: Product, seconds: float = 0) -> Transition:
    """The parking of a product for a day and so many seconds."""
    message = SyncMessage(product.id, *product.pair)
    return park(product, message, 0, LATER, LATEST + timedelta(seconds=seconds))


def test_many_products_are_changed_at_once(store: Store) -> None:
    parkings = [a_parking(inserted(store), n) for n in range(MANY)]

    assert store.apply(parkings) == {parking.after.id for parking in parkings}

    for parking in parkings:
        assert stored(store, parking.after) == without_outbox(parking.after)


def test_nothing_to_change_is_fine(store: Store) -> None:
    assert store.apply([]) == set()


def test_one_that_has_changed_among_many_is_the_only_one_that_is_not_changed(store: Store) -> None:
    parkings = [a_parking(inserted(store), n) for n in range(MANY)]
    late = parkings[MANY // 2].before
    change(store, late)
    before = stored(store, late)

    assert store.apply(parkings) == {parking.after.id for parking in parkings} - {late.id}
    assert stored(store, late) == before


def test_one_that_is_gone_is_not_changed(store: Store) -> None:
    parking, gone = a_parking(inserted(store)), a_parking(inserted(FakeStore()))

    assert store.apply([parking, gone]) == {parking.after.id}
    assert store.get(gone.after.id) is None


def test_times_may_be_finer_than_the_store_keeps_them(store: Store) -> None:
    # Permits of the rate limit are given for microseconds.
    lost, won = inserted(store), inserted(store)
    change(store, lost)

    assert store.apply([a_parking(lost, 0.0012345), a_parking(won, 0.0012345)]) == {won.id}


OTHERS: dict[str, Callable[[Store, Product], object]] = {
    "a write": change,
    "a replay": replay,
    "a claim": claimed,
    "another parking": lambda store, product: store.apply([a_parking(product, 1)]),
    "a bringing forward": lambda store, product: store.apply([brought_forward(product)]),
}


def brought_forward(product: Product) -> Transition:
    early = bring_forward(product, LATER, LATER)
    assert early is not None
    return early


@pytest.mark.parametrize("what", OTHERS)
def test_a_change_of_somebody_else_with_the_same_revision_is_not_taken_for_ours(
    store: Store, what: str
) -> None:
    waiting = SyncState(behind_since=START, overdue_at=LATEST, parked=True)
    product, neighbour = inserted(store, sync=waiting), inserted(store)
    ours = a_parking(product, 2)
    OTHERS[what](store, product)
    before = stored(store, product)
    assert before.revision == ours.after.revision

    assert store.apply([ours, a_parking(neighbour)]) == {neighbour.id}
    assert stored(store, product) == before


def test_of_two_redrives_of_the_same_product_one_is_applied(store: Store) -> None:
    failed = inserted(store, sync=a_failed_state(SyncStatus.EXHAUSTED))

    assert store.apply([a_redrive(failed)]) == {failed.id}
    replay(store, failed)
    assert store.apply([a_redrive(failed)]) == set()
    assert stored(store, failed).sync.budget == 2


def test_a_plan_is_kept_by_a_claim_and_gone_after_the_attempt(store: Store) -> None:
    product = inserted(store)
    waiting = recorded(store, product, 500).product
    planned = waiting.sync.next_attempt_at
    store.apply([brought_forward(waiting)])

    claim = claimed(store, product)
    assert (claim.product.sync.planned_at, stored(store, product).sync.planned_at) == (
        planned,
        planned,
    )

    assert store.record([a_result(claim)]) == {product.id}
    assert stored(store, product).sync.planned_at is None


def test_an_attempt_that_failed_before_its_plan_returns_to_it(store: Store) -> None:
    product = inserted(store)
    waiting = recorded(store, product, 500).product
    store.apply([brought_forward(waiting)])

    result = a_result(claimed(store, product), 500)
    assert store.record([result]) == {product.id}

    sync = stored(store, product).sync
    assert (sync.next_attempt_at, sync.planned_at) == (waiting.sync.next_attempt_at, None)
    assert sync.attempts == waiting.sync.attempts
    assert (sync.message_id, sync.overdue_at) == (None, waiting.sync.next_attempt_at)

"""What a message comes to: the table row by row, and what holds for all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.delivery import EARLY, Acknowledge, Defer, Doubt, Try
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import FAILED_STATUSES, Lease, SyncStatus
from tests.unit.delivery.steps import EARLIER, LATER, MESSAGE_ID, NOW, OTHER, decided, product

FAILED = sorted(FAILED_STATUSES)
SUPERSEDED, DUPLICATE = Acknowledge("superseded"), Acknowledge("duplicate")

# ---- there is no such product, or its pair is higher ----


def test_a_message_without_a_product_is_superseded() -> None:
    assert decided(None) == SUPERSEDED


def test_a_message_for_an_older_version_is_superseded() -> None:
    assert decided(product(version=4), version=3) == SUPERSEDED


def test_a_message_for_an_older_version_is_superseded_whatever_its_budget() -> None:
    assert decided(product(version=4), version=3, budget=9) == SUPERSEDED


@pytest.mark.parametrize("status", sorted(SyncStatus))
def test_a_message_of_an_older_budget_is_superseded(status: SyncStatus) -> None:
    assert decided(product(budget=2, status=status), budget=1) == SUPERSEDED


# ---- exhausted or rejected ----


@pytest.mark.parametrize("status", FAILED)
def test_a_message_of_a_higher_budget_redrives_a_failed_product_in_exactly_that_budget(
    status: SyncStatus,
) -> None:
    assert decided(product(status=status, budget=1), budget=4) == Try(4)


@pytest.mark.parametrize("status", FAILED)
@pytest.mark.parametrize("message_id", [MESSAGE_ID, OTHER])
def test_a_message_of_a_failed_products_own_budget_is_a_duplicate(
    status: SyncStatus, message_id: str
) -> None:
    failed = product(status=status, message_id=MESSAGE_ID)
    assert decided(failed, message_id) == DUPLICATE


# ---- delivered ----


@pytest.mark.parametrize("budget", [0, 1])
def test_a_message_for_a_delivered_version_is_a_duplicate(budget: int) -> None:
    assert decided(product(status=SyncStatus.DELIVERED), budget=budget) == DUPLICATE


# ---- a lease holds ----


def test_a_message_waits_while_an_older_version_is_called_for() -> None:
    assert decided(product(lease=Lease("w", LATER, version=2))) == Defer(LATER)


def test_a_message_waits_while_an_older_budget_is_called_for() -> None:
    replayed = product(budget=1, lease=Lease("w", LATER, version=3, budget=0))
    assert decided(replayed, budget=1) == Defer(LATER)


def test_the_message_that_carries_the_schedule_waits_for_its_own_lease_to_end() -> None:
    leased = product(lease=Lease("w", LATER, version=3), message_id=MESSAGE_ID)
    assert decided(leased, MESSAGE_ID) == Defer(LATER)


def test_another_message_for_the_pair_that_is_called_for_is_a_duplicate() -> None:
    leased = product(lease=Lease("w", LATER, version=3), message_id=MESSAGE_ID)
    assert decided(leased, OTHER) == DUPLICATE


def test_a_lease_that_has_ended_holds_nobody_back() -> None:
    assert decided(product(lease=Lease("w", NOW, version=3), message_id=MESSAGE_ID)) == Try(0)


# ---- the next attempt lies ahead ----


def test_the_message_that_carries_the_schedule_is_deferred_until_the_next_attempt() -> None:
    waiting = product(status=SyncStatus.RETRYING, next_attempt_at=LATER, message_id=MESSAGE_ID)
    assert decided(waiting, MESSAGE_ID) == Defer(LATER, scheduled=True)


def test_another_message_before_the_next_attempt_is_a_duplicate() -> None:
    waiting = product(status=SyncStatus.RETRYING, next_attempt_at=LATER, message_id=MESSAGE_ID)
    assert decided(waiting, OTHER) == DUPLICATE


# ---- otherwise ----


def test_a_message_that_comes_back_within_a_second_of_its_attempt_is_on_time() -> None:
    due = product(status=SyncStatus.RETRYING, next_attempt_at=NOW + EARLY, message_id=MESSAGE_ID)
    assert decided(due, MESSAGE_ID) == Try(0)


def test_a_message_that_comes_back_earlier_than_that_is_not() -> None:
    ahead = NOW + EARLY + timedelta(milliseconds=1)
    early = product(status=SyncStatus.RETRYING, next_attempt_at=ahead, message_id=MESSAGE_ID)
    assert decided(early, MESSAGE_ID) == Defer(ahead, scheduled=True)


def test_any_message_takes_over_once_the_next_attempt_is_due() -> None:
    due = product(status=SyncStatus.RETRYING, next_attempt_at=EARLIER, message_id=MESSAGE_ID)
    assert decided(due, OTHER) == Try(0)


def test_a_pending_product_is_tried_in_its_own_budget() -> None:
    assert decided(product(budget=2), budget=2) == Try(2)


def test_a_message_of_a_higher_budget_is_judged_by_the_document() -> None:
    assert decided(product(budget=1), version=3, budget=9) == Try(1)


@pytest.mark.parametrize("status", SyncStatus)
@pytest.mark.parametrize("budget", [0, 1])
def test_a_message_of_a_higher_version_than_the_document_is_doubted(
    status: SyncStatus, budget: int
) -> None:
    assert decided(product(status=status), version=4, budget=budget) == Doubt()


# ---- what holds for all ----

moments = st.sampled_from([None, EARLIER, NOW, LATER])
budgets = st.integers(0, 2)


@st.composite
def products(draw: st.DrawFn) -> Product:
    version = draw(st.integers(0, 3))
    until = draw(moments)
    lease = None
    if until is not None:
        lease = Lease("w", until, draw(st.integers(0, version)), draw(budgets))
    return product(
        version,
        status=draw(st.sampled_from(SyncStatus)),
        budget=draw(budgets),
        attempts=draw(st.integers(0, 18)),
        next_attempt_at=draw(moments),
        message_id=draw(st.sampled_from([None, MESSAGE_ID, OTHER])),
        lease=lease,
    )


messages = st.tuples(st.sampled_from([MESSAGE_ID, OTHER]), st.integers(0, 3), budgets)
Message = tuple[str, int, int]


@given(products(), messages)
def test_nobody_calls_while_a_lease_holds_for_a_product_that_has_not_failed(
    found: Product, message: Message
) -> None:
    if isinstance(decided(found, *message), Try) and found.sync.status not in FAILED_STATUSES:
        assert not found.sync.leased(NOW)


@given(products(), messages)
def test_nobody_calls_for_a_message_that_is_older_than_the_document(
    found: Product, message: Message
) -> None:
    if isinstance(decided(found, *message), Try):
        assert found.pair <= message[1:]


@given(products(), messages)
def test_nobody_calls_for_what_is_delivered(found: Product, message: Message) -> None:
    if isinstance(decided(found, *message), Try):
        assert found.sync.status is not SyncStatus.DELIVERED


@given(products(), messages)
def test_only_a_failed_product_gets_another_budget_and_only_a_higher_one(
    found: Product, message: Message
) -> None:
    match decided(found, *message):
        case Try(budget) if budget != found.sync.budget:
            assert found.sync.status in FAILED_STATUSES
            assert (found.version, budget) == message[1:]
            assert budget > found.sync.budget


@given(products(), messages)
def test_the_message_that_carries_the_schedule_of_unfinished_work_is_never_acknowledged(
    found: Product, message: Message
) -> None:
    unfinished = found.sync.status in {SyncStatus.PENDING, SyncStatus.RETRYING}
    if unfinished and found.pair <= message[1:] and found.sync.message_id == message[0]:
        assert not isinstance(decided(found, *message), Acknowledge)


@given(products(), messages)
def test_waiting_always_ends_in_the_future(found: Product, message: Message) -> None:
    match decided(found, *message):
        case Defer(until):
            assert until > NOW

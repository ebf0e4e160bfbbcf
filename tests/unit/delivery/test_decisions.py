"""What a message comes to: the table row by row, and what holds for all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.delivery import EARLY, Acknowledge, DeadLetter, Defer, Expire, Requeue, Try
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import FAILED_STATUSES, Lease, SyncStatus
from tests.unit.delivery.steps import EARLIER, LATER, MESSAGE_ID, NOW, OTHER, decided, product


def test_a_message_without_a_product_is_superseded() -> None:
    assert decided(None) == Acknowledge("superseded")


def test_a_message_for_an_older_version_is_superseded() -> None:
    assert decided(product(version=4), version=3) == Acknowledge("superseded")


def test_a_message_for_a_delivered_version_is_a_duplicate() -> None:
    assert decided(product(status=SyncStatus.DELIVERED)) == Acknowledge("duplicate")


def test_a_message_for_a_version_under_lease_is_a_duplicate() -> None:
    leased = product(lease=Lease("w", LATER, version=3), message_id=MESSAGE_ID)
    assert decided(leased, OTHER) == Acknowledge("duplicate")


def test_the_scheduled_message_of_a_version_under_lease_waits_for_the_lease_to_end() -> None:
    leased = product(lease=Lease("w", LATER, version=3), message_id=MESSAGE_ID)
    assert decided(leased, MESSAGE_ID) == Defer(LATER)


def test_a_message_is_requeued_while_an_older_version_is_under_lease() -> None:
    assert decided(product(lease=Lease("w", LATER, version=2))) == Requeue(LATER)


def test_a_replay_is_requeued_while_a_call_is_under_way() -> None:
    replayed = product(lease=Lease("w", LATER, version=3), message_id=None)
    assert decided(replayed) == Requeue(LATER)


def test_a_lease_that_has_ended_holds_nobody_back() -> None:
    assert decided(product(lease=Lease("w", NOW, version=3))) == Try()


def test_the_scheduled_message_is_deferred_until_the_next_attempt() -> None:
    waiting = product(status=SyncStatus.RETRYING, next_attempt_at=LATER, message_id=MESSAGE_ID)
    assert decided(waiting, MESSAGE_ID) == Defer(LATER)


def test_another_message_before_the_next_attempt_is_a_duplicate() -> None:
    waiting = product(status=SyncStatus.RETRYING, next_attempt_at=LATER, message_id=MESSAGE_ID)
    assert decided(waiting, OTHER) == Acknowledge("duplicate")


def test_a_message_at_the_time_of_the_next_attempt_is_tried() -> None:
    due = product(status=SyncStatus.RETRYING, next_attempt_at=NOW + EARLY, message_id=MESSAGE_ID)
    assert decided(due, MESSAGE_ID) == Try()


def test_any_message_takes_over_once_the_next_attempt_is_due() -> None:
    due = product(status=SyncStatus.RETRYING, next_attempt_at=EARLIER, message_id=MESSAGE_ID)
    assert decided(due, OTHER) == Try()


@pytest.mark.parametrize("status", sorted(FAILED_STATUSES))
def test_a_message_that_was_sent_after_a_product_failed_is_a_redrive(
    status: SyncStatus,
) -> None:
    failed = product(status=status, message_id=MESSAGE_ID, failed_at=EARLIER)
    assert decided(failed, OTHER, sent=NOW) == Try(fresh=True)


@pytest.mark.parametrize("status", sorted(FAILED_STATUSES))
def test_a_message_that_was_sent_before_a_product_failed_is_a_duplicate(
    status: SyncStatus,
) -> None:
    failed = product(status=status, message_id=MESSAGE_ID, failed_at=NOW)
    assert decided(failed, OTHER, sent=EARLIER) == Acknowledge("duplicate")


def test_the_scheduled_message_of_an_exhausted_product_expires() -> None:
    assert (
        decided(product(status=SyncStatus.EXHAUSTED, message_id=MESSAGE_ID), MESSAGE_ID) == Expire()
    )


def test_the_scheduled_message_of_a_rejected_product_is_dead_lettered_with_the_reason() -> None:
    rejected = product(status=SyncStatus.REJECTED, message_id=MESSAGE_ID, last_error="HTTP 422: no")
    assert decided(rejected, MESSAGE_ID) == DeadLetter("HTTP 422: no")


def test_a_pending_product_is_tried() -> None:
    assert decided(product()) == Try()


moments = st.sampled_from([None, EARLIER, NOW, LATER])


@st.composite
def products(draw: st.DrawFn) -> Product:
    version = draw(st.integers(0, 3))
    until = draw(moments)
    return product(
        version,
        status=draw(st.sampled_from(SyncStatus)),
        attempts=draw(st.integers(0, 18)),
        next_attempt_at=draw(moments),
        message_id=draw(st.sampled_from([None, MESSAGE_ID, OTHER])),
        lease=None if until is None else Lease("w", until, draw(st.integers(0, version))),
    )


messages = st.tuples(st.sampled_from([MESSAGE_ID, OTHER]), st.integers(0, 3))


@given(products(), messages)
def test_nobody_calls_while_a_lease_holds(found: Product, message: tuple[str, int]) -> None:
    lease = found.sync.lease
    if isinstance(decided(found, *message), Try):
        assert lease is None or lease.until <= NOW


@given(products(), messages)
def test_nobody_calls_for_a_message_that_is_older_than_the_document(
    found: Product, message: tuple[str, int]
) -> None:
    if isinstance(decided(found, *message), Try):
        assert found.version <= message[1]


@given(products(), messages)
def test_nobody_calls_for_what_is_delivered(found: Product, message: tuple[str, int]) -> None:
    if isinstance(decided(found, *message), Try):
        assert found.sync.status is not SyncStatus.DELIVERED


@given(products(), messages)
def test_the_scheduled_message_of_unfinished_work_is_never_acknowledged(
    found: Product, message: tuple[str, int]
) -> None:
    message_id, version = message
    unfinished = found.sync.status is not SyncStatus.DELIVERED and found.version <= version
    if unfinished and found.sync.message_id == message_id:
        assert not isinstance(decided(found, *message), Acknowledge)


@given(products(), messages)
def test_waiting_always_ends_in_the_future(found: Product, message: tuple[str, int]) -> None:
    match decided(found, *message):
        case Defer(until):
            assert until > NOW
        case Requeue(at):
            assert at > NOW
        case _:
            pass

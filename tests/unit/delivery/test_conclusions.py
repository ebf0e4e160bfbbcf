"""What an attempt comes to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain import exact_json
from chalicelib.domain.delivery import (
    Acknowledge,
    Claim,
    DeadLetter,
    Defer,
    Disposition,
    Expire,
    Outcome,
    SyncResult,
    Verdict,
    conclude,
    judge,
)
from chalicelib.domain.events import EventType
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Attempt, SyncStatus
from tests.fakes import GRACE
from tests.unit.delivery.steps import EARLIER, LATER, MESSAGE_ID, NOW, OTHER, SCHEDULE, product


def claim(found: Product | None = None, *, fresh: bool = False) -> Claim:
    return Claim(found or product(), "me", MESSAGE_ID, NOW, LATER, LATER + GRACE, fresh)


def outcome(
    verdict: Verdict, *, status: int | None = 500, error: str | None = None, version: int = 3
) -> Outcome:
    return Outcome(Attempt(NOW, version, status, 0.1, error), verdict)


def concluded(found: Claim, what: Outcome) -> tuple[SyncResult, Disposition]:
    return conclude(found, what, SCHEDULE, now=NOW, jitter=0, grace=GRACE, trace="Root=1-2-3")


def test_a_delivery_is_written_with_its_event() -> None:
    result, fate = concluded(claim(), outcome(Verdict.DELIVERED, status=200))
    assert fate == Acknowledge("delivered")
    assert result.sync.status is SyncStatus.DELIVERED
    assert (result.sync.delivered_version, result.sync_completed_at) == (3, NOW)
    assert result.event is not None
    assert (result.event.type, result.event.trace) == (EventType.SYNC_COMPLETE, "Root=1-2-3")
    assert exact_json.loads(result.event.data)["syncStatus"] == "delivered"


def test_a_delivered_product_is_neither_behind_nor_overdue() -> None:
    result, _ = concluded(claim(), outcome(Verdict.DELIVERED))
    assert (result.sync.behind_since, result.sync.overdue_at) == (None, None)


def test_a_failure_defers_the_message_until_the_next_attempt() -> None:
    result, fate = concluded(claim(), outcome(Verdict.FAILED))
    due = NOW + timedelta(seconds=SCHEDULE.waits[0])
    assert fate == Defer(due)
    assert result.sync.status is SyncStatus.RETRYING
    assert result.sync.next_attempt_at == due


def test_a_failure_counts_as_overdue_only_a_grace_after_its_next_attempt() -> None:
    result, _ = concluded(claim(), outcome(Verdict.FAILED))
    assert result.sync.next_attempt_at is not None
    assert result.sync.overdue_at == result.sync.next_attempt_at + GRACE


def test_an_attempt_is_counted_from_the_first_one() -> None:
    before = product(status=SyncStatus.RETRYING, attempts=4, first_attempt_at=EARLIER)
    result, _ = concluded(claim(before), outcome(Verdict.FAILED))
    assert (result.sync.attempts, result.sync.first_attempt_at) == (5, EARLIER)


def test_a_redrive_starts_a_fresh_budget() -> None:
    before = product(status=SyncStatus.EXHAUSTED, attempts=18, first_attempt_at=EARLIER)
    result, fate = concluded(claim(before, fresh=True), outcome(Verdict.FAILED))
    assert (result.sync.attempts, result.sync.first_attempt_at) == (1, NOW)
    assert isinstance(fate, Defer)


def test_the_last_failure_exhausts_the_product_and_its_message_expires() -> None:
    before = product(status=SyncStatus.RETRYING, attempts=17, first_attempt_at=EARLIER)
    result, fate = concluded(claim(before), outcome(Verdict.FAILED, error="HTTP 500: no"))
    assert fate == Expire()
    assert (result.sync.status, result.sync.last_error) == (SyncStatus.EXHAUSTED, "HTTP 500: no")


def test_a_failure_after_the_horizon_exhausts_the_product() -> None:
    long_ago = NOW - timedelta(hours=72)
    before = product(status=SyncStatus.RETRYING, attempts=5, first_attempt_at=long_ago)
    result, _ = concluded(claim(before), outcome(Verdict.FAILED))
    assert result.sync.status is SyncStatus.EXHAUSTED


def test_an_exhausted_product_stays_behind_but_is_not_overdue() -> None:
    before = product(status=SyncStatus.RETRYING, attempts=17, first_attempt_at=EARLIER)
    result, _ = concluded(claim(before), outcome(Verdict.FAILED))
    assert (result.sync.behind_since, result.sync.overdue_at) == (EARLIER, None)


def test_a_rejection_is_dead_lettered_with_the_reason_at_once() -> None:
    result, fate = concluded(claim(), outcome(Verdict.REJECTED, status=422, error="HTTP 422: no"))
    assert fate == DeadLetter("the supply chain rejects version 3: HTTP 422: no")
    assert result.sync.status is SyncStatus.REJECTED


def test_the_message_of_an_attempt_becomes_the_scheduled_one() -> None:
    result, _ = concluded(claim(product(message_id=OTHER)), outcome(Verdict.FAILED))
    assert result.sync.message_id == MESSAGE_ID


@pytest.mark.parametrize(
    ("status", "deleting", "verdict"),
    [
        (200, False, Verdict.DELIVERED),
        (299, False, Verdict.DELIVERED),
        (301, False, Verdict.FAILED),
        (404, False, Verdict.FAILED),
        (404, True, Verdict.DELIVERED),
        (410, True, Verdict.DELIVERED),
        (422, False, Verdict.REJECTED),
        (429, False, Verdict.FAILED),
        (500, True, Verdict.FAILED),
    ],
)
def test_a_status_means(status: int, deleting: bool, verdict: Verdict) -> None:
    assert judge(status, deleting=deleting, reject_statuses={413, 422}) is verdict

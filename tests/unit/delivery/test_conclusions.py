"""What an attempt comes to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain import exact_json
from chalicelib.domain.delivery import (
    Acknowledge,
    Claim,
    Defer,
    Outcome,
    SyncResult,
    Verdict,
    completion_of,
    conclude,
    disposition_of,
    news_of,
)
from chalicelib.domain.events import EventType
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Attempt, Lease, SyncStatus
from tests.fakes import GRACE
from tests.unit.delivery.steps import EARLIER, LATER, MESSAGE_ID, NOW, SCHEDULE, product

LAST: dict[str, Any] = {"status": SyncStatus.RETRYING, "attempts": 17, "first_attempt_at": EARLIER}


def outcome(verdict: Verdict, *, status: int | None = 500, error: str | None = None) -> Outcome:
    return Outcome(Attempt(NOW, 3, status, 0.1, error), verdict)


def concluded(what: Outcome, found: Product | None = None) -> SyncResult:
    """The result of an attempt for a product that is claimed."""
    found = found or product()
    lease = Lease("token", LATER, found.version, found.sync.budget)
    sync = replace(found.sync, lease=lease, claim="token", message_id=MESSAGE_ID)
    before = replace(found, revision=7)
    claimed = Claim(replace(found, sync=sync, revision=8), before, "token", None)
    return conclude(claimed, what, SCHEDULE, now=NOW, jitter=0, grace=GRACE)


@pytest.mark.parametrize("verdict", Verdict)
def test_whatever_comes_of_an_attempt_gives_lease_and_token_back(verdict: Verdict) -> None:
    after = concluded(outcome(verdict)).product
    assert (after.sync.lease, after.sync.claim, after.revision) == (None, None, 9)
    assert after.sync.attempts == 1


def test_a_delivery_completes_the_product() -> None:
    result = concluded(outcome(Verdict.DELIVERED, status=200))
    assert result.delivered
    assert disposition_of(result) == Acknowledge("delivered")
    assert (result.product.sync.delivered_version, result.product.sync_completed_at) == (3, NOW)


def test_a_delivered_product_is_neither_behind_nor_overdue_nor_in_error() -> None:
    sync = concluded(outcome(Verdict.DELIVERED), product(last_error="HTTP 500")).product.sync
    assert (sync.behind_since, sync.overdue_at, sync.last_error) == (None, None, None)


def test_the_event_of_a_delivery_holds_the_product_as_it_is_then() -> None:
    result = concluded(outcome(Verdict.DELIVERED, status=200))
    event = completion_of(result, NOW, "Root=1-2-3")
    assert (event.type, event.trace) == (EventType.SYNC_COMPLETE, "Root=1-2-3")
    data = exact_json.loads(event.data)
    assert (data["syncStatus"], data["syncCompletedAt"]) == (
        "delivered",
        "2026-01-01T00:00:00.000Z",
    )


def news(verdict: Verdict, found: Product | None = None) -> list[EventType]:
    told = news_of(concluded(outcome(verdict), found), NOW, "Root=1-2-3")
    assert all((event.trace, event.time) == ("Root=1-2-3", NOW) for event in told)
    return [event.type for event in told]


@pytest.mark.parametrize(
    ("verdict", "event_type"),
    [
        (Verdict.FAILED, EventType.SYNC_EXHAUSTED),
        (Verdict.REJECTED, EventType.SYNC_REJECTED),
    ],
)
def test_the_news_of_a_product_that_needs_a_person_names_what_it_has_become(
    verdict: Verdict, event_type: EventType
) -> None:
    assert news(verdict, product(**LAST)) == [event_type]


def test_the_event_of_a_failure_holds_the_product_as_it_is_then() -> None:
    (event,) = news_of(concluded(outcome(Verdict.REJECTED)), NOW, None)
    data = exact_json.loads(event.data)
    assert (data["version"], data["syncStatus"], data["syncCompletedAt"]) == (3, "rejected", None)


def test_a_delivery_after_a_failure_is_news_and_any_other_is_not() -> None:
    failed_before = product(failed_at=EARLIER)
    assert news(Verdict.DELIVERED, failed_before) == [EventType.SYNC_RECOVERED]
    assert news(Verdict.DELIVERED) == []


def test_a_failure_after_which_another_attempt_follows_is_no_news() -> None:
    assert news(Verdict.FAILED) == []
    assert news(Verdict.FAILED, product(failed_at=EARLIER)) == []


def test_a_failure_defers_the_message_until_the_next_attempt() -> None:
    result = concluded(outcome(Verdict.FAILED))
    due = NOW + timedelta(seconds=SCHEDULE.waits[0])
    assert disposition_of(result) == Defer(due)
    sync = result.product.sync
    assert (sync.status, sync.next_attempt_at) == (SyncStatus.RETRYING, due)


def test_the_first_failure_sets_where_the_horizon_ends() -> None:
    sync = concluded(outcome(Verdict.FAILED)).product.sync
    assert (sync.aim_at, sync.ends_at) == (sync.next_attempt_at, NOW + timedelta(hours=72))


def test_a_failure_counts_as_overdue_only_a_grace_after_its_next_attempt() -> None:
    sync = concluded(outcome(Verdict.FAILED)).product.sync
    assert sync.next_attempt_at is not None
    assert sync.overdue_at == sync.next_attempt_at + GRACE


def test_an_attempt_is_counted_from_the_first_one() -> None:
    before = product(status=SyncStatus.RETRYING, attempts=4, first_attempt_at=EARLIER)
    sync = concluded(outcome(Verdict.FAILED), before).product.sync
    assert (sync.attempts, sync.first_attempt_at) == (5, EARLIER)


def test_the_last_failure_exhausts_the_product_and_its_message_is_done() -> None:
    result = concluded(outcome(Verdict.FAILED, error="HTTP 500: no"), product(**LAST))
    assert disposition_of(result) == Acknowledge("exhausted")
    assert result.failed
    sync = result.product.sync
    assert (sync.status, sync.last_error) == (SyncStatus.EXHAUSTED, "HTTP 500: no")


def test_a_failure_at_the_end_of_the_horizon_exhausts_the_product() -> None:
    before = product(status=SyncStatus.RETRYING, attempts=5, aim_at=NOW, ends_at=NOW)
    assert concluded(outcome(Verdict.FAILED), before).product.sync.status is SyncStatus.EXHAUSTED


def test_a_rejection_fails_the_product_at_once() -> None:
    result = concluded(outcome(Verdict.REJECTED, status=422, error="HTTP 422: no"))
    assert disposition_of(result) == Acknowledge("rejected")
    sync = result.product.sync
    assert (sync.status, sync.last_error) == (SyncStatus.REJECTED, "HTTP 422: no")


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.REJECTED])
def test_a_product_remembers_when_it_failed(verdict: Verdict) -> None:
    assert concluded(outcome(verdict), product(**LAST)).product.sync.failed_at == NOW


def test_a_product_that_is_tried_again_has_not_failed() -> None:
    assert concluded(outcome(Verdict.FAILED)).product.sync.failed_at is None


def test_a_delivery_forgets_when_the_product_failed() -> None:
    sync = concluded(outcome(Verdict.DELIVERED), product(failed_at=EARLIER)).product.sync
    assert sync.failed_at is None


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.REJECTED])
def test_a_failed_product_stays_behind_and_owes_its_dead_letter_after_a_grace(
    verdict: Verdict,
) -> None:
    sync = concluded(outcome(verdict), product(**LAST)).product.sync
    assert (sync.behind_since, sync.overdue_at) == (EARLIER, NOW + GRACE)
    assert sync.next_attempt_at is None

"""The state of a product's sync."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.sync_state import Attempt, Lease, SyncState, SyncStatus
from tests.fakes import START

LATER = START + timedelta(hours=1)


def test_an_attempt_reads_as_operators_see_it() -> None:
    assert Attempt(START, 3, 500, 0.12345, "HTTP 500").to_json() == {
        "time": "2026-01-01T00:00:00.000Z",
        "version": 3,
        "statusCode": 500,
        "durationSeconds": 0.123,
        "error": "HTTP 500",
    }


def test_a_restart_forgets_claim_message_and_schedule_and_keeps_the_rest() -> None:
    lease, attempt = Lease("worker", LATER, 1), Attempt(START, 0, 200, 0.1)
    before = SyncState(
        SyncStatus.EXHAUSTED,
        budget=2,
        attempts=18,
        delivered_version=0,
        first_attempt_at=START,
        next_attempt_at=START,
        aim_at=START,
        ends_at=LATER,
        behind_since=START,
        lease=lease,
        claim="worker",
        message_id="message",
        last_error="HTTP 500",
        history=(attempt,),
        failed_at=START,
        trace="Root=1-2-3",
    )

    assert before.restarted(LATER, LATER, budget=3) == SyncState(
        budget=3,
        delivered_version=0,
        behind_since=START,
        overdue_at=LATER,
        lease=lease,
        history=(attempt,),
        failed_at=START,
        trace="Root=1-2-3",
    )


def test_a_delivered_product_has_not_failed_whatever_an_earlier_release_left_there() -> None:
    before = SyncState(SyncStatus.DELIVERED, failed_at=START)
    assert before.restarted(LATER, LATER).failed_at is None


def test_a_restart_takes_the_trace_of_the_request_that_asks_for_it() -> None:
    before = SyncState(trace="Root=1-2-3")
    assert before.restarted(LATER, LATER, trace="Root=4-5-6").trace == "Root=4-5-6"


def test_a_write_starts_at_budget_0() -> None:
    assert SyncState(SyncStatus.REJECTED, budget=7).restarted(LATER, LATER).budget == 0


def test_a_product_that_was_not_behind_is_so_from_its_restart_on() -> None:
    assert SyncState(SyncStatus.DELIVERED).restarted(LATER, LATER).behind_since == LATER

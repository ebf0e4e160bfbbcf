"""Dead letters: what they say, and what each one means."""

from __future__ import annotations

import json

import pytest

from chalicelib.domain.delivery import LetterMeans, judge_letter, worker_died
from chalicelib.domain.messages import SyncMessage, dead_letter_for, parse_sync_message
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import FAILED_STATUSES, Lease, SyncStatus
from tests.unit.delivery.steps import EARLIER, LATER, MESSAGE_ID, NOW, OTHER, product

FAILED = sorted(FAILED_STATUSES)
ON_ITS_WAY = [SyncStatus.PENDING, SyncStatus.RETRYING]


def judged(found: Product | None, version: int = 3, budget: int = 0) -> LetterMeans:
    return judge_letter(found, SyncMessage("p1", version, budget), MESSAGE_ID, NOW)


# ---- our own letters ----


def test_a_dead_letter_is_a_message_of_the_next_budget() -> None:
    failed = product(status=SyncStatus.EXHAUSTED, budget=2, attempts=18)
    message = parse_sync_message(dead_letter_for(failed).body)
    assert message == SyncMessage("p1", 3, 3, is_letter=True)


def test_a_dead_letter_says_why_after_how_many_attempts_and_the_last_error() -> None:
    failed = product(status=SyncStatus.REJECTED, attempts=1, last_error="HTTP 422: no")
    letter = dead_letter_for(failed)
    assert json.loads(letter.body) == {
        "productId": "p1",
        "version": 3,
        "budget": 1,
        "reason": "rejected",
        "attempts": 1,
        "lastError": "HTTP 422: no",
    }
    assert letter.attributes == {
        "reason": "rejected: HTTP 422: no",
        "attempts": "1",
        "lastError": "HTTP 422: no",
    }


def test_the_body_of_a_dead_letter_holds_nothing_that_sqs_refuses() -> None:
    failed = product(status=SyncStatus.REJECTED, last_error="\ufffe\x00")
    assert dead_letter_for(failed).body.isascii()


def test_a_letter_whose_product_is_gone_means_nothing() -> None:
    assert judged(None, budget=1) is LetterMeans.NOTHING


def test_a_letter_of_an_older_version_means_nothing() -> None:
    assert judged(product(status=SyncStatus.EXHAUSTED), 2, 1) is LetterMeans.NOTHING


def test_a_letter_of_a_later_version_stays_since_the_store_may_be_restored() -> None:
    assert judged(product(status=SyncStatus.EXHAUSTED), 4, 1) is LetterMeans.WAIT


@pytest.mark.parametrize("status", FAILED)
def test_a_letter_of_the_budget_after_a_failed_products_is_work_for_a_person(
    status: SyncStatus,
) -> None:
    assert judged(product(status=status, budget=1), budget=2) is LetterMeans.WORK


@pytest.mark.parametrize("status", FAILED)
@pytest.mark.parametrize("budget", [0, 1, 3])
def test_a_letter_of_any_other_budget_of_a_failed_product_means_nothing(
    status: SyncStatus, budget: int
) -> None:
    assert judged(product(status=status, budget=1), budget=budget) is LetterMeans.NOTHING


@pytest.mark.parametrize("status", [*ON_ITS_WAY, SyncStatus.DELIVERED])
def test_a_letter_of_a_product_that_no_longer_is_failed_means_nothing(status: SyncStatus) -> None:
    assert judged(product(status=status), budget=1) is LetterMeans.NOTHING


# ---- letters that the queue itself moved ----


@pytest.mark.parametrize("status", ON_ITS_WAY)
@pytest.mark.parametrize("scheduled_by", [None, MESSAGE_ID])
def test_a_message_that_the_queue_moved_has_crashed_its_worker(
    status: SyncStatus, scheduled_by: str | None
) -> None:
    assert judged(product(status=status, message_id=scheduled_by)) is LetterMeans.CRASH


def test_the_letter_of_a_failure_that_a_replay_has_ended_means_nothing() -> None:
    letter = SyncMessage("p1", 3, 1, is_letter=True)
    replayed = product(budget=1, message_id=None)
    assert judge_letter(replayed, letter, MESSAGE_ID, NOW) is LetterMeans.NOTHING


def test_a_letter_that_was_moved_back_and_crashed_its_worker_has_crashed_it() -> None:
    letter = SyncMessage("p1", 3, 1, is_letter=True)
    redriven = product(budget=1, message_id=MESSAGE_ID)
    assert judge_letter(redriven, letter, MESSAGE_ID, NOW) is LetterMeans.CRASH


def test_while_a_lease_holds_a_moved_message_is_left() -> None:
    leased = product(lease=Lease("w", LATER, 3), message_id=MESSAGE_ID)
    assert judged(leased) is LetterMeans.WAIT


def test_a_moved_message_is_judged_once_the_lease_has_ended() -> None:
    died = product(lease=Lease("w", NOW, 3), message_id=MESSAGE_ID)
    assert judged(died) is LetterMeans.CRASH


@pytest.mark.parametrize("status", ON_ITS_WAY)
def test_a_moved_message_means_nothing_where_another_carries_the_schedule(
    status: SyncStatus,
) -> None:
    assert judged(product(status=status, message_id=OTHER)) is LetterMeans.NOTHING


def test_a_moved_message_of_a_delivered_product_means_nothing() -> None:
    assert judged(product(status=SyncStatus.DELIVERED)) is LetterMeans.NOTHING


def test_a_product_whose_worker_died_is_exhausted_and_owes_its_letter_at_once() -> None:
    before = product(
        status=SyncStatus.RETRYING,
        attempts=3,
        next_attempt_at=LATER,
        lease=Lease("w", EARLIER, 3),
        claim="w",
    )
    after = worker_died(before, MESSAGE_ID, NOW)
    assert (after.sync.status, after.sync.last_error) == (
        SyncStatus.EXHAUSTED,
        "every worker that tried it has crashed",
    )
    assert (after.sync.lease, after.sync.claim, after.sync.next_attempt_at) == (None, None, None)
    assert after.sync.overdue_at == NOW
    assert (after.revision, after.sync.attempts) == (before.revision + 1, 3)

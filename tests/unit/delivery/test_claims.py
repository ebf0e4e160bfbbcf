"""What a claim asks the store to write."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.delivery import Claim, Times, claim
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Attempt, Lease, SyncStatus
from tests.fakes import GRACE
from tests.unit.delivery.steps import EARLIER, LATER, MESSAGE_ID, NOW, OTHER, product

EVENT_ID = "p1:3:product:updated"
RETRYING: dict[str, Any] = {
    "status": SyncStatus.RETRYING,
    "attempts": 4,
    "first_attempt_at": EARLIER,
    "next_attempt_at": NOW,
    "aim_at": NOW,
    "ends_at": LATER,
    "message_id": OTHER,
    "history": (Attempt(EARLIER, 3, 500, 0.1),),
}


def claimed(found: Product, budget: int = 0) -> Claim:
    message = SyncMessage("p1", 3, budget, event_id=EVENT_ID)
    times = Times(NOW, LATER, LATER + GRACE, EARLIER)
    return claim(found, message, MESSAGE_ID, budget, "token", times)


def test_a_claim_takes_the_lease_for_the_pair_and_leaves_its_token() -> None:
    sync = claimed(product(budget=2), budget=2).product.sync
    assert sync.lease == Lease("token", LATER, 3, 2)
    assert sync.claim == "token"


def test_the_message_of_a_claim_carries_the_schedule_from_now_on() -> None:
    assert claimed(product(message_id=OTHER)).product.sync.message_id == MESSAGE_ID


def test_a_claim_remembers_when_its_message_was_put_into_the_queue() -> None:
    assert claimed(product()).product.sync.enqueued_at == EARLIER


def test_a_claimed_product_is_overdue_a_grace_after_the_lease_has_ended() -> None:
    assert claimed(product()).product.sync.overdue_at == LATER + GRACE


def test_a_product_that_is_overdue_after_the_lease_stays_overdue_at_that_time() -> None:
    after = LATER + timedelta(seconds=1)
    assert claimed(product(overdue_at=after)).product.sync.overdue_at == after


def test_a_product_that_was_parked_for_long_is_overdue_a_grace_after_the_lease_too() -> None:
    parked = product(parked=True, overdue_at=LATER + timedelta(hours=1))
    assert claimed(parked).product.sync.overdue_at == LATER + GRACE


def test_a_product_is_not_overdue_while_its_lease_lasts() -> None:
    assert claimed(product(overdue_at=LATER)).product.sync.overdue_at == LATER + GRACE


def test_a_claim_holds_for_the_revision_that_was_seen_and_makes_the_next() -> None:
    before = replace(product(), revision=7)
    made = claimed(before)
    assert (made.before, made.product.revision) == (before, 8)


def test_a_claim_names_the_event_that_its_message_proves() -> None:
    assert claimed(product()).event_id == EVENT_ID


def test_a_claim_within_the_same_budget_keeps_what_was_counted() -> None:
    before = product(**RETRYING)
    sync = claimed(before).product.sync
    assert (sync.attempts, sync.first_attempt_at) == (4, EARLIER)
    assert (sync.aim_at, sync.ends_at) == (NOW, LATER)


@pytest.mark.parametrize("status", [SyncStatus.EXHAUSTED, SyncStatus.REJECTED])
def test_a_claim_of_another_budget_starts_it_from_nothing(status: SyncStatus) -> None:
    before = product(**{**RETRYING, "status": status, "attempts": 18, "last_error": "HTTP 500"})
    sync = claimed(before, budget=1).product.sync
    assert (sync.status, sync.budget, sync.attempts) == (SyncStatus.PENDING, 1, 0)
    assert (sync.first_attempt_at, sync.aim_at, sync.ends_at) == (None, None, None)
    assert (sync.next_attempt_at, sync.last_error) == (None, None)
    assert sync.history == before.sync.history

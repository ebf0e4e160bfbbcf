"""When an overdue product is enqueued again, and when a dead letter is settled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.delivery import dead_letter_is_settled, next_enqueue
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Attempt, SyncStatus
from tests.fakes import GRACE
from tests.unit.delivery.steps import NOW, product


def test_the_distance_between_messages_for_an_overdue_product_doubles() -> None:
    due = NOW - timedelta(minutes=40)
    overdue = product(status=SyncStatus.RETRYING, next_attempt_at=due)
    assert next_enqueue(overdue, NOW, GRACE) == NOW + timedelta(minutes=40)


def test_however_long_a_product_waits_it_is_enqueued_every_hour() -> None:
    overdue = product(restarted_at=NOW - timedelta(days=2))
    assert next_enqueue(overdue, NOW, GRACE) == NOW + timedelta(hours=1)


def test_the_next_message_after_a_replay_does_not_count_from_the_last_change() -> None:
    replayed = product(restarted_at=NOW)
    assert replayed.updated_at < NOW
    assert next_enqueue(replayed, NOW + 2 * GRACE, GRACE) == NOW + 4 * GRACE


def test_messages_for_an_overdue_product_are_at_least_a_grace_apart() -> None:
    assert next_enqueue(product(next_attempt_at=NOW), NOW, GRACE) == NOW + GRACE


@pytest.mark.parametrize(
    ("found", "settled"),
    [
        (None, True),
        (product(version=4, status=SyncStatus.EXHAUSTED), True),
        (product(version=3, status=SyncStatus.DELIVERED), True),
        (product(version=3, status=SyncStatus.EXHAUSTED), False),
        (product(version=3, status=SyncStatus.REJECTED), False),
        # On its way again: reconcile sees to it that it goes on.
        (product(version=3, status=SyncStatus.RETRYING), True),
        (product(version=3, status=SyncStatus.PENDING), True),
    ],
)
def test_a_dead_letter_is_settled_once_its_product_needs_nobody(
    found: Product | None,
    settled: bool,
) -> None:
    assert dead_letter_is_settled(found, 3) is settled


def test_operators_see_each_attempt_with_its_time_status_duration_and_error() -> None:
    history = (Attempt(NOW, 3, 503, 0.25, "HTTP 503: busy"),)
    assert product(history=history).sync_to_json()["history"] == [
        {
            "time": "2026-01-01T00:00:00.000Z",
            "version": 3,
            "statusCode": 503,
            "durationSeconds": 0.25,
            "error": "HTTP 503: busy",
        }
    ]

"""When an overdue product is enqueued again."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.delivery import next_enqueue
from chalicelib.domain.sync_state import SyncStatus
from tests.fakes import GRACE
from tests.unit.delivery.steps import NOW, product


def test_the_distance_between_messages_for_an_overdue_product_doubles() -> None:
    due = NOW - timedelta(minutes=40)
    overdue = product(status=SyncStatus.RETRYING, next_attempt_at=due)
    assert next_enqueue(overdue, NOW, GRACE) == NOW + timedelta(minutes=40)


def test_however_long_a_product_waits_it_is_enqueued_every_hour() -> None:
    overdue = product(behind_since=NOW - timedelta(days=2))
    assert next_enqueue(overdue, NOW, GRACE) == NOW + timedelta(hours=1)


def test_where_nothing_else_is_known_the_distance_counts_from_the_last_change() -> None:
    overdue = product(behind_since=None)
    assert next_enqueue(overdue, NOW + GRACE, GRACE) == NOW + GRACE + 2 * GRACE


def test_messages_for_an_overdue_product_are_at_least_a_grace_apart() -> None:
    assert next_enqueue(product(next_attempt_at=NOW), NOW, GRACE) == NOW + GRACE

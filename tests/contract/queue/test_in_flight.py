"""The number of messages in flight: SQS delivers nothing to anybody at 120,000 of them."""

from __future__ import annotations

import pytest

from chalicelib.domain.errors import QueueUnavailableError
from tests.contract.queue.steps import (
    AnyQueue,
    defer_all,
    received,
    some_letters,
    some_sync_messages,
)
from tests.support import eventually


def in_flight(queue: AnyQueue, number: int) -> None:
    """Wait until so many are counted: the number is approximate."""
    eventually(lambda: queue.in_flight() == number, 10, message=f"{number} are in flight")


def test_messages_that_nobody_has_received_are_not_in_flight(queue: AnyQueue) -> None:
    queue.enqueue(some_sync_messages(3))
    queue.dead_letter(some_letters(1))

    in_flight(queue, 0)


def test_what_is_received_or_deferred_is_in_flight_until_it_is_visible_or_deleted(
    queue: AnyQueue,
) -> None:
    queue.enqueue(some_sync_messages(3))
    first, second, third = received(queue, 3)
    defer_all(queue, [first], 600)
    in_flight(queue, 3)

    defer_all(queue, [second], 0)
    in_flight(queue, 2)

    queue.delete([third["receiptHandle"]])
    in_flight(queue, 1)


def test_a_queue_that_is_away_counts_nothing(queue_away: AnyQueue) -> None:
    with pytest.raises(QueueUnavailableError):
        queue_away.in_flight()

"""Received messages: in flight, deferred, shown again and deleted."""

from __future__ import annotations

import time

import pytest

from chalicelib.domain.errors import QueueUnavailableError
from tests.contract.queue.steps import (
    SYNC_MESSAGE,
    AnyQueue,
    defer_all,
    is_empty,
    received,
    some_sync_messages,
)


def test_what_was_received_is_not_received_again_within_its_visibility_timeout(
    queue: AnyQueue,
) -> None:
    queue.enqueue([SYNC_MESSAGE])
    received(queue)

    assert is_empty(queue)


def test_a_message_that_is_deferred_by_0_seconds_is_received_at_once_and_counts_its_receives(
    queue: AnyQueue,
) -> None:
    queue.enqueue([SYNC_MESSAGE])
    first = received(queue)

    defer_all(queue, first, 0)

    (again,) = received(queue)
    assert again["messageId"] == first[0]["messageId"]
    assert again["attributes"]["ApproximateReceiveCount"] == "2"


def test_a_message_that_is_deferred_by_a_second_is_received_after_it(queue: AnyQueue) -> None:
    queue.enqueue([SYNC_MESSAGE])
    deferred = time.monotonic()
    defer_all(queue, received(queue), 1)

    # A look that takes a second would find it.
    assert not queue.receive_records(0)
    received(queue)
    assert time.monotonic() - deferred > 0.5


def test_more_messages_than_fit_into_one_request_are_deferred(queue: AnyQueue) -> None:
    queue.enqueue(some_sync_messages(25))
    defer_all(queue, received(queue, 25), 0)

    assert len(received(queue, 25)) == 25


def test_deferring_nothing_is_fine(queue: AnyQueue) -> None:
    queue.change_visibility({})


def test_deferring_with_a_receipt_that_means_nothing_is_an_error(queue: AnyQueue) -> None:
    with pytest.raises(QueueUnavailableError):
        queue.change_visibility({"no receipt": 1})


def test_a_deleted_message_never_comes_back(queue: AnyQueue) -> None:
    queue.enqueue(some_sync_messages(2))
    records = received(queue, 2)
    defer_all(queue, records, 0)
    gone, left = received(queue, 2)

    queue.delete([gone["receiptHandle"]])
    defer_all(queue, [left], 0)

    assert [record["messageId"] for record in received(queue)] == [left["messageId"]]


def test_more_messages_than_fit_into_one_request_are_deleted(queue: AnyQueue) -> None:
    queue.enqueue(some_sync_messages(25))

    queue.delete([record["receiptHandle"] for record in received(queue, 25)])
    queue.enqueue([SYNC_MESSAGE])

    assert [record["body"] for record in received(queue)] == [SYNC_MESSAGE.to_json()]

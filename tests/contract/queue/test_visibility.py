"""Received messages: in flight, deferred, shown again and deleted."""

from __future__ import annotations

import time

import pytest

from chalicelib.domain.errors import QueueUnavailableError
from tests.contract.queue.steps import BELL, AnyQueue, bells, hide_all, is_empty, received


def test_what_was_received_stays_hidden(queue: AnyQueue) -> None:
    queue.enqueue([BELL])
    received(queue)

    assert is_empty(queue)


def test_what_is_hidden_for_no_time_shows_at_once_and_counts_its_receives(queue: AnyQueue) -> None:
    queue.enqueue([BELL])
    first = received(queue)

    hide_all(queue, first, 0)

    (again,) = received(queue)
    assert again["messageId"] == first[0]["messageId"]
    assert again["attributes"]["ApproximateReceiveCount"] == "2"


def test_what_is_hidden_for_a_second_shows_after_it(queue: AnyQueue) -> None:
    queue.enqueue([BELL])
    hidden = time.monotonic()
    hide_all(queue, received(queue), 1)

    assert is_empty(queue)
    received(queue)
    assert time.monotonic() - hidden > 0.5


def test_more_messages_than_fit_into_one_request_are_hidden(queue: AnyQueue) -> None:
    queue.enqueue(bells(25))
    hide_all(queue, received(queue, 25), 0)

    assert len(received(queue, 25)) == 25


def test_hiding_nothing_is_fine(queue: AnyQueue) -> None:
    queue.change_visibility({})


def test_hiding_with_a_receipt_that_means_nothing_is_an_error(queue: AnyQueue) -> None:
    with pytest.raises(QueueUnavailableError):
        queue.change_visibility({"no receipt": 1})


def test_a_deleted_message_never_comes_back(queue: AnyQueue) -> None:
    queue.enqueue(bells(2))
    records = received(queue, 2)
    hide_all(queue, records, 0)
    gone, left = received(queue, 2)

    queue.delete([gone["receiptHandle"]])
    hide_all(queue, [left], 0)

    assert [record["messageId"] for record in received(queue)] == [left["messageId"]]


def test_more_messages_than_fit_into_one_request_are_deleted(queue: AnyQueue) -> None:
    queue.enqueue(bells(25))

    queue.delete([record["receiptHandle"] for record in received(queue, 25)])
    queue.enqueue([BELL])

    assert [record["body"] for record in received(queue)] == [BELL.to_json()]

"""Sync messages that are enqueued."""

from __future__ import annotations

from chalicelib.domain.messages import parse_sync_message
from tests.contract.queue.steps import (
    SYNC_MESSAGE,
    AnyQueue,
    received,
    some_sync_messages,
)


def test_an_enqueued_sync_message_is_accepted_and_received(queue: AnyQueue) -> None:
    assert queue.enqueue([SYNC_MESSAGE]) == [SYNC_MESSAGE]

    (record,) = received(queue)
    assert record["body"] == SYNC_MESSAGE.to_json()
    assert record["attributes"]["ApproximateReceiveCount"] == "1"


def test_what_is_received_says_what_was_enqueued(queue: AnyQueue) -> None:
    queue.enqueue([SYNC_MESSAGE])

    assert parse_sync_message(received(queue)[0]["body"]) == SYNC_MESSAGE


def test_more_sync_messages_than_fit_into_one_request_are_accepted(queue: AnyQueue) -> None:
    sync_messages = some_sync_messages(37)

    assert (
        sorted(queue.enqueue(sync_messages), key=lambda message: message.version) == sync_messages
    )
    bodies = {record["body"] for record in received(queue, 37)}
    assert bodies == {message.to_json() for message in sync_messages}


def test_the_same_sync_message_twice_is_two_messages(queue: AnyQueue) -> None:
    assert queue.enqueue([SYNC_MESSAGE, SYNC_MESSAGE]) == [SYNC_MESSAGE, SYNC_MESSAGE]

    ids = {record["messageId"] for record in received(queue, 2)}
    assert len(ids) == 2


def test_enqueueing_nothing_is_fine(queue: AnyQueue) -> None:
    assert queue.enqueue([]) == []

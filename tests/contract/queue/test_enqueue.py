"""Sync messages that are enqueued."""

from __future__ import annotations

import time

from tests.contract.queue.steps import BELL, AnyQueue, bells, is_empty, received


def test_a_rung_sync_message_is_accepted_and_received(queue: AnyQueue) -> None:
    assert queue.enqueue([BELL]) == [BELL]

    (record,) = received(queue)
    assert record["body"] == BELL.to_json()
    assert record["attributes"]["ApproximateReceiveCount"] == "1"


def test_more_sync_messages_than_fit_into_one_request_are_accepted(queue: AnyQueue) -> None:
    sync_messages = bells(37)

    assert sorted(queue.enqueue(sync_messages), key=lambda bell: bell.version) == sync_messages
    bodies = {record["body"] for record in received(queue, 37)}
    assert bodies == {bell.to_json() for bell in sync_messages}


def test_the_same_sync_message_twice_is_two_messages(queue: AnyQueue) -> None:
    assert queue.enqueue([BELL, BELL]) == [BELL, BELL]

    ids = {record["messageId"] for record in received(queue, 2)}
    assert len(ids) == 2


def test_ringing_nothing_is_fine(queue: AnyQueue) -> None:
    assert queue.enqueue([]) == []


def test_a_delayed_sync_message_is_received_when_its_delay_is_over(queue: AnyQueue) -> None:
    enqueued = time.monotonic()
    queue.enqueue([BELL], delay=1)

    assert is_empty(queue)
    received(queue)
    # SQS counts in whole seconds.
    assert time.monotonic() - enqueued > 0.5

"""A queue that answers, and one that is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import QueueUnavailableError
from tests.contract.conftest import SqsKit
from tests.contract.queue.steps import COUNT_SECONDS, POISON, SYNC_MESSAGE, AnyQueue
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_queue_that_answers_can_be_pinged(queue: AnyQueue) -> None:
    queue.ping()


EVERY_METHOD: dict[str, Callable[[AnyQueue], object]] = {
    "enqueue": lambda queue: queue.enqueue([SYNC_MESSAGE]),
    "change_visibility": lambda queue: queue.change_visibility({"receipt": 1}),
    "dead_letter": lambda queue: queue.dead_letter([POISON]),
    "receive_dead_letters": lambda queue: queue.receive_dead_letters(10),
    "count_dead_letters": lambda queue: queue.count_dead_letters(),
    "delete_dead_letters": lambda queue: queue.delete_dead_letters(["receipt"]),
    "release_dead_letters": lambda queue: queue.release_dead_letters(["receipt"]),
    "receive_records": lambda queue: queue.receive_records(0),
    "delete": lambda queue: queue.delete(["receipt"]),
    "ping": lambda queue: queue.ping(),
}


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_queue_that_is_away_says_so(queue_away: AnyQueue, method: str) -> None:
    with pytest.raises(QueueUnavailableError):
        EVERY_METHOD[method](queue_away)


def test_a_queue_that_was_deleted_is_as_good_as_away(sqs: SqsKit) -> None:
    sqs.client.delete_queue(QueueUrl=sqs.queue_url)

    def away() -> bool:
        try:
            sqs.queue.enqueue([SYNC_MESSAGE])
        except QueueUnavailableError:
            return True
        return False

    eventually(away, COUNT_SECONDS, "the queue is away")

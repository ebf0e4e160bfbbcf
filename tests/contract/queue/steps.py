"""What the tests of the queue do with messages: receive, defer and look at dead letters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.sqs import SqsQueue
from chalicelib.domain.messages import DeadLetter, SyncMessage, dead_letter_for
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncStatus
from tests.fakes import FakeQueue, a_failed_state, a_product
from tests.support import eventually

if TYPE_CHECKING:
    from chalicelib.usecases.ports import ReceivedDeadLetter


AnyQueue = FakeQueue | SqsQueue
Records = list[dict[str, Any]]
SYNC_MESSAGE = SyncMessage("product", 3, 1, "Root=1-2-3", "event")
POISON = DeadLetter("no sync message", {"reason": "not JSON"})
LOOK_SECONDS = 0
"""How long a look at a queue takes. SQS needs a second to look everywhere, the others none."""
COUNT_SECONDS = 90
"""SQS: counts are up to a minute old, and so is the news that a queue is gone."""


def some_sync_messages(number: int) -> list[SyncMessage]:
    return [SyncMessage(f"product-{index}", index) for index in range(number)]


def a_failed_product(last_error: str = "HTTP 500") -> Product:
    sync = replace(a_failed_state(SyncStatus.EXHAUSTED), budget=4, last_error=last_error)
    return a_product(version=3, sync=sync)


def some_letters(number: int) -> list[DeadLetter]:
    """Dead letters of different products, at the versions 0, 1, 2 and so on."""
    return [dead_letter_for(replace(a_failed_product(), version=n)) for n in range(number)]


def version_of(letter: ReceivedDeadLetter) -> int:
    assert letter.message is not None
    return letter.message.version


def received(queue: AnyQueue, number: int = 1) -> Records:
    """Receive until so many messages have come."""
    records: Records = []

    def enough() -> bool:
        records.extend(queue.receive_records(LOOK_SECONDS))
        return len(records) >= number

    eventually(enough, timeout=10, message=f"{number} messages")
    return records


def dead(queue: AnyQueue, number: int = 1) -> list[ReceivedDeadLetter]:
    """Look at the dead letters until there are so many."""
    letters: list[ReceivedDeadLetter] = []

    def enough() -> bool:
        letters.extend(queue.receive_dead_letters(100))
        return len(letters) >= number

    eventually(enough, timeout=10, message=f"{number} dead letters")
    return letters


def defer_all(queue: AnyQueue, records: Records, seconds: int) -> None:
    queue.change_visibility({record["receiptHandle"]: seconds for record in records})


def is_empty(queue: AnyQueue) -> bool:
    return not queue.receive_records(LOOK_SECONDS)

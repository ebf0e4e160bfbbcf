"""What the tests of the queue do with messages: receive, defer and look at dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.adapters.sqs import SqsQueue
from chalicelib.domain.messages import SyncMessage
from tests.fakes import FakeQueue
from tests.support import eventually

if TYPE_CHECKING:
    from chalicelib.usecases.ports import ReceivedDeadLetter


AnyQueue = FakeQueue | SqsQueue
Records = list[dict[str, Any]]
SYNC_MESSAGE = SyncMessage("product", 3, "Root=1-2-3")


def some_sync_messages(number: int) -> list[SyncMessage]:
    return [SyncMessage(f"product-{index}", index) for index in range(number)]


def received(queue: AnyQueue, number: int = 1, within: float = 10) -> Records:
    """Receive until so many messages have come."""
    records: Records = []

    def enough() -> bool:
        records.extend(queue.receive_records(0))
        return len(records) >= number

    eventually(enough, within, message=f"{number} messages")
    return records


def dead(queue: AnyQueue, number: int = 1, within: float = 10) -> list[ReceivedDeadLetter]:
    """Look at the dead letters until there are so many."""
    letters: list[ReceivedDeadLetter] = []

    def enough() -> bool:
        letters.extend(queue.receive_dead_letters(100))
        return len(letters) >= number

    eventually(enough, within, message=f"{number} dead letters")
    return letters


def defer_all(queue: AnyQueue, records: Records, seconds: int) -> None:
    queue.change_visibility({record["receiptHandle"]: seconds for record in records})


def is_empty(queue: AnyQueue) -> bool:
    return not queue.receive_records(0)

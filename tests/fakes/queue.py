"""The queue and its dead-letter queue in memory."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from chalicelib.domain.errors import PoisonMessageError, QueueUnavailableError
from chalicelib.domain.messages import DeadLetter, ReceivedMessage, SyncMessage, parse_sync_message
from chalicelib.domain.retry import SQS_MAX_VISIBILITY_SECONDS
from chalicelib.usecases.ports import ReceivedDeadLetter
from tests.fakes.switchable import Switchable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass
class FakeQueueMessage:
    """One message of the queue or the dead-letter queue; in flight while it has a receipt."""

    id: str
    body: str
    visible_at: datetime
    sent_at: datetime
    receives: int = 0
    received_at: datetime | None = None
    receipts: set[str] = field(default_factory=set)
    reason: str | None = None


class FakeQueue(Switchable):
    """Implements `ports.Queue`; also receives and deletes, as the host of the handlers does.

    `refused` holds the ids of products whose sync messages it does not accept; `bulk` the ids of
    those whose messages were enqueued as bulk. All are in the one queue.
    """

    error = QueueUnavailableError
    VISIBILITY = timedelta(seconds=60)
    SWEEP = timedelta(seconds=30)

    def __init__(self, clock: Callable[[], datetime], *, max_receive_count: int = 200) -> None:
        super().__init__()
        self._clock = clock
        self._max_receive_count = max_receive_count
        self._numbers = itertools.count(1)
        self.others_in_flight = 0
        self.messages: list[FakeQueueMessage] = []
        self.dead: list[FakeQueueMessage] = []
        self.refused: set[str] = set()
        self.bulk: list[str] = []

    # ---- the port ----

    def enqueue(self, messages: Sequence[SyncMessage]) -> list[SyncMessage]:
        self._reach("enqueue")
        accepted = [message for message in messages if message.product_id not in self.refused]
        if messages and not accepted:
            raise QueueUnavailableError("none was accepted")
        with self._lock:
            for message in accepted:
                self.send(message.to_json())
            self.bulk += [message.product_id for message in accepted if message.bulk]
        return accepted

    def change_visibility(self, messages: Mapping[str, int]) -> None:
        self._reach("change_visibility")
        now = self._clock()
        with self._lock:
            failed = [r for r, seconds in messages.items() if not self._defer(r, seconds, now)]
        if failed:
            raise QueueUnavailableError(f"not deferred: {failed}")

    def _defer(self, receipt: str, seconds: int, now: datetime) -> bool:
        message = _by_receipt(self.messages, receipt)
        if message is None or message.received_at is None or message.visible_at <= now:
            return False
        until = now + timedelta(seconds=seconds)
        if until > message.received_at + timedelta(seconds=SQS_MAX_VISIBILITY_SECONDS):
            return False
        message.visible_at = until
        return True

    def in_flight(self) -> int:
        self._reach("in_flight")
        now = self._clock()
        hidden = sum(item.receives > 0 and item.visible_at > now for item in self.messages)
        return hidden + self.others_in_flight

    def dead_letter(self, letters: Sequence[DeadLetter]) -> list[int]:
        self._reach("dead_letter")
        with self._lock:
            for letter in letters:
                self.dead.append(self._message(letter.body, reason=letter.attributes["reason"]))
        return list(range(len(letters)))

    def receive_dead_letters(self, limit: int) -> list[ReceivedDeadLetter]:
        self._reach("dead_letters")
        with self._lock:
            found = self._take(self.dead, limit, self.SWEEP)
            return [_dead_letter(message, receipt) for message, receipt in found]

    def count_dead_letters(self) -> int:
        self._reach("count_dead_letters")
        return len(self.dead)

    def delete_dead_letters(self, receipts: Sequence[str]) -> None:
        self._reach("delete_dead_letters")
        with self._lock:
            self.dead = [item for item in self.dead if not item.receipts & set(receipts)]

    def release_dead_letters(self, receipts: Sequence[str]) -> None:
        self._reach("release_dead_letters")
        with self._lock:
            for message in self.dead:
                if message.receipts & set(receipts):
                    message.visible_at = self._clock()

    # ---- what AWS and the hosts do ----

    def send(self, body: str, delay: int = 0) -> str:
        """Put any body into the queue; the id of the message."""
        with self._lock:
            message = self._message(body, delay=delay)
            self.messages.append(message)
            return message.id

    def receive(self, limit: int = 10) -> list[ReceivedMessage]:
        """Receive what is visible; what was received too often goes to the dead letters."""
        self._reach("receive")
        with self._lock:
            now = self._clock()
            for message in list(self.messages):
                if message.visible_at <= now and message.receives >= self._max_receive_count:
                    self.messages.remove(message)
                    self.dead.append(message)
            return [
                ReceivedMessage(
                    message.id, receipt, message.body, message.receives, message.sent_at, now
                )
                for message, receipt in self._take(self.messages, limit, self.VISIBILITY)
            ]

    def receive_records(self, wait: int) -> list[dict[str, Any]]:  # noqa: ARG002 - never waits
        """Receive, as records of a Lambda event."""
        return [
            {
                "messageId": message.id,
                "receiptHandle": message.receipt,
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": str(message.receives),
                    "SentTimestamp": str(round(message.sent.timestamp() * 1000)),
                },
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:product-sync",
            }
            for message in self.receive()
        ]

    def delete(self, receipts: Sequence[str]) -> None:
        """Remove from the queue."""
        self._reach("delete")
        with self._lock:
            self.messages = [item for item in self.messages if not item.receipts & set(receipts)]

    def ping(self) -> None:
        """Return if the queue answers."""
        self._reach("ping")

    def _message(self, body: str, *, delay: int = 0, reason: str | None = None) -> FakeQueueMessage:
        visible = self._clock() + timedelta(seconds=delay)
        return FakeQueueMessage(
            f"message-{next(self._numbers)}", body, visible, self._clock(), reason=reason
        )

    def _take(
        self, messages: Sequence[FakeQueueMessage], limit: int, visibility: timedelta
    ) -> list[tuple[FakeQueueMessage, str]]:
        now = self._clock()
        taken = []
        for message in [item for item in messages if item.visible_at <= now][:limit]:
            receipt = f"{message.id}/receipt-{next(self._numbers)}"
            message.receives += 1
            message.received_at = now
            message.visible_at = now + visibility
            message.receipts.add(receipt)
            taken.append((message, receipt))
        return taken


def _by_receipt(messages: Sequence[FakeQueueMessage], receipt: str) -> FakeQueueMessage | None:
    return next((message for message in messages if receipt in message.receipts), None)


def _dead_letter(message: FakeQueueMessage, receipt: str) -> ReceivedDeadLetter:
    try:
        content = parse_sync_message(message.body)
    except PoisonMessageError:
        return ReceivedDeadLetter(message.id, receipt, None, message.reason, message.body)
    return ReceivedDeadLetter(message.id, receipt, content, message.reason)

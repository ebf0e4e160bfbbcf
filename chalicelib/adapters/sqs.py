"""The sync queue and its dead-letter queue on SQS: send, receive, change visibility."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.once import Once
from chalicelib.domain.errors import PoisonMessageError, QueueUnavailableError
from chalicelib.domain.messages import DeadLetter, SyncMessage, parse_sync_message
from chalicelib.domain.retry import SQS_MAX_IN_FLIGHT
from chalicelib.usecases.ports import ReceivedDeadLetter

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import (
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        DeleteMessageBatchRequestEntryTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

BATCH = 10
"""SQS: entries per batch request, and messages per receive."""
SWEEP_SECONDS = 30
"""Visibility timeout of a received dead letter: when it is visible again after a crash."""
SWEEP_WAIT_SECONDS = 1
OVER_LIMIT_SECONDS = 60.0
"""How long the queue counts as full after SQS has refused to deliver."""
PARALLEL = 8
IN_FLIGHT: QueueAttributeNameType = "ApproximateNumberOfMessagesNotVisible"
COUNTS: tuple[QueueAttributeNameType, ...] = (
    "ApproximateNumberOfMessages",
    IN_FLIGHT,
    "ApproximateNumberOfMessagesDelayed",
)

TRACE = re.compile(
    r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}"
    r"(;Parent=[0-9a-f]{16}|;Sampled=[01?]|;Lineage=[0-9a-f:|]{1,100})*"
)
"""X-Ray's header. Callers may send anything; SQS refuses a whole batch for one malformed header."""

Item = TypeVar("Item")
Batch = tuple[str, Sequence["SendMessageBatchRequestEntryTypeDef"]]
"""A queue's URL, and what is sent to it with one request."""


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise QueueUnavailableError(f"SQS: {error}") from error


class SqsQueue:
    """Implements `ports.Queue`; also receives, for the container host. Connects at first use.

    It receives from `queue_url`, and sends there; bulk messages to `bulk_url`, if there is one.
    """

    def __init__(
        self,
        connect: Callable[[], SQSClient],
        queue_url: str,
        dlq_url: str,
        bulk_url: str | None = None,
    ) -> None:
        self._connected = Once(connect)
        self._over_limit_until = 0.0
        self._queue_url = queue_url
        self._dlq_url = dlq_url
        self._bulk_url = bulk_url or queue_url

    @property
    def _client(self) -> SQSClient:
        return self._connected()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(PARALLEL, thread_name_prefix="sqs")

    # ---- sending ----

    def enqueue(self, messages: Sequence[SyncMessage]) -> list[SyncMessage]:
        entries: dict[str, list[SendMessageBatchRequestEntryTypeDef]] = {}
        # Single changes first: a bulk message can wait.
        for index, message in sorted(enumerate(messages), key=lambda item: item[1].bulk):
            url = self._bulk_url if message.bulk else self._queue_url
            entries.setdefault(url, []).append(_entry(index, message))
        parts = [(url, part) for url, found in entries.items() for part in _chunks(found, BATCH)]
        return [messages[index] for index in self._send(parts)]

    def dead_letter(self, letters: Sequence[DeadLetter]) -> list[int]:
        # One at a time: a poison body may be large, and a batch shares one size limit.
        return self._send(
            [
                (self._dlq_url, [_letter_entry(index, letter)])
                for index, letter in enumerate(letters)
            ]
        )

    def _send(self, parts: Sequence[Batch]) -> list[int]:
        """Send these batches in parallel; the ids of the entries that the queues accepted."""
        accepted: list[int] = []
        failures: list[QueueUnavailableError] = []
        # One request needs no other thread.
        run = self._pool.map if len(parts) > 1 else map
        for sent in run(lambda part: self._send_batch(*part), parts):
            if isinstance(sent, QueueUnavailableError):
                failures.append(sent)
            else:
                accepted += sent
        if failures and not accepted:
            raise failures[0]
        return accepted

    def _send_batch(
        self, url: str, entries: Sequence[SendMessageBatchRequestEntryTypeDef]
    ) -> list[int] | QueueUnavailableError:
        try:
            with _unavailable():
                answer = self._client.send_message_batch(QueueUrl=url, Entries=entries)
        except QueueUnavailableError as error:
            return error
        # SQS accepts a batch entry by entry: HTTP 200 does not mean that all were accepted.
        return [int(entry["Id"]) for entry in answer.get("Successful", [])]

    # ---- receiving (the container host's part; on AWS, Lambda does it) ----

    def receive_records(self, wait: int) -> list[dict[str, Any]]:
        """Long-poll up to `wait` seconds; the messages as records of a Lambda event."""
        messages = self._receive(self._queue_url, wait)
        return [_record(message, self._arn) for message in messages]

    @cached_property
    def _arn(self) -> str:
        # Says, as on Lambda, which queue a record came from.
        account, name = self._queue_url.rsplit("/", 2)[1:]
        meta = self._client.meta
        return f"arn:{meta.partition}:sqs:{meta.region_name}:{account}:{name}"

    def delete(self, receipts: Sequence[str]) -> None:
        """Remove from the sync queue."""
        self._delete(self._queue_url, receipts)

    def change_visibility(self, messages: Mapping[str, int]) -> None:
        self._set_visibility(self._queue_url, messages)

    def in_flight(self) -> int:
        if time.monotonic() < self._over_limit_until:
            return SQS_MAX_IN_FLIGHT
        with _unavailable():
            answer = self._client.get_queue_attributes(
                QueueUrl=self._queue_url, AttributeNames=[IN_FLIGHT]
            )
        return int(answer["Attributes"][IN_FLIGHT])

    # ---- the dead-letter queue ----

    def receive_dead_letters(self, limit: int) -> list[ReceivedDeadLetter]:
        letters: list[ReceivedDeadLetter] = []
        while missing := limit - len(letters):
            # A long poll asks every server of the queue; a short poll may miss messages.
            messages = self._receive(
                self._dlq_url,
                SWEEP_WAIT_SECONDS,
                min(missing, BATCH),
                ["reason"],
                VisibilityTimeout=SWEEP_SECONDS,
            )
            letters += [_dead_letter(message) for message in messages]
            if not messages:
                break
        return letters

    def count_dead_letters(self) -> int:
        with _unavailable():
            answer = self._client.get_queue_attributes(
                QueueUrl=self._dlq_url, AttributeNames=[*COUNTS]
            )
        return sum(int(answer["Attributes"][name]) for name in COUNTS)

    def delete_dead_letters(self, receipts: Sequence[str]) -> None:
        self._delete(self._dlq_url, receipts)

    def release_dead_letters(self, receipts: Sequence[str]) -> None:
        self._set_visibility(self._dlq_url, dict.fromkeys(receipts, 0))

    # ---- requests ----

    def ping(self) -> None:
        """Return if the queue answers, else raise QueueUnavailableError."""
        with _unavailable():
            self._client.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=["QueueArn"])

    def _receive(
        self,
        url: str,
        wait: int,
        limit: int = BATCH,
        attributes: Sequence[str] = (),
        **options: int,
    ) -> list[MessageTypeDef]:
        with _unavailable(), self._noting_the_limit():
            answer = self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                MessageAttributeNames=attributes,
                **options,  # type: ignore[arg-type]  # VisibilityTimeout, an int
            )
        return answer.get("Messages", [])

    @contextmanager
    def _noting_the_limit(self) -> Iterator[None]:
        """Count the queue as full for a while after OverLimit: the count of messages is late."""
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"].endswith("OverLimit"):
                self._over_limit_until = time.monotonic() + OVER_LIMIT_SECONDS
            raise

    def _delete(self, url: str, receipts: Sequence[str]) -> None:
        for part in _chunks(receipts, BATCH):
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(part)
            ]
            with _unavailable():
                # A message that is not deleted is received again, and acknowledged as a duplicate.
                self._client.delete_message_batch(QueueUrl=url, Entries=entries)

    def _set_visibility(self, url: str, messages: Mapping[str, int]) -> None:
        failed: list[object] = []
        for part in _chunks(list(messages.items()), BATCH):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                for index, (receipt, seconds) in enumerate(part)
            ]
            with _unavailable():
                answer = self._client.change_message_visibility_batch(QueueUrl=url, Entries=entries)
            failed += answer.get("Failed", [])
        if failed:
            raise QueueUnavailableError(
                f"SQS: {len(failed)} visibility timeouts not changed: {failed[0]}"
            )


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _entry(index: int, message: SyncMessage) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {
        "Id": str(index),
        "MessageBody": message.to_json(),
    }
    # For X-Ray, which links traces by this attribute. We use the trace in the body.
    if message.trace and TRACE.fullmatch(message.trace):
        entry["MessageSystemAttributes"] = {
            "AWSTraceHeader": {"DataType": "String", "StringValue": message.trace}
        }
    return entry


def _letter_entry(index: int, letter: DeadLetter) -> SendMessageBatchRequestEntryTypeDef:
    return {
        "Id": str(index),
        "MessageBody": letter.body,
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": _attribute(text)}
            for name, text in letter.attributes.items()
        },
    }


def _attribute(text: str) -> str:
    # SQS refuses characters that XML 1.0 does not allow, and an empty value.
    plain = text.encode("ascii", "backslashreplace").decode()
    return re.sub(r"[^ -~]", "?", plain)[:500] or "unknown"


def _record(message: MessageTypeDef, arn: str) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
    }


def _dead_letter(message: MessageTypeDef) -> ReceivedDeadLetter:
    attributes = message.get("MessageAttributes", {})
    reason = attributes["reason"].get("StringValue") if "reason" in attributes else None
    ids = message["MessageId"], message["ReceiptHandle"]
    try:
        return ReceivedDeadLetter(*ids, parse_sync_message(message["Body"]), reason)
    except PoisonMessageError:
        return ReceivedDeadLetter(*ids, None, reason, message["Body"])

"""Lambda: deliver the products that a batch of sync messages names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from chalicelib.bootstrap import container
from chalicelib.domain.messages import ReceivedMessage
from chalicelib.domain.times import now_utc


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 - Lambda's
    """Answer an SQS event with a partial batch response: the messages that stay in the queue."""
    received = now_utc()
    messages = [
        ReceivedMessage(
            id=record["messageId"],
            receipt=record["receiptHandle"],
            body=record["body"],
            receives=int(record["attributes"]["ApproximateReceiveCount"]),
            sent=datetime.fromtimestamp(int(record["attributes"]["SentTimestamp"]) / 1000, UTC),
            received=received,
        )
        for record in event["Records"]
    ]
    # One batch is of one queue.
    queue = event["Records"][0]["eventSourceARN"].rpartition(":")[2]
    kept = container().sync_of(queue).handle(messages)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in kept]}

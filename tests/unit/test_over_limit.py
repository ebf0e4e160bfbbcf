"""SQS refuses to deliver, since too many messages are in flight."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.sqs import OVER_LIMIT_SECONDS, SqsQueue
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.retry import SQS_MAX_IN_FLIGHT


class Client:
    """Refuses to deliver, with this code; counts seven messages in flight."""

    def __init__(self, code: str) -> None:
        self._code = code

    def receive_message(self, **_: Any) -> Any:  # noqa: ANN401 - as boto3's
        raise ClientError({"Error": {"Code": self._code}}, "ReceiveMessage")

    def get_queue_attributes(self, **_: Any) -> Any:  # noqa: ANN401 - as boto3's
        return {"Attributes": {"ApproximateNumberOfMessagesNotVisible": "7"}}


def refused(code: str) -> SqsQueue:
    """A queue that has just refused to deliver."""
    url = "http://127.0.0.1:1/000000000000/product-sync"
    queue = SqsQueue(lambda: Client(code), url, f"{url}-dlq")  # type: ignore[arg-type,return-value]  # a client as far as the adapter knows
    with pytest.raises(QueueUnavailableError):
        queue.receive_records(0)
    return queue


@pytest.mark.parametrize("code", ["OverLimit", "AWS.SimpleQueueService.OverLimit"])
def test_a_queue_that_is_over_its_limit_counts_as_full_whatever_its_own_count_says(
    code: str,
) -> None:
    assert refused(code).in_flight() == SQS_MAX_IN_FLIGHT


def test_after_a_minute_its_own_count_holds_again(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = refused("OverLimit")
    later = time.monotonic() + OVER_LIMIT_SECONDS

    monkeypatch.setattr(time, "monotonic", lambda: later)

    assert queue.in_flight() == 7


def test_another_refusal_says_nothing_of_the_number_in_flight() -> None:
    assert refused("ServiceUnavailable").in_flight() == 7

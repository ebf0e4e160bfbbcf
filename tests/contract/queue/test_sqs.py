"""The adapter alone, on the embedded SQS and on moto, which enforces what only AWS does."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from chalicelib.adapters.sqs import SqsQueue
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.messages import DeadLetter, SyncMessage, dead_letter_for
from chalicelib.domain.retry import SQS_MAX_VISIBILITY_SECONDS, visibility_timeout
from chalicelib.domain.times import now_utc
from chalicelib.settings import read_settings
from embedded.services import create_queues, role_settings
from tests.contract.conftest import NOWHERE, SqsKit, impatient_sqs
from tests.contract.queue.steps import SYNC_MESSAGE, a_failed_product, defer_all, received
from tests.contract.services import Queues

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedded.services import Endpoints


def attributes_of_dead_letters(sqs: SqsKit) -> list[dict[str, str]]:
    answer = sqs.client.receive_message(
        QueueUrl=sqs.dlq_url, MessageAttributeNames=["All"], WaitTimeSeconds=5
    )
    return [
        {name: each["StringValue"] for name, each in message["MessageAttributes"].items()}
        for message in answer["Messages"]
    ]


def test_all_attributes_of_a_dead_letter_arrive(sqs: SqsKit) -> None:
    letter = dead_letter_for(a_failed_product())
    assert len(letter.attributes) == 3

    sqs.queue.dead_letter([letter])

    assert attributes_of_dead_letters(sqs) == [dict(letter.attributes)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("the supply chain rejects it: HTTP 422", "the supply chain rejects it: HTTP 422"),
        # SQS refuses control characters; a supply chain's answer may hold some.
        ("HTTP 422: \x1b[31mno\x00\x08 \ufffe", "HTTP 422: ?[31mno?? \\ufffe"),
        ("", "unknown"),
        ("x" * 100_000, "x" * 500),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_an_attribute_cannot_hold_is_made_harmless(sqs: SqsKit, given: str, kept: str) -> None:
    sqs.queue.dead_letter([DeadLetter("body", {"reason": given, "lastError": given})])

    assert attributes_of_dead_letters(sqs) == [{"reason": kept, "lastError": kept}]


def test_no_request_is_made_before_the_first_use() -> None:
    def connect() -> Any:  # noqa: ANN401 - never returns
        raise AssertionError("connected")

    SqsQueue(connect, f"http://{NOWHERE}/q", f"http://{NOWHERE}/dlq")


@pytest.fixture
def aws(request: pytest.FixtureRequest, elsewhere: dict[str, str]) -> Iterator[SqsKit]:
    """The adapter on an SQS of the environment, else on moto, which enforces the 12 hours."""
    if "sqs" in elsewhere:
        yield request.getfixturevalue("sqs")
        return
    endpoint = "https://sqs.us-east-1.amazonaws.com"
    with mock_aws():
        yield SqsKit(Queues(impatient_sqs(endpoint), f"{endpoint}/123456789012/q"), "q", "dlq")


@pytest.mark.parametrize("hours", [0, 1, 11, 12, 13, 1000])
def test_sqs_accepts_every_visibility_timeout_that_we_compute(aws: SqsKit, hours: int) -> None:
    aws.queue.enqueue([SYNC_MESSAGE])
    (record,) = received(aws.queue)
    now = now_utc()

    seconds = visibility_timeout(now + timedelta(hours=hours), now, now)

    defer_all(aws.queue, [record], seconds)
    assert seconds <= SQS_MAX_VISIBILITY_SECONDS


def test_sqs_refuses_a_visibility_timeout_of_more_than_12_hours(aws: SqsKit) -> None:
    aws.queue.enqueue([SYNC_MESSAGE])

    with pytest.raises(QueueUnavailableError):
        defer_all(aws.queue, received(aws.queue), SQS_MAX_VISIBILITY_SECONDS + 1)


TRACE = "Root=1-67891233-abcdef012345678912345678;Sampled=1"


def traces_sent(aws: SqsKit, *traces: str) -> list[str | None]:
    """X-Ray's attribute of each message as it leaves: moto and MiniStack drop it from batches."""
    sent: list[dict[str, Any]] = []

    def look(params: dict[str, Any], **_: object) -> None:
        sent.extend(params["Entries"])

    aws.client.meta.events.register("before-parameter-build.sqs.SendMessageBatch", look)
    aws.queue.enqueue(
        [SyncMessage("product", version, trace=trace) for version, trace in enumerate(traces)]
    )
    attributes = [entry.get("MessageSystemAttributes", {}) for entry in sent]
    return [each.get("AWSTraceHeader", {}).get("StringValue") for each in attributes]


def test_the_trace_goes_along_as_xrays_own_attribute_too(aws: SqsKit) -> None:
    assert traces_sent(aws, TRACE) == [TRACE]

    (record,) = received(aws.queue)
    assert json.loads(record["body"])["trace"] == TRACE


@pytest.mark.parametrize("trace", ["anything", "Root=1-2-3", f"{TRACE};\x00", f"{TRACE}\n"])
def test_what_is_no_trace_header_of_xray_is_not_passed_off_as_one(aws: SqsKit, trace: str) -> None:
    assert traces_sent(aws, trace, TRACE) == [None, TRACE]


@pytest.mark.embedded("sqs", "makes the queues of the embedded stack")
@pytest.mark.parametrize(("concurrency", "seconds"), [("10", "30"), ("4", "57")])
def test_the_visibility_timeout_of_the_embedded_queue_is_as_long_as_the_calls_of_a_batch_may_take(
    servers: Endpoints, sqs: SqsKit, concurrency: str, seconds: str
) -> None:
    # A lease is 2 * 2 + 15 s; four at a time need three rounds for a batch of ten.
    settings = {"SYNC_CONCURRENCY": concurrency, "SUPPLY_CHAIN_TIMEOUT_SECONDS": "2"}
    settings = role_settings(settings, servers, "a secret of at least thirty-two characters")

    create_queues(servers.sqs, read_settings(settings))

    for url in (servers.queue, servers.bulk_queue):
        answer = sqs.client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        assert answer["Attributes"]["VisibilityTimeout"] == seconds
        policy = json.loads(answer["Attributes"]["RedrivePolicy"])
        assert policy["deadLetterTargetArn"].endswith(":product-sync-dlq")


# ---- the bulk queue ----


@pytest.fixture
def bulk_url(queues: Queues) -> Iterator[str]:
    """The URL of a second queue."""
    with queues.names.one() as name:
        url = queues.create(name, {})
        queues.settle()
        yield url


def test_bulk_messages_go_to_their_own_queue(sqs: SqsKit, bulk_url: str) -> None:
    queue = SqsQueue(lambda: sqs.client, sqs.queue_url, sqs.dlq_url, bulk_url)
    messages = [SyncMessage("product", version, bulk=version % 2 == 0) for version in range(27)]

    accepted = queue.enqueue(messages)

    assert sorted(accepted, key=lambda message: message.version) == messages
    own = SqsQueue(lambda: sqs.client, bulk_url, sqs.dlq_url)
    for each, expected in ((queue, messages[1::2]), (own, messages[::2])):
        bodies = {record["body"] for record in received(each, len(expected))}
        assert bodies == {message.to_json() for message in expected}


def test_without_a_bulk_queue_all_messages_go_to_the_one_queue(sqs: SqsKit) -> None:
    sqs.queue.enqueue([SyncMessage("product", 0, bulk=True), SyncMessage("product", 1)])

    assert len(received(sqs.queue, 2)) == 2


def test_a_bulk_queue_that_is_gone_takes_nothing_from_the_others(sqs: SqsKit) -> None:
    queue = SqsQueue(lambda: sqs.client, sqs.queue_url, sqs.dlq_url, f"{sqs.queue_url}-gone")
    single = SyncMessage("product", 1)

    assert queue.enqueue([SyncMessage("product", 0, bulk=True), single]) == [single]


def test_a_record_names_the_queue_that_it_came_from(sqs: SqsKit) -> None:
    sqs.queue.enqueue([SYNC_MESSAGE])

    (record,) = received(sqs.queue)

    attributes = sqs.client.get_queue_attributes(
        QueueUrl=sqs.queue_url, AttributeNames=["QueueArn"]
    )
    assert record["eventSourceARN"] == attributes["Attributes"]["QueueArn"]

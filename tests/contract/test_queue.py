"""The queue's contract, on the fake and on the adapter with its server."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from chalicelib.adapters.sqs import SqsQueue
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.retry import SQS_MAX_VISIBILITY_SECONDS, visibility_timeout
from chalicelib.domain.times import now_utc
from chalicelib.settings import read_settings
from embedded.services import create_queues, role_settings
from tests.contract.conftest import MAX_RECEIVES, NOWHERE, SqsKit, impatient_sqs
from tests.fakes import FakeQueue
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chalicelib.usecases.ports import ReceivedDeadLetter
    from embedded.services import Endpoints

AnyQueue = FakeQueue | SqsQueue
Records = list[dict[str, Any]]

BELL = SyncMessage("product", 3, "Root=1-2-3")


def bells(number: int) -> list[SyncMessage]:
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


def hide_all(queue: AnyQueue, records: Records, seconds: int) -> None:
    queue.change_visibility({record["receiptHandle"]: seconds for record in records})


def is_empty(queue: AnyQueue) -> bool:
    return not queue.receive_records(0)


# ---- ringing ----


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


# ---- hiding and deleting ----


def test_what_was_received_stays_hidden(queue: AnyQueue) -> None:
    queue.enqueue([BELL])
    received(queue)

    assert is_empty(queue)


def test_what_is_hidden_for_no_time_shows_at_once_and_counts_its_receives(queue: AnyQueue) -> None:
    queue.enqueue([BELL])
    first = received(queue)

    hide_all(queue, first, 0)

    (again,) = received(queue)
    assert again["messageId"] == first[0]["messageId"]
    assert again["attributes"]["ApproximateReceiveCount"] == "2"


def test_what_is_hidden_for_a_second_shows_after_it(queue: AnyQueue) -> None:
    queue.enqueue([BELL])
    hidden = time.monotonic()
    hide_all(queue, received(queue), 1)

    assert is_empty(queue)
    received(queue)
    assert time.monotonic() - hidden > 0.5


def test_more_messages_than_fit_into_one_request_are_hidden(queue: AnyQueue) -> None:
    queue.enqueue(bells(25))
    hide_all(queue, received(queue, 25), 0)

    assert len(received(queue, 25)) == 25


def test_hiding_nothing_is_fine(queue: AnyQueue) -> None:
    queue.change_visibility({})


def test_hiding_with_a_receipt_that_means_nothing_is_an_error(queue: AnyQueue) -> None:
    with pytest.raises(QueueUnavailableError):
        queue.change_visibility({"no receipt": 1})


def test_a_deleted_message_never_comes_back(queue: AnyQueue) -> None:
    queue.enqueue(bells(2))
    records = received(queue, 2)
    hide_all(queue, records, 0)
    gone, left = received(queue, 2)

    queue.delete([gone["receiptHandle"]])
    hide_all(queue, [left], 0)

    assert [record["messageId"] for record in received(queue)] == [left["messageId"]]


def test_more_messages_than_fit_into_one_request_are_deleted(queue: AnyQueue) -> None:
    queue.enqueue(bells(25))

    queue.delete([record["receiptHandle"] for record in received(queue, 25)])
    queue.enqueue([BELL])

    assert [record["body"] for record in received(queue)] == [BELL.to_json()]


# ---- dead letters ----


def test_a_message_that_was_received_too_often_is_dead(queue: AnyQueue) -> None:
    queue.enqueue([BELL])
    for _ in range(MAX_RECEIVES):
        hide_all(queue, received(queue), 0)

    assert is_empty(queue)
    (letter,) = dead(queue)
    assert (letter.product_id, letter.version) == ("product", 3)


def test_a_buried_sync_message_is_a_dead_letter_of_its_product(queue: AnyQueue) -> None:
    assert queue.dead_letter([(BELL.to_json(), "rejected")]) == [0]

    (letter,) = dead(queue)
    assert (letter.product_id, letter.version) == ("product", 3)


def test_a_buried_poison_message_belongs_to_no_product(queue: AnyQueue) -> None:
    queue.dead_letter([("no sync_message", "not JSON")])

    assert dead(queue)[0].product_id is None


def test_large_bodies_are_buried_together(queue: AnyQueue) -> None:
    bodies = [("x" * 200_000, "large") for _ in range(3)]

    assert sorted(queue.dead_letter(bodies)) == [0, 1, 2]
    assert len(dead(queue, 3)) == 3


@pytest.mark.parametrize("reason", ["", "\x00\x01", "naïve 🚀", "x" * 100_000, "\ud800"])
def test_any_reason_can_be_given(queue: AnyQueue, reason: str) -> None:
    assert queue.dead_letter([("body", reason)]) == [0]


def test_burying_nothing_is_fine(queue: AnyQueue) -> None:
    assert queue.dead_letter([]) == []


def test_no_dead_letters_are_found_where_there_are_none(queue: AnyQueue) -> None:
    assert queue.receive_dead_letters(100) == []


def test_more_dead_letters_than_fit_into_one_request_are_found(queue: AnyQueue) -> None:
    queue.dead_letter([(bell.to_json(), "r") for bell in bells(25)])

    assert {letter.version for letter in dead(queue, 25)} == set(range(25))


def test_dead_letters_that_are_looked_at_are_hidden(queue: AnyQueue) -> None:
    queue.dead_letter([("body", "reason")])
    dead(queue)

    assert queue.receive_dead_letters(100) == []


def test_released_dead_letters_show_at_once(queue: AnyQueue) -> None:
    queue.dead_letter([("body", "reason")] * 12)

    queue.release_dead_letters([letter.receipt for letter in dead(queue, 12)])

    assert len(dead(queue, 12)) == 12


def test_deleted_dead_letters_are_gone(queue: AnyQueue) -> None:
    queue.dead_letter([(bell.to_json(), "r") for bell in bells(13)])
    letters = dead(queue, 13)
    kept = [letter for letter in letters if letter.version == 7]

    queue.delete_dead_letters([letter.receipt for letter in letters if letter.version != 7])
    queue.release_dead_letters([letter.receipt for letter in kept])

    assert [letter.version for letter in dead(queue)] == [7]


def test_deleting_and_releasing_nothing_is_fine(queue: AnyQueue) -> None:
    queue.delete_dead_letters([])
    queue.release_dead_letters([])


# ---- away ----


def test_a_queue_that_answers_can_be_pinged(queue: AnyQueue) -> None:
    queue.ping()


EVERY_METHOD: dict[str, Callable[[AnyQueue], object]] = {
    "enqueue": lambda queue: queue.enqueue([BELL]),
    "change_visibility": lambda queue: queue.change_visibility({"receipt": 1}),
    "dead_letter": lambda queue: queue.dead_letter([("body", "reason")]),
    "dead_letters": lambda queue: queue.receive_dead_letters(10),
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

    with pytest.raises(QueueUnavailableError):
        sqs.queue.enqueue([BELL])


# ---- the adapter alone: what SQS answers when a part of a request fails ----


class Meddler:
    """Stands between the adapter and the server, and spoils what it is told to."""

    def __init__(self, kit: SqsKit) -> None:
        self._client: Any = kit.client
        self.queue = SqsQueue(lambda: self, kit.queue_url, kit.dlq_url)  # type: ignore[arg-type, return-value]  # a client as far as the adapter knows
        self.refused: set[str] = set()
        self.broken: set[str] = set()

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:  # noqa: ANN401 - as the client's
            entries: Sequence[dict[str, Any]] = request.get("Entries", [])
            texts = [json.dumps(entry) for entry in entries]
            if any(word in text for text in texts for word in self.broken):
                raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, operation)
            refused = [
                entry["Id"]
                for entry, text in zip(entries, texts, strict=True)
                if any(word in text for word in self.refused)
            ]
            kept = [entry for entry in entries if entry["Id"] not in refused]
            if not refused:
                return getattr(self._client, operation)(**request)
            answer: dict[str, Any] = {}
            if kept:
                answer = getattr(self._client, operation)(**{**request, "Entries": kept})
            failed = [{"Id": entry_id, "Code": "InternalError"} for entry_id in refused]
            return {**answer, "Failed": failed}

        return call


@pytest.fixture
def meddler(sqs: SqsKit) -> Meddler:
    """The adapter, whose requests can be spoilt."""
    return Meddler(sqs)


def test_sync_messages_that_failed_within_a_batch_are_not_accepted(meddler: Meddler) -> None:
    meddler.refused = {"product-2", "product-13"}
    sync_messages = bells(15)

    accepted = meddler.queue.enqueue(sync_messages)

    assert {bell.version for bell in accepted} == set(range(15)) - {2, 13}
    assert len(received(meddler.queue, 13)) == 13


def test_a_request_that_fails_as_a_whole_does_not_lose_the_others(meddler: Meddler) -> None:
    meddler.broken = {"product-12"}

    accepted = meddler.queue.enqueue(bells(25))

    assert {bell.version for bell in accepted} == {*range(10), *range(20, 25)}


def test_requests_that_all_fail_are_an_error(meddler: Meddler) -> None:
    meddler.broken = {"product"}

    with pytest.raises(QueueUnavailableError):
        meddler.queue.enqueue(bells(25))


def test_a_body_that_is_refused_is_not_buried_and_the_others_are(meddler: Meddler) -> None:
    meddler.refused = {"one"}

    assert meddler.queue.dead_letter([("zero", "r"), ("one", "r"), ("two", "r")]) == [0, 2]


def test_a_message_that_could_not_be_hidden_is_an_error(meddler: Meddler) -> None:
    meddler.queue.enqueue([BELL])
    records = received(meddler.queue)
    meddler.refused = {records[0]["receiptHandle"]}

    with pytest.raises(QueueUnavailableError):
        hide_all(meddler.queue, records, 0)


def test_a_message_that_could_not_be_hidden_does_not_keep_the_others_from_it(
    meddler: Meddler,
) -> None:
    meddler.queue.enqueue(bells(25))
    records = received(meddler.queue, 25)
    meddler.refused = {records[0]["receiptHandle"]}

    with pytest.raises(QueueUnavailableError):
        hide_all(meddler.queue, records, 0)

    # Those that are shown are shown at once.
    assert len(received(meddler.queue, 24, within=2)) == 24


def test_a_dead_letter_that_could_not_be_released_does_not_keep_the_others_hidden(
    meddler: Meddler,
) -> None:
    meddler.queue.dead_letter([("body", "reason")] * 15)
    letters = dead(meddler.queue, 15)
    meddler.refused = {letters[0].receipt}

    with pytest.raises(QueueUnavailableError):
        meddler.queue.release_dead_letters([letter.receipt for letter in letters])

    assert len(dead(meddler.queue, 14, within=2)) == 14


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("the supply chain rejects it: HTTP 422", "the supply chain rejects it: HTTP 422"),
        # SQS refuses control characters; a supply chain's answer may hold some.
        ("HTTP 422: \x1b[31mno\x00\x08 \ufffe", "HTTP 422: ?[31mno?? \\ufffe"),
        ("", "unknown"),
    ],
)
def test_the_reason_goes_along_as_an_attribute(sqs: SqsKit, given: str, kept: str) -> None:
    sqs.queue.dead_letter([("body", given)])

    answer = sqs.client.receive_message(QueueUrl=sqs.dlq_url, MessageAttributeNames=["All"])

    (message,) = answer["Messages"]
    reason = message["MessageAttributes"]["reason"]
    assert reason["StringValue"] == kept


def test_no_request_is_made_before_the_first_use() -> None:
    def connect() -> Any:  # noqa: ANN401 - never returns
        raise AssertionError("connected")

    SqsQueue(connect, f"http://{NOWHERE}/q", f"http://{NOWHERE}/dlq")


# ---- what only AWS enforces; moto does, too ----


@pytest.fixture
def aws() -> Iterator[SqsKit]:
    """The adapter on moto, which enforces the 12 hours."""
    with mock_aws():
        yield SqsKit(impatient_sqs("https://sqs.us-east-1.amazonaws.com"))


@pytest.mark.parametrize("hours", [0, 1, 11, 12, 13, 1000])
def test_sqs_accepts_every_hiding_time_that_we_compute(aws: SqsKit, hours: int) -> None:
    aws.queue.enqueue([BELL])
    (record,) = received(aws.queue)
    now = now_utc()

    seconds = visibility_timeout(now + timedelta(hours=hours), now, now)

    hide_all(aws.queue, [record], seconds)
    assert seconds <= SQS_MAX_VISIBILITY_SECONDS


def test_sqs_refuses_to_hide_for_longer_than_12_hours(aws: SqsKit) -> None:
    aws.queue.enqueue([BELL])

    with pytest.raises(QueueUnavailableError):
        hide_all(aws.queue, received(aws.queue), SQS_MAX_VISIBILITY_SECONDS + 1)


TRACE = "Root=1-67891233-abcdef012345678912345678;Sampled=1"


def traces_sent(aws: SqsKit, *traces: str) -> list[str | None]:
    """X-Ray's attribute of each message as it leaves: moto and MiniStack drop it from batches."""
    sent: list[dict[str, Any]] = []

    def look(params: dict[str, Any], **_: object) -> None:
        sent.extend(params["Entries"])

    aws.client.meta.events.register("before-parameter-build.sqs.SendMessageBatch", look)
    aws.queue.enqueue(
        [SyncMessage("product", version, trace) for version, trace in enumerate(traces)]
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


@pytest.mark.parametrize(("concurrency", "seconds"), [("10", "30"), ("4", "57")])
def test_the_embedded_queue_hides_a_batch_for_as_long_as_its_calls_may_take(
    servers: Endpoints, sqs: SqsKit, concurrency: str, seconds: str
) -> None:
    # A lease is 2 * 2 + 15 s; four at a time need three rounds for a batch of ten.
    settings = {"SYNC_CONCURRENCY": concurrency, "SUPPLY_CHAIN_TIMEOUT_SECONDS": "2"}
    settings = role_settings(settings, servers, "a secret of at least thirty-two characters")

    create_queues(servers.sqs, read_settings(settings))

    answer = sqs.client.get_queue_attributes(QueueUrl=servers.queue, AttributeNames=["All"])
    assert answer["Attributes"]["VisibilityTimeout"] == seconds

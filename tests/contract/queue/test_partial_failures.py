"""The adapter alone: what it makes of requests that fail in part."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.sqs import SqsQueue
from chalicelib.domain.errors import QueueUnavailableError
from tests.contract.conftest import SqsKit
from tests.contract.queue.steps import (
    POISON,
    SYNC_MESSAGE,
    dead,
    defer_all,
    received,
    some_letters,
    some_sync_messages,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Meddler:
    """Stands between the adapter and the server, and spoils what it is told to."""

    def __init__(self, kit: SqsKit) -> None:
        self._client: Any = kit.client
        self.meta = kit.client.meta
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
    sync_messages = some_sync_messages(15)

    accepted = meddler.queue.enqueue(sync_messages)

    assert {message.version for message in accepted} == set(range(15)) - {2, 13}
    assert len(received(meddler.queue, 13)) == 13


def test_a_request_that_fails_as_a_whole_does_not_lose_the_others(meddler: Meddler) -> None:
    meddler.broken = {"product-12"}

    accepted = meddler.queue.enqueue(some_sync_messages(25))

    assert {message.version for message in accepted} == {*range(10), *range(20, 25)}


def test_requests_that_all_fail_are_an_error(meddler: Meddler) -> None:
    meddler.broken = {"product"}

    with pytest.raises(QueueUnavailableError):
        meddler.queue.enqueue(some_sync_messages(25))


def test_a_body_that_is_refused_is_not_dead_lettered_and_the_others_are(meddler: Meddler) -> None:
    letters = some_letters(3)
    meddler.refused = {json.dumps(letters[1].body)}

    assert meddler.queue.dead_letter(letters) == [0, 2]


def test_a_message_that_could_not_be_deferred_is_an_error(meddler: Meddler) -> None:
    meddler.queue.enqueue([SYNC_MESSAGE])
    records = received(meddler.queue)
    meddler.refused = {records[0]["receiptHandle"]}

    with pytest.raises(QueueUnavailableError):
        defer_all(meddler.queue, records, 0)


def test_a_message_that_could_not_be_deferred_does_not_keep_the_others_from_it(
    meddler: Meddler,
) -> None:
    meddler.queue.enqueue(some_sync_messages(25))
    records = received(meddler.queue, 25)
    meddler.refused = {records[0]["receiptHandle"]}

    with pytest.raises(QueueUnavailableError):
        defer_all(meddler.queue, records, 0)

    # Those that are deferred by 0 seconds are received long before their visibility timeout ends.
    assert len(received(meddler.queue, 24)) == 24


def test_a_dead_letter_that_could_not_be_released_does_not_keep_the_others_hidden(
    meddler: Meddler,
) -> None:
    meddler.queue.dead_letter([POISON] * 15)
    letters = dead(meddler.queue, 15)
    meddler.refused = {letters[0].receipt}

    with pytest.raises(QueueUnavailableError):
        meddler.queue.release_dead_letters([letter.receipt for letter in letters])

    assert len(dead(meddler.queue, 14)) == 14

"""The dead-letter queue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.domain.messages import (
    DeadLetter,
    SyncMessage,
    dead_letter_for,
    parse_sync_message,
)
from chalicelib.domain.poison import EXCERPT
from tests.contract.conftest import MAX_RECEIVES
from tests.contract.queue.steps import (
    COUNT_SECONDS,
    POISON,
    SYNC_MESSAGE,
    AnyQueue,
    a_failed_product,
    dead,
    defer_all,
    is_empty,
    received,
    some_letters,
    version_of,
)
from tests.fakes import FakeQueue
from tests.support import eventually


def test_a_message_that_was_received_too_often_is_a_dead_letter_of_the_same_id_and_body(
    queue: AnyQueue,
) -> None:
    queue.enqueue([SYNC_MESSAGE])
    ids = set()
    for _ in range(MAX_RECEIVES):
        records = received(queue)
        ids |= {record["messageId"] for record in records}
        defer_all(queue, records, 0)

    assert is_empty(queue)
    (letter,) = dead(queue)
    # Reconcile tells the message that carries a product's schedule by its id.
    assert {letter.id} == ids
    assert letter.message == SYNC_MESSAGE


def test_the_dead_letter_of_a_failed_product_names_its_version_and_its_next_budget(
    queue: AnyQueue,
) -> None:
    product = a_failed_product()

    assert queue.dead_letter([dead_letter_for(product)]) == [0]

    (letter,) = dead(queue)
    budget = product.sync.budget + 1
    assert letter.message == SyncMessage(product.id, product.version, budget, is_letter=True)


def test_a_dead_lettered_poison_message_belongs_to_no_product_and_says_what_it_is(
    queue: AnyQueue,
) -> None:
    body = "x" * 2 * EXCERPT
    queue.dead_letter([DeadLetter(body, {"reason": "not JSON"})])

    (letter,) = dead(queue)
    assert (letter.message, letter.reason, letter.body) == (None, "not JSON", body)


def test_a_letter_that_the_queue_has_moved_has_no_reason(queue: AnyQueue) -> None:
    queue.enqueue([SYNC_MESSAGE])
    for _ in range(MAX_RECEIVES):
        defer_all(queue, received(queue), 0)
    assert is_empty(queue)

    assert dead(queue)[0].reason is None


def move_back(queue: AnyQueue) -> None:
    """Send the only dead letter to the sync queue and delete it, as the console's redrive does."""
    if isinstance(queue, FakeQueue):
        queue.send(queue.dead.pop().body)
        return
    answer = queue._client.receive_message(QueueUrl=queue._dlq_url, WaitTimeSeconds=5)
    (message,) = answer["Messages"]
    queue._client.send_message(QueueUrl=queue._queue_url, MessageBody=message["Body"])
    queue._client.delete_message(QueueUrl=queue._dlq_url, ReceiptHandle=message["ReceiptHandle"])


def test_a_dead_letter_that_is_moved_back_is_a_sync_message_of_the_next_budget(
    queue: AnyQueue,
) -> None:
    product = a_failed_product()
    queue.dead_letter([dead_letter_for(product)])

    move_back(queue)

    (record,) = received(queue)
    moved = parse_sync_message(record["body"])
    budget = product.sync.budget + 1
    assert moved == SyncMessage(product.id, product.version, budget, is_letter=True)
    eventually(lambda: queue.count_dead_letters() == 0, COUNT_SECONDS, "none is left")


HOSTILE = ["", "\x00\x01", "naïve 🚀", "x" * 100_000, "\ud800", "</a>&\x1b[31m\ufffe"]


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_the_supply_chain_answered_the_dead_letter_is_sent(
    queue: AnyQueue, text: str
) -> None:
    product = a_failed_product(last_error=text)

    assert queue.dead_letter([dead_letter_for(product)]) == [0]

    (letter,) = dead(queue)
    assert letter.message is not None
    assert letter.message.product_id == product.id


@pytest.mark.parametrize("text", HOSTILE)
def test_any_reason_can_be_given(queue: AnyQueue, text: str) -> None:
    assert queue.dead_letter([replace(POISON, attributes={"reason": text})]) == [0]


def test_large_bodies_are_dead_lettered_together(queue: AnyQueue) -> None:
    letters = [DeadLetter("x" * 200_000, {"reason": "large"}) for _ in range(3)]

    assert sorted(queue.dead_letter(letters)) == [0, 1, 2]
    assert len(dead(queue, 3)) == 3


def test_dead_lettering_nothing_is_fine(queue: AnyQueue) -> None:
    assert queue.dead_letter([]) == []


def test_no_dead_letters_are_found_where_there_are_none(queue: AnyQueue) -> None:
    assert queue.receive_dead_letters(100) == []
    assert queue.count_dead_letters() == 0


def test_more_dead_letters_than_fit_into_one_request_are_found(queue: AnyQueue) -> None:
    queue.dead_letter(some_letters(25))

    assert {version_of(letter) for letter in dead(queue, 25)} == set(range(25))


@pytest.mark.parametrize("limit", [1, 13])
def test_no_more_dead_letters_are_received_than_asked_for(queue: AnyQueue, limit: int) -> None:
    queue.dead_letter(some_letters(15))

    assert len(queue.receive_dead_letters(limit)) == limit
    assert len(dead(queue, 15 - limit)) == 15 - limit


def test_dead_letters_that_are_looked_at_are_hidden(queue: AnyQueue) -> None:
    queue.dead_letter([POISON])
    dead(queue)

    assert queue.receive_dead_letters(100) == []


def test_dead_letters_that_are_looked_at_are_counted_too(queue: AnyQueue) -> None:
    queue.dead_letter([POISON] * 5)
    assert len(queue.receive_dead_letters(2)) == 2

    # SQS counts approximately.
    eventually(lambda: queue.count_dead_letters() == 5, COUNT_SECONDS, "all are counted")


def test_deleted_dead_letters_are_not_counted(queue: AnyQueue) -> None:
    queue.dead_letter([POISON] * 3)
    letters = dead(queue, 3)

    queue.delete_dead_letters([letters[0].receipt])

    eventually(lambda: queue.count_dead_letters() == 2, COUNT_SECONDS, "two are left")


def test_released_dead_letters_show_at_once(queue: AnyQueue) -> None:
    queue.dead_letter([POISON] * 12)

    queue.release_dead_letters([letter.receipt for letter in dead(queue, 12)])

    assert len(dead(queue, 12)) == 12


def test_a_dead_letter_keeps_its_id_from_look_to_look(queue: AnyQueue) -> None:
    queue.dead_letter([POISON])
    (first,) = dead(queue)
    queue.release_dead_letters([first.receipt])

    (again,) = dead(queue)

    assert again.id == first.id


def test_deleted_dead_letters_are_gone(queue: AnyQueue) -> None:
    queue.dead_letter(some_letters(13))
    letters = dead(queue, 13)
    kept = [letter for letter in letters if version_of(letter) == 7]

    queue.delete_dead_letters([letter.receipt for letter in letters if version_of(letter) != 7])
    queue.release_dead_letters([letter.receipt for letter in kept])

    assert [version_of(letter) for letter in dead(queue)] == [7]


def test_deleting_and_releasing_nothing_is_fine(queue: AnyQueue) -> None:
    queue.delete_dead_letters([])
    queue.release_dead_letters([])

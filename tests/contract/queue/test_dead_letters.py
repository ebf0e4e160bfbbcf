"""The dead-letter queue."""

from __future__ import annotations

import pytest

from tests.contract.conftest import MAX_RECEIVES
from tests.contract.queue.steps import (
    SYNC_MESSAGE,
    AnyQueue,
    dead,
    defer_all,
    is_empty,
    received,
    some_sync_messages,
)


def test_a_message_that_was_received_too_often_is_dead(queue: AnyQueue) -> None:
    queue.enqueue([SYNC_MESSAGE])
    for _ in range(MAX_RECEIVES):
        defer_all(queue, received(queue), 0)

    assert is_empty(queue)
    (letter,) = dead(queue)
    assert (letter.product_id, letter.version) == ("product", 3)


def test_a_dead_lettered_sync_message_belongs_to_its_product(queue: AnyQueue) -> None:
    assert queue.dead_letter([(SYNC_MESSAGE.to_json(), "rejected")]) == [0]

    (letter,) = dead(queue)
    assert (letter.product_id, letter.version) == ("product", 3)


def test_a_dead_lettered_poison_message_belongs_to_no_product(queue: AnyQueue) -> None:
    queue.dead_letter([("no sync message", "not JSON")])

    assert dead(queue)[0].product_id is None


def test_large_bodies_are_dead_lettered_together(queue: AnyQueue) -> None:
    bodies = [("x" * 200_000, "large") for _ in range(3)]

    assert sorted(queue.dead_letter(bodies)) == [0, 1, 2]
    assert len(dead(queue, 3)) == 3


@pytest.mark.parametrize("reason", ["", "\x00\x01", "naïve 🚀", "x" * 100_000, "\ud800"])
def test_any_reason_can_be_given(queue: AnyQueue, reason: str) -> None:
    assert queue.dead_letter([("body", reason)]) == [0]


def test_dead_lettering_nothing_is_fine(queue: AnyQueue) -> None:
    assert queue.dead_letter([]) == []


def test_no_dead_letters_are_found_where_there_are_none(queue: AnyQueue) -> None:
    assert queue.receive_dead_letters(100) == []


def test_more_dead_letters_than_fit_into_one_request_are_found(queue: AnyQueue) -> None:
    queue.dead_letter([(message.to_json(), "r") for message in some_sync_messages(25)])

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
    queue.dead_letter([(message.to_json(), "r") for message in some_sync_messages(13)])
    letters = dead(queue, 13)
    kept = [letter for letter in letters if letter.version == 7]

    queue.delete_dead_letters([letter.receipt for letter in letters if letter.version != 7])
    queue.release_dead_letters([letter.receipt for letter in kept])

    assert [letter.version for letter in dead(queue)] == [7]


def test_deleting_and_releasing_nothing_is_fine(queue: AnyQueue) -> None:
    queue.delete_dead_letters([])
    queue.release_dead_letters([])

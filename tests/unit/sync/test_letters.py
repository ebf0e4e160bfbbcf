"""The dead letters of products that have failed: result, letter, document, acknowledgement."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.messages import DeadLetter
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import SyncStatus
from tests.fakes import GRACE, START, Pipeline
from tests.unit.sync.steps import MESSAGE_ID, failing, move_back, spend, status

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_a_rejected_product_has_a_dead_letter_with_the_reason_at_once(pipeline: Pipeline) -> None:
    product_id = failing(pipeline, 422)

    (letter,) = pipeline.queue.dead
    assert letter.reason == "rejected: HTTP 422"
    body = json.loads(letter.body)
    assert (body["productId"], body["version"], body["budget"]) == (product_id, 0, 1)
    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.overdue_at, sync.message_id) == (SyncStatus.REJECTED, None, None)
    assert pipeline.queue.messages == []


def test_the_letter_is_sent_after_the_result_is_written_and_before_the_document_says_so(
    pipeline: Pipeline,
) -> None:
    seen: list[tuple[SyncStatus, bool]] = []
    dead_letter = pipeline.queue.dead_letter

    def watched(letters: Sequence[DeadLetter]) -> list[int]:
        (product,) = pipeline.store.products.values()
        owed = product.sync.overdue_at == START + GRACE
        seen.append((product.sync.status, owed))
        return dead_letter(letters)

    pipeline.queue.dead_letter = watched  # type: ignore[method-assign]
    failing(pipeline, 422)

    assert seen == [(SyncStatus.REJECTED, True)]


def test_a_letter_is_never_sent_for_a_result_that_was_not_written(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [422]
    pipeline.supply_chain.during = lambda _: pipeline.update(product_id, name="Other")

    pipeline.pass_on()

    assert pipeline.queue.dead == []
    assert status(pipeline, product_id) is SyncStatus.PENDING


@pytest.mark.parametrize("fault", ["queue", "store"])
def test_a_letter_that_could_not_be_sent_is_owed_and_reconcile_sends_it_once(
    pipeline: Pipeline, fault: str
) -> None:
    if fault == "queue":
        pipeline.queue.broken = {"dead_letter"}
    else:
        pipeline.store.broken = {"letters_sent"}
    product_id = failing(pipeline, 422)
    pipeline.queue.broken, pipeline.store.broken = set(), set()
    assert pipeline.queue.messages == []
    assert pipeline.product(product_id).sync.overdue_at == START + GRACE
    pipeline.clock.advance(GRACE.total_seconds())

    assert pipeline.reconcile_once().letters == 1
    for _ in range(2):
        pipeline.clock.advance(60)
        assert pipeline.reconcile_once().letters == 0

    assert len(pipeline.queue.dead) == 1
    assert pipeline.product(product_id).sync.overdue_at is None


def test_a_letter_that_is_moved_back_is_a_redrive_with_a_fresh_budget(pipeline: Pipeline) -> None:
    product_id = failing(pipeline, 422, 500, 500)
    move_back(pipeline)

    pipeline.sync_once()

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.budget, sync.attempts) == (SyncStatus.RETRYING, 1, 1)
    assert [call.key for call in pipeline.supply_chain.calls] == [
        f"{product_id}:0",
        f"{product_id}:0:1",
    ]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_letter_that_is_moved_back_twice_is_delivered_once(
    pipeline: Pipeline, at_once: bool
) -> None:
    product_id = failing(pipeline, 422, 200)
    move_back(pipeline)
    if not at_once:
        pipeline.sync_once()
    move_back(pipeline)
    spend(pipeline)
    pipeline.reconcile_once()

    assert len(pipeline.supply_chain.calls) == 2
    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert (pipeline.queue.messages, pipeline.queue.dead) == ([], [])


def test_a_letter_that_is_moved_back_and_fails_again_has_one_successor(
    pipeline: Pipeline,
) -> None:
    failing(pipeline, 422, 422)
    move_back(pipeline)
    spend(pipeline)
    pipeline.reconcile_once()

    (letter,) = pipeline.queue.dead
    assert json.loads(letter.body)["budget"] == 2


def test_an_exhausted_product_that_is_redriven_is_delivered_and_its_dead_letter_goes() -> None:
    pipeline = Pipeline(schedule=Schedule(1, 0))
    product_id = failing(pipeline, 500)
    assert len(pipeline.queue.dead) == 1

    pipeline.operations.redrive({})
    pipeline.sync_once()
    pipeline.reconcile_once()

    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert pipeline.queue.dead == []


def test_a_message_that_crashes_its_workers_makes_the_product_exhausted_with_the_reason(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    # Each worker dies before it has claimed, until the queue itself moves the message.
    while not pipeline.queue.dead:
        pipeline.queue.receive()
        pipeline.clock.advance(60)

    pipeline.reconcile_once()

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.last_error) == (
        SyncStatus.EXHAUSTED,
        "every worker that tried it has crashed",
    )
    (letter,) = pipeline.queue.dead
    assert (letter.id != MESSAGE_ID, letter.reason) == (
        True,
        "exhausted: every worker that tried it has crashed",
    )
    assert json.loads(letter.body)["budget"] == 1
    move_back(pipeline)
    pipeline.sync_once()
    pipeline.reconcile_once()
    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert pipeline.queue.dead == []

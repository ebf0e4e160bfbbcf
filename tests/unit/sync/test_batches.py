"""Batches of messages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.delivery import Claim
from chalicelib.domain.sync_state import SyncStatus
from tests.fakes import Pipeline
from tests.unit.sync.steps import enqueue, status, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.domain.product import Product


OLD = '{"productId":"p","version":0}'
"""A message without a budget."""


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"productId":1,"version":0}', '{"version":0}', OLD]
)
def test_a_message_that_nobody_can_understand_is_dead_lettered(
    pipeline: Pipeline, body: str
) -> None:
    pipeline.queue.send(body)

    pipeline.sync_once()

    (letter,) = pipeline.queue.dead
    assert letter.body == body
    assert letter.reason
    assert pipeline.queue.messages == []


def test_poison_that_cannot_be_dead_lettered_stays_in_the_queue(pipeline: Pipeline) -> None:
    pipeline.queue.send("poison")
    pipeline.queue.broken = {"dead_letter"}
    pipeline.sync_once()
    assert len(pipeline.queue.messages) == 1
    pipeline.queue.broken = set()
    pipeline.clock.advance(60)

    pipeline.sync_once()

    assert len(pipeline.queue.dead) == 1
    assert pipeline.queue.messages == []


def test_poison_does_not_hold_up_the_batch(pipeline: Pipeline) -> None:
    pipeline.queue.send("poison")
    product = pipeline.put()
    enqueue(pipeline, product)

    pipeline.sync_once()

    assert status(pipeline, product.id) is SyncStatus.DELIVERED


def test_a_document_that_cannot_be_read_defers_its_own_message_alone(pipeline: Pipeline) -> None:
    broken, good = pipeline.put(), pipeline.put()
    message_id = enqueue(pipeline, broken)
    enqueue(pipeline, good)
    pipeline.store.unreadable = {broken.id}

    pipeline.sync_once()

    assert status(pipeline, good.id) is SyncStatus.DELIVERED
    assert waiting(pipeline) == [(message_id, 15)]
    assert pipeline.supply_chain.versions(broken.id) == []


def test_a_bug_that_the_call_of_one_product_meets_costs_no_other_its_result(
    pipeline: Pipeline,
) -> None:
    broken, good = pipeline.put(), pipeline.put()
    message_id = enqueue(pipeline, broken)
    enqueue(pipeline, good)

    def fail(product: Product) -> None:
        if product.id == broken.id:
            raise KeyError("a bug")

    pipeline.supply_chain.during = fail
    pipeline.sync_once()

    assert status(pipeline, good.id) is SyncStatus.DELIVERED
    # As after a crash: when the lease has ended, and not counted.
    assert waiting(pipeline) == [(message_id, pipeline.LEASE.total_seconds())]
    assert pipeline.product(broken.id).sync.attempts == 0


def test_each_message_of_a_batch_has_its_own_fate(pipeline: Pipeline) -> None:
    good, bad, wrong = (pipeline.create() for _ in range(3))
    pipeline.supply_chain.answers = {bad: [500], wrong: [422]}

    pipeline.pass_on()

    states = [status(pipeline, item) for item in (good, bad, wrong)]
    assert states == [SyncStatus.DELIVERED, SyncStatus.RETRYING, SyncStatus.REJECTED]
    assert [json.loads(m.body)["productId"] for m in pipeline.queue.messages] == [bad]


def test_a_second_message_for_a_product_in_a_batch_is_deferred(pipeline: Pipeline) -> None:
    product = pipeline.put()
    enqueue(pipeline, product)
    second = enqueue(pipeline, product)

    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product.id) == [0]
    assert waiting(pipeline) == [(second, 1)]
    pipeline.clock.advance(1)
    pipeline.sync_once()
    assert pipeline.supply_chain.versions(product.id) == [0]
    assert pipeline.queue.messages == []


def test_the_same_message_twice_in_a_batch_is_one(pipeline: Pipeline) -> None:
    product = pipeline.put()
    enqueue(pipeline, product)
    pipeline.supply_chain.answers[product.id] = [500]
    (message,) = pipeline.queue.receive()
    again = replace(message, receipt="another")

    kept = pipeline.sync.handle([message, again])

    assert set(kept) == {message.id}
    assert pipeline.supply_chain.versions(product.id) == [0]


def test_an_empty_batch_is_fine(pipeline: Pipeline) -> None:
    assert pipeline.sync.handle([]) == []


def test_a_batch_that_is_larger_than_the_number_of_parallel_calls_is_delivered_whole() -> None:
    pipeline = Pipeline(concurrency=3)
    ids = [pipeline.create() for _ in range(10)]

    pipeline.pass_on()

    assert {call.product_id for call in pipeline.supply_chain.calls} == set(ids)
    assert pipeline.queue.messages == []


def test_no_more_products_are_claimed_at_a_time_than_are_called_at_a_time() -> None:
    pipeline = Pipeline(concurrency=3)
    for _ in range(10):
        pipeline.create()
    claim, sizes = pipeline.store.claim, list[int]()

    def counted(claims: Sequence[Claim]) -> set[str]:
        sizes.append(len(claims))
        return claim(claims)

    pipeline.store.claim = counted  # type: ignore[method-assign]
    pipeline.pass_on()

    assert sizes == [3, 3, 3, 1]

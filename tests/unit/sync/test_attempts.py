"""Attempts that succeed, fail, exhaust a product and are rejected."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest

from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.catalog import Origin, Precondition
from chalicelib.usecases.sync import Sync
from tests.fakes import START, Pipeline
from tests.unit.sync.steps import MESSAGE_ID, enqueue, failing, status, waiting


def test_a_delivery_is_recorded_and_announced(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.clock.advance(3)

    pipeline.pass_on()

    product = pipeline.product(product_id)
    assert product.sync_completed_at == pipeline.clock()
    assert (product.sync.delivered_version, product.sync.behind_since) == (0, None)
    assert [attempt.status for attempt in product.sync.history] == [200]
    assert pipeline.stream.log[-1].subject == "product.sync-complete"
    assert json.loads(pipeline.stream.log[-1].data)["data"]["syncStatus"] == "delivered"
    assert product.outbox == ()


def test_a_delivery_that_cannot_be_announced_now_is_announced_by_reconcile(
    pipeline: Pipeline,
) -> None:
    pipeline.create()
    pipeline.stream.broken = {"publish"}
    pipeline.pass_on()
    pipeline.stream.broken = set()
    pipeline.clock.advance(60)

    pipeline.reconcile_once()

    assert pipeline.stream.log[-1].subject == "product.sync-complete"


@pytest.mark.parametrize("answer", [500, 404, 301, None])
def test_a_failed_attempt_is_counted_and_its_message_deferred_until_the_next(
    pipeline: Pipeline, answer: int | None
) -> None:
    product_id = failing(pipeline, answer)

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.attempts, sync.lease) == (SyncStatus.RETRYING, 1, None)
    assert sync.next_attempt_at == START + timedelta(seconds=pipeline.schedule.waits[0])
    assert waiting(pipeline) == [(MESSAGE_ID, 15)]


def test_a_wish_to_be_called_later_is_followed(pipeline: Pipeline) -> None:
    pipeline.supply_chain.retry_after = START + timedelta(seconds=1000)
    failing(pipeline, 503)

    assert waiting(pipeline) == [(MESSAGE_ID, 1000)]


def test_the_18th_failure_exhausts_the_product_and_its_message_expires(
    pipeline: Pipeline,
) -> None:
    product_id = failing(pipeline, *[500] * 18)

    while pipeline.queue.messages:
        pipeline.clock.now = max(m.visible_at for m in pipeline.queue.messages)
        pipeline.sync_once()

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.attempts, sync.overdue_at) == (SyncStatus.EXHAUSTED, 18, None)
    assert len(pipeline.supply_chain.calls) == 18
    assert len(sync.history) == 18
    assert [json.loads(m.body)["productId"] for m in pipeline.queue.dead] == [product_id]
    # SQS counts in whole seconds, so the last one may be a second late.
    took = sync.history[-1].time - sync.history[0].time
    assert abs(took - timedelta(hours=72)) <= timedelta(seconds=1)


def test_messages_that_piled_up_before_a_rejection_are_no_redrives(pipeline: Pipeline) -> None:
    product = pipeline.put()
    for _ in range(5):
        enqueue(pipeline, product)
        pipeline.clock.advance(60)
    pipeline.supply_chain.answers[product.id] = [422] * 5

    while pipeline.queue.messages:
        pipeline.queue.messages[1:], rest = [], pipeline.queue.messages[1:]
        pipeline.sync_once()
        pipeline.queue.messages += rest

    assert len(pipeline.supply_chain.calls) == 1
    assert len(pipeline.queue.dead) == 1


@pytest.mark.parametrize("seed", range(20))
def test_each_receive_is_an_attempt_whatever_the_jitter(seed: int) -> None:
    pipeline = Pipeline()
    chance = random.Random(seed)
    pipeline.sync = Sync(
        pipeline.store,
        pipeline.queue,
        pipeline.outbox,
        pipeline.supply_chain,
        pipeline.policy,
        clock=pipeline.clock,
        jitter=chance.random,
    )
    product_id = pipeline.create()
    pipeline.supply_chain.away = True
    pipeline.bridge_once()

    receives = 0
    while status(pipeline, product_id) is not SyncStatus.EXHAUSTED:
        receives += len(pipeline.sync_once())
        assert pipeline.queue.dead == []
        pipeline.clock.advance(max(waiting(pipeline)[0][1], 0))

    assert receives == len(pipeline.supply_chain.calls) == 18


def test_an_exhausted_product_that_is_redriven_is_delivered_and_its_dead_letter_goes() -> None:
    pipeline = Pipeline(schedule=Schedule(1, 0))
    product_id = failing(pipeline, 500)
    pipeline.sync_once()
    assert len(pipeline.queue.dead) == 1

    pipeline.catalog.redrive({})
    pipeline.sync_once()
    pipeline.reconcile_once()

    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert pipeline.queue.dead == []


def test_a_rejected_product_is_dead_lettered_with_the_reason(pipeline: Pipeline) -> None:
    product_id = failing(pipeline, 422)

    (letter,) = pipeline.queue.dead
    assert letter.reason == "the supply chain rejects version 0: HTTP 422"
    assert status(pipeline, product_id) is SyncStatus.REJECTED
    assert pipeline.queue.messages == []


def test_a_rejected_message_that_cannot_be_dead_lettered_is_kept_and_dead_lettered_later(
    pipeline: Pipeline,
) -> None:
    pipeline.queue.broken = {"dead_letter"}
    product_id = failing(pipeline, 422)
    assert [m.id for m in pipeline.queue.messages] == [MESSAGE_ID]
    pipeline.queue.broken = set()
    pipeline.clock.advance(60)

    pipeline.sync_once()

    assert len(pipeline.queue.dead) == 1
    assert pipeline.queue.messages == []
    assert pipeline.supply_chain.versions(product_id) == [0]


@pytest.mark.parametrize("answer", [204, 404, 410])
def test_a_deleted_product_is_gone_once_the_supply_chain_has_confirmed(
    pipeline: Pipeline, answer: int
) -> None:
    product_id = pipeline.create()
    pipeline.pass_on()
    pipeline.catalog.delete(product_id, Precondition(), Origin())
    pipeline.supply_chain.answers[product_id] = [answer]

    pipeline.pass_on()
    pipeline.reconcile_once()

    assert pipeline.supply_chain.calls[-1].deleting
    assert product_id not in pipeline.store.products

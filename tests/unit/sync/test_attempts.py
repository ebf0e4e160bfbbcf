"""Attempts that succeed, fail, exhaust a product and are rejected."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.activity import Activity
from chalicelib.usecases.catalog import Origin, Precondition
from chalicelib.usecases.sync import Sync
from tests.fakes import START, Pipeline
from tests.unit.sync.steps import MESSAGE_ID, failing, spend, status, waiting


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


def test_the_18th_failure_exhausts_the_product_after_72_hours(pipeline: Pipeline) -> None:
    product_id = failing(pipeline, *[500] * 18)

    spend(pipeline)

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.attempts, sync.overdue_at) == (SyncStatus.EXHAUSTED, 18, None)
    assert len(pipeline.supply_chain.calls) == len(sync.history) == 18
    (letter,) = pipeline.queue.dead
    assert letter.reason == "exhausted: HTTP 500"
    # SQS counts in whole seconds, and what makes an attempt late moves the end by as much.
    took = sync.history[-1].time - sync.history[0].time
    assert timedelta(0) <= took - timedelta(hours=72) <= timedelta(seconds=18)


def test_sync_never_sends_to_its_own_queue(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500] * 18
    pipeline.bridge_once()
    sent: list[object] = []
    pipeline.queue.enqueue = sent.append  # type: ignore[assignment, method-assign]  # a spy
    pipeline.queue.broken = {"enqueue"}

    spend(pipeline)

    assert status(pipeline, product_id) is SyncStatus.EXHAUSTED
    assert sent == []
    assert len(pipeline.supply_chain.calls) == 18


def test_all_calls_of_a_budget_have_one_key_and_those_of_the_next_another(
    pipeline: Pipeline,
) -> None:
    product_id = failing(pipeline, 500, 500, 200)
    spend(pipeline)
    pipeline.operations.replay(product_id)
    pipeline.sync_once()

    first, again = f"{product_id}:0", f"{product_id}:0:1"
    assert [call.key for call in pipeline.supply_chain.calls] == [first, first, first, again]


@pytest.mark.parametrize("seed", range(20))
def test_each_receive_is_an_attempt_whatever_the_jitter(seed: int) -> None:
    pipeline = Pipeline()
    chance = random.Random(seed)
    pipeline.sync = Sync(
        pipeline.store,
        pipeline.queue,
        pipeline.outbox,
        pipeline.supply_chain,
        replace(pipeline.policy, jitter=chance.random),
        pipeline.admissions,
        Activity(pipeline.store, clock=pipeline.clock),
        clock=pipeline.clock,
    )
    product_id = pipeline.create()
    pipeline.supply_chain.away = True
    pipeline.bridge_once()

    receives = 0
    while pipeline.queue.messages and receives < 100:
        receives += len(pipeline.sync_once())
        pipeline.clock.advance(max((seconds for _, seconds in waiting(pipeline)), default=0))

    assert status(pipeline, product_id) is SyncStatus.EXHAUSTED
    # A wait of more than 12 h takes two visibility timeouts.
    assert len(pipeline.supply_chain.calls) == 18 <= receives <= 18 + 5


def deleted(pipeline: Pipeline) -> str:
    """Deliver a product and delete it; give its id."""
    product_id = pipeline.create()
    pipeline.pass_on()
    pipeline.catalog.delete(product_id, Precondition(), Origin())
    return product_id


@pytest.mark.parametrize("answer", [204, 404, 410])
def test_a_deleted_product_is_gone_once_the_supply_chain_has_confirmed(
    pipeline: Pipeline, answer: int
) -> None:
    product_id = deleted(pipeline)
    del pipeline.supply_chain.held[product_id]
    pipeline.supply_chain.answers[product_id] = [answer]

    pipeline.pass_on()
    pipeline.reconcile_once()

    assert pipeline.supply_chain.calls[-1].deleting
    assert product_id not in pipeline.store.products


def test_a_deleted_product_stays_while_the_supply_chain_holds_it(pipeline: Pipeline) -> None:
    product_id = deleted(pipeline)
    pipeline.supply_chain.answers[product_id] = [404]

    pipeline.pass_on()
    pipeline.reconcile_once()

    sync = pipeline.product(product_id).sync
    assert sync.status is SyncStatus.RETRYING
    assert sync.last_error == "HTTP 404, but the supply chain holds version 0"

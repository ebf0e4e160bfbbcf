"""What a message comes to, row by row of the table."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.sync_state import SyncState, SyncStatus
from tests.fakes import GRACE, START, Pipeline, a_product
from tests.unit.sync.steps import (
    LATER,
    MESSAGE_ID,
    enqueue,
    leased,
    nothing_called,
    status,
    waiting,
)


def test_a_message_for_a_product_that_is_not_there_is_acknowledged_as_superseded_and_logged(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue(pipeline, a_product())

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)
    assert caplog.messages == ["a message of no product is deleted"]


def test_a_message_for_an_older_version_is_acknowledged_as_superseded(pipeline: Pipeline) -> None:
    enqueue(pipeline, pipeline.put(version=1), version=0)

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)


def test_a_message_for_a_version_that_is_delivered_is_acknowledged(pipeline: Pipeline) -> None:
    enqueue(pipeline, pipeline.put(sync=SyncState(SyncStatus.DELIVERED)))

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)


def test_a_message_whose_version_another_worker_delivers_now_is_acknowledged(
    pipeline: Pipeline,
) -> None:
    sync = leased("another", LATER, 0, message_id="another message")
    enqueue(pipeline, pipeline.put(sync=sync))

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)


def test_a_scheduled_message_that_comes_back_during_its_own_call_waits_until_the_lease_ends(
    pipeline: Pipeline,
) -> None:
    until = START + timedelta(seconds=50)
    enqueue(pipeline, pipeline.put(sync=leased("dead", until, 0, message_id=MESSAGE_ID)))

    pipeline.sync_once()

    assert waiting(pipeline) == [(MESSAGE_ID, 50)]
    assert nothing_called(pipeline)


def test_a_message_whose_product_is_called_for_an_older_version_waits_until_that_lease_ends(
    pipeline: Pipeline,
) -> None:
    until = START + timedelta(seconds=50)
    sync = leased("another", until, 0, message_id="another message")
    enqueue(pipeline, pipeline.put(version=1, sync=sync), version=1)

    pipeline.sync_once()

    assert waiting(pipeline) == [(MESSAGE_ID, 50)]
    assert nothing_called(pipeline)


def test_the_scheduled_message_of_an_attempt_that_lies_ahead_is_deferred_until_then(
    pipeline: Pipeline,
) -> None:
    ahead = START + timedelta(seconds=500)
    sync = SyncState(SyncStatus.RETRYING, attempts=3, next_attempt_at=ahead, message_id=MESSAGE_ID)
    enqueue(pipeline, pipeline.put(sync=sync))

    pipeline.sync_once()

    assert waiting(pipeline) == [(MESSAGE_ID, 500)]
    assert nothing_called(pipeline)


def test_another_message_than_the_scheduled_one_is_acknowledged(pipeline: Pipeline) -> None:
    ahead = START + timedelta(seconds=500)
    sync = SyncState(
        SyncStatus.RETRYING, attempts=3, next_attempt_at=ahead, message_id="another message"
    )
    enqueue(pipeline, pipeline.put(sync=sync))

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)


FAILED = pytest.mark.parametrize("failed", [SyncStatus.EXHAUSTED, SyncStatus.REJECTED])


@FAILED
def test_a_message_of_a_higher_budget_redrives_a_failed_product(
    pipeline: Pipeline, failed: SyncStatus
) -> None:
    sync = SyncState(failed, budget=1, attempts=18, first_attempt_at=START - GRACE)
    product = pipeline.put(sync=sync)
    enqueue(pipeline, product, budget=4)
    pipeline.supply_chain.answers[product.id] = [500]

    pipeline.sync_once()

    after = pipeline.product(product.id).sync
    assert (after.status, after.budget, after.attempts) == (SyncStatus.RETRYING, 4, 1)
    assert after.first_attempt_at == START


@FAILED
def test_a_late_event_of_a_failed_product_is_acknowledged(
    pipeline: Pipeline, failed: SyncStatus
) -> None:
    product = pipeline.put(sync=SyncState(failed, attempts=18))
    pipeline.outbox.publish(product.outbox)
    pipeline.clock.advance(3600)

    pipeline.pass_on()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)
    assert status(pipeline, product.id) is failed


def test_a_pending_product_is_delivered(pipeline: Pipeline) -> None:
    product = pipeline.put()
    enqueue(pipeline, product)

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert status(pipeline, product.id) is SyncStatus.DELIVERED
    assert [(call.version, call.trace) for call in pipeline.supply_chain.calls] == [
        (0, "Root=1-2-3")
    ]

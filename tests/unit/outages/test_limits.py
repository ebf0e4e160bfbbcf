"""The limit of calls per second, and the limit of messages in flight."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.usecases.admission import Admissions
from chalicelib.usecases.pace import Pace
from tests.fakes import START, Pipeline
from tests.fakes.clock import FakeClock
from tests.unit.outages.steps import a_pipeline, calls, converge, is_parked


def test_no_more_calls_are_made_than_the_limit_allows() -> None:
    pipeline = a_pipeline(max_rate=5)
    for _ in range(12):
        pipeline.create()

    while pipeline.pass_on():
        pass

    assert calls(pipeline) == 5


def test_all_workers_together_make_no_more_calls_than_the_limit_allows() -> None:
    pipeline = a_pipeline(max_rate=5)
    for _ in range(30):
        pipeline.create()
    pipeline.bridge_once()

    for _ in range(3):
        pipeline.sync = pipeline.a_worker(
            admissions=Admissions(pipeline.controls, pipeline.breaker, clock=pipeline.clock)
        )
        pipeline.sync_once()

    assert calls(pipeline) == 5


def test_refused_calls_come_back_in_the_order_of_the_permits() -> None:
    pipeline = a_pipeline(max_rate=5)
    ids = [pipeline.create() for _ in range(10)]
    pipeline.pass_on()

    hidden = [message.visible_at - pipeline.clock() for message in pipeline.queue.messages]
    assert hidden == [timedelta(seconds=1)] * 5
    pipeline.clock.advance(1)
    pipeline.sync_once()
    assert {pipeline.product(product_id).sync.status for product_id in ids} == {
        SyncStatus.DELIVERED
    }


def test_what_must_wait_for_long_is_parked() -> None:
    pipeline = a_pipeline(max_rate=0.1)
    ids = [pipeline.create() for _ in range(10)]

    pipeline.pass_on()

    parked = [product_id for product_id in ids if is_parked(pipeline.product(product_id))]
    assert len(parked) == 3
    assert len(pipeline.queue.messages) == 6


def test_everything_is_delivered_at_the_limited_rate() -> None:
    pipeline = a_pipeline(max_rate=2)
    ids = [pipeline.create() for _ in range(100)]
    while pipeline.pass_on():
        pass

    converge(pipeline, seconds=80)

    assert {pipeline.product(product_id).sync.status for product_id in ids} == {
        SyncStatus.DELIVERED
    }


def test_what_waits_is_enqueued_also_at_a_rate_too_low_for_one_run() -> None:
    pipeline = a_pipeline(max_rate=0.02)
    pipeline.put(sync=SyncState(behind_since=START, overdue_at=START), outbox=())

    assert [pipeline.reconcile_once(seconds=40).enqueued for _ in range(2)] == [0, 1]


def test_what_was_done_without_a_limit_or_before_a_clock_was_set_back_is_not_owed() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    pace.spend(pace.allowed(None, 1000))
    clock.advance(-3600)
    pace.allowed(20, 1000)
    clock.advance(1)

    assert pace.allowed(20, 1000) == 20


def a_long_wait(pipeline: Pipeline) -> str:
    """A product whose next attempt is due in more than a minute."""
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500] * 6
    for _ in range(5):
        pipeline.pass_on()
        pipeline.clock.now = max(message.visible_at for message in pipeline.queue.messages)
    return product_id


def test_a_long_wait_stays_in_the_queue_while_there_is_room() -> None:
    pipeline = Pipeline()
    product_id = a_long_wait(pipeline)

    pipeline.sync_once()

    assert not pipeline.product(product_id).sync.parked
    assert len(pipeline.queue.messages) == 1


def test_a_long_wait_is_parked_with_its_result_where_the_queue_is_full() -> None:
    pipeline = Pipeline()
    product_id = a_long_wait(pipeline)
    pipeline.queue.others_in_flight = 100_000

    pipeline.sync_once()

    product = pipeline.product(product_id)
    assert is_parked(product)
    assert product.sync.overdue_at == product.sync.next_attempt_at
    assert pipeline.queue.messages == []


def test_a_parked_product_is_enqueued_when_it_is_due() -> None:
    pipeline = Pipeline()
    product_id = a_long_wait(pipeline)
    pipeline.queue.others_in_flight = 100_000
    pipeline.sync_once()
    due = pipeline.product(product_id).sync.next_attempt_at
    assert due is not None

    pipeline.clock.now = due - timedelta(seconds=1)
    assert pipeline.reconcile_once().enqueued == 0
    pipeline.clock.now = due
    assert pipeline.reconcile_once().enqueued == 1
    pipeline.sync_once()

    assert pipeline.product(product_id).sync.attempts == 7


def test_a_message_that_would_be_deferred_for_long_is_parked_where_the_queue_is_full() -> None:
    pipeline = Pipeline()
    product_id = a_long_wait(pipeline)
    pipeline.sync_once()
    message = pipeline.queue.messages[0]
    # It comes back too early, as after 12 h of a longer wait.
    pipeline.clock.advance(20)
    message.visible_at = pipeline.clock()
    pipeline.queue.others_in_flight = 100_000

    pipeline.sync_once()

    product = pipeline.product(product_id)
    assert is_parked(product)
    assert product.sync.overdue_at == product.sync.next_attempt_at
    assert len(pipeline.queue.messages) == 0


def test_a_short_wait_is_never_parked() -> None:
    pipeline = Pipeline()
    pipeline.queue.others_in_flight = 100_000
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500]

    pipeline.pass_on()

    assert not pipeline.product(product_id).sync.parked


def test_a_queue_that_cannot_be_counted_counts_as_full_as_before() -> None:
    pipeline = Pipeline()
    pipeline.queue.others_in_flight = 100_000
    pipeline.queue.broken.add("in_flight")
    product_id = a_long_wait(pipeline)

    pipeline.sync_once()

    assert not pipeline.product(product_id).sync.parked


def test_the_queue_is_counted_at_most_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = Pipeline()
    product_id = a_long_wait(pipeline)
    counted: list[int] = []
    monkeypatch.setattr(pipeline.queue, "in_flight", lambda: len(counted.append(1) or counted))  # type: ignore[func-returns-value]  # a spy
    for _ in range(3):
        pipeline.sync_once()
        pipeline.queue.messages[0].visible_at = pipeline.clock()

    assert product_id
    assert len(counted) == 1

"""A redrive of what is retried: "retry now", each product once, with a fresh budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.domain.breaker import Breaker, BreakerPolicy
from chalicelib.domain.control import CatchUp, Control, Redrive
from chalicelib.domain.delivery import Transition, worker_died
from chalicelib.domain.messages import dead_letter_for
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.usecases import operations, reconcile
from tests.fakes import GRACE, START, Pipeline, a_failed_state
from tests.unit.catalog.redriving import (
    HELD,
    CrashError,
    deliver,
    finish,
    killed,
    messages,
    pause,
    progress,
    resume,
)

NOW = {"status": "retrying"}
FIRST, PAGE = 4, 3
"""What a request restarts itself, and a page of reconcile."""
MANY = FIRST + PAGE + 2
IN_HOURS = START + timedelta(hours=12)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The use cases, with small pages, an hour after the newest attempts."""
    monkeypatch.setattr(reconcile.Reconcile, "page", PAGE)
    monkeypatch.setattr(operations.Operations, "redriven_at_once", FIRST)
    made = Pipeline()
    made.clock.advance(3600)
    return made


def retried(number: int = 0) -> SyncState:
    """The state of a product that has failed five times, and is due in hours."""
    return SyncState(
        SyncStatus.RETRYING,
        attempts=5,
        first_attempt_at=START,
        next_attempt_at=IN_HOURS,
        aim_at=IN_HOURS,
        ends_at=START + timedelta(hours=72),
        behind_since=START + timedelta(seconds=number),
        overdue_at=IN_HOURS + GRACE,
        message_id="old",
        last_error="HTTP 503",
    )


def put_retrying(pipeline: Pipeline, number: int = MANY) -> list[str]:
    """Store products that are retried, each a second younger than the one before; their ids."""
    return [pipeline.put(sync=retried(n), outbox=()).id for n in range(number)]


def budgets(pipeline: Pipeline, ids: list[str]) -> set[int]:
    return {pipeline.product(item).sync.budget for item in ids}


def statuses(pipeline: Pipeline, ids: list[str]) -> set[SyncStatus]:
    return {pipeline.product(item).sync.status for item in ids}


# ---- what it does ----


def test_what_is_retried_is_tried_now_with_a_fresh_budget(pipeline: Pipeline) -> None:
    ids = put_retrying(pipeline)

    assert pipeline.operations.redrive(NOW)["count"] == MANY
    finish(pipeline)

    assert messages(pipeline) == Counter(ids)
    assert {(p.sync.attempts, p.sync.budget) for p in pipeline.store.products.values()} == {(0, 1)}
    deliver(pipeline)
    assert statuses(pipeline, ids) == {SyncStatus.DELIVERED}


def test_it_is_shown_while_it_is_under_way(pipeline: Pipeline) -> None:
    put_retrying(pipeline)
    pipeline.put(sync=a_failed_state(SyncStatus.EXHAUSTED), outbox=())
    shown = {"startedAt": "2026-01-01T01:00:00.000Z", "count": MANY, "done": FIRST}

    pipeline.operations.redrive(NOW)
    assert progress(pipeline) == shown
    pipeline.reconcile_once(seconds=0)
    assert progress(pipeline) == {**shown, "done": FIRST + PAGE}

    finish(pipeline)
    assert progress(pipeline) is None


def test_it_restarts_nothing_else(pipeline: Pipeline) -> None:
    others = [
        pipeline.put(sync=a_failed_state(SyncStatus.EXHAUSTED), outbox=()).id,
        pipeline.put(sync=a_failed_state(SyncStatus.REJECTED), outbox=()).id,
        pipeline.create(),
    ]
    put_retrying(pipeline, 1)

    assert pipeline.operations.redrive(NOW)["count"] == 1
    finish(pipeline)

    assert budgets(pipeline, others) == {0}


def test_without_a_status_what_is_retried_is_left_alone(pipeline: Pipeline) -> None:
    ids = put_retrying(pipeline, 1)
    pipeline.put(sync=a_failed_state(SyncStatus.EXHAUSTED), outbox=())

    assert pipeline.operations.redrive({})["count"] == 1
    finish(pipeline)

    assert budgets(pipeline, ids) == {0}


def test_it_goes_no_faster_than_the_ramp_after_an_outage(pipeline: Pipeline) -> None:
    pipeline.breaker = BreakerPolicy(ramp_rate=1.0)
    pipeline.connect()
    put_retrying(pipeline, 5 * FIRST)
    ramp = Breaker(ramp_since=pipeline.clock())
    pipeline.store.stored_control = Control(ramp, revision=1)
    pipeline.operations.redrive(NOW)
    pipeline.clock.advance(1)

    assert pipeline.reconcile_once(seconds=0).redriven == 1


# ---- what there was before: a message, a call, a Retry-After ----


def test_the_message_of_the_old_schedule_is_superseded_when_it_comes_back(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [503, 503]
    pipeline.pass_on()
    hidden = pipeline.queue.messages[0].id
    pipeline.operations.redrive(NOW)
    deliver(pipeline)
    fresh = pipeline.product(product_id).sync
    assert (fresh.budget, fresh.attempts) == (1, 1)

    # The old one becomes visible first: it was deferred before.
    pipeline.queue.messages[0].visible_at = pipeline.clock()
    assert [message.id for message in pipeline.sync_once()] == [hidden]

    assert pipeline.product(product_id).sync == fresh
    assert [message.id for message in pipeline.queue.messages] == [fresh.message_id]


def test_a_parked_product_is_enqueued(pipeline: Pipeline) -> None:
    parked = replace(retried(), parked=True, message_id=None, overdue_at=IN_HOURS)
    product = pipeline.put(sync=parked, outbox=())

    pipeline.operations.redrive(NOW)
    deliver(pipeline)

    assert pipeline.product(product.id).sync.status is SyncStatus.DELIVERED


def test_a_retry_after_of_the_product_does_not_hold_it(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500]
    pipeline.supply_chain.retry_after = pipeline.clock() + timedelta(hours=5)
    pipeline.pass_on()
    assert pipeline.product(product_id).sync.next_attempt_at == pipeline.supply_chain.retry_after

    pipeline.operations.redrive(NOW)
    deliver(pipeline)

    assert pipeline.product(product_id).sync.status is SyncStatus.DELIVERED


@pytest.mark.parametrize("status", [200, 500])
def test_a_call_that_is_under_way_keeps_its_lease_and_changes_nothing(
    pipeline: Pipeline, status: int
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [503, status]
    pipeline.pass_on()
    pipeline.clock.advance(60)
    seen: list[Product] = []

    def redrive(_: Product) -> None:
        pipeline.supply_chain.during = None
        pipeline.operations.redrive(NOW)
        seen.append(pipeline.product(product_id))
        # Its message comes during the call, and waits for the end of the lease.
        assert [item.id for item in pipeline.sync_once()] == [pipeline.queue.messages[-1].id]

    pipeline.supply_chain.during = redrive
    pipeline.sync_once()

    assert seen[0].sync.lease is not None
    after = pipeline.product(product_id).sync
    assert (after.status, after.attempts, after.budget) == (SyncStatus.PENDING, 0, 1)
    assert len(pipeline.supply_chain.calls) == 2
    pipeline.clock.advance(Pipeline.LEASE.total_seconds())
    deliver(pipeline)
    assert pipeline.product(product_id).sync.status is SyncStatus.DELIVERED
    assert len(pipeline.supply_chain.calls) == 3


# ---- once ----


def again_after_a_crash(pipeline: Pipeline) -> None:
    """Let the page of reconcile come again, after what it restarted has failed again."""
    killed(pipeline, "store", "save_control", after=False)
    with pytest.raises(CrashError):
        pipeline.reconcile_once(seconds=0)
    pipeline.connect()
    deliver(pipeline)
    finish(pipeline)
    deliver(pipeline)


@pytest.mark.parametrize("behind", [0, 2], ids=["clocks agree", "the worker's clock is behind"])
@pytest.mark.parametrize("status", [503, 422])
def test_what_fails_again_at_once_is_not_restarted_again_when_its_page_comes_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, status: int, behind: int
) -> None:
    def clock() -> datetime:
        return pipeline.clock() - timedelta(seconds=behind)

    monkeypatch.setattr(pipeline.supply_chain, "_clock", clock)
    ids = put_retrying(pipeline)
    pipeline.supply_chain.answers = {item: [status] * 9 for item in ids}
    pipeline.operations.redrive(NOW)

    again_after_a_crash(pipeline)

    assert budgets(pipeline, ids) == {1}
    assert {len(pipeline.supply_chain.versions(item)) for item in ids} == {1}


def test_what_kills_its_worker_after_its_restart_is_not_restarted_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.operations, "redriven_at_once", 1)
    exhausted = a_failed_state(SyncStatus.EXHAUSTED)
    ids = [pipeline.put(sync=exhausted, outbox=()).id for _ in range(2)]
    pipeline.operations.redrive({"status": "exhausted"})
    first = next(item for item in ids if pipeline.product(item).sync.budget)
    died = worker_died(pipeline.product(first), "message", pipeline.clock())
    assert died.sync.first_attempt_at is None
    pipeline.store.products[first] = died
    # Its page comes again.
    job = pipeline.store.stored_control.redrive
    assert job is not None
    pipeline.store.stored_control = Control(redrive=replace(job, after=None), revision=9)

    finish(pipeline)

    assert budgets(pipeline, ids) == {1}


@pytest.mark.parametrize("restart", ["a write", "a replay"])
def test_what_was_changed_or_replayed_since_its_restart_is_not_restarted_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, restart: str
) -> None:
    monkeypatch.setattr(pipeline.supply_chain, "_clock", lambda: START)
    product_id = put_retrying(pipeline, 1)[0]
    pipeline.operations.redrive(NOW)
    job = Redrive((SyncStatus.RETRYING,), pipeline.clock(), 1)
    if restart == "a write":
        pipeline.update(product_id, name="Other")
    else:
        pipeline.operations.replay(product_id)
    before = pipeline.product(product_id).sync.budget
    pipeline.supply_chain.answers[product_id] = [503] * 9
    pipeline.bridge_once()
    deliver(pipeline)
    assert pipeline.product(product_id).sync.status is SyncStatus.RETRYING

    pipeline.store.stored_control = Control(redrive=job, revision=9)
    finish(pipeline)

    assert pipeline.product(product_id).sync.budget == before


def test_a_redrive_of_what_has_failed_that_joins_it_restarts_nothing_of_it_twice(
    pipeline: Pipeline,
) -> None:
    ids = put_retrying(pipeline)
    failed = pipeline.put(sync=a_failed_state(SyncStatus.EXHAUSTED), outbox=()).id
    pipeline.supply_chain.answers = {item: [503] * 9 for item in ids}
    pipeline.operations.redrive(NOW)
    deliver(pipeline)
    pipeline.clock.advance(1)

    assert pipeline.operations.redrive({})["count"] == 1
    finish(pipeline)

    assert budgets(pipeline, [*ids, failed]) == {1}


def test_what_was_retried_and_has_failed_since_is_restarted_by_a_redrive_of_that(
    pipeline: Pipeline,
) -> None:
    ids = put_retrying(pipeline)
    pipeline.supply_chain.answers = {item: [422] for item in ids[:3]}
    pipeline.operations.redrive(NOW)
    deliver(pipeline)
    pipeline.clock.advance(1)

    assert pipeline.operations.redrive({"status": "rejected"})["count"] == 3
    finish(pipeline)
    deliver(pipeline)

    assert budgets(pipeline, ids[:3]) == {2}
    assert statuses(pipeline, ids) == {SyncStatus.DELIVERED}


def test_asked_for_again_it_restarts_what_has_failed_again(pipeline: Pipeline) -> None:
    ids = put_retrying(pipeline, 3)
    pipeline.supply_chain.answers = {item: [503] for item in ids}
    pipeline.operations.redrive(NOW)
    deliver(pipeline)
    pipeline.clock.advance(1)

    assert pipeline.operations.redrive(NOW)["count"] == 3
    finish(pipeline)
    deliver(pipeline)

    assert budgets(pipeline, ids) == {2}
    assert statuses(pipeline, ids) == {SyncStatus.DELIVERED}


def test_two_redrives_never_begin_at_the_same_time(pipeline: Pipeline) -> None:
    put_retrying(pipeline)
    pipeline.operations.redrive(NOW)
    pipeline.clock.advance(-5)

    pipeline.operations.redrive(NOW)

    shown = progress(pipeline)
    assert shown is not None
    assert shown["startedAt"] == "2026-01-01T01:00:00.001Z"


# ---- while no calls are allowed, and after an outage ----


@pytest.mark.parametrize("why", HELD)
def test_while_no_calls_are_allowed_it_is_parked_and_delivered_afterwards(
    pipeline: Pipeline, why: str
) -> None:
    hold, release = HELD[why]
    ids = put_retrying(pipeline)
    hold(pipeline)

    assert pipeline.operations.redrive(NOW)["count"] == MANY
    pipeline.reconcile_once(seconds=5)
    assert budgets(pipeline, ids) == {1}
    assert len(pipeline.queue.messages) <= (0 if why == "paused" else 6)

    release(pipeline)
    for _ in range(60):
        pipeline.reconcile_once(seconds=5)
        deliver(pipeline)
        pipeline.clock.advance(2)
    assert statuses(pipeline, ids) == {SyncStatus.DELIVERED}
    assert budgets(pipeline, ids) == {1}


# Those that nobody brings forward: with a message that is due, or failed.
LEFT_ALONE = {
    "retrying": replace(retried(), next_attempt_at=START, overdue_at=START + GRACE * 99),
    "exhausted": a_failed_state(SyncStatus.EXHAUSTED),
}


@pytest.mark.parametrize("status", LEFT_ALONE)
def test_what_is_restarted_just_as_a_pause_ends_does_not_wait(
    pipeline: Pipeline, status: str
) -> None:
    product = pipeline.put(sync=LEFT_ALONE[status], outbox=())
    if status == "exhausted":
        pipeline.queue.dead_letter([dead_letter_for(product)])
    pause(pipeline)
    apply = pipeline.store.apply

    def late(transitions: Sequence[Transition]) -> set[str]:
        pipeline.store.apply = apply  # type: ignore[method-assign]
        # All is brought forward before the product of this page is written.
        resume(pipeline)
        pipeline.clock.advance(1)
        assert not pipeline.reconcile_once(seconds=0).forwarded
        assert pipeline.store.stored_control.catch_up is None
        return apply(transitions)

    pipeline.store.apply = late  # type: ignore[method-assign]
    pipeline.operations.redrive({"status": status})
    deliver(pipeline)

    assert pipeline.product(product.id).sync.status is SyncStatus.DELIVERED


@pytest.mark.parametrize("first", ["catch-up", "redrive"])
def test_beside_a_catch_up_each_is_called_once(pipeline: Pipeline, first: str) -> None:
    ids = put_retrying(pipeline)
    ended = CatchUp(pipeline.clock())
    if first == "redrive":
        pipeline.operations.redrive(NOW)
    stored = pipeline.store.stored_control
    pipeline.store.stored_control = replace(stored, catch_up=ended, revision=stored.revision + 1)
    pipeline.reconcile_once(seconds=0)
    if first == "catch-up":
        pipeline.operations.redrive(NOW)

    finish(pipeline)
    deliver(pipeline)

    assert pipeline.store.stored_control.catch_up is None
    assert statuses(pipeline, ids) == {SyncStatus.DELIVERED}
    assert {len(pipeline.supply_chain.versions(item)) for item in ids} == {1}

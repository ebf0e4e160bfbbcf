"""An outage of the supply chain, from its first failure until everything is delivered."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.breaker import Breaker, BreakerState
from chalicelib.domain.control import CatchUp, Control
from chalicelib.domain.delivery import Verdict, bring_forward, is_systemic, report_of
from chalicelib.domain.sync_state import SyncState, SyncStatus
from tests.fakes import GRACE, START, Pipeline, a_product
from tests.unit.outages.steps import (
    a_pipeline,
    an_outage,
    an_outcome,
    calls,
    converge,
    end_of_outage,
    is_parked,
    state,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.domain.delivery import Transition
    from chalicelib.domain.product import Product

DELIVERED, RETRYING, PENDING = SyncStatus.DELIVERED, SyncStatus.RETRYING, SyncStatus.PENDING


@pytest.fixture
def pipeline() -> Pipeline:
    return a_pipeline()


def statuses(pipeline: Pipeline, ids: Sequence[str]) -> list[SyncStatus]:
    return [pipeline.product(product_id).sync.status for product_id in ids]


# ---- what is systemic ----


UPSERT, DELETION = a_product(id="0" * 24), a_product(id="1" * 24, deleted_at=START)


@pytest.mark.parametrize("status", [None, 500, 503, 599, 401, 403, 407, 408, 429])
@pytest.mark.parametrize("product", [UPSERT, DELETION], ids=["upsert", "deletion"])
def test_a_failure_that_no_product_causes_is_systemic(product: Product, status: int | None) -> None:
    assert is_systemic(product, an_outcome(status))


@pytest.mark.parametrize("status", [200, 302, 400, 409, 422])
@pytest.mark.parametrize("product", [UPSERT, DELETION], ids=["upsert", "deletion"])
def test_a_failure_that_a_product_may_cause_is_not(product: Product, status: int) -> None:
    assert not is_systemic(product, an_outcome(status))


@pytest.mark.parametrize("status", [404, 405, 410])
def test_an_upsert_that_finds_no_route_has_failed_systemically_a_deletion_has_not(
    status: int,
) -> None:
    assert is_systemic(UPSERT, an_outcome(status))
    assert not is_systemic(DELETION, an_outcome(status))


def test_neither_a_rejection_nor_a_delivery_is_systemic_whatever_its_status() -> None:
    assert not is_systemic(UPSERT, an_outcome(500, Verdict.REJECTED))
    assert not is_systemic(UPSERT, an_outcome(500, Verdict.DELIVERED))


def test_a_report_counts_calls_and_names_the_products_that_failed_systemically() -> None:
    a, b, c = (a_product(id=name) for name in "abc")
    report = report_of(
        [(a, an_outcome(503, after=9)), (b, an_outcome(400, after=99)), (c, an_outcome(429))]
    )

    assert (report.calls, report.failures, report.products) == (3, 2, frozenset("ac"))
    assert report.repeated == 0
    assert report.reason == "HTTP 429"
    assert report.cooldown_until == START + timedelta(seconds=9)


def test_only_a_429_or_a_503_stops_the_calls_for_others() -> None:
    assert report_of([(UPSERT, an_outcome(500, after=9))]).cooldown_until is None


def test_an_answer_just_before_an_outage_counts_once_however_many_reports_follow(
    pipeline: Pipeline,
) -> None:
    pipeline.admissions.report([(a_product(), an_outcome(200, Verdict.DELIVERED))])

    for number in range(20):
        pipeline.clock.advance(0.3)
        pipeline.admissions.report([(a_product(id=f"{number:024}"), an_outcome(503))])

    assert state(pipeline) is BreakerState.OPEN


def test_what_has_failed_in_a_burst_opens_the_breaker_when_no_call_follows(
    pipeline: Pipeline,
) -> None:
    failed = [(a_product(id=f"{number:024}"), an_outcome(503)) for number in range(20)]
    # The first report is written at once; the others follow within the same moment.
    for outcome in failed:
        pipeline.admissions.report([outcome])
    assert state(pipeline) is BreakerState.CLOSED

    pipeline.clock.advance(0.3)
    pipeline.admissions.write_if_due()

    assert state(pipeline) is BreakerState.OPEN


def test_a_process_at_rest_writes_nothing(pipeline: Pipeline) -> None:
    pipeline.store.away = True
    pipeline.admissions.write_if_due()


# ---- while it is open ----


def test_what_is_due_while_the_breaker_is_open_is_parked_without_a_call(
    pipeline: Pipeline,
) -> None:
    an_outage(pipeline)
    before = calls(pipeline)
    product_id = pipeline.create()

    pipeline.pass_on()

    product = pipeline.product(product_id)
    assert is_parked(product)
    assert (product.sync.status, product.sync.attempts) == (PENDING, 0)
    assert product.sync.overdue_at == pipeline.clock() + GRACE
    assert product.outbox == ()
    assert calls(pipeline) == before
    assert product_id not in [m.body for m in pipeline.queue.messages]


def test_a_retry_that_is_due_is_parked_with_its_attempts_and_its_plan(pipeline: Pipeline) -> None:
    ids = an_outage(pipeline)
    before = [pipeline.product(product_id).sync for product_id in ids]
    pipeline.clock.advance(60)
    # Another worker has the probe.
    pipeline.admissions.admit(1)

    pipeline.sync_once()

    after = [pipeline.product(product_id) for product_id in ids]
    assert all(is_parked(product) for product in after)
    assert [(p.sync.attempts, p.sync.aim_at, p.sync.ends_at) for p in after] == [
        (sync.attempts, sync.aim_at, sync.ends_at) for sync in before
    ]
    assert pipeline.queue.messages == []


def test_a_product_that_changes_while_it_is_parked_keeps_its_message(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_outage(pipeline)
    product_id = pipeline.create()
    monkeypatch.setattr(pipeline.store, "apply", lambda _: set())
    pipeline.pass_on()

    assert len([m for m in pipeline.queue.messages if product_id in m.body]) == 1
    assert pipeline.queue.messages[-1].visible_at == pipeline.clock() + timedelta(seconds=1)


def test_a_redrive_that_is_moved_back_while_the_breaker_is_open_is_parked_in_its_budget(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [422]
    pipeline.pass_on()
    an_outage(pipeline)
    pipeline.queue.send(pipeline.queue.dead[0].body)

    pipeline.sync_once()

    product = pipeline.product(product_id)
    assert is_parked(product)
    assert (product.sync.status, product.sync.budget, product.sync.attempts) == (PENDING, 1, 0)


def test_one_probe_is_made_and_its_failure_counts_nothing(pipeline: Pipeline) -> None:
    an_outage(pipeline)
    before = calls(pipeline)
    ids = [pipeline.create() for _ in range(3)]
    pipeline.clock.advance(3)

    pipeline.pass_on()

    assert calls(pipeline) == before + 1
    products = [pipeline.product(product_id) for product_id in ids]
    assert all(is_parked(product) for product in products)
    assert [(p.sync.status, p.sync.attempts, p.sync.history) for p in products] == [
        (PENDING, 0, ())
    ] * 3
    assert [p.sync.last_error for p in products].count("no answer") == 1
    assert state(pipeline) is BreakerState.OPEN


def test_a_probe_that_finds_a_rejection_counts_as_an_attempt_and_as_an_answer(
    pipeline: Pipeline,
) -> None:
    an_outage(pipeline)
    pipeline.supply_chain.away = False
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [422]
    pipeline.clock.advance(3)

    pipeline.pass_on()

    assert pipeline.product(product_id).sync.status is SyncStatus.REJECTED
    assert len(pipeline.queue.dead) == 1
    assert pipeline.store.stored_control.breaker.successes == 1


def test_a_probe_whose_claim_is_lost_leaves_its_place_to_another(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_outage(pipeline)
    pipeline.create()
    pipeline.clock.advance(3)
    monkeypatch.setattr(pipeline.store, "claim", lambda _: set())

    pipeline.pass_on()

    assert pipeline.store.stored_control.breaker.is_due(pipeline.clock())


def test_a_probe_that_begins_too_late_leaves_its_place_to_another(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_outage(pipeline)
    pipeline.create()
    pipeline.clock.advance(3)
    claim = pipeline.store.claim

    def slow(claims: Sequence[object]) -> set[str]:
        pipeline.clock.advance(10)
        return claim(claims)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(pipeline.store, "claim", slow)
    before = calls(pipeline)
    pipeline.pass_on()

    assert calls(pipeline) == before
    assert pipeline.store.stored_control.breaker.is_due(pipeline.clock())


def test_where_nothing_arrives_reconcile_enqueues_the_product_for_the_next_probe(
    pipeline: Pipeline,
) -> None:
    an_outage(pipeline)
    before = calls(pipeline)
    for _ in range(3):
        pipeline.clock.advance(3)
        pipeline.reconcile_once(seconds=0)
        pipeline.sync_once()

    assert calls(pipeline) == before + 3
    # Each of another product: one alone cannot keep the breaker open.
    assert len({call.product_id for call in pipeline.supply_chain.calls[before:]}) == 3


def test_a_probe_is_found_behind_many_deletions_that_the_stream_keeps_waiting(
    pipeline: Pipeline,
) -> None:
    an_outage(pipeline)
    pipeline.stream.broken.add("publish")
    confirmed = SyncState(status=DELIVERED, overdue_at=pipeline.clock())
    for _ in range(30):
        pipeline.put(sync=confirmed, deleted_at=START)

    end_of_outage(pipeline)


def test_reconcile_enqueues_nothing_overdue_while_the_breaker_is_open(pipeline: Pipeline) -> None:
    an_outage(pipeline)
    parked = [pipeline.create() for _ in range(3)]
    pipeline.pass_on()
    pipeline.clock.advance(GRACE.total_seconds() + 1)
    pipeline.store.stored_control = replace(
        pipeline.store.stored_control,
        breaker=replace(pipeline.store.stored_control.breaker, probe_at=pipeline.clock() + GRACE),
    )

    assert pipeline.reconcile_once(seconds=0).enqueued == 0
    overdue = [pipeline.product(product_id).sync.overdue_at for product_id in parked]
    assert all(time and time >= pipeline.clock() + GRACE for time in overdue)


def test_a_run_of_reconcile_lasts_as_long_as_it_may_while_the_breaker_is_open(
    pipeline: Pipeline,
) -> None:
    an_outage(pipeline)
    begun = pipeline.clock()

    pipeline.reconcile_once(seconds=30)

    assert pipeline.clock() - begun == timedelta(seconds=30)
    # One message a second at most, for probes that nobody makes.
    assert len(pipeline.queue.messages) <= 4 + 30


# ---- when it is over ----


def test_everything_that_waited_is_delivered_soon_after_the_outage(pipeline: Pipeline) -> None:
    failed = an_outage(pipeline)
    parked = [pipeline.create() for _ in range(50)]
    while pipeline.pass_on():
        pass
    pipeline.clock.advance(6 * 3600)

    end_of_outage(pipeline)
    converge(pipeline, seconds=20)

    assert set(statuses(pipeline, [*failed, *parked])) == {DELIVERED}


def test_a_long_wait_ends_with_the_outage_and_is_not_a_new_budget(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500] * 12
    for _ in range(12):
        pipeline.pass_on()
        due = pipeline.product(product_id).sync.next_attempt_at
        assert due is not None
        pipeline.clock.now = due + timedelta(seconds=1)
    pipeline.clock.now -= timedelta(hours=1)
    an_outage(pipeline)

    end_of_outage(pipeline)
    converge(pipeline, seconds=5)

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.attempts) == (DELIVERED, 13)


def test_the_oldest_change_is_brought_forward_first(pipeline: Pipeline) -> None:
    an_outage(pipeline)
    parked = []
    for _ in range(60):
        parked.append(pipeline.create())
        pipeline.clock.advance(0.02)
        pipeline.pass_on()
    end_of_outage(pipeline)
    before = calls(pipeline)

    converge(pipeline, seconds=30)

    called = [call.product_id for call in pipeline.supply_chain.calls[before:]]
    order = [product_id for product_id in called if product_id in parked]
    assert len(order) > 50
    moved = [abs(order.index(product_id) - parked.index(product_id)) for product_id in order]
    # The calls of one batch are made in parallel.
    assert max(moved) < 20


def test_what_is_on_its_way_does_not_delay_what_is_brought_forward() -> None:
    pipeline = a_pipeline(max_rate=20)
    later = START + timedelta(hours=1)
    for _ in range(300):
        pipeline.put(sync=SyncState(behind_since=START, overdue_at=later), outbox=())
    pipeline.clock.advance(1)
    parked = SyncState(behind_since=pipeline.clock(), parked=True, overdue_at=later)
    waiting = pipeline.put(sync=parked, outbox=())
    pipeline.operations.control({"paused": True})
    pipeline.operations.control({"paused": False})

    converge(pipeline, seconds=4)

    assert statuses(pipeline, [waiting.id]) == [DELIVERED]


def test_what_is_overdue_does_not_wait_for_the_end_of_the_catch_up(pipeline: Pipeline) -> None:
    an_outage(pipeline)
    for _ in range(200):
        pipeline.create()
        pipeline.pass_on()
    end_of_outage(pipeline)
    pipeline.clock.advance(1)
    young = pipeline.put(
        sync=SyncState(behind_since=pipeline.clock(), overdue_at=pipeline.clock()), outbox=()
    )

    converge(pipeline, seconds=3)

    assert pipeline.store.stored_control.catch_up is not None
    assert statuses(pipeline, [young.id]) == [DELIVERED]


def test_what_is_brought_forward_comes_at_the_rate_of_the_ramp(pipeline: Pipeline) -> None:
    an_outage(pipeline)
    for _ in range(200):
        pipeline.create()
        pipeline.pass_on()
    end_of_outage(pipeline)
    begun, before = pipeline.clock(), calls(pipeline)

    converge(pipeline, seconds=5)

    assert pipeline.clock() - begun == timedelta(seconds=5)
    # 20 per second, and one second's permits that were saved.
    assert 80 <= calls(pipeline) - before <= 120


def test_a_product_that_always_fails_does_not_keep_the_breaker_open(pipeline: Pipeline) -> None:
    poison, *others = an_outage(pipeline)
    pipeline.supply_chain.answers[poison] = [500] * 1000

    end_of_outage(pipeline)
    converge(pipeline, seconds=10)

    assert state(pipeline) is BreakerState.CLOSED
    assert set(statuses(pipeline, others)) == {DELIVERED}


def test_many_old_changes_that_always_fail_do_not_keep_the_breaker_open(
    pipeline: Pipeline,
) -> None:
    due = pipeline.clock() + timedelta(hours=8)
    waits = SyncState(
        status=RETRYING,
        attempts=12,
        behind_since=START,
        next_attempt_at=due,
        overdue_at=due + GRACE,
        last_error="HTTP 500",
    )
    poison = [pipeline.put(sync=waits).id for _ in range(30)]
    pipeline.supply_chain.answers = {product_id: [500] * 1000 for product_id in poison}
    pipeline.clock.advance(60)
    others = an_outage(pipeline)

    end_of_outage(pipeline)
    converge(pipeline, seconds=60)

    assert set(statuses(pipeline, others)) == {DELIVERED}


def test_products_that_always_fail_open_the_breaker_once_at_most(pipeline: Pipeline) -> None:
    poison = an_outage(pipeline, products=12)
    for product_id in poison:
        pipeline.supply_chain.answers[product_id] = [500] * 1000
    pipeline.supply_chain.away = False
    good, opened = [], set()

    for _ in range(300):
        good.append(pipeline.create())
        pipeline.bridge_once()
        converge(pipeline, seconds=1)
        breaker = pipeline.store.stored_control.breaker
        opened.add(breaker.since if breaker.state is BreakerState.OPEN else None)

    assert len(opened) <= 2
    assert state(pipeline) is BreakerState.CLOSED
    assert set(statuses(pipeline, good[:-5])) == {DELIVERED}


def test_a_worker_that_does_not_know_of_the_end_yet_parks_nothing(pipeline: Pipeline) -> None:
    an_outage(pipeline)
    pipeline.store.stored_control = Control()
    pipeline.supply_chain.away = False
    product_id = pipeline.create()

    pipeline.pass_on()

    assert pipeline.product(product_id).sync.status is DELIVERED


def test_a_change_after_the_outage_is_not_brought_forward(pipeline: Pipeline) -> None:
    an_outage(pipeline)
    end_of_outage(pipeline)
    product_id = pipeline.create()
    pipeline.clock.advance(1)

    converge(pipeline, seconds=3)

    assert pipeline.product(product_id).sync.status is PENDING
    assert product_id not in "".join(message.body for message in pipeline.queue.messages)


def test_a_copy_that_learns_late_of_the_end_of_a_catch_up_brings_nothing_forward(
    pipeline: Pipeline,
) -> None:
    (product_id, *_) = an_outage(pipeline)
    late = CatchUp(pipeline.clock())
    before = pipeline.product(product_id)
    assert bring_forward(before, late.since, pipeline.clock()) is not None

    assert pipeline.reconcile._convergence.bring_forward(late, 10) == 0

    assert pipeline.product(product_id) == before


def test_a_message_that_is_on_its_way_is_not_doubled_by_the_end_of_an_outage(
    pipeline: Pipeline,
) -> None:
    an_outage(pipeline)
    product_id = pipeline.create()
    pipeline.bridge_once()
    waiting = pipeline.queue.messages[-1]
    pipeline.queue.messages.remove(waiting)
    end_of_outage(pipeline)
    pipeline.queue.messages.append(waiting)

    assert pipeline.reconcile_once(seconds=2).forwarded >= 0
    bodies = [message.body for message in pipeline.queue.messages]
    assert len([body for body in bodies if product_id in body]) == 1


def test_a_product_that_fails_again_before_its_time_goes_back_to_its_plan(
    pipeline: Pipeline,
) -> None:
    (product_id, *_) = an_outage(pipeline)
    pipeline.supply_chain.answers[product_id] = [500, 200]
    planned = pipeline.product(product_id).sync.next_attempt_at
    # A wait that is longer than the outage.
    far = pipeline.clock() + timedelta(hours=5)
    product = pipeline.product(product_id)
    sync = replace(product.sync, next_attempt_at=far, aim_at=far, overdue_at=far + GRACE)
    pipeline.store.products[product_id] = replace(product, sync=sync)
    assert planned is not None

    end_of_outage(pipeline)
    converge(pipeline, seconds=3)

    after = pipeline.product(product_id).sync
    assert (after.status, after.attempts, after.next_attempt_at) == (RETRYING, 1, far)
    assert (after.planned_at, after.aim_at, after.overdue_at) == (None, far, far)
    assert is_parked(pipeline.product(product_id))
    assert len(after.history) == 2


def test_an_outage_moves_the_end_of_the_horizon_by_as_much_as_it_delays(
    pipeline: Pipeline,
) -> None:
    (product_id, *_) = an_outage(pipeline)
    before = pipeline.product(product_id).sync
    # An answer, so that it counts even as a probe.
    pipeline.supply_chain.answers[product_id] = [400]
    pipeline.clock.advance(20 * 3600)
    end_of_outage(pipeline)
    converge(pipeline, seconds=3)

    after = pipeline.product(product_id).sync
    assert before.ends_at is not None
    assert after.ends_at is not None
    assert after.ends_at - before.ends_at > timedelta(hours=19.9)


def test_what_was_tried_only_after_the_outage_is_not_brought_forward(pipeline: Pipeline) -> None:
    an_outage(pipeline)
    product_id = pipeline.create()
    pipeline.pass_on()
    end_of_outage(pipeline)
    pipeline.clock.advance(1)
    ended = pipeline.store.stored_control.catch_up
    product = pipeline.product(product_id)
    waits = pipeline.clock() + timedelta(hours=3)
    sync = replace(
        product.sync,
        status=RETRYING,
        attempts=1,
        first_attempt_at=pipeline.clock(),
        next_attempt_at=waits,
        overdue_at=waits + GRACE,
        parked=False,
    )
    pipeline.store.products[product_id] = replace(product, sync=sync)
    assert ended is not None

    converge(pipeline, seconds=3)

    assert pipeline.product(product_id).sync.next_attempt_at == waits


def test_a_second_outage_during_the_catch_up_parks_the_rest(pipeline: Pipeline) -> None:
    an_outage(pipeline)
    parked = [pipeline.create() for _ in range(80)]
    while pipeline.pass_on():
        pass
    end_of_outage(pipeline)
    converge(pipeline, seconds=2)
    pipeline.supply_chain.away = True
    converge(pipeline, seconds=5)
    assert state(pipeline) is not BreakerState.CLOSED

    end_of_outage(pipeline)
    converge(pipeline, seconds=30)

    assert set(statuses(pipeline, parked)) == {DELIVERED}


def test_what_is_overdue_during_an_outage_is_delivered_when_it_ends(pipeline: Pipeline) -> None:
    """Its message was lost, or a crash came between bringing it forward and its message."""
    an_outage(pipeline)
    lost = pipeline.create()
    pipeline.bridge_once()
    pipeline.queue.messages.clear()
    # So late that the next look at it is an hour later.
    pipeline.clock.advance(7200)
    control = pipeline.store.stored_control
    later = replace(control.breaker, probe_at=pipeline.clock() + timedelta(seconds=1))
    pipeline.store.stored_control = replace(control, breaker=later)
    pipeline.reconcile_once(seconds=0)
    assert pipeline.product(lost).sync.parked

    end_of_outage(pipeline)
    converge(pipeline, seconds=30)

    assert pipeline.product(lost).sync.status is SyncStatus.DELIVERED


def test_what_is_parked_just_after_the_outage_keeps_its_message(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_outage(pipeline)
    late, apply = pipeline.create(), pipeline.store.apply

    def after_the_outage(transitions: Sequence[Transition]) -> set[str]:
        """All that waited was brought forward meanwhile."""
        stored = pipeline.store.stored_control
        fresh = replace(stored, breaker=Breaker(), revision=stored.revision + 1)
        pipeline.store.stored_control = fresh
        return apply(transitions)

    monkeypatch.setattr(pipeline.store, "apply", after_the_outage)
    pipeline.pass_on()
    pipeline.supply_chain.away = False
    pipeline.clock.advance(2)
    pipeline.sync_once()

    assert pipeline.product(late).sync.status is SyncStatus.DELIVERED

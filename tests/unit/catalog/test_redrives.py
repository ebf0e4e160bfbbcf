"""A redrive of many products: page by page, by the request and then by reconcile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases import reconcile
from chalicelib.usecases.operations import Operations
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
    restarted,
)

if TYPE_CHECKING:
    pass

REDRIVEN_AT_ONCE = 10
FIRST = 2 * REDRIVEN_AT_ONCE
"""What a request for both statuses restarts itself."""
MANY = FIRST + 15
PAGE = 6


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The use cases, with small pages, long after anything has failed."""
    monkeypatch.setattr(reconcile.Reconcile, "page", PAGE)
    monkeypatch.setattr(Operations, "redriven_at_once", REDRIVEN_AT_ONCE)
    made = Pipeline()
    made.clock.advance(3600)
    return made


def put_failed(
    pipeline: Pipeline, number: int = MANY, status: SyncStatus = SyncStatus.EXHAUSTED
) -> list[str]:
    """Store failed products, each a second younger than the one before; their ids."""
    failed = a_failed_state(status)
    return [
        pipeline.put(sync=replace(failed, behind_since=START + timedelta(seconds=n)), outbox=()).id
        for n in range(number)
    ]


def test_a_request_restarts_the_first_page_and_says_how_many_there_are(pipeline: Pipeline) -> None:
    ids = put_failed(pipeline)

    assert pipeline.operations.redrive({})["count"] == MANY

    assert messages(pipeline) == Counter(ids[:FIRST])
    assert restarted(pipeline) == FIRST


def test_a_redrive_is_shown_while_it_is_under_way(pipeline: Pipeline) -> None:
    put_failed(pipeline)
    shown = {"startedAt": "2026-01-01T01:00:00.000Z", "count": MANY, "done": FIRST}

    pipeline.operations.redrive({})
    assert progress(pipeline) == shown
    pipeline.reconcile_once(seconds=0)
    assert progress(pipeline) == {**shown, "done": FIRST + PAGE}

    finish(pipeline)
    assert progress(pipeline) is None


def test_reconcile_restarts_the_rest_within_one_run_if_there_is_time(pipeline: Pipeline) -> None:
    ids = put_failed(pipeline)
    pipeline.operations.redrive({})

    assert pipeline.reconcile_once().redriven == MANY - FIRST

    assert messages(pipeline) == Counter(ids)
    deliver(pipeline)
    assert {pipeline.product(item).sync.status for item in ids} == {SyncStatus.DELIVERED}


def test_the_next_run_goes_on_where_the_time_was_up(pipeline: Pipeline) -> None:
    ids = put_failed(pipeline)
    pipeline.operations.redrive({})

    runs = [pipeline.reconcile_once(seconds=0).redriven for _ in range(3)]

    assert runs == [PAGE, PAGE, MANY - FIRST - 2 * PAGE]
    assert messages(pipeline) == Counter(ids)


def test_both_statuses_are_redriven_oldest_first_each(pipeline: Pipeline) -> None:
    exhausted = put_failed(pipeline, REDRIVEN_AT_ONCE + 2)
    rejected = put_failed(pipeline, 2, SyncStatus.REJECTED)

    assert pipeline.operations.redrive({})["count"] == REDRIVEN_AT_ONCE + 4
    finish(pipeline)

    assert list(messages(pipeline)) == [*exhausted, *rejected]


POINTS = [
    ("store", "apply"),
    ("queue", "enqueue"),
    ("store", "postpone"),
    ("store", "save_control"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("part", "method"), POINTS)
def test_after_a_crash_all_are_redriven_once(
    pipeline: Pipeline, part: str, method: str, *, after: bool
) -> None:
    ids = put_failed(pipeline)
    pipeline.operations.redrive({})
    killed(pipeline, part, method, after=after)
    with pytest.raises(CrashError):
        pipeline.reconcile_once()
    pipeline.connect()

    finish(pipeline)
    pipeline.clock.advance(GRACE.total_seconds() + 1)
    pipeline.reconcile_once()
    deliver(pipeline)

    assert [pipeline.product(item).sync.budget for item in ids] == [1] * MANY
    assert {pipeline.product(item).sync.status for item in ids} == {SyncStatus.DELIVERED}
    assert {len(pipeline.supply_chain.versions(item)) for item in ids} == {1}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("method", ["apply", "save_control"])
def test_a_request_that_crashes_leaves_all_or_nothing_to_reconcile(
    pipeline: Pipeline, method: str, *, after: bool
) -> None:
    put_failed(pipeline)
    killed(pipeline, "store", method, after=after)
    with pytest.raises(CrashError):
        pipeline.operations.redrive({})
    begun = pipeline.store.stored_control.redrive is not None
    pipeline.connect()

    finish(pipeline)

    assert begun == ((method, after) != ("save_control", False))
    assert restarted(pipeline) == (MANY if begun else 0)


@pytest.mark.parametrize("status", [422, 500])
def test_what_fails_again_during_a_redrive_is_not_restarted_again(
    status: int, pipeline: Pipeline
) -> None:
    # The exhausted ones come first: rejected now, they would come again with the rejected ones.
    exhausted = put_failed(pipeline, 5)
    rejected = put_failed(pipeline, MANY, SyncStatus.REJECTED)
    for product_id in exhausted:
        pipeline.supply_chain.answers[product_id] = [status] * 40
    pipeline.operations.redrive({})
    pipeline.clock.advance(1)
    for _ in range(3):
        deliver(pipeline)
        pipeline.reconcile_once(seconds=0)
    finish(pipeline)
    deliver(pipeline)

    assert [pipeline.product(item).sync.budget for item in exhausted] == [1] * 5
    assert [pipeline.product(item).sync.budget for item in rejected] == [1] * MANY


def test_what_fails_for_the_first_time_during_a_redrive_is_left_alone(pipeline: Pipeline) -> None:
    put_failed(pipeline)
    pipeline.operations.redrive({})
    pipeline.clock.advance(1)
    late = pipeline.create()
    pipeline.supply_chain.answers[late] = [422]
    pipeline.bridge_once()
    deliver(pipeline)

    finish(pipeline)

    assert pipeline.product(late).sync.status is SyncStatus.REJECTED
    assert pipeline.product(late).sync.budget == 0


def test_a_second_redrive_begins_again_with_the_statuses_of_both(pipeline: Pipeline) -> None:
    exhausted = put_failed(pipeline)
    rejected = put_failed(pipeline, 10, SyncStatus.REJECTED)
    pipeline.operations.redrive({"status": "exhausted"})
    pipeline.clock.advance(60)

    assert pipeline.operations.redrive({"status": "rejected"})["count"] == 10

    shown = progress(pipeline)
    assert shown is not None
    assert (shown["count"], shown["startedAt"]) == (
        MANY - REDRIVEN_AT_ONCE + 10,
        "2026-01-01T01:01:00.000Z",
    )
    finish(pipeline)
    assert messages(pipeline) == Counter([*exhausted, *rejected])


def test_what_failed_again_before_a_second_redrive_is_restarted_by_it(pipeline: Pipeline) -> None:
    ids = put_failed(pipeline)
    pipeline.supply_chain.answers[ids[0]] = [422]
    pipeline.operations.redrive({})
    deliver(pipeline)
    pipeline.clock.advance(60)

    pipeline.operations.redrive({})
    finish(pipeline)
    deliver(pipeline)

    assert pipeline.product(ids[0]).sync.budget == 2
    assert {pipeline.product(item).sync.budget for item in ids[1:]} == {1}
    assert {pipeline.product(item).sync.status for item in ids} == {SyncStatus.DELIVERED}


def test_two_copies_of_reconcile_restart_each_product_once_and_count_each(
    pipeline: Pipeline,
) -> None:
    ids = put_failed(pipeline)
    pipeline.operations.redrive({})
    find = pipeline.store.find

    def meanwhile(query: object) -> object:
        page = find(query)  # type: ignore[arg-type]  # passed on
        pipeline.store.find = find  # type: ignore[method-assign]
        # Another copy does the same page, and a part of the next.
        pipeline.reconcile_once(seconds=0)
        return page

    pipeline.store.find = meanwhile  # type: ignore[method-assign, assignment]
    pipeline.reconcile_once(seconds=0)

    shown = progress(pipeline)
    assert shown is not None
    assert shown["done"] == restarted(pipeline)
    finish(pipeline)
    assert messages(pipeline) == Counter(ids)
    assert {pipeline.product(item).sync.budget for item in ids} == {1}


# ---- while no calls are allowed ----


@pytest.mark.parametrize("why", HELD)
def test_while_no_calls_are_allowed_all_are_restarted_and_delivered_afterwards(
    pipeline: Pipeline, why: str
) -> None:
    hold, release = HELD[why]
    ids = put_failed(pipeline)
    hold(pipeline)

    assert pipeline.operations.redrive({})["count"] == MANY
    pipeline.reconcile_once(seconds=5)
    assert restarted(pipeline) == MANY
    # At most those for probes, one a second.
    assert len(pipeline.queue.messages) <= (0 if why == "paused" else 6)

    release(pipeline)
    for _ in range(60):
        pipeline.reconcile_once(seconds=5)
        deliver(pipeline)
        pipeline.clock.advance(2)
    assert {pipeline.product(item).sync.status for item in ids} == {SyncStatus.DELIVERED}
    assert {pipeline.product(item).sync.budget for item in ids} == {1}


def test_a_redrive_of_a_paused_sync_waits_without_further_writes(pipeline: Pipeline) -> None:
    put_failed(pipeline)
    pause(pipeline)
    pipeline.operations.redrive({})
    for _ in range(2):
        pipeline.reconcile_once()
    pipeline.store.broken = {"postpone", "apply"}

    assert pipeline.reconcile_once() == reconcile.Reconciled()


# ---- the queue is away ----


def test_what_the_queue_does_not_take_is_restarted_and_enqueued_later(pipeline: Pipeline) -> None:
    ids = put_failed(pipeline)
    pipeline.operations.redrive({})
    pipeline.queue.away = True

    pipeline.reconcile_once()
    assert restarted(pipeline) == MANY
    pipeline.queue.away = False
    pipeline.reconcile_once()

    assert messages(pipeline) == Counter(ids)

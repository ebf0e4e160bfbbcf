"""The sync as operators see it: state, summary, replay and redrive."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

import pytest
from bson import ObjectId

from chalicelib.domain.errors import (
    ConcurrentChangeError,
    PayloadTooLargeError,
    ProductNotFoundError,
)
from chalicelib.domain.events import Event
from chalicelib.domain.exact_json import Json
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.catalog import Precondition
from chalicelib.usecases.collisions import TRIES
from tests.fakes import BODY, GRACE, START, Pipeline, a_failed_state
from tests.unit.catalog.steps import SOMEBODY, bodies_in_queue, faults


def test_the_state_of_a_sync_tells_each_attempt(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500]
    pipeline.pass_on()

    state = pipeline.operations.sync_state(product_id)

    assert (state["status"], state["attempts"], state["lastError"]) == ("retrying", 1, "HTTP 500")
    assert [attempt["statusCode"] for attempt in state["history"]] == [500]


def test_the_state_of_a_deleted_product_can_be_seen_until_it_is_gone(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.catalog.delete(product_id, Precondition(), SOMEBODY)

    assert pipeline.operations.sync_state(product_id)["deleted"] is True


@pytest.mark.parametrize("use", ["sync_state", "replay"])
def test_there_is_no_sync_of_a_product_that_is_not_there(pipeline: Pipeline, use: str) -> None:
    with pytest.raises(ProductNotFoundError):
        getattr(pipeline.operations, use)(str(ObjectId()))


def test_the_summary_counts_every_status(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.clock.advance(90)

    summary = pipeline.operations.summary()

    assert summary["products"] == {
        "pending": 1,
        "retrying": 0,
        "delivered": 0,
        "exhausted": 0,
        "rejected": 0,
    }
    assert summary["oldestUndeliveredSeconds"] == 90.0
    assert (summary["outboxBacklog"], summary["unreadable"]) == (0, 0)


def test_nothing_undelivered_has_no_age(pipeline: Pipeline) -> None:
    assert pipeline.operations.summary()["oldestUndeliveredSeconds"] is None


def put_failed(pipeline: Pipeline, status: SyncStatus) -> Product:
    return pipeline.put(sync=a_failed_state(status), outbox=())


def test_a_replay_enqueues_the_newest_version_with_a_fresh_budget(pipeline: Pipeline) -> None:
    product = put_failed(pipeline, SyncStatus.EXHAUSTED)

    state = pipeline.operations.replay(product.id)

    assert (state["status"], state["attempts"]) == ("pending", 0)
    assert bodies_in_queue(pipeline) == [SyncMessage(product.id, 0, 1).to_json()]


def test_a_redrive_is_bulk_and_a_replay_is_not(pipeline: Pipeline) -> None:
    redriven = put_failed(pipeline, SyncStatus.EXHAUSTED)
    pipeline.operations.redrive({})
    replayed = put_failed(pipeline, SyncStatus.EXHAUSTED)
    pipeline.operations.replay(replayed.id)

    assert len(pipeline.queue.messages) == 2
    assert pipeline.queue.bulk == [redriven.id]


def test_a_replay_that_was_enqueued_is_not_overdue(pipeline: Pipeline) -> None:
    product = put_failed(pipeline, SyncStatus.EXHAUSTED)

    pipeline.operations.replay(product.id)

    assert pipeline.product(product.id).sync.overdue_at == START + GRACE


def test_a_replay_is_taken_while_the_queue_is_away_and_reconcile_enqueues_it(
    pipeline: Pipeline,
) -> None:
    product = put_failed(pipeline, SyncStatus.REJECTED)
    pipeline.queue.away = True

    assert pipeline.operations.replay(product.id)["status"] == "pending"
    pipeline.queue.away = False
    pipeline.clock.advance(GRACE.total_seconds())
    assert pipeline.reconcile_once().enqueued == 1


def test_a_delivered_product_can_be_replayed(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.pass_on()

    pipeline.operations.replay(product_id)
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 0]


def late_replays(pipeline: Pipeline, times: int) -> list[int]:
    """Let somebody write between the look and the write of a replay; the revisions it saw."""
    save_sync, seen = pipeline.store.save_sync, list[int]()

    def late(product: Product, *, expected_revision: int, event: Event | None = None) -> bool:
        if len(seen) < times:
            pipeline.update(product.id, name=f"other {len(seen)}")
        seen.append(expected_revision)
        return save_sync(product, expected_revision=expected_revision, event=event)

    pipeline.store.save_sync = late  # type: ignore[method-assign]
    return seen


def test_a_replay_is_of_the_version_that_is_the_newest_when_it_is_written(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    product_id = pipeline.create()
    seen = late_replays(pipeline, 1)

    state = pipeline.operations.replay(product_id)

    assert (state["version"], state["budget"]) == (1, 1)
    assert seen == [0, 1]


def test_a_replay_that_never_comes_first_is_given_up(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    product_id = pipeline.create()
    late_replays(pipeline, TRIES)

    with pytest.raises(ConcurrentChangeError):
        pipeline.operations.replay(product_id)
    assert bodies_in_queue(pipeline) == []


def test_each_replay_is_of_the_next_budget_and_a_write_starts_at_0(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    assert [pipeline.operations.replay(product_id)["budget"] for _ in range(2)] == [1, 2]

    pipeline.update(product_id, name="Other")

    assert pipeline.operations.sync_state(product_id)["budget"] == 0


def test_a_redrive_enqueues_no_failed_product_whose_letter_is_owed(pipeline: Pipeline) -> None:
    owed = pipeline.put(
        sync=replace(a_failed_state(SyncStatus.REJECTED), overdue_at=START), outbox=()
    )
    exhausted = put_failed(pipeline, SyncStatus.EXHAUSTED)

    assert pipeline.operations.redrive({"status": "exhausted"})["count"] == 1
    # The one that is owed may be in its way; reconcile enqueues the rest.
    pipeline.reconcile_once()
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(exhausted.id) == [0]
    assert pipeline.supply_chain.versions(owed.id) == []
    assert pipeline.product(owed.id).sync.status is SyncStatus.REJECTED


def test_what_a_redrive_has_enqueued_is_not_enqueued_by_reconcile_too(
    pipeline: Pipeline,
) -> None:
    put_failed(pipeline, SyncStatus.EXHAUSTED)
    pipeline.operations.redrive({})

    assert pipeline.reconcile_once().enqueued == 0


def test_a_product_cannot_grow_beyond_what_a_request_may_have(pipeline: Pipeline) -> None:
    def attributes(start: int) -> Json:
        return {"attributes": {str(n): "\u20ac" * 1000 for n in range(start, start + 50)}}

    product_id = pipeline.catalog.create({**BODY, **attributes(0)}, SOMEBODY)["id"]

    with pytest.raises(PayloadTooLargeError):
        pipeline.catalog.merge(product_id, attributes(50), Precondition(), SOMEBODY)

    assert pipeline.product(product_id).version == 0


def test_a_redrive_replays_all_that_has_failed(pipeline: Pipeline) -> None:
    products = [
        put_failed(pipeline, status) for status in (SyncStatus.EXHAUSTED, SyncStatus.REJECTED)
    ]
    delivered = pipeline.create()
    pipeline.pass_on()

    assert pipeline.operations.redrive({})["count"] == 2
    pipeline.sync_once()

    assert {call.product_id for call in pipeline.supply_chain.calls[1:]} == {p.id for p in products}
    assert pipeline.supply_chain.versions(delivered) == [0]


def test_a_redrive_can_be_for_one_status_only(pipeline: Pipeline) -> None:
    put_failed(pipeline, SyncStatus.EXHAUSTED)
    rejected = put_failed(pipeline, SyncStatus.REJECTED)

    assert pipeline.operations.redrive({"status": "rejected"})["count"] == 1
    assert bodies_in_queue(pipeline) == [SyncMessage(rejected.id, 0, 1).to_json()]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "delivered"}, "status"),
        ({"status": "lost"}, "status"),
        ({"all": True}, "all"),
        ([], "body"),
    ],
)
def test_a_redrive_of_what_has_not_failed_is_refused(
    pipeline: Pipeline, body: object, field: str
) -> None:
    assert list(faults(lambda: pipeline.operations.redrive(body))) == [field]


def test_a_redrive_while_the_queue_is_away_is_left_to_reconcile(pipeline: Pipeline) -> None:
    product = put_failed(pipeline, SyncStatus.EXHAUSTED)
    pipeline.queue.away = True
    assert pipeline.operations.redrive({})["count"] == 1
    pipeline.queue.away = False

    pipeline.reconcile_once()
    pipeline.sync_once()

    assert pipeline.product(product.id).sync.status is SyncStatus.DELIVERED


def test_a_redrive_of_nothing_enqueues_nothing(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.clock.advance(GRACE / timedelta(seconds=1) + 1)

    assert pipeline.operations.redrive({})["count"] == 0
    assert bodies_in_queue(pipeline) == []


@pytest.mark.parametrize("purged", [True, False])
def test_what_waits_for_its_first_attempt_gets_another_message_and_is_delivered_once(
    pipeline: Pipeline, *, purged: bool
) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    if purged:
        pipeline.queue.messages.clear()

    assert pipeline.operations.redrive({"status": "pending"})["count"] == 1
    while pipeline.queue.messages:
        pipeline.sync_once()

    assert pipeline.product(product_id).sync.status is SyncStatus.DELIVERED
    assert len(pipeline.supply_chain.calls) == 1

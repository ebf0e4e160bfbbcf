"""What heals everything that was lost on the way, on fakes."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import OUTBOX_PAGE
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.domain.throughput import MINUTE, Minute
from chalicelib.usecases.enqueuing import AT_ONCE
from chalicelib.usecases.reconcile import ACTIVITY_KEPT, RELAY_PAGE, Reconcile, Reconciled
from tests.fakes import GRACE, START, Pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE = 3 * AT_ONCE
"""A page that the parts of an enqueuing fill, and small: no test needs a thousand products."""
IN_TIME = GRACE / timedelta(seconds=1)
HOUR = timedelta(hours=1)
CONFIRMED: dict[str, Any] = {
    "version": 1,
    "deleted_at": START,
    "sync": SyncState(SyncStatus.DELIVERED, overdue_at=START),
}
"""A product whose deletion the supply chain has confirmed."""


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The use cases, with small pages."""
    monkeypatch.setattr(Reconcile, "page", PAGE)
    return Pipeline()


def put(pipeline: Pipeline, number: int = 1, **changes: Any) -> list[str]:  # noqa: ANN401 - of Product
    """Store products as a crashed writer leaves them; their ids."""
    return [pipeline.put(**changes).id for _ in range(number)]


def overdue(pipeline: Pipeline, number: int = 1) -> list[str]:
    return put(pipeline, number, outbox=(), sync=SyncState(behind_since=START, overdue_at=START))


def outbox_of(pipeline: Pipeline) -> list[str]:
    return [event.id for product in pipeline.store.products.values() for event in product.outbox]


def enqueued(pipeline: Pipeline) -> list[str]:
    return [json.loads(message.body)["productId"] for message in pipeline.queue.messages]


def gauges(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The metrics that were written."""
    found: dict[str, Any] = {}
    for line in capsys.readouterr().out.splitlines():
        found |= json.loads(line) if "_aws" in line else {}
    return found


# ---- outboxes ----


def test_an_event_that_its_writer_left_unpublished_is_published(pipeline: Pipeline) -> None:
    put(pipeline)
    pipeline.clock.advance(IN_TIME + 1)

    assert pipeline.reconcile_once().relayed == 1
    assert len(pipeline.stream.log) == 1
    assert outbox_of(pipeline) == []


def test_an_event_that_is_just_written_is_left_to_its_writer(pipeline: Pipeline) -> None:
    put(pipeline)
    pipeline.clock.advance(IN_TIME)

    assert pipeline.reconcile_once().relayed == 0


def test_an_event_that_a_failover_may_take_back_is_not_published(pipeline: Pipeline) -> None:
    put(pipeline)
    pipeline.store.committed = dict  # type: ignore[method-assign]  # the majority holds nothing
    pipeline.clock.advance(IN_TIME + 1)

    assert pipeline.reconcile_once().relayed == 0
    assert pipeline.stream.log == []


def test_all_outboxes_are_relayed_page_by_page(pipeline: Pipeline) -> None:
    put(pipeline, 2 * RELAY_PAGE + 1)
    pipeline.clock.advance(IN_TIME + 1)

    assert pipeline.reconcile_once().relayed == 2 * RELAY_PAGE + 1


def test_a_long_outbox_is_relayed_whole_in_order(pipeline: Pipeline) -> None:
    pipeline.stream.away = True
    product_id = pipeline.create()
    for quantity in range(3 * OUTBOX_PAGE):
        pipeline.update(product_id, quantity=quantity)
    pipeline.stream.away = False
    pipeline.clock.advance(IN_TIME + 1)

    assert pipeline.reconcile_once().relayed == 3 * OUTBOX_PAGE + 1
    versions = [json.loads(message.data)["data"]["version"] for message in pipeline.stream.log]
    assert versions == list(range(3 * OUTBOX_PAGE + 1))


def test_relaying_ends_when_the_time_is_up_and_all_else_is_done(pipeline: Pipeline) -> None:
    put(pipeline, 2, sync=SyncState(SyncStatus.DELIVERED))
    (late,) = overdue(pipeline)
    pipeline.clock.advance(IN_TIME + 1)

    assert pipeline.reconcile_once(seconds=0).relayed == 0
    assert enqueued(pipeline) == [late]


def test_an_event_that_the_stream_refuses_does_not_hold_up_the_others(pipeline: Pipeline) -> None:
    refused, *_ = put(pipeline, 2 * RELAY_PAGE)
    pipeline.stream.refused = {pipeline.product(refused).outbox[0].id}
    pipeline.clock.advance(IN_TIME + 1)

    assert pipeline.reconcile_once().relayed == 2 * RELAY_PAGE - 1


def test_relaying_stops_when_the_stream_is_away_and_the_rest_is_done(pipeline: Pipeline) -> None:
    put(pipeline, 2 * RELAY_PAGE, sync=SyncState(SyncStatus.DELIVERED))
    (late,) = overdue(pipeline)
    pipeline.stream.away = True
    pipeline.clock.advance(IN_TIME + 1)
    pages = []
    unpublished = pipeline.store.unpublished
    pipeline.store.unpublished = lambda *args: pages.append(args) or unpublished(*args)  # type: ignore[method-assign, func-returns-value]

    assert pipeline.reconcile_once().relayed == 0
    assert len(pages) == 1
    assert enqueued(pipeline) == [late]


# ---- overdue products ----


def test_an_overdue_product_is_enqueued(pipeline: Pipeline) -> None:
    (product_id,) = overdue(pipeline)

    assert pipeline.reconcile_once().enqueued == 1
    assert [message.body for message in pipeline.queue.messages] == [
        SyncMessage(product_id, 0).to_json()
    ]


def test_counts_that_cannot_be_forgotten_do_not_stop_the_repairs(pipeline: Pipeline) -> None:
    put(pipeline)
    pipeline.clock.advance(3600)
    pipeline.store.broken = {"forget_activity"}

    assert pipeline.reconcile_once().enqueued == 1


def test_a_lost_message_is_replaced_in_its_own_queue(pipeline: Pipeline) -> None:
    overdue(pipeline)
    lost = SyncState(behind_since=START, overdue_at=START, bulk=True)
    (bulk,) = put(pipeline, 1, outbox=(), sync=lost)

    pipeline.reconcile_once()

    assert len(pipeline.queue.messages) == 2
    assert pipeline.queue.bulk == [bulk]


def test_a_product_that_is_not_overdue_is_not_enqueued(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.clock.advance(IN_TIME - 1)

    assert pipeline.reconcile_once().enqueued == 0


def test_a_product_whose_message_was_lost_is_delivered_after_all(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    pipeline.queue.messages.clear()
    pipeline.clock.advance(IN_TIME)

    pipeline.reconcile_once()
    pipeline.sync_once()

    assert pipeline.product(product_id).sync.status is SyncStatus.DELIVERED


def test_a_product_that_was_just_enqueued_is_not_enqueued_again(pipeline: Pipeline) -> None:
    overdue(pipeline)

    pipeline.reconcile_once()

    assert pipeline.reconcile_once().enqueued == 0


def test_the_time_between_two_messages_for_a_product_doubles(pipeline: Pipeline) -> None:
    (product_id,) = overdue(pipeline)
    waits = []
    for _ in range(5):
        enqueued_at = pipeline.clock()
        pipeline.reconcile_once()
        due = pipeline.product(product_id).sync.overdue_at
        assert due is not None
        waits.append((due - enqueued_at) / GRACE)
        pipeline.clock.now = due

    assert waits == [1, 1, 2, 4, 8]
    assert len(pipeline.queue.messages) == 5


def test_all_overdue_products_are_enqueued_page_by_page(pipeline: Pipeline) -> None:
    ids = overdue(pipeline, 2 * PAGE + 1)

    assert pipeline.reconcile_once().enqueued == len(ids)
    assert sorted(enqueued(pipeline)) == sorted(ids)


def test_a_message_that_the_queue_refuses_is_enqueued_in_the_next_run(pipeline: Pipeline) -> None:
    accepted, refused = overdue(pipeline, 2)
    pipeline.queue.refused = {refused}

    assert pipeline.reconcile_once().enqueued == 1
    pipeline.queue.refused = set()
    assert pipeline.reconcile_once().enqueued == 1
    assert enqueued(pipeline) == [accepted, refused]


def test_a_failed_product_is_not_enqueued(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [422]
    pipeline.pass_on()
    pipeline.clock.advance(IN_TIME * 100)

    assert pipeline.reconcile_once().enqueued == 0


def test_an_overdue_product_is_enqueued_in_its_budget(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.queue.away = True
    pipeline.operations.replay(product_id)
    pipeline.queue.away = False
    pipeline.clock.advance(IN_TIME)

    pipeline.reconcile_once()

    assert pipeline.queue.messages[0].body == SyncMessage(product_id, 0, 1).to_json()


# ---- several copies, many products ----


def slept(pipeline: Pipeline) -> list[float]:
    """The pauses that reconcile makes from now on, in seconds; the clock does not move."""
    pauses: list[float] = []
    pipeline.reconcile._sleep = pauses.append
    return pauses


def others_move(pipeline: Pipeline, share: float) -> None:
    """Let somebody move the time of this share of the products between enqueuing and postponing."""
    postpone = pipeline.store.postpone

    def late(products: Mapping[str, tuple[datetime, datetime]]) -> int:
        moved = sorted(products)[: round(share * len(products))]
        postpone({name: (products[name][0], START + timedelta(days=1)) for name in moved})
        return postpone(products)

    pipeline.store.postpone = late  # type: ignore[method-assign]


def test_a_copy_that_comes_second_leaves_the_work_to_the_other_for_a_while(
    pipeline: Pipeline,
) -> None:
    ids = overdue(pipeline, 40)
    pauses = slept(pipeline)
    others_move(pipeline, 0.5)

    assert pipeline.reconcile_once().enqueued == 40
    assert sorted(enqueued(pipeline)) == sorted(ids)
    assert pauses == [2]


def test_workers_that_are_quicker_than_reconcile_do_not_stop_it(pipeline: Pipeline) -> None:
    overdue(pipeline, 40)
    pauses = slept(pipeline)
    others_move(pipeline, 0.45)

    assert pipeline.reconcile_once().enqueued == 40
    assert pauses == []


def test_the_parts_of_a_page_are_enqueued_in_parallel(pipeline: Pipeline) -> None:
    ids = overdue(pipeline, PAGE)
    together = threading.Barrier(3)
    enqueue = pipeline.queue.enqueue

    def wait(messages: Sequence[SyncMessage]) -> list[SyncMessage]:
        # Raises if the other two do not come.
        together.wait(10)
        return enqueue(messages)

    pipeline.queue.enqueue = wait  # type: ignore[method-assign]

    assert pipeline.reconcile_once().enqueued == len(ids)


def test_two_copies_at_the_same_time_lose_nothing(pipeline: Pipeline) -> None:
    ids = overdue(pipeline, 5 * PAGE)
    first = pipeline.reconcile
    pipeline.connect()
    copies = [
        threading.Thread(target=copy.run, args=[lambda: 1.0])
        for copy in (first, pipeline.reconcile)
    ]

    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join(60)

    assert set(enqueued(pipeline)) == set(ids)
    now = pipeline.clock()
    assert pipeline.store.overdue(now, 1) == []


def test_many_deletions_are_dropped_page_by_page_and_as_far_as_the_time_goes(
    pipeline: Pipeline,
) -> None:
    put(pipeline, 2 * PAGE + 1, outbox=(), **CONFIRMED)

    assert pipeline.reconcile_once(seconds=0).dropped == PAGE
    assert pipeline.reconcile_once().dropped == PAGE + 1
    assert pipeline.store.products == {}


# ---- tombstones, and what is away ----


def test_a_deletion_that_is_confirmed_and_published_is_forgotten(pipeline: Pipeline) -> None:
    (product_id,) = put(pipeline, outbox=(), **CONFIRMED)

    assert pipeline.reconcile_once().dropped == 1
    assert product_id not in pipeline.store.products


def test_a_deletion_is_not_forgotten_before_its_events_are_published(pipeline: Pipeline) -> None:
    (product_id,) = put(pipeline, **CONFIRMED)

    assert pipeline.reconcile_once().dropped == 0
    assert pipeline.reconcile_once() == Reconciled(0, 0, 0, 0, 0)
    pipeline.clock.advance(IN_TIME + 1)
    assert pipeline.reconcile_once().relayed == 1
    pipeline.clock.advance(IN_TIME)
    assert pipeline.reconcile_once().dropped == 1
    assert product_id not in pipeline.store.products


def test_deletions_that_must_stay_do_not_hold_up_what_is_overdue_after_them(
    pipeline: Pipeline,
) -> None:
    put(pipeline, 2 * PAGE, **CONFIRMED)
    (product_id,) = put(
        pipeline,
        outbox=(),
        sync=SyncState(behind_since=START, overdue_at=START + timedelta(seconds=1)),
    )
    pipeline.stream.away = True
    pipeline.clock.advance(1)

    assert pipeline.reconcile_once().enqueued == 1
    assert enqueued(pipeline) == [product_id]


def test_a_run_with_nothing_to_do_does_nothing(pipeline: Pipeline) -> None:
    assert pipeline.reconcile_once() == Reconciled(0, 0, 0, 0, 0)


def test_a_queue_that_is_away_does_not_keep_the_rest_from_being_done(pipeline: Pipeline) -> None:
    overdue(pipeline)
    put(pipeline)
    put(pipeline, outbox=(), **CONFIRMED)
    pipeline.queue.away = True
    pipeline.clock.advance(IN_TIME + 1)

    assert pipeline.reconcile_once() == Reconciled(
        relayed=1, enqueued=0, letters=0, settled=0, dropped=1
    )


def test_a_queue_that_is_away_is_asked_once_however_many_deletions_are_confirmed(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    overdue(pipeline, PAGE - 1)
    put(pipeline, 3, outbox=(), **CONFIRMED)
    pipeline.queue.away = True
    asked: list[int] = []
    enqueue = pipeline.queue.enqueue

    def counted(messages: Sequence[SyncMessage]) -> list[SyncMessage]:
        asked.append(len(messages))
        return enqueue(messages)

    monkeypatch.setattr(pipeline.queue, "enqueue", counted)
    pipeline.reconcile_once()

    # Each time may last as long as a timeout, and the run has a minute.
    assert sum(asked) == PAGE - 1


def test_dead_letters_that_are_away_do_not_keep_the_rest_from_being_done(
    pipeline: Pipeline,
) -> None:
    overdue(pipeline)
    pipeline.queue.broken = {"dead_letters"}

    assert pipeline.reconcile_once().enqueued == 1


def test_a_document_that_cannot_be_read_is_gauged(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.store.unreadable = set(put(pipeline))

    pipeline.reconcile_once()

    assert gauges(capsys)["products_unreadable"] == 1


def test_a_store_that_is_away_is_an_error_and_gauged(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.store.away = True

    with pytest.raises(StoreUnavailableError):
        pipeline.reconcile_once()

    assert gauges(capsys)["store_away"] == 1


@pytest.mark.parametrize("away", ["stream", "queue", None])
def test_what_is_away_is_gauged(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], away: str | None
) -> None:
    if away is not None:
        getattr(pipeline, away).away = True

    pipeline.reconcile_once()

    seen = gauges(capsys)
    assert {name: seen[f"{name}_away"] for name in ("store", "stream", "queue")} == {
        "store": 0,
        "stream": int(away == "stream"),
        "queue": int(away == "queue"),
    }


def test_the_bytes_of_the_stream_are_gauged_and_its_limit(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.stream.limit = 1_000_000
    pipeline.stream.add("product.created", b"12345")

    pipeline.reconcile_once()

    seen = gauges(capsys)
    assert (seen["stream_bytes"], seen["stream_limit_bytes"]) == (5, 1_000_000)


def test_a_stream_without_a_limit_has_no_gauge_of_one(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.reconcile_once()

    seen = gauges(capsys)
    assert seen["stream_bytes"] == 0
    assert "stream_limit_bytes" not in seen


def test_a_stream_that_does_not_answer_has_no_gauge_of_its_bytes(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.stream.away = True

    pipeline.reconcile_once()

    assert "stream_bytes" not in gauges(capsys)


def test_the_backlogs_are_gauged_once_a_minute_however_often_reconcile_runs(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    for _ in range(4):
        pipeline.reconcile_once()
        runs.append("outbox_backlog" in gauges(capsys))
        pipeline.clock.advance(20)

    assert runs == [True, False, False, True]


def test_where_nothing_waits_and_nothing_is_stuck_both_ages_are_zero(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.reconcile_once()

    seen = gauges(capsys)
    assert (seen["oldest_undelivered_seconds"], seen["oldest_stuck_seconds"]) == (0, 0)


def test_counts_of_attempts_are_kept_for_a_day(pipeline: Pipeline) -> None:
    pipeline.pass_on()
    pipeline.store.add_activity([Minute(START, 1), Minute(START + MINUTE, 1)])
    pipeline.clock.advance((ACTIVITY_KEPT + MINUTE).total_seconds())

    pipeline.reconcile_once()

    assert pipeline.store.minutes.keys() == {START + MINUTE}


def test_the_backlogs_are_gauged(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    overdue(pipeline)
    put(pipeline, sync=SyncState(SyncStatus.EXHAUSTED, behind_since=START - HOUR))
    pipeline.stream.away = True
    pipeline.clock.advance(IN_TIME + 30)
    # On its way, and no backlog.
    put(pipeline, sync=SyncState(SyncStatus.EXHAUSTED), updated_at=pipeline.clock())

    pipeline.reconcile_once()

    seen = gauges(capsys)
    # What is stuck has a gauge of its own.
    assert seen["oldest_undelivered_seconds"] == IN_TIME + 30
    assert seen["oldest_stuck_seconds"] == IN_TIME + 30 + HOUR.total_seconds()
    assert seen["outbox_backlog"] == 1
    assert (seen["products_exhausted"], seen["products_delivered"]) == (2, 0)


def test_the_dead_letters_are_gauged_also_those_in_hand(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        put(pipeline, sync=SyncState(SyncStatus.EXHAUSTED, behind_since=START))
    pipeline.reconcile_once()
    pipeline.clock.advance(60)
    gauges(capsys)
    pipeline.queue.receive_dead_letters(2)

    pipeline.reconcile_once()

    assert gauges(capsys)["dead_letters"] == 3


def test_without_the_queue_the_other_gauges_are_written(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.queue.away = True

    pipeline.reconcile_once()

    seen = gauges(capsys)
    assert seen["outbox_backlog"] == 0
    assert "dead_letters" not in seen

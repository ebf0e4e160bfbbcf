"""The sweep of the dead letters: each failed product has one, and no other product has any."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.domain.events import Event
from chalicelib.domain.messages import DeadLetter, SyncMessage, dead_letter_for
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Lease, SyncState, SyncStatus
from chalicelib.usecases.dead_letters import AT_ONCE, ROUNDS
from tests.fakes import GRACE, START, Pipeline, fields

REJECTED = SyncState(SyncStatus.REJECTED)
DELIVERED = SyncState(SyncStatus.DELIVERED)


def letter(pipeline: Pipeline, product_id: str, version: int = 0, budget: int = 1) -> None:
    """Put a letter for a product into the dead-letter queue."""
    body = SyncMessage(product_id, version, budget).to_json()
    pipeline.queue.dead_letter([DeadLetter(body, {"reason": "reason"})])


def dead_letter(pipeline: Pipeline, sync: SyncState, **changes: Any) -> str:  # noqa: ANN401 - of Product
    """A product with a dead letter for its version 0, budget 0; its id."""
    product = pipeline.put(sync=sync, outbox=(), **changes)
    pipeline.queue.dead_letter([dead_letter_for(replace(product, version=0))])
    return product.id


def ids(pipeline: Pipeline) -> list[str]:
    return [item.id for item in pipeline.queue.dead]


def products_of(pipeline: Pipeline) -> list[str | None]:
    """The products of the letters that a person sees."""
    found = pipeline.queue.receive_dead_letters(10 * AT_ONCE)
    return [item.message.product_id if item.message else None for item in found]


# ---- which letters stay ----


def test_a_dead_letter_of_a_delivered_product_is_removed(pipeline: Pipeline) -> None:
    dead_letter(pipeline, DELIVERED)

    assert pipeline.reconcile_once().settled == 1
    assert pipeline.queue.dead == []


def test_a_dead_letter_of_a_version_that_was_replaced_is_removed(pipeline: Pipeline) -> None:
    dead_letter(pipeline, SyncState(), version=1)

    assert pipeline.reconcile_once().settled == 1
    assert pipeline.queue.dead == []


def test_a_dead_letter_of_a_budget_that_was_replaced_is_removed(pipeline: Pipeline) -> None:
    product_id = dead_letter(pipeline, REJECTED)
    pipeline.operations.replay(product_id)
    pipeline.supply_chain.answers[product_id] = [500]
    pipeline.sync_once()

    assert pipeline.reconcile_once().settled == 1
    assert pipeline.queue.dead == []
    assert pipeline.product(product_id).sync.status is SyncStatus.RETRYING


def test_a_replay_that_sync_has_not_seen_yet_loses_its_old_letter_and_stays_a_replay(
    pipeline: Pipeline,
) -> None:
    product_id = dead_letter(pipeline, REJECTED)
    pipeline.operations.replay(product_id)

    assert pipeline.reconcile_once().settled == 1
    assert pipeline.queue.dead == []
    assert pipeline.product(product_id).sync.status is SyncStatus.PENDING


def test_a_dead_letter_of_a_product_that_is_gone_is_removed(pipeline: Pipeline) -> None:
    product_id = dead_letter(pipeline, REJECTED)
    del pipeline.store.products[product_id]

    assert pipeline.reconcile_once().settled == 1


@pytest.mark.parametrize("status", [SyncStatus.EXHAUSTED, SyncStatus.REJECTED])
def test_a_dead_letter_of_a_failed_product_stays_and_can_be_seen(
    pipeline: Pipeline, status: SyncStatus
) -> None:
    product_id = dead_letter(pipeline, SyncState(status))

    assert pipeline.reconcile_once().settled == 0
    assert products_of(pipeline) == [product_id]


def test_of_several_letters_of_a_product_the_one_with_the_smallest_id_stays(
    pipeline: Pipeline,
) -> None:
    product_id = dead_letter(pipeline, REJECTED)
    letter(pipeline, product_id)
    letter(pipeline, product_id)
    smallest = min(ids(pipeline))
    # Received in any order.
    pipeline.queue.dead.reverse()

    assert pipeline.reconcile_once().settled == 2
    assert ids(pipeline) == [smallest]


def test_the_letter_of_a_document_that_cannot_be_read_stays(pipeline: Pipeline) -> None:
    product_id = dead_letter(pipeline, DELIVERED)
    pipeline.store.unreadable = {product_id}

    assert pipeline.reconcile_once().settled == 0
    assert products_of(pipeline) == [product_id]


def test_of_several_dead_letters_each_is_judged_on_its_own(pipeline: Pipeline) -> None:
    dead_letter(pipeline, DELIVERED)
    failed = dead_letter(pipeline, REJECTED)
    pipeline.queue.dead_letter([DeadLetter("poison", {"reason": "reason"})])

    pipeline.reconcile_once()

    assert products_of(pipeline) == [failed]
    assert [letter.body for letter in pipeline.store.poison.values()] == ["poison"]


def test_dead_letters_that_stay_do_not_keep_the_later_ones_from_being_settled(
    pipeline: Pipeline,
) -> None:
    failed = [dead_letter(pipeline, REJECTED) for _ in range(AT_ONCE)]
    dead_letter(pipeline, DELIVERED)

    assert pipeline.reconcile_once().settled == 1
    assert products_of(pipeline) == failed


def test_dead_letters_can_be_seen_after_a_sweep_that_failed(pipeline: Pipeline) -> None:
    failed = [dead_letter(pipeline, REJECTED) for _ in range(3)]
    dead_letter(pipeline, DELIVERED)
    pipeline.queue.broken = {"delete_dead_letters"}

    assert pipeline.reconcile_once().settled == 0

    pipeline.queue.broken = set()
    assert set(products_of(pipeline)) >= set(failed)


# ---- letters that are missing ----


def test_a_letter_that_somebody_deleted_comes_back(pipeline: Pipeline) -> None:
    product_id = dead_letter(pipeline, REJECTED)
    pipeline.queue.dead.clear()

    pipeline.reconcile_once()

    assert products_of(pipeline) == [product_id]


def test_a_missing_letter_comes_back_after_a_complete_sweep_only(pipeline: Pipeline) -> None:
    product_id = dead_letter(pipeline, REJECTED)
    # Somebody looks at it right now: the sweep does not see it.
    pipeline.queue.receive_dead_letters(1)
    pipeline.reconcile_once()
    assert len(pipeline.queue.dead) == 1

    pipeline.queue.dead.clear()
    pipeline.reconcile_once()
    assert products_of(pipeline) == [product_id]


def test_the_letter_of_a_product_that_was_redriven_meanwhile_does_not_come_back(
    pipeline: Pipeline,
) -> None:
    product_id = dead_letter(pipeline, REJECTED)
    pipeline.queue.dead.clear()
    failed = pipeline.store.failed

    def late(limit: int) -> list[Product]:
        found = failed(limit)
        pipeline.operations.replay(product_id)
        return found

    pipeline.store.failed = late  # type: ignore[method-assign]
    pipeline.reconcile_once()

    assert pipeline.queue.dead == []


def test_a_letter_that_comes_during_the_sweep_is_not_sent_again(pipeline: Pipeline) -> None:
    product = pipeline.put(sync=SyncState(), outbox=())
    count, counted = pipeline.queue.count_dead_letters, list[int]()

    def late() -> int:
        counted.append(count())
        if len(counted) == 2:
            # Received and counted again are the letters; only now this one comes.
            pipeline.store.products[product.id] = replace(product, sync=REJECTED, revision=1)
            pipeline.queue.dead_letter([dead_letter_for(pipeline.product(product.id))])
        return counted[-1]

    pipeline.queue.count_dead_letters = late  # type: ignore[method-assign]
    done = pipeline.reconcile_once()

    assert done.letters == 0
    assert len(pipeline.queue.dead) == 1


def test_where_not_all_letters_can_be_seen_the_failed_products_are_not_read(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_letter(pipeline, REJECTED)
    pipeline.queue.dead.clear()
    monkeypatch.setattr(pipeline.queue, "count_dead_letters", lambda: AT_ONCE * ROUNDS + 1)
    # There may be a million of them.
    pipeline.store.broken = {"failed"}

    assert pipeline.reconcile_once().letters == 0


def test_a_letter_that_was_missing_counts_as_sent(pipeline: Pipeline) -> None:
    dead_letter(pipeline, REJECTED)
    pipeline.queue.dead.clear()

    assert pipeline.reconcile_once().letters == 1


def test_a_letter_that_is_owed_is_not_sent_before_its_time(pipeline: Pipeline) -> None:
    pipeline.put(sync=SyncState(SyncStatus.REJECTED, overdue_at=START + GRACE), outbox=())

    assert pipeline.reconcile_once().letters == 0
    assert pipeline.queue.dead == []


# ---- letters that the queue itself moved ----


def test_a_product_whose_message_the_queue_moved_is_told_as_exhausted_with_all_its_data(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.put(outbox=(), fields=fields(sku="S", description="d")).id
    letter(pipeline, product_id, budget=0)
    pipeline.reconcile_once()
    (event,) = pipeline.product(product_id).outbox
    assert event.id == f"{product_id}:0:product:sync-exhausted"
    pipeline.clock.advance(301)

    pipeline.reconcile_once()

    assert pipeline.product(product_id).outbox == ()
    told = json.loads(pipeline.stream.log[-1].data)
    assert (told["type"], told["data"]["syncStatus"]) == ("product:sync-exhausted", "exhausted")
    assert (told["data"]["sku"], told["data"]["description"]) == ("S", "d")


def moved(pipeline: Pipeline, **sync: Any) -> str:  # noqa: ANN401 - of SyncState
    """A product on its way whose message the queue has moved; its id."""
    product = pipeline.put(sync=SyncState(behind_since=START, **sync), outbox=())
    letter(pipeline, product.id, budget=0)
    return product.id


def test_a_product_whose_message_the_queue_moved_is_exhausted_with_the_reason(
    pipeline: Pipeline,
) -> None:
    product_id = moved(pipeline)

    done = pipeline.reconcile_once()

    assert (done.settled, done.letters) == (1, 1)
    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.last_error) == (
        SyncStatus.EXHAUSTED,
        "every worker that tried it has crashed",
    )
    assert [item.reason for item in pipeline.queue.dead] == [
        "exhausted: every worker that tried it has crashed"
    ]


def test_while_a_lease_holds_a_moved_message_is_left(pipeline: Pipeline) -> None:
    until = START + GRACE
    product_id = moved(pipeline, lease=Lease("worker", until, 0))
    before = ids(pipeline)
    assert pipeline.reconcile_once().settled == 0
    assert pipeline.product(product_id).sync.status is SyncStatus.PENDING
    assert ids(pipeline) == before

    pipeline.clock.now = until
    pipeline.reconcile_once()

    assert pipeline.product(product_id).sync.status is SyncStatus.EXHAUSTED


def test_a_moved_message_of_a_product_that_another_one_carries_is_removed(
    pipeline: Pipeline,
) -> None:
    product_id = moved(pipeline, message_id="another")

    assert pipeline.reconcile_once().settled == 1
    assert pipeline.product(product_id).sync.status is SyncStatus.PENDING
    assert pipeline.queue.dead == []


def test_a_moved_message_of_a_product_that_changes_meanwhile_is_judged_in_the_next_run(
    pipeline: Pipeline,
) -> None:
    product_id = moved(pipeline)
    save_sync = pipeline.store.save_sync

    def late(product: Product, *, expected_revision: int, event: Event | None = None) -> bool:
        pipeline.update(product.id, name="Other")
        return save_sync(product, expected_revision=expected_revision, event=event)

    pipeline.store.save_sync = late  # type: ignore[method-assign]
    assert pipeline.reconcile_once().settled == 0
    pipeline.store.save_sync = save_sync  # type: ignore[method-assign]

    assert pipeline.product(product_id).sync.status is SyncStatus.PENDING
    assert pipeline.reconcile_once().settled == 1
    assert pipeline.queue.dead == []

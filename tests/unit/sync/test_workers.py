"""Two workers with one product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.domain.delivery import Claim
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.usecases.ports import Found
from tests.fakes import START, Pipeline
from tests.unit.sync.steps import (
    MESSAGE_ID,
    WorkerDiedError,
    die,
    enqueue,
    nothing_called,
    status,
    waiting,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def meddle(pipeline: Pipeline, deed: Callable[[], object]) -> None:
    """Do something in the middle of the next call, once."""

    def during(_: Product) -> None:
        pipeline.supply_chain.during = None
        deed()

    pipeline.supply_chain.during = during


def after_look(pipeline: Pipeline, deed: Callable[[], object]) -> None:
    """Do something between the next look at the documents and the claim, once."""
    get_many = pipeline.store.get_many

    def look(product_ids: Any) -> Found:  # noqa: ANN401 - passed on
        found = get_many(product_ids)
        pipeline.store.get_many = get_many  # type: ignore[method-assign]
        deed()
        return found

    pipeline.store.get_many = look  # type: ignore[method-assign, assignment]  # as sync calls it


def test_a_worker_that_loses_the_race_for_the_lease_defers_its_message(
    pipeline: Pipeline,
) -> None:
    product = pipeline.put()
    enqueue(pipeline, product)
    enqueue(pipeline, product)
    (first, second) = pipeline.queue.receive()
    after_look(pipeline, lambda: pipeline.a_worker().handle([second]))

    assert pipeline.sync.handle([first]) == [first.id]

    assert pipeline.supply_chain.versions(product.id) == [0]
    assert waiting(pipeline)[0] == (first.id, 1)


def test_a_message_whose_product_is_written_before_the_claim_is_decided_again(
    pipeline: Pipeline,
) -> None:
    product = pipeline.put()
    enqueue(pipeline, product)
    after_look(pipeline, lambda: pipeline.update(product.id, name="Other"))
    pipeline.sync_once()
    assert nothing_called(pipeline)
    assert waiting(pipeline) == [(MESSAGE_ID, 1)]

    pipeline.clock.advance(1)
    pipeline.pass_on()

    assert pipeline.supply_chain.versions(product.id) == [1]
    assert pipeline.queue.messages == []


def test_a_duplicate_receive_never_deletes_the_message_that_carries_the_schedule(
    pipeline: Pipeline,
) -> None:
    product = pipeline.put()
    enqueue(pipeline, product)
    pipeline.supply_chain.answers[product.id] = [500]
    (message,) = pipeline.queue.receive()
    # SQS may hand out a message twice: the second worker has it while the first one calls.
    meddle(pipeline, lambda: duplicates.append(pipeline.a_worker().handle([message])))
    duplicates: list[list[str]] = []

    assert pipeline.sync.handle([message]) == [message.id]
    assert duplicates == [[message.id]]
    assert pipeline.a_worker().handle([message]) == [message.id]
    assert pipeline.supply_chain.versions(product.id) == [0]


def test_a_version_that_comes_during_a_call_is_delivered_after_it(pipeline: Pipeline) -> None:
    product_id = pipeline.create()

    def update_and_sync() -> None:
        pipeline.update(product_id, name="Other")
        pipeline.pass_on()

    meddle(pipeline, update_and_sync)
    pipeline.pass_on()
    assert pipeline.supply_chain.versions(product_id) == [0]
    assert status(pipeline, product_id) is SyncStatus.PENDING
    assert pipeline.product(product_id).sync.delivered_version == 0
    pipeline.clock.advance(pipeline.LEASE.total_seconds())
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 1]
    assert status(pipeline, product_id) is SyncStatus.DELIVERED


@pytest.mark.parametrize("answer", [500, 422])
def test_a_failure_of_a_version_that_was_replaced_meanwhile_spoils_nothing(
    pipeline: Pipeline, answer: int
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [answer]
    meddle(pipeline, lambda: pipeline.update(product_id, name="Other"))
    pipeline.pass_on()
    assert pipeline.product(product_id).sync.attempts == 0

    pipeline.clock.advance(60)
    pipeline.pass_on()
    pipeline.reconcile_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 1]
    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert (pipeline.queue.messages, pipeline.queue.dead) == ([], [])


def test_a_lease_whose_worker_died_is_taken_over_when_it_has_run_out(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    meddle(pipeline, die)
    with pytest.raises(WorkerDiedError):
        pipeline.pass_on()
    pipeline.clock.advance(60)
    pipeline.sync_once()
    assert pipeline.product(product_id).sync.attempts == 0

    pipeline.clock.advance(10)
    pipeline.sync_once()

    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert len(pipeline.product(product_id).sync.history) == 1


def test_a_worker_whose_lease_has_run_out_before_its_call_does_not_call(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    claim = pipeline.store.claim

    def slow(claims: Sequence[Claim]) -> set[str]:
        won = claim(claims)
        pipeline.store.claim = claim  # type: ignore[method-assign]
        pipeline.clock.advance(pipeline.LEASE.total_seconds())
        pipeline.update(product_id, name="Other")
        pipeline.pass_on()
        return won

    pipeline.store.claim = slow  # type: ignore[method-assign]
    pipeline.pass_on()

    # Another worker has delivered the newer version meanwhile.
    assert pipeline.supply_chain.versions(product_id) == [1]
    assert pipeline.supply_chain.held[product_id].version == 1


def test_a_product_that_was_replayed_during_its_call_is_not_called_for_twice_at_once(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()

    def replay_and_sync() -> None:
        pipeline.operations.replay(product_id)
        pipeline.sync_once()

    meddle(pipeline, replay_and_sync)
    pipeline.pass_on()
    assert pipeline.supply_chain.versions(product_id) == [0]

    pipeline.clock.advance(pipeline.LEASE.total_seconds())
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 0]
    assert status(pipeline, product_id) is SyncStatus.DELIVERED


@pytest.mark.parametrize("failed_before", [0, 17])
@pytest.mark.parametrize("answer", [200, 500, 422])
def test_a_replay_during_a_call_keeps_its_fresh_budget_and_the_calls_result_is_not_written(
    pipeline: Pipeline, failed_before: int, answer: int
) -> None:
    before = SyncState(attempts=failed_before, first_attempt_at=START, behind_since=START)
    product = pipeline.put(sync=before)
    message_id = enqueue(pipeline, product)
    pipeline.supply_chain.answers[product.id] = [answer, 500]
    meddle(pipeline, lambda: pipeline.operations.replay(product.id))

    pipeline.sync_once()

    sync = pipeline.product(product.id).sync
    assert (sync.status, sync.budget, sync.attempts) == (SyncStatus.PENDING, 1, 0)
    assert (sync.lease, len(sync.history)) == (None, 1)
    assert sync.delivered_version == (0 if answer == 200 else None)
    assert pipeline.queue.dead == []
    # Its own message looks again in a second; what it finds is for the replay's.
    assert waiting(pipeline)[0] == (message_id, 1)
    pipeline.clock.advance(1)
    pipeline.sync_once()
    sync = pipeline.product(product.id).sync
    assert (sync.status, sync.budget, sync.attempts) == (SyncStatus.RETRYING, 1, 1)
    assert len(pipeline.queue.messages) == 1

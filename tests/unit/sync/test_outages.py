"""The store and the queue go away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.delivery import Claim
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.sync_state import SyncStatus
from tests.fakes import Pipeline
from tests.unit.sync.steps import MESSAGE_ID, failing, nothing_called, status, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_messages_wait_without_an_attempt_while_the_store_is_away(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    pipeline.store.away = True

    waits = []
    for _ in range(3):
        pipeline.sync_once()
        waits.append(waiting(pipeline)[0][1])
        pipeline.clock.advance(waits[-1])

    assert waits == [15, 30, 60]
    assert nothing_called(pipeline)
    assert pipeline.product(product_id).sync.attempts == 0


@pytest.mark.parametrize("method", ["get_many", "claim", "record"])
def test_a_store_that_goes_away_at_any_step_loses_nothing(pipeline: Pipeline, method: str) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    pipeline.store.broken = {method}
    pipeline.sync_once()
    assert [seconds for _, seconds in waiting(pipeline)] == [15]
    pipeline.store.broken = set()

    pipeline.clock.advance(15)
    pipeline.sync_once()
    pipeline.clock.advance(pipeline.LEASE.total_seconds())
    pipeline.sync_once()

    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert pipeline.queue.messages == []


def test_a_poison_message_is_dead_lettered_even_while_the_store_is_away(pipeline: Pipeline) -> None:
    pipeline.queue.send("poison")
    pipeline.store.away = True

    pipeline.sync_once()

    assert len(pipeline.queue.dead) == 1


def test_a_claim_that_took_place_although_it_seemed_to_fail_is_no_attempt(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    claim = pipeline.store.claim

    def unsure(claims: Sequence[Claim]) -> set[str]:
        claim(claims)
        raise StoreUnavailableError("no answer in time")

    pipeline.store.claim = unsure  # type: ignore[method-assign]
    pipeline.sync_once()
    pipeline.store.claim = claim  # type: ignore[method-assign]

    assert pipeline.product(product_id).sync.attempts == 0
    for _ in range(2):
        pipeline.clock.advance(pipeline.LEASE.total_seconds())
        pipeline.sync_once()
    assert status(pipeline, product_id) is SyncStatus.DELIVERED


def test_a_message_that_cannot_be_deferred_is_kept_and_deferred_when_it_is_received_again(
    pipeline: Pipeline,
) -> None:
    pipeline.queue.broken = {"change_visibility"}
    product_id = failing(pipeline, *[500] * 5)
    assert waiting(pipeline) == [(MESSAGE_ID, 60)]
    pipeline.queue.broken = set()

    pipeline.clock.advance(60)
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 0]
    # What made it late moved nothing but the end of the horizon.
    assert waiting(pipeline) == [(MESSAGE_ID, 30)]


def test_what_was_delivered_while_the_queue_is_away_is_not_delivered_again(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    messages = pipeline.queue.receive()
    pipeline.queue.away = True
    pipeline.sync.handle(messages)
    pipeline.queue.away = False

    pipeline.clock.advance(60)
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0]
    assert pipeline.queue.messages == []

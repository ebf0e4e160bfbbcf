"""The store is as it once was, and nobody said so: messages and the supply chain know better."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.domain.sync_state import SyncStatus
from tests.fakes import Pipeline
from tests.unit.sync.steps import enqueue, status, waiting

Capture = pytest.CaptureFixture[str]


def alarmed(capsys: Capture) -> int:
    return capsys.readouterr().out.count('"store_behind":1')


@pytest.mark.parametrize("delivered", [True, False])
def test_a_message_that_is_newer_than_its_document_is_kept_and_raises_the_alarm(
    pipeline: Pipeline, capsys: Capture, delivered: bool
) -> None:
    product_id = pipeline.create()
    if delivered:
        pipeline.pass_on()
    calls = len(pipeline.supply_chain.calls)
    enqueue(pipeline, pipeline.product(product_id), version=2)

    pipeline.sync_once()

    assert alarmed(capsys) == 1
    assert len(pipeline.supply_chain.calls) == calls
    assert len(waiting(pipeline)) == 1


def test_it_comes_again_less_and_less_often(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    enqueue(pipeline, pipeline.product(product_id), version=2)
    waits = []
    for _ in range(6):
        pipeline.sync_once()
        ((_, seconds),) = waiting(pipeline)
        waits.append(seconds)
        pipeline.clock.advance(seconds)
    assert waits == sorted(waits)
    assert waits[-1] > 30 * waits[0]


def test_a_restore_that_lifts_the_document_supersedes_it(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    enqueue(pipeline, pipeline.product(product_id), version=2)
    pipeline.sync_once()
    product = pipeline.product(product_id)
    pipeline.store.products[product_id] = replace(product, version=1_000_000)
    pipeline.clock.advance(60)

    pipeline.sync_once()

    assert pipeline.queue.messages == []


def test_a_document_that_the_majority_has_at_that_version_is_decided_again(
    pipeline: Pipeline, capsys: Capture
) -> None:
    product_id = pipeline.create()
    product = pipeline.product(product_id)
    pipeline.store.committed = lambda: {product_id: replace(product, version=2)}  # type: ignore[method-assign]
    enqueue(pipeline, product, version=2)

    pipeline.sync_once()

    assert waiting(pipeline)[0][1] <= 1
    assert alarmed(capsys) == 0


def test_a_document_that_cannot_be_read_again_keeps_its_message(
    pipeline: Pipeline, capsys: Capture
) -> None:
    product_id = pipeline.create()
    enqueue(pipeline, pipeline.product(product_id), version=2)
    real = pipeline.store.get_many
    found = real({product_id})
    pipeline.store.get_many = lambda *_, **__: found  # type: ignore[method-assign]
    pipeline.store.unreadable = {product_id}

    pipeline.sync_once()

    assert len(pipeline.queue.messages) == 1
    assert alarmed(capsys) == 0


def test_a_conflict_with_a_newer_version_raises_the_alarm(
    pipeline: Pipeline, capsys: Capture
) -> None:
    product_id = pipeline.create()
    pipeline.pass_on()
    held = pipeline.supply_chain.held
    held[product_id] = replace(held[product_id], version=7)
    pipeline.update(product_id, name="Made a second time")
    pipeline.supply_chain.answers[product_id] = [409]
    capsys.readouterr()

    pipeline.pass_on()

    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert alarmed(capsys) == 1

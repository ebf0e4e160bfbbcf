"""The relay of the outbox."""

from __future__ import annotations

import pytest

from tests.fakes import Pipeline, a_product


@pytest.fixture
def pipeline() -> Pipeline:
    """A store with three products whose events wait."""
    made = Pipeline()
    made.store.insert([(a_product(), None) for _ in range(3)])
    return made


def test_relayed_events_are_in_the_stream_and_no_longer_in_the_outbox(pipeline: Pipeline) -> None:
    events = [event for product in pipeline.store.products.values() for event in product.outbox]

    assert pipeline.outbox.relay(events) == 3
    assert len(pipeline.stream.log) == 3
    assert pipeline.store.summary().outbox_backlog == 0


def test_only_what_the_stream_has_stored_leaves_the_outbox(pipeline: Pipeline) -> None:
    events = [event for product in pipeline.store.products.values() for event in product.outbox]
    pipeline.stream.refused = {events[1].id}

    assert pipeline.outbox.relay(events) == 2
    waiting = [item.outbox for item in pipeline.store.products.values() if item.outbox]
    assert waiting == [(events[1],)]


def test_events_stay_in_the_outbox_while_the_stream_is_away(pipeline: Pipeline) -> None:
    events = [event for product in pipeline.store.products.values() for event in product.outbox]
    pipeline.stream.away = True

    assert pipeline.outbox.relay(events) == 0
    assert pipeline.store.summary().outbox_backlog == 3


def test_events_that_cannot_be_taken_out_are_relayed_again_and_stored_once(
    pipeline: Pipeline,
) -> None:
    events = [event for product in pipeline.store.products.values() for event in product.outbox]
    pipeline.store.broken = {"remove_events"}

    assert pipeline.outbox.relay(events) == 3
    pipeline.store.broken = set()
    pipeline.outbox.relay(events)

    assert len(pipeline.stream.log) == 3
    assert pipeline.store.summary().outbox_backlog == 0


def test_relaying_nothing_asks_nobody(pipeline: Pipeline) -> None:
    pipeline.stream.away = pipeline.store.away = True

    assert pipeline.outbox.relay([]) == 0

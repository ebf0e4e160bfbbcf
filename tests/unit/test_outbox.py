"""The relay of the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.usecases.outbox import CHUNK_CHARACTERS, CHUNK_EVENTS
from tests.fakes import Pipeline, fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.domain.events import Event


@pytest.fixture
def pipeline() -> Pipeline:
    """A store with three products whose events wait."""
    made = Pipeline()
    put(made, 3)
    return made


def waiting(pipeline: Pipeline) -> int:
    """How many products have an event in their outbox."""
    return sum(bool(product.outbox) for product in pipeline.store.products.values())


def test_relayed_events_are_in_the_stream_and_no_longer_in_the_outbox(pipeline: Pipeline) -> None:
    events = [event for product in pipeline.store.products.values() for event in product.outbox]

    assert pipeline.outbox.relay(events) == 3
    assert len(pipeline.stream.log) == 3
    assert waiting(pipeline) == 0


def test_only_what_the_stream_has_stored_leaves_the_outbox(pipeline: Pipeline) -> None:
    events = [event for product in pipeline.store.products.values() for event in product.outbox]
    pipeline.stream.refused = {events[1].id}

    assert pipeline.outbox.relay(events) == 2
    left = [item.outbox for item in pipeline.store.products.values() if item.outbox]
    assert left == [(events[1],)]


def test_events_stay_in_the_outbox_while_the_stream_is_away(pipeline: Pipeline) -> None:
    events = [event for product in pipeline.store.products.values() for event in product.outbox]
    pipeline.stream.away = True

    assert pipeline.outbox.relay(events) == 0
    assert waiting(pipeline) == 3


def test_events_that_are_published_stay_in_the_outbox_until_a_message_proves_it(
    pipeline: Pipeline,
) -> None:
    events = [event for product in pipeline.store.products.values() for event in product.outbox]

    assert pipeline.outbox.publish(events) == events
    assert waiting(pipeline) == 3


def test_events_that_cannot_be_taken_out_are_relayed_again_and_stored_once(
    pipeline: Pipeline,
) -> None:
    events = [event for product in pipeline.store.products.values() for event in product.outbox]
    pipeline.store.broken = {"remove_events"}

    assert pipeline.outbox.relay(events) == 3
    pipeline.store.broken = set()
    pipeline.outbox.relay(events)

    assert len(pipeline.stream.log) == 3
    assert waiting(pipeline) == 0


def put(pipeline: Pipeline, number: int, **changes: object) -> list[Event]:
    """Store so many products; their events."""
    products = [pipeline.put(**changes) for _ in range(number)]
    return [event for product in products for event in product.outbox]


def chunks(pipeline: Pipeline, events: list[Event]) -> list[int]:
    """Relay them; how many were published at a time."""
    sizes: list[int] = []
    publish = pipeline.stream.publish

    def counted(events: Sequence[Event]) -> list[Event]:
        sizes.append(len(events))
        return publish(events)

    pipeline.stream.publish = counted  # type: ignore[method-assign]
    assert pipeline.outbox.relay(events) == len(events)
    return sizes


def test_many_events_are_published_in_chunks() -> None:
    pipeline = Pipeline()
    events = put(pipeline, 2 * CHUNK_EVENTS + 1)

    assert chunks(pipeline, events) == [CHUNK_EVENTS, CHUNK_EVENTS, 1]


def test_large_events_are_published_fewer_at_a_time() -> None:
    pipeline = Pipeline()
    large = fields(attributes={str(n): "x" * 1000 for n in range(100)})
    events = put(pipeline, 20, fields=large)

    sizes = chunks(pipeline, events)

    assert sum(sizes) == 20
    assert max(sizes) == CHUNK_CHARACTERS // len(events[0].data)


def test_what_was_published_before_the_stream_went_away_has_left_the_outbox() -> None:
    pipeline = Pipeline()
    events = put(pipeline, CHUNK_EVENTS + 3)
    pipeline.stream.refused = {event.id for event in events[CHUNK_EVENTS:]}

    assert pipeline.outbox.relay(events) == CHUNK_EVENTS
    assert waiting(pipeline) == 3


def test_relaying_nothing_asks_nobody(pipeline: Pipeline) -> None:
    pipeline.stream.away = pipeline.store.away = True

    assert pipeline.outbox.relay([]) == 0

"""The relay of the transactional outbox: publish what the documents hold for the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chalicelib import telemetry
from chalicelib.domain.errors import StoreUnavailableError, StreamUnavailableError
from chalicelib.domain.events import Event
from chalicelib.usecases.ports import Publisher, Store

CHUNK_EVENTS = 100
CHUNK_CHARACTERS = 1_000_000
"""What is published at a time: a slow stream stores this much within its time-out, so that each
chunk is progress, however much has piled up."""


class Outbox:
    """Publishes events, and takes those out of the documents' outboxes that nobody else will."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher

    def publish(self, events: Sequence[Event]) -> list[Event]:
        """Publish; those that the stream has taken. Never raises.

        What it has not taken stays in its outbox, where reconcile finds it. What it has taken
        leaves the outbox with the claim that its message leads to: no write of its own.
        """
        published: list[Event] = []
        for chunk in _chunks(events):
            try:
                published += self._publisher.publish(chunk)
            except StreamUnavailableError as error:
                left = len(events) - len(published)
                telemetry.log.warning("events stay in the outbox", reason=str(error), events=left)
                break
        telemetry.count(published=len(published))
        for event in published:
            telemetry.log.info("published", **event.log_fields)
        return published

    def relay(self, events: Sequence[Event]) -> int:
        """Publish events that stayed in an outbox, and take them out; how many. Never raises.

        What is published twice has the same message id, within the stream's duplicate window.
        """
        published = self.publish(events)
        try:
            self._store.remove_events([(event.product_id, event.id) for event in published])
        except StoreUnavailableError as error:
            telemetry.log.warning("published events stay in the outbox", reason=str(error))
        return len(published)


def _chunks(events: Sequence[Event]) -> Iterator[list[Event]]:
    chunk: list[Event] = []
    size = 0
    for event in events:
        if chunk and (len(chunk) == CHUNK_EVENTS or size + len(event.data) > CHUNK_CHARACTERS):
            yield chunk
            chunk, size = [], 0
        chunk.append(event)
        size += len(event.data)
    if chunk:
        yield chunk

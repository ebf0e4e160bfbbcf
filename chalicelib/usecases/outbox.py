"""The transactional outbox: publishes the events in the products' documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chalicelib import telemetry
from chalicelib.domain.errors import StoreUnavailableError, StreamUnavailableError
from chalicelib.domain.events import Event
from chalicelib.usecases.ports import Publisher, Store, StreamUsage

CHUNK_EVENTS = 100
CHUNK_CHARACTERS = 1_000_000
"""Events that are published at a time. Even a slow stream stores this many within its timeout, so
each chunk makes progress, however long the backlog."""


class Outbox:
    """Publishes events; the relay also removes them from the outboxes."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher

    def publish(self, events: Sequence[Event]) -> list[Event]:
        """Publish; give the events that the stream has stored. Never raises.

        The others stay in their outbox for reconcile. A stored event is removed from its outbox by
        the claim for its message, which saves a write.
        """
        published: list[Event] = []
        for chunk in _chunks(events):
            try:
                with telemetry.waiting():
                    published += self._publisher.publish(chunk)
            except StreamUnavailableError as error:
                left = len(events) - len(published)
                telemetry.log.warning("events stay in the outbox", reason=str(error), events=left)
                break
        for event in published:
            telemetry.log.debug("published", **event.log_fields)
        return published

    def relay(self, events: Sequence[Event]) -> int:
        """Publish unpublished events, remove them, and give their number. Never raises.

        If an event is published twice, the stream drops the second by its message id.
        """
        published = self.publish(events)
        try:
            self._store.remove_events([(event.product_id, event.id) for event in published])
        except StoreUnavailableError as error:
            telemetry.log.warning("published events stay in the outbox", reason=str(error))
        return len(published)

    def stream_usage(self) -> StreamUsage | None:
        """Say how full the stream is; None if it does not answer."""
        try:
            return self._publisher.usage()
        except StreamUnavailableError as error:
            telemetry.log.warning("the stream is away", reason=str(error))
            return None


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

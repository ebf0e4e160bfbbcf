"""The relay of the transactional outbox: publish, then take out what the stream has stored."""

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
    """Relays events from the documents' outboxes to the stream."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher

    def relay(self, events: Sequence[Event]) -> int:
        """Publish events that are stored in an outbox; how many the stream has taken.

        Never raises: what stays in its outbox is relayed by reconcile, and what is published
        twice has the same message id.
        """
        relayed = 0
        for chunk in _chunks(events):
            try:
                published = self._publisher.publish(chunk)
            except StreamUnavailableError as error:
                left = len(events) - relayed
                telemetry.log.warning("events stay in the outbox", reason=str(error), events=left)
                break
            self._remove(published)
            relayed += len(published)
        return relayed

    def _remove(self, published: Sequence[Event]) -> None:
        telemetry.count(published=len(published))
        for event in published:
            telemetry.log.info("published", **event.log_fields)
        try:
            self._store.remove_events(published)
        except StoreUnavailableError as error:
            telemetry.log.warning("published events stay in the outbox", reason=str(error))


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

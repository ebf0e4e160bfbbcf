"""The relay of the transactional outbox: publish, then take out what the stream has stored."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib import telemetry
from chalicelib.errors import StoreUnavailableError, StreamUnavailableError
from chalicelib.models import Event
from chalicelib.ports import Publisher, Store


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
        if not events:
            return 0
        try:
            published = self._publisher.publish(events)
        except StreamUnavailableError as error:
            telemetry.log.warning(
                "events stay in the outbox", reason=str(error), events=len(events)
            )
            return 0
        telemetry.count(published=len(published))
        for event in published:
            telemetry.log.info("published", **event.log_fields)
        try:
            self._store.remove_events(published)
        except StoreUnavailableError as error:
            telemetry.log.warning("published events stay in the outbox", reason=str(error))
        return len(published)

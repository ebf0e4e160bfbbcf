"""Parked products: their documents carry the schedule, and no message of the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from chalicelib.domain.delivery import Acknowledge, Defer, Disposition, Transition
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.messages import ReceivedMessage
from chalicelib.domain.times import LONG_AGO
from chalicelib.usecases.ports import Queue, Store

COUNTED_EVERY = timedelta(seconds=10)
LOST_RACE = timedelta(seconds=1)
"""How long a message is deferred if its product has changed since it was read.

The message is deferred and not replaced by a new one: two workers may have received it, and
deleting it could delete the message that carries the schedule."""


class Parking:
    """Parks products: always while no calls are allowed, otherwise if the queue is full.

    `max_in_flight`: with this many messages in flight it counts as full. At SQS's limit of 120,000
    nobody would receive anything.
    """

    def __init__(
        self, store: Store, queue: Queue, max_in_flight: int, *, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._queue = queue
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._counted_at = LONG_AGO
        self._full = False

    @property
    def queue_is_full(self) -> bool:
        """Say whether it was full at the last count; no new count if the queue does not answer."""
        now = self._clock()
        if now - self._counted_at >= COUNTED_EVERY:
            self._counted_at = now
            with suppress(QueueUnavailableError):
                self._full = self._queue.in_flight() >= self._max_in_flight
        return self._full

    def park(
        self, parkings: Sequence[tuple[ReceivedMessage, Transition]]
    ) -> dict[str, Disposition]:
        """Write parked products; give the dispositions of their messages.

        Raises StoreUnavailableError.
        """
        if not parkings:
            return {}
        done = self._store.apply([parking for _, parking in parkings])
        later = Defer(self._clock() + LOST_RACE)
        return {
            message.id: Acknowledge("parked") if parking.after.id in done else later
            for message, parking in parkings
        }

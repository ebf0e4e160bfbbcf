"""Enqueues messages for products directly, not through the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from chalicelib.domain.delivery import next_enqueue
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.messages import message_to
from chalicelib.domain.product import Product
from chalicelib.usecases.parallel import Parallel
from chalicelib.usecases.ports import Queue, Store

AT_ONCE = 50
"""Products of one step; several steps are done in parallel."""


class Enqueued(NamedTuple):
    """`accepted`: messages that the queue has accepted. `moved`: their products that were changed.

    A worker has claimed the product meanwhile, or another copy of reconcile has enqueued it too.
    """

    accepted: int
    moved: int = 0


class Enqueuer:
    """Enqueues messages, and notes when reconcile must look at their products again.

    The stream's other listeners have received the events already, so they are not published again.
    """

    def __init__(
        self,
        store: Store,
        queue: Queue,
        *,
        clock: Callable[[], datetime],
        grace: timedelta,
        in_parallel: Parallel,
    ) -> None:
        self._store = store
        self._queue = queue
        self._clock = clock
        self._grace = grace
        self._in_parallel = in_parallel

    def enqueue(self, products: Sequence[Product]) -> Enqueued:
        """Enqueue a message for each product.

        After a crash in between, the products are still overdue, and get another message. Raises
        QueueUnavailableError if none was accepted, StoreUnavailableError.
        """
        parts = [products[start : start + AT_ONCE] for start in range(0, len(products), AT_ONCE)]
        done = [result for group in self._in_parallel(self._enqueue, parts) for _, result in group]
        failures = [result for result in done if isinstance(result, QueueUnavailableError)]
        parts_done = [result for result in done if isinstance(result, Enqueued)]
        if failures and not any(part.accepted for part in parts_done):
            raise failures[0]
        return Enqueued(
            sum(part.accepted for part in parts_done), sum(part.moved for part in parts_done)
        )

    def _enqueue(self, products: Sequence[Product]) -> Enqueued | QueueUnavailableError:
        messages = [message_to(item) for item in products]
        try:
            accepted = {message.product_id for message in self._queue.enqueue(messages)}
        except QueueUnavailableError as error:
            return error
        postponed = self.postpone([product for product in products if product.id in accepted])
        return Enqueued(len(accepted), len(accepted) - postponed)

    def postpone(self, products: Sequence[Product]) -> int:
        """Make these overdue when their new messages count as lost; give how many were changed."""
        now = self._clock()
        return postpone(self._store, products, lambda item: next_enqueue(item, now, self._grace))


def postpone(store: Store, products: Sequence[Product], then: Callable[[Product], datetime]) -> int:
    """Make these overdue later, unless somebody has changed their time meanwhile."""
    return store.postpone(
        {
            product.id: (product.sync.overdue_at, then(product))
            for product in products
            if product.sync.overdue_at is not None
        }
    )

"""Repairs what was lost on the way. Each run does bounded work; runs may overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib import telemetry
from chalicelib.domain.delivery import dead_letter_is_settled, next_enqueue
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.ports import Queue, ReceivedDeadLetter, Store

RELAY_AFTER = timedelta(seconds=10)
"""An event that is older is unpublished: its writer would have published it by now."""
PAGE = 200
RELAY_PAGE = 50
"""Products whose events are relayed at a time: the time that is left is looked at in between."""
ROUNDS = 25
"""Pages per step and run; the rest waits for the next run, a minute later."""
RELAY_ROUNDS = ROUNDS * PAGE // RELAY_PAGE
DEAD_LETTERS = 100


@dataclass(frozen=True, slots=True)
class Reconciled:
    """How much one run has done."""

    relayed: int
    enqueued: int
    settled: int
    dropped: int


class Reconcile:
    """Relays unpublished events, enqueues overdue products, deletes settled dead letters."""

    def __init__(
        self,
        store: Store,
        queue: Queue,
        outbox: Outbox,
        *,
        clock: Callable[[], datetime],
        grace: timedelta,
    ) -> None:
        self._store = store
        self._queue = queue
        self._outbox = outbox
        self._clock = clock
        self._grace = grace

    def run(self, seconds_left: Callable[[], float]) -> Reconciled:
        """Do one bounded run. Raises StoreUnavailableError; the other parts may be away.

        `seconds_left` says how long the host lets it run.
        """
        enqueued = self._with_queue(self._enqueue)
        settled = self._with_queue(self._settle_dead_letters)
        dropped = self._store.drop_tombstones()
        self._gauge()
        # Last, since a slow stream makes it long: the queue must not wait for it.
        relayed = self._relay(seconds_left)
        telemetry.count(relayed=relayed, enqueued=enqueued, dead_letters_settled=settled)
        return Reconciled(relayed, enqueued, settled, dropped)

    def _relay(self, seconds_left: Callable[[], float]) -> int:
        """Publish events whose writer did not: it crashed, or the stream was away."""
        relayed = 0
        before = self._unpublished_since()
        for _ in range(RELAY_ROUNDS):
            if seconds_left() <= 0:
                break
            products = self._store.unpublished(before, RELAY_PAGE)
            events = [event for product in products for event in product.outbox]
            stored = self._outbox.relay(events)
            relayed += stored
            # Nothing left, or the stream is away.
            if stored == 0:
                break
        return relayed

    def _unpublished_since(self) -> datetime:
        return self._clock() - min(RELAY_AFTER, self._grace)

    def _with_queue(self, step: Callable[[], int]) -> int:
        try:
            return step()
        except QueueUnavailableError as error:
            telemetry.log.warning("the queue is away", reason=str(error))
            return 0

    def _enqueue(self) -> int:
        """Enqueue a message for each product whose message was lost, whatever the cause.

        Straight to the queue: the listeners of the stream have had their event already.
        """
        enqueued = 0
        for _ in range(ROUNDS):
            products = self._store.overdue(self._clock(), PAGE)
            accepted = self._queue.enqueue(
                [SyncMessage(item.id, item.version) for item in products]
            )
            self._postpone(products, {sync_message.product_id for sync_message in accepted})
            enqueued += len(accepted)
            if len(products) < PAGE or not accepted:
                break
        return enqueued

    def _postpone(self, products: Sequence[Product], enqueued: set[str]) -> None:
        now = self._clock()
        times: Mapping[str, tuple[datetime, datetime]] = {
            product.id: (product.sync.overdue_at, next_enqueue(product, now, self._grace))
            for product in products
            if product.id in enqueued and product.sync.overdue_at is not None
        }
        self._store.postpone(times)

    def _settle_dead_letters(self) -> int:
        """Remove dead letters that mean no work any more, so that each one left needs a person."""
        held: set[str] = set()
        settled = 0
        try:
            for _ in range(ROUNDS):
                letters = self._queue.receive_dead_letters(DEAD_LETTERS)
                held |= {letter.receipt for letter in letters}
                done = self._settled(letters)
                self._queue.delete_dead_letters(done)
                held -= set(done)
                settled += len(done)
                if len(letters) < DEAD_LETTERS:
                    break
        finally:
            # Not before: those that stay would come again in the next round, before the rest.
            self._queue.release_dead_letters(list(held))
        return settled

    def _settled(self, letters: Sequence[ReceivedDeadLetter]) -> list[str]:
        products = self._store.get_many(
            {letter.product_id for letter in letters if letter.product_id is not None}
        )
        return [
            letter.receipt
            for letter in letters
            if letter.product_id is not None
            and dead_letter_is_settled(products.get(letter.product_id), letter.version)
        ]

    def _gauge(self) -> None:
        # What is on its way this very moment is no backlog: an alarm watches this.
        summary = self._store.summary(outbox_before=self._unpublished_since())
        behind = summary.behind_since
        telemetry.gauge(
            oldest_undelivered_seconds=(self._clock() - behind).total_seconds() if behind else 0.0,
            outbox_backlog=summary.outbox_backlog,
            **{f"products_{status}": count for status, count in summary.products.items()},
        )

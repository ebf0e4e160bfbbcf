"""Repairs lost messages, events and dead letters. Each run is bounded; runs may overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from chalicelib import telemetry
from chalicelib.domain.delivery import (
    Duty,
    LetterMeans,
    duty_of,
    judge_letter,
    next_enqueue,
    worker_died,
)
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.messages import SyncMessage, dead_letter_for, message_to
from chalicelib.domain.product import Product
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.ports import Queue, ReceivedDeadLetter, Store

PAGE = 200
RELAY_PAGE = 50
"""Products whose events are relayed at a time; the time left is checked after each page."""
ROUNDS = 25
"""Pages per step and run; the next run, a minute later, does the rest."""
RELAY_ROUNDS = ROUNDS * PAGE // RELAY_PAGE
DEAD_LETTERS = 100
GAUGE_EVERY = timedelta(seconds=50)
"""Gauges read all that waits. A container host with a short grace runs more often than every
minute; its gauges are no fresher than those of Lambda, whose runs are a minute apart."""

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Counts of one run.

    Events relayed, messages enqueued, dead letters sent that were owed or missing (`letters`), dead
    letters deleted (`settled`), tombstones removed (`dropped`).
    """

    relayed: int
    enqueued: int
    letters: int
    settled: int
    dropped: int


class Reconcile:
    """Relays unpublished events, enqueues overdue products, keeps one letter per failed product."""

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
        self._gauged = datetime.min.replace(tzinfo=UTC)

    @telemetry.batch()
    def run(self, seconds_left: Callable[[], float]) -> Reconciled:
        """Do one bounded run. Raises StoreUnavailableError; queue and stream may be away.

        `seconds_left` gives the seconds until the host stops the run.
        """
        settled, missing = self._with_queue(self._sweep, (0, 0))
        enqueued, owed, dropped = self._overdue()
        self._gauge_if_due()
        # Last, since a slow stream makes it slow, and must not delay the queue.
        relayed = self._relay(seconds_left)
        letters = owed + missing
        telemetry.count(
            relayed=relayed, enqueued=enqueued, letters_sent=letters, dead_letters_settled=settled
        )
        return Reconciled(relayed, enqueued, letters, settled, dropped)

    def _with_queue(self, step: Callable[[], Done], nothing: Done) -> Done:
        try:
            return step()
        except QueueUnavailableError as error:
            telemetry.log.warning("the queue is away", reason=str(error))
            return nothing

    # ---- the outboxes ----

    def _relay(self, seconds_left: Callable[[], float]) -> int:
        """Publish unpublished events: their writer crashed, or the stream was away."""
        relayed = 0
        before = self._unpublished_since()
        for _ in range(RELAY_ROUNDS):
            if seconds_left() <= 0:
                break
            products = self._store.unpublished(before, RELAY_PAGE)
            stored = self._outbox.relay([event for item in products for event in item.outbox])
            relayed += stored
            # Nothing left, or the stream is away.
            if stored == 0:
                break
        return relayed

    def _unpublished_since(self) -> datetime:
        return self._clock() - self._grace

    # ---- overdue products ----

    def _overdue(self) -> tuple[int, int, int]:
        """Look at what is overdue; give the numbers of messages, dead letters and deletions."""
        enqueued = letters = dropped = 0
        for _ in range(ROUNDS):
            products = self._store.overdue(self._clock(), PAGE)
            due: dict[Duty, list[Product]] = {duty: [] for duty in Duty}
            for product in products:
                due[duty_of(product)].append(product)
            sent = self._with_queue(partial(self._send_letters, due[Duty.LETTER]), 0)
            put = self._with_queue(partial(self._enqueue, due[Duty.MESSAGE]), 0)
            gone = self._drop(due[Duty.DELETION])
            enqueued, letters, dropped = enqueued + put, letters + sent, dropped + gone
            # Deletions that must stay are overdue later by now: the next page has others. What
            # could not be sent would be on the next page again.
            unsent = (due[Duty.MESSAGE] or due[Duty.LETTER]) and not put + sent
            if len(products) < PAGE or unsent:
                break
        return enqueued, letters, dropped

    def _drop(self, tombstones: Sequence[Product]) -> int:
        """Drop confirmed deletions; those with an unpublished event are looked at again later."""
        dropped = self._store.drop_tombstones(tombstones) if tombstones else 0
        if dropped < len(tombstones):
            later = self._clock() + self._grace
            # Of those that are gone, nothing is left to postpone.
            self._postpone(tombstones, lambda _: later)
        return dropped

    def _enqueue(self, products: Sequence[Product]) -> int:
        """Enqueue a message for each product whose message counts as lost.

        Not through the stream, whose listeners have received the event already.
        """
        if not products:
            return 0
        messages = [message_to(item) for item in products]
        accepted = {message.product_id for message in self._queue.enqueue(messages)}
        now = self._clock()
        self._postpone(
            [product for product in products if product.id in accepted],
            lambda product: next_enqueue(product, now, self._grace),
        )
        return len(accepted)

    def _postpone(self, products: Sequence[Product], then: Callable[[Product], datetime]) -> None:
        """Look at these again later, unless another run has moved their time meanwhile."""
        self._store.postpone(
            {
                product.id: (product.sync.overdue_at, then(product))
                for product in products
                if product.sync.overdue_at is not None
            }
        )

    # ---- dead letters ----

    def _send_letters(self, products: Sequence[Product]) -> int:
        if not products:
            return 0
        accepted = self._queue.dead_letter([dead_letter_for(product) for product in products])
        self._store.letters_sent([products[position] for position in accepted])
        return len(accepted)

    def _sweep(self) -> tuple[int, int]:
        """Check every dead letter, so that each failed product has one, and no other has any.

        Returns how many were deleted, and how many were missing and sent again.
        """
        # Read before the letters: a product that fails during the sweep sends its own letter.
        failed = self._store.failed(ROUNDS * DEAD_LETTERS)
        held: dict[str, ReceivedDeadLetter] = {}
        try:
            for _ in range(ROUNDS):
                letters = self._queue.receive_dead_letters(DEAD_LETTERS)
                held |= {letter.id: letter for letter in letters}
                if len(letters) < DEAD_LETTERS:
                    break
            complete = self._queue.count_dead_letters() == len(held)
            done, kept = self._judge(list(held.values()))
            self._queue.delete_dead_letters([letter.receipt for letter in done])
            for letter in done:
                del held[letter.id]
        finally:
            # Not earlier: the next round would receive them again, before the others.
            self._queue.release_dead_letters([letter.receipt for letter in held.values()])
        return len(done), self._replace_missing(failed, kept) if complete else 0

    def _judge(
        self, letters: Sequence[ReceivedDeadLetter]
    ) -> tuple[list[ReceivedDeadLetter], set[str]]:
        """Give the letters to delete, and the ids of the products that keep one."""
        # Read after the letters were received, so that a product is not older than its letter.
        ids = {letter.message.product_id for letter in letters if letter.message is not None}
        found = self._store.get_many(ids)
        done: list[ReceivedDeadLetter] = []
        kept: set[str] = set()
        # Of several letters of a product, the one with the smallest id stays in every run.
        for letter in sorted(letters, key=lambda letter: letter.id):
            message = letter.message
            if message is None or message.product_id in found.unreadable:
                continue
            means = self._meaning(found.products.get(message.product_id), message, letter.id)
            if means is LetterMeans.WORK and message.product_id not in kept:
                kept.add(message.product_id)
            elif means is not LetterMeans.WAIT:
                done.append(letter)
        return done, kept

    def _meaning(
        self, product: Product | None, message: SyncMessage, letter_id: str
    ) -> LetterMeans:
        now = self._clock()
        means = judge_letter(product, message, letter_id, now)
        if means is not LetterMeans.CRASH or product is None:
            return means
        exhausted = worker_died(product, letter_id, now)
        telemetry.log.error("a message has crashed its workers", **message.log_fields)
        telemetry.count(exhausted=1)
        if self._store.save_sync(exhausted, expected_revision=product.revision):
            return LetterMeans.NOTHING
        # The product has changed since it was read: the next run decides again.
        return LetterMeans.WAIT

    def _replace_missing(self, failed: Sequence[Product], kept: set[str]) -> int:
        """Send the letters again that somebody has deleted, of products that still are failed."""
        missing = [product for product in failed if product.id not in kept]
        still = self._store.get_many({product.id for product in missing}).products
        return self._send_letters(
            [product for product in missing if product == still.get(product.id)]
        )

    # ---- what operators watch ----

    def _gauge_if_due(self) -> None:
        now = self._clock()
        if now - self._gauged >= GAUGE_EVERY:
            self._gauge()
            self._gauged = now

    def _gauge(self) -> None:
        # Only events older than the grace are a backlog: an alarm watches this gauge.
        summary = self._store.summary(self._unpublished_since())
        behind = summary.behind_since
        telemetry.gauge(
            oldest_undelivered_seconds=(self._clock() - behind).total_seconds() if behind else 0.0,
            outbox_backlog=summary.outbox_backlog,
            products_unreadable=summary.unreadable,
            **{f"products_{status}": count for status, count in summary.products.items()},
        )

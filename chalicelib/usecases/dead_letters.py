"""One dead letter per failed product, and no other: sends what is owed, deletes what is settled.

What is about no product is moved into the quarantine, so that no flood of it hides the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from chalicelib import telemetry
from chalicelib.domain.delivery import LetterMeans, failure_of, judge_letter, worker_died
from chalicelib.domain.messages import SyncMessage, dead_letter_for
from chalicelib.domain.poison import ALL_POISON, QUARANTINE_BYTES, PoisonLetter
from chalicelib.domain.product import Product
from chalicelib.usecases.ports import Queue, ReceivedDeadLetter, Store

AT_ONCE = 100
ROUNDS = 25
"""Receives of a sweep: it sees 2,500 dead letters at most."""
FLOOD = 5 * AT_ONCE
"""A sweep that has moved so many poison letters ends: what waits for the rest of the run comes
first, and then the rest of the flood, a page at a time."""


class Swept(NamedTuple):
    """Dead letters that were deleted, that were missing and sent again, and moved poison letters.

    `flooded`: there may be much more poison.
    """

    settled: int = 0
    sent: int = 0
    quarantined: int = 0
    flooded: bool = False


class Named(NamedTuple):
    """What dead letters say; `moved`: how many others were poison.

    `left`: how many were not seen: another process has them in hand or, with `more`, they are too
    many for one look.
    """

    messages: list[SyncMessage]
    left: int = 0
    more: bool = False
    moved: int = 0


class DeadLetters:
    """Keeps the dead-letter queue and the documents in step."""

    def __init__(self, store: Store, queue: Queue, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._queue = queue
        self._clock = clock

    def send(self, products: Sequence[Product]) -> int:
        """Send the dead letters of these; give the number of those sent."""
        if not products:
            return 0
        accepted = self._queue.dead_letter([dead_letter_for(product) for product in products])
        self._store.letters_sent([products[position] for position in accepted])
        return len(accepted)

    def sweep(self) -> Swept:
        """Check every dead letter, so that each failed product has one, and no other has any."""
        # If there are more letters than a sweep sees, it cannot know which are missing.
        seen = self._queue.count_dead_letters() <= ROUNDS * AT_ONCE
        # Read before the letters: a product that fails during the sweep sends its own letter.
        failed = self._store.failed(ROUNDS * AT_ONCE) if seen else []
        held: dict[str, ReceivedDeadLetter] = {}
        try:
            moved, _ = self._receive_into(held, most_poison=FLOOD)
            complete = self._queue.count_dead_letters() == len(held)
            done, kept = self._judge(list(held.values()))
            self._queue.delete_dead_letters([letter.receipt for letter in done])
            for letter in done:
                del held[letter.id]
        finally:
            # Not earlier: the next round would receive them again, before the others.
            self._queue.release_dead_letters([letter.receipt for letter in held.values()])
        sent = self._replace_missing(failed, kept) if complete else 0
        return Swept(len(done), sent, moved, flooded=moved >= FLOOD)

    def quarantine(self) -> int:
        """Move one more page of poison; give the number of letters."""
        page = self._queue.receive_dead_letters(AT_ONCE)
        held = {letter.id: letter for letter in page}
        try:
            return self._quarantine(held)
        finally:
            self._queue.release_dead_letters([letter.receipt for letter in held.values()])

    def named(self) -> Named:
        """Give what the letters say that are sync messages, which stay; poison is moved."""
        held: dict[str, ReceivedDeadLetter] = {}
        try:
            moved, more = self._receive_into(held, most_poison=ROUNDS * AT_ONCE)
            left = self._queue.count_dead_letters() - len(held)
        finally:
            self._queue.release_dead_letters([letter.receipt for letter in held.values()])
        messages = [letter.message for letter in held.values() if letter.message is not None]
        return Named(messages, max(0, left), more=more, moved=moved)

    def _receive_into(
        self, held: dict[str, ReceivedDeadLetter], *, most_poison: int
    ) -> tuple[int, bool]:
        """Receive what a sweep can see, until there is no more or so much poison was moved.

        Gives how much that was, since a flood of it would hide the others; and whether there may be
        more letters. What is received is in `held` also if an error ends this, to be released.
        """
        moved = 0
        for _ in range(ROUNDS):
            page = self._queue.receive_dead_letters(AT_ONCE)
            held |= {letter.id: letter for letter in page}
            moved += self._quarantine(held)
            if len(page) < AT_ONCE:
                return moved, False
            if moved >= most_poison:
                break
        return moved, True

    def count(self) -> int:
        """Count the dead letters, also those that a sweep has in hand."""
        return self._queue.count_dead_letters()

    def count_poison(self) -> int:
        """Count the letters in the quarantine."""
        return self._store.count_quarantined(ALL_POISON)

    def _quarantine(self, held: dict[str, ReceivedDeadLetter]) -> int:
        """Move the poison among these out of the queue, and out of `held`; give its number."""
        poison = [letter for letter in held.values() if letter.message is None]
        if not poison or self._store.quarantine_bytes() >= QUARANTINE_BYTES:
            return 0
        now = self._clock()
        # After a crash before the deletion they are received again, and are there already.
        self._store.quarantine(
            [PoisonLetter(letter.id, letter.reason, letter.body, now) for letter in poison]
        )
        self._queue.delete_dead_letters([letter.receipt for letter in poison])
        for letter in poison:
            del held[letter.id]
            telemetry.log.debug("poison is quarantined", message=letter.id, reason=letter.reason)
        return len(poison)

    def _judge(
        self, letters: Sequence[ReceivedDeadLetter]
    ) -> tuple[list[ReceivedDeadLetter], set[str]]:
        """Give the letters to delete, and the ids of the products that keep one."""
        # Read after the letters were received, so that a product is not older than its letter.
        ids = {letter.message.product_id for letter in letters if letter.message is not None}
        found = self._store.get_many(ids, details=False)
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
        if product is None:
            # If the store was restored to an earlier time, this may be the last trace of a product.
            telemetry.log.info("a dead letter of no product is deleted", **message.log_fields)
        if means is not LetterMeans.CRASH or product is None:
            return means
        # With its details, which are in the event.
        whole = self._store.get_many({product.id}).products.get(product.id, product)
        exhausted = worker_died(whole, letter_id, now)
        event = failure_of(exhausted, now, product.sync.trace)
        telemetry.log.error("a message has crashed its workers", **message.log_fields)
        telemetry.count(exhausted=1)
        if self._store.save_sync(exhausted, expected_revision=product.revision, event=event):
            return LetterMeans.NOTHING
        # The product has changed since it was read: the next run decides again.
        return LetterMeans.WAIT

    def _replace_missing(self, failed: Sequence[Product], kept: set[str]) -> int:
        """Send the letters again that somebody has deleted, of products that still are failed."""
        missing = [product for product in failed if product.id not in kept]
        found = self._store.get_many({product.id for product in missing}, details=False).products
        return self.send([product for product in missing if product == found.get(product.id)])

"""After an outage or a pause: what waits is brought forward, oldest change first.

And the work on many products that an operator asks for. Each step is one page, and where it ended
is stored, so that the next run goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib import telemetry
from chalicelib.domain.breaker import Breaker
from chalicelib.domain.control import CatchUp, Control, Redrive
from chalicelib.domain.delivery import Duty, Transition, bring_forward, duty_of, redrive
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import WAITING_STATUSES, Position, SyncStatus
from chalicelib.usecases.controls import Controls
from chalicelib.usecases.enqueuing import Enqueuer
from chalicelib.usecases.ports import Order, ProductQuery, Store, Window

EVER = timedelta(days=365)
CANDIDATES = (20, 1000)
"""Products that are looked at to find one for a probe, of those that are due first and of each
status; more if none of the first ones is free: calls for them may be under way, or other writers
change them."""
READ_AHEAD = 10
"""Products that are read for each that may be brought forward: others have a message already."""
REDRIVE_READS = 10_000
"""Products that a page of a redrive reads at most, to find those that its filter selects."""


class Convergence:
    """Brings forward, redrives, and finds a product for the next probe."""

    def __init__(
        self,
        store: Store,
        controls: Controls,
        enqueuer: Enqueuer,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._controls = controls
        self._enqueuer = enqueuer
        self._clock = clock

    def settle(self) -> Control:
        """End a pause whose time is over; give the state of the sync."""
        _, control = self._controls.change(lambda stored: (None, stored.settled(self._clock())))
        return control

    def bring_forward(self, catch_up: CatchUp, limit: int) -> int:
        """Bring up to `limit` of the next page forward; give their number.

        0 if the catch-up has ended meanwhile: what has failed since then keeps its plan.
        """
        page, now = self._waiting(catch_up, limit * READ_AHEAD), self._clock()
        # After the page was read: what changes from now on has another revision.
        if not _is_under_way(catch_up, self._controls.read()):
            return 0
        seen, wanted = 0, list[Transition]()
        for product in page:
            if len(wanted) == limit:
                break
            seen += 1
            if forward := bring_forward(product, catch_up.since, now):
                wanted.append(forward)
        changed = self._apply(wanted)
        self._enqueue(changed)
        ended = seen == len(page) < limit * READ_AHEAD
        after = _position(page[seen - 1]) if seen else catch_up.after
        rest = None if ended else replace(catch_up, after=after)
        self._controls.change(lambda stored: (None, _with_catch_up(stored, catch_up, rest)))
        return len(changed)

    def _waiting(self, catch_up: CatchUp, limit: int) -> list[Product]:
        """Find what is not delivered and changed before the outage ended, oldest first."""
        oldest = self._oldest(limit, catch_up.after, WAITING_STATUSES)
        return [product for product in oldest if _age(product) <= catch_up.since]

    def _oldest(
        self, limit: int, after: Position | None, statuses: Collection[SyncStatus]
    ) -> list[Product]:
        wanted = frozenset(statuses)
        return self._store.find(
            ProductQuery(limit, after, statuses=wanted, order=Order.BEHIND_SINCE, details=False)
        )

    def redrive(self, job: Redrive, limit: int, *, held: bool) -> int:
        """Restart the next page of products; give their number.

        After a crash, and beside another copy, the same page comes again: what was restarted is
        not restarted again, though it may have failed again.
        """
        page, now = self._selected(job, limit), self._clock()
        changed = self._apply([redrive(item, job, now, parked=held) for item in page.products])
        if not (held and self._controls.read().is_held(self._clock())):
            # If calls are allowed by now, what brings forward may be past these products already.
            self._enqueue(changed)
        after = None if _is_past(page.after, job.since) else page.after
        _, control = self._controls.change(
            lambda stored: (None, _with_redrive(stored, job, len(changed), after))
        )
        if control.redrive is None:
            telemetry.log.info("a redrive is done", products=job.count)
        return len(changed)

    def _selected(self, job: Redrive, limit: int) -> Window:
        """Find the next page of what is to be redriven; it may be empty, and not the last."""
        status, selection = job.in_hand
        query = ProductQuery(
            limit,
            job.after,
            statuses=frozenset({status}),
            order=Order.BEHIND_SINCE,
            details=False,
            selection=selection,
        )
        return self._store.search(query, REDRIVE_READS)

    def feed_probe(self, breaker: Breaker) -> int:
        """Enqueue a message for the next probe, since none may arrive otherwise.

        It is for the product that is due first, and for one that has failed only if there is no
        other: products that always fail must not keep the breaker open.
        """
        for number in CANDIDATES:
            waiting, complete = self._candidates(number)
            if complete and not waiting.keys() - {breaker.suspect}:
                self._controls.change(lambda stored: (None, stored.starved(self._clock())))
            fed = self._feed_one(waiting.values(), breaker)
            if fed or complete:
                return fed
        return 0

    def _candidates(self, number: int) -> tuple[dict[str, Product], bool]:
        """Find products for a probe by their ids; say whether these are all that wait.

        Of what is due first, since a probe that failed comes last then: the oldest changes may all
        be products that always fail. And of the oldest changes, since what is due first may all be
        deletions that are kept for their keys.
        """
        due = self._store.overdue(self._clock() + EVER, number)
        pages = [self._oldest(number, None, {status}) for status in WAITING_STATUSES]
        found = [product for page in pages for product in page]
        found += [product for product in due if duty_of(product) is Duty.MESSAGE]
        return {product.id: product for product in found}, all(len(p) < number for p in pages)

    def _feed_one(self, waiting: Collection[Product], breaker: Breaker) -> int:
        now = self._clock()
        free = [product for product in waiting if not product.sync.leased(now)]
        for product in sorted(free, key=lambda product: _doubtful(product, breaker)):
            early = bring_forward(product, now, now)
            if early is None:
                return self._enqueue([product])
            if changed := self._apply([early]):
                return self._enqueue(changed)
        return 0

    def _apply(self, transitions: Sequence[Transition | None]) -> list[Product]:
        wanted = [transition for transition in transitions if transition is not None]
        changed = self._store.apply(wanted) if wanted else set()
        return [item.after for item in wanted if item.after.id in changed]

    def _enqueue(self, products: Sequence[Product]) -> int:
        try:
            return self._enqueuer.enqueue(products).accepted if products else 0
        except QueueUnavailableError as error:
            # They are overdue: the next run enqueues them.
            telemetry.log.warning("the queue is away", reason=str(error))
            return 0


def _doubtful(product: Product, breaker: Breaker) -> tuple[bool, bool, datetime]:
    """Order products for a probe: those that have failed before say less about the supply chain."""
    due = product.sync.overdue_at or _age(product)
    return product.id == breaker.suspect, product.sync.last_error is not None, due


def _age(product: Product) -> datetime:
    return product.sync.behind_since or product.updated_at


def _is_past(position: Position | None, since: datetime) -> bool:
    """Say whether nothing that was behind at this time follows."""
    behind = position.behind_since if position else None
    return behind is None or behind > since


def _position(product: Product) -> Position:
    return Position(product.id, product.sync.behind_since)


def _with_catch_up(stored: Control, before: CatchUp, after: CatchUp | None) -> Control:
    """Change the progress, unless another outage has ended meanwhile."""
    return replace(stored, catch_up=after) if _is_under_way(before, stored) else stored


def _is_under_way(catch_up: CatchUp, control: Control) -> bool:
    return control.catch_up is not None and control.catch_up.since == catch_up.since


def _with_redrive(stored: Control, seen: Redrive, done: int, after: Position | None) -> Control:
    """Change the progress, unless another redrive has begun meanwhile."""
    if stored.redrive is None or stored.redrive.started_at != seen.started_at:
        return stored
    return replace(stored, redrive=stored.redrive.advanced(seen, done, after))

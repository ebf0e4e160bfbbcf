"""Repairs lost messages, events and dead letters, and lets the sync converge after an outage.

Each run is bounded by its time; runs may overlap.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from chalicelib import telemetry
from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.control import Control
from chalicelib.domain.delivery import Duty, duty_of, hold
from chalicelib.domain.errors import QueueUnavailableError, StoreUnavailableError
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import FAILED_STATUSES, WAITING_STATUSES
from chalicelib.domain.times import LONG_AGO
from chalicelib.usecases.audit import Auditor
from chalicelib.usecases.convergence import Convergence
from chalicelib.usecases.dead_letters import DeadLetters, Swept
from chalicelib.usecases.enqueuing import Enqueued, Enqueuer, postpone
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.pace import Pace
from chalicelib.usecases.ports import Store
from chalicelib.usecases.republish import Republisher
from chalicelib.usecases.restore import Restorer

PAGE = 1000
"""Products of a step: about 1 KB each, since they are read without details."""
RELAY_PAGE = 50
"""Products whose events are relayed at a time; the time left is checked after each page."""
SLOW_RELAY = timedelta(seconds=1)
"""After a page that took longer, no other is relayed in this run: it would delay the queue."""
PAUSE_SECONDS = 1.0
"""Between two steps: to read the breaker again, or to keep to the rate limit."""
GAUGE_EVERY = timedelta(seconds=50)
"""Gauges read the index entries of all undelivered products, so they are written once a minute,
even where a short grace makes reconcile run more often."""
ACTIVITY_KEPT = timedelta(days=1)
"""How long counts of attempts are kept; `GET /sync` shows an hour."""
ADDED_UP = ("exhausted", "rejected", "quarantined", "objective_met", "objective_missed")
"""Counters whose sums and shares alarms watch."""

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Counts of one run.

    Events relayed, messages enqueued, dead letters sent that were owed or missing (`letters`), dead
    letters deleted (`settled`), tombstones removed (`dropped`), products brought forward after an
    outage (`forwarded`) and restarted for a redrive (`redriven`), poison letters moved
    (`quarantined`), events of a republish that were published (`republished`).
    """

    relayed: int = 0
    enqueued: int = 0
    letters: int = 0
    settled: int = 0
    dropped: int = 0
    forwarded: int = 0
    redriven: int = 0
    quarantined: int = 0
    republished: int = 0

    def plus(self, other: Reconciled) -> Reconciled:
        """Add other counts."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Reconciled(*(mine + others for mine, others in pairs))


class Reconcile:
    """Relays unpublished events, enqueues overdue products, keeps one letter per failed product.

    After an outage it brings the waiting products forward. It does the redrives, the audits and the
    republishes of operators, and quarantines poison.
    `page`: products of a step. `restoring`: it only makes a restored store whole.
    """

    page = PAGE

    def __init__(  # noqa: PLR0913 - all that a run takes care of
        self,
        store: Store,
        outbox: Outbox,
        enqueuer: Enqueuer,
        dead_letters: DeadLetters,
        convergence: Convergence,
        auditor: Auditor,
        republisher: Republisher,
        restorer: Restorer,
        policy: BreakerPolicy,
        *,
        clock: Callable[[], datetime],
        grace: timedelta,
        restoring: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._enqueuer = enqueuer
        self._dead_letters = dead_letters
        self._convergence = convergence
        self._auditor = auditor
        self._republisher = republisher
        self._restorer = restorer
        self._restoring = restoring
        self._policy = policy
        self._clock = clock
        self._grace = grace
        self._sleep = sleep
        self._pace = Pace(clock)
        self._gauged = self._fed = LONG_AGO

    @telemetry.batch()
    def run(self, seconds_left: Callable[[], float]) -> Reconciled:
        """Do one bounded run. Raises StoreUnavailableError; queue and stream may be away.

        `seconds_left` gives the seconds until the host stops the run.
        """
        try:
            return self._restore(seconds_left) if self._restoring else self._run(seconds_left)
        except StoreUnavailableError:
            # The other gauges are in the store. Without any, reconcile would seem not to run.
            telemetry.gauge(store_away=1)
            raise

    def _restore(self, seconds_left: Callable[[], float]) -> Reconciled:
        """Make a restored store whole, and nothing else."""
        gauged = self._gauge_if_due(self._convergence.settle())
        while seconds_left() > 0 and self._restorer.step():
            pass
        if gauged:
            self._gauge_dependencies(
                queue_away=self._with_queue(self._dead_letters.count, None) is None
            )
        return Reconciled()

    def _run(self, seconds_left: Callable[[], float]) -> Reconciled:
        is_left = self._restorer.follow()
        swept = Swept() if is_left else self._with_queue(self._dead_letters.sweep, None)
        settled, missing, moved, flooded = swept or Swept()
        done = Reconciled(settled=settled, letters=missing, quarantined=moved)
        control, relaying = self._convergence.settle(), True
        gauged = self._gauge_if_due(control)
        if gauged:
            self._auditor.look_after()
        while True:
            probes = self._feed_probe(control)
            step, more = self._step(control)
            # After the queue: a slow stream must not delay it.
            relaying = relaying and seconds_left() > 0
            relayed, relaying = self._relay() if relaying else (0, False)
            done = done.plus(replace(step, enqueued=step.enqueued + probes, relayed=relayed))
            moved, published = self._do_what_may_wait(seconds_left, flooded=flooded)
            flooded = moved > 0
            done = done.plus(Reconciled(quarantined=moved, republished=published or 0))
            # Last, and only if nothing else waits: its questions take some seconds.
            audited = None if more or seconds_left() <= 0 else self._auditor.step(control)
            running = audited is not None or published is not None
            if not (more or relaying or flooded or running) or seconds_left() <= 0:
                break
            stalled = step == Reconciled() or control.is_held(self._clock())
            idle = stalled if more else not (relaying or audited)
            if idle and not (flooded or published):
                self._sleep(PAUSE_SECONDS)
            control = self._convergence.settle()
        if gauged:
            # After the queue too.
            self._gauge_dependencies(queue_away=swept is None)
            if seconds_left() > 0:
                self._auditor.sample(control, seconds_left)
        _count(done)
        return done

    def _do_what_may_wait(
        self, seconds_left: Callable[[], float], *, flooded: bool
    ) -> tuple[int, int | None]:
        """Do a page of the rest of a flood of poison, and of a republish: deliveries come first.

        Gives the numbers of letters moved, and of events, None if no republish goes on.
        """
        if seconds_left() <= 0:
            return 0, None
        moved = self._with_queue(self._dead_letters.quarantine, 0) if flooded else 0
        return moved, self._republisher.step()

    def is_needed(self) -> bool:
        """Say whether a run is needed at once, not only after the usual interval."""
        if self._restoring:
            return self._restorer.is_needed()
        control = self._convergence.settle()
        due = _is_busy(control, self._clock()) or self._auditor.is_needed(control)
        return due or self._republisher.is_needed()

    def _feed_probe(self, control: Control) -> int:
        """Enqueue for the next probe once a second, until a worker has begun it."""
        now = self._clock()
        due = control.breaker.is_due(now) and not control.is_paused(now)
        if not due or now - self._fed < timedelta(seconds=PAUSE_SECONDS):
            return 0
        self._fed = now
        return self._convergence.feed_probe(control.breaker)

    def _step(self, control: Control) -> tuple[Reconciled, bool]:
        """Do a page of everything; say whether there is more to do in this run."""
        now = self._clock()
        held = control.is_held(now)
        limit = control.breaker.limit(now, self._policy)
        allowed = self.page if held else self._pace.allowed(limit, self.page)
        forward = None if held else control.catch_up
        # Overdue products first, and a part of the limit for them: bringing millions forward, or a
        # redrive of millions, must not delay them.
        part = math.ceil(allowed / 4) if forward or control.redrive else allowed
        overdue, full = self._overdue(part, held=held) if part else (Reconciled(), True)
        left = allowed - overdue.enqueued
        forwarded = redriven = 0
        if forward is not None and left:
            forwarded = self._convergence.bring_forward(forward, left)
        elif control.redrive is not None and left:
            redriven = self._convergence.redrive(control.redrive, left, held=held)
        self._pace.spend(forwarded + redriven + overdue.enqueued)
        counts = Reconciled(forwarded=forwarded, redriven=redriven)
        return counts.plus(overdue), full or _is_busy(control, now)

    def _with_queue(self, step: Callable[[], Done], nothing: Done) -> Done:
        try:
            return step()
        except QueueUnavailableError as error:
            telemetry.log.warning("the queue is away", reason=str(error))
            return nothing

    # ---- the outboxes ----

    def _relay(self) -> tuple[int, bool]:
        """Publish unpublished events: their writer crashed, or the stream was away.

        Gives their number, and whether there may be more that the stream would take.
        """
        begun = self._clock()
        products = self._store.unpublished(self._unpublished_since(), RELAY_PAGE)
        stored = self._outbox.relay([event for item in products for event in item.outbox])
        return stored, stored > 0 and self._clock() - begun < SLOW_RELAY

    def _unpublished_since(self) -> datetime:
        return self._clock() - self._grace

    # ---- overdue products ----

    def _overdue(self, limit: int, *, held: bool) -> tuple[Reconciled, bool]:
        """Do what a page of overdue products needs; say whether there is another page."""
        products = self._store.overdue(self._clock(), limit)
        due: dict[Duty, list[Product]] = {duty: [] for duty in Duty}
        for product in products:
            due[duty_of(product)].append(product)
        sent = self._with_queue(partial(self._dead_letters.send, due[Duty.LETTER]), 0)
        put = self._enqueue(due[Duty.MESSAGE], held=held)
        gone = self._drop(due[Duty.DELETION])
        # Deletions that could not be dropped are overdue later by now, so the next page has other
        # products. What could not be sent would be on the next page again.
        unsent = (due[Duty.MESSAGE] or due[Duty.LETTER]) and not put + sent
        counts = Reconciled(enqueued=0 if held else put, letters=sent, dropped=gone)
        return counts, len(products) == limit and not unsent

    def _enqueue(self, products: Sequence[Product], *, held: bool) -> int:
        """Enqueue messages that count as lost; none while no calls are allowed."""
        if not products:
            return 0
        if held:
            self._hold(products)
            return len(products)
        enqueued = self._with_queue(partial(self._enqueuer.enqueue, products), Enqueued(0))
        if enqueued.accepted and 2 * enqueued.moved >= enqueued.accepted:
            # Another copy does the same pages, and is ahead: leave them to it for a while.
            self._sleep(2 * PAUSE_SECONDS)
        return enqueued.accepted

    def _hold(self, products: Sequence[Product]) -> None:
        """Park these, so that they are brought forward when the outage or the pause has ended."""
        now = self._clock()
        wanted = [(product, hold(product, now, self._grace)) for product in products]
        if holds := [held for _, held in wanted if held is not None]:
            self._store.apply(holds)
        self._enqueuer.postpone([product for product, held in wanted if held is None])

    def _drop(self, tombstones: Sequence[Product]) -> int:
        """Drop confirmed deletions; those with an unpublished event are looked at again later."""
        dropped = self._store.drop_tombstones(tombstones) if tombstones else 0
        if dropped < len(tombstones):
            later = self._clock() + self._grace
            # Those that were dropped are no longer there, so this does nothing to them.
            postpone(self._store, tombstones, lambda _: later)
        return dropped

    # ---- what operators watch ----

    def _gauge_if_due(self, control: Control) -> bool:
        """Write the gauges once a minute; say whether they were."""
        now = self._clock()
        if now - self._gauged < GAUGE_EVERY:
            return False
        self._gauged = now
        self._gauge(control, now)
        self._forget_activity(now)
        return True

    def _forget_activity(self, now: datetime) -> None:
        try:
            self._store.forget_activity(now - ACTIVITY_KEPT)
        except StoreUnavailableError as error:
            # Only operators look at it: the repairs of this run must not wait for it.
            telemetry.log.warning("old counts of attempts are kept", reason=str(error))

    def _gauge(self, control: Control, now: datetime) -> None:
        # Only events older than the grace are a backlog: an alarm watches this gauge.
        summary = self._store.summary(self._unpublished_since())
        letters = self._with_queue(self._dead_letters.count, None)
        telemetry.gauge(
            # Without what is stuck: it waits for a person, and would hide the next outage.
            oldest_undelivered_seconds=summary.age(WAITING_STATUSES, now) or 0.0,
            oldest_stuck_seconds=summary.age(FAILED_STATUSES, now) or 0.0,
            outbox_backlog=summary.outbox_backlog,
            products_unreadable=summary.unreadable,
            breaker_open=int(not control.breaker.is_closed),
            sync_paused=int(control.is_paused(now)),
            audit_differences_open=self._auditor.open_differences(),
            poison_letters=self._dead_letters.count_poison(),
            **{f"products_{status}": count for status, count in summary.products.items()},
        )
        if letters is not None:
            telemetry.gauge(dead_letters=letters)
        telemetry.start(*ADDED_UP)

    def _gauge_dependencies(self, *, queue_away: bool) -> None:
        """Say what is away, as seen from here: each of them is one alarm."""
        usage = self._outbox.stream_usage()
        telemetry.gauge(store_away=0, queue_away=int(queue_away), stream_away=int(usage is None))
        if usage is not None:
            telemetry.gauge(stream_bytes=usage.bytes)
            if usage.limit is not None:
                telemetry.gauge(stream_limit_bytes=usage.limit)


def _count(done: Reconciled) -> None:
    """Count a run; the events of a republish are counted page by page."""
    telemetry.count(
        relayed=done.relayed,
        enqueued=done.enqueued,
        letters_sent=done.letters,
        dead_letters_settled=done.settled,
        brought_forward=done.forwarded,
        redriven=done.redriven,
        tombstones_dropped=done.dropped,
        quarantined=done.quarantined,
    )


def _is_busy(control: Control, now: datetime) -> bool:
    """Say whether the next step must follow soon: a probe, or the next page."""
    if control.is_paused(now):
        return control.redrive is not None
    waiting = control.catch_up is not None or control.redrive is not None
    return waiting or not control.breaker.is_closed

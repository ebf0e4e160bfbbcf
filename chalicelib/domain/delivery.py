"""Decisions about messages, attempts, overdue products and dead letters. No I/O.

A message contains only a product id, a version and a budget. Version and budget are compared with
those of the document. Time stamps are not used: a late event, a duplicate and a message that a
person moved back cannot be told apart by them. Several workers can take the same decision, in any
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.domain.breaker import Report
from chalicelib.domain.control import Redrive
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.failures import WORKERS_DIED
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import KEY_LIFE, Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    Attempt,
    Lease,
    SyncState,
    SyncStatus,
)

EARLY = timedelta(seconds=1)
"""SQS counts in whole seconds: a message that becomes visible this early is on time."""
ENQUEUE_AT_LEAST_EVERY = timedelta(hours=1)
"""Longest time between two messages for an overdue product, and so to refill a purged queue."""
PARK_LONGER = timedelta(seconds=60)
"""Shorter waits are never parked: a parked product costs a write and another message."""
SYSTEMIC = frozenset({401, 403, 407, 408, 429})
"""Statuses below 500 that no product causes."""
NO_ROUTE = frozenset({404, 405, 410})
"""Answers to an upsert that no product causes either; to a deletion they may be the truth."""


# ---- what happens to a message ----


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Delete the message. `reason` is also the name of the metric."""

    reason: str


@dataclass(frozen=True, slots=True)
class Defer:
    """Keep the message in the queue; it becomes visible again at `until`.

    `scheduled`: it carries the schedule until then, so the product may be parked instead.
    """

    until: datetime
    scheduled: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """The message is poison: move it to the dead-letter queue unchanged, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Try:
    """Claim the product, and call the supply chain within this budget."""

    budget: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """The message is newer than its document: is the store as it once was?"""


Disposition = Acknowledge | Defer | Reject
Decision = Acknowledge | Defer | Try | Doubt


def decide(
    product: Product | None, message: SyncMessage, message_id: str, now: datetime
) -> Decision:
    """Decide what to do with a message (the table is in docs/architecture.md).

    `product` is None if there is none with this id.
    """
    if product is None or product.pair > (message.version, message.budget):
        # The newer version or budget has its own message.
        return Acknowledge("superseded")
    if message.version > product.version:
        # A change is announced once the majority has it. Whatever the document says is of before.
        return Doubt()
    return _decide_known(product, message, message_id, now)


def _decide_known(
    product: Product, message: SyncMessage, message_id: str, now: datetime
) -> Decision:
    """Decide about a message of the version that the document has."""
    sync = product.sync
    if sync.status in FAILED_STATUSES:
        redrive = message.budget > sync.budget
        return Try(message.budget) if redrive else Acknowledge("duplicate")
    if sync.status is SyncStatus.DELIVERED:
        return Acknowledge("duplicate")
    carries_schedule = sync.message_id == message_id
    if sync.lease is not None and sync.lease.until > now:
        own = (sync.lease.version, sync.lease.budget) == product.pair
        # If its worker died during the call, the message that carries the schedule comes again.
        if own and not carries_schedule:
            return Acknowledge("duplicate")
        return Defer(sync.lease.until)
    if sync.next_attempt_at is not None and sync.next_attempt_at > now + EARLY:
        waits = Defer(sync.next_attempt_at, scheduled=True)
        return waits if carries_schedule else Acknowledge("duplicate")
    return Try(sync.budget)


@dataclass(frozen=True, slots=True)
class Claim:
    """A request for the lease of a product.

    `product` is the product with the lease taken. The claim succeeds if the stored revision still
    is that of `before`, the product as it was read. `event_id`: the event in the outbox that the
    stream is known to have, or None.
    """

    product: Product
    before: Product
    token: str
    event_id: str | None


@dataclass(frozen=True, slots=True)
class Times:
    """When a claim is made, when its lease ends, and when its message counts as lost.

    `enqueued_at`: when the message was put into the queue.
    """

    now: datetime
    until: datetime
    overdue_at: datetime
    enqueued_at: datetime | None = None


def claim(
    product: Product, message: SyncMessage, message_id: str, budget: int, token: str, times: Times
) -> Claim:
    """Take the lease for one call; a budget that differs from the product's starts anew."""
    sync = product.sync
    if budget != sync.budget:
        sync = sync.restarted(times.now, times.overdue_at, budget=budget)
    overdue_at = sync.overdue_at
    if overdue_at is None or not times.until < overdue_at <= times.overdue_at:
        # Also if it is later, as after a probe that failed: nobody would look at the product until
        # then if this worker died, and its message were hidden for long.
        overdue_at = times.overdue_at
    # A time in between is kept, which saves a change of its index.
    leased = replace(
        sync,
        lease=Lease(token, times.until, product.version, budget),
        claim=token,
        message_id=message_id,
        enqueued_at=times.enqueued_at,
        parked=False,
        overdue_at=overdue_at,
    )
    claimed = replace(product, sync=leased, revision=product.revision + 1)
    return Claim(claimed, product, token, message.event_id)


# ---- changes without a call ----


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a product's sync without a call, which needs the revision of `before`.

    `event_id`: the event in the outbox that the stream is known to have, or None.
    """

    before: Product
    after: Product
    event_id: str | None = None


def _transition(before: Product, sync: SyncState, event_id: str | None = None) -> Transition:
    return Transition(before, replace(before, sync=sync, revision=before.revision + 1), event_id)


def park(
    product: Product, message: SyncMessage, budget: int, now: datetime, until: datetime
) -> Transition:
    """Let the document carry the schedule instead of a message: reconcile enqueues at `until`.

    A deferred message counts against SQS's limit, and nobody can receive it. A parked product costs
    nothing, and can be brought forward.
    """
    sync = product.sync
    if budget != sync.budget:
        sync = sync.restarted(now, until, budget=budget)
    return _transition(product, _parked(sync, until), message.event_id)


def _parked(sync: SyncState, until: datetime) -> SyncState:
    return replace(sync, message_id=None, parked=True, overdue_at=until)


def hold(product: Product, now: datetime, grace: timedelta) -> Transition | None:
    """Park an overdue product while no calls are allowed; None if it is parked, or in a call.

    If it was not parked, it would not be brought forward, and would wait to be overdue again.
    """
    if product.sync.parked or product.sync.leased(now):
        return None
    return _transition(product, _parked(product.sync, next_enqueue(product, now, grace)))


def bring_forward(product: Product, since: datetime, now: datetime) -> Transition | None:
    """Make the next attempt due now, since an outage ended at `since`; None if it need not be.

    The planned time is kept: if the attempt fails before it, the attempt is not counted, and the
    planned time holds again. A product that is due and has a message needs no other. One that was
    tried for the first time after the outage waits for other reasons, such as a Retry-After.
    """
    sync = product.sync
    if not sync.waits or sync.leased(now) or _began_after(sync, since):
        return None
    if sync.next_attempt_at is not None and sync.next_attempt_at > now:
        planned = sync.planned_at or sync.next_attempt_at
        sync = replace(sync, planned_at=planned, next_attempt_at=now)
    elif not sync.parked:
        return None
    return _transition(product, replace(sync, message_id=None, parked=False, overdue_at=now))


def _began_after(sync: SyncState, since: datetime) -> bool:
    """Say whether it was changed, or tried for the first time in its budget, after `since`."""
    return max(sync.behind_since or since, sync.first_attempt_at or since) > since


def redrive(
    product: Product, job: Redrive, now: datetime, *, parked: bool = False
) -> Transition | None:
    """Start the next budget of a product that has failed or is retried, as bulk; overdue at once.

    `parked`: no calls are allowed, so it waits to be brought forward. A call that is under way
    keeps its lease, and its result is ignored, as with a replay.

    None for what was changed, or tried for the first time in its budget, after its status was asked
    for; and for what this redrive has restarted already: it may have failed again within a second,
    and its page may come again after a crash. The document names the redrive for that, since the
    time of an attempt comes from another machine's clock.
    """
    sync = product.sync
    if _began_after(sync, job.since) or _restarted_since(sync, job.since):
        return None
    overdue_at = now + ENQUEUE_AT_LEAST_EVERY if parked else now
    again = sync.restarted(now, overdue_at, budget=sync.budget + 1, bulk=True)
    restarted = replace(again, redrive_started_at=job.started_at, parked=parked)
    return _transition(product, restarted)


def deliver_again(product: Product, started_at: datetime, now: datetime) -> Product:
    """Start the next budget of a product that the supply chain lacks again, as bulk; overdue now.

    `started_at`: of the audit that has found it. Its own key lets the supply chain take the call.
    """
    again = product.sync.restarted(now, now, budget=product.sync.budget + 1, bulk=True)
    sync = _repaired(product.sync, again, started_at)
    return replace(product, sync=sync, sync_completed_at=None, revision=product.revision + 1)


def lift(
    product: Product, version: int, started_at: datetime, now: datetime, grace: timedelta
) -> Product:
    """Make a higher version with the same fields: the supply chain ignores the present one."""
    again = product.sync.restarted(now, now + grace, bulk=True)
    sync = _repaired(product.sync, again, started_at)
    changed = EventType.UPDATED if product.deleted_at is None else EventType.DELETED
    return product.with_version(version, sync, changed, now, None)


def _repaired(before: SyncState, again: SyncState, started_at: datetime) -> SyncState:
    """Note in the new budget that the audit which began at `started_at` has made it."""
    return replace(again, repair_started_at=started_at, repairs=before.repairs + 1)


def _restarted_since(sync: SyncState, since: datetime) -> bool:
    """Say whether a redrive that began at `since` or later has restarted it."""
    return sync.redrive_started_at is not None and sync.redrive_started_at >= since


# ---- what an attempt leads to ----


class Verdict(StrEnum):
    """What an answer of the supply chain means."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt and its verdict.

    `retry_after`: the time that the supply chain asked for. `held`: the version that it holds, if
    it has refused or ignored this one for a newer one.
    """

    attempt: Attempt
    verdict: Verdict
    retry_after: datetime | None = None
    held: int | None = None

    @property
    def cooldown_until(self) -> datetime | None:
        """Until when the supply chain wants no calls at all."""
        return self.retry_after if self.attempt.status in {429, 503} else None


def is_systemic(product: Product, outcome: Outcome) -> bool:
    """Say whether a call failed in a way that no product causes: the supply chain is down."""
    status = outcome.attempt.status
    lost = product.deleted_at is None and status in NO_ROUTE
    down = status is None or status >= 500 or status in SYSTEMIC or lost
    return down and outcome.verdict is Verdict.FAILED


def report_of(outcomes: Sequence[tuple[Product, Outcome]]) -> Report:
    """Sum up outcomes for the circuit breaker."""
    failed = [item for item in outcomes if is_systemic(*item)]
    wishes = [outcome.cooldown_until for _, outcome in failed if outcome.cooldown_until]
    return Report(
        calls=len(outcomes),
        failures=len(failed),
        products=frozenset(product.id for product, _ in failed),
        reason=failed[-1][1].attempt.error if failed else None,
        cooldown_until=max(wishes, default=None),
        repeated=sum(product.sync.last_error is not None for product, _ in failed),
    )


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What to write after an attempt; it is written only if the claim's token is still stored.

    `product` is the product afterwards. `attempt` is added to the history; None for a probe that
    found the supply chain down. `events` go into the outbox with it.
    """

    product: Product
    claim: Claim
    attempt: Attempt | None
    events: tuple[Event, ...] = ()

    @property
    def announcements(self) -> tuple[Event, ...]:
        """Events that are kept though the result is not counted: the supply chain has the version.

        They are here since publishing them has failed.
        """
        return tuple(event for event in self.events if event.type is EventType.SYNC_COMPLETE)

    @property
    def news(self) -> tuple[Event, ...]:
        """Events that hold only if the result counts: what has become of the product."""
        return tuple(event for event in self.events if event.type is not EventType.SYNC_COMPLETE)

    @property
    def delivered(self) -> bool:
        """Say whether the supply chain has accepted this version."""
        return self.product.sync.status is SyncStatus.DELIVERED

    @property
    def failed(self) -> bool:
        """Say whether the product has failed, and so needs a dead letter."""
        return self.product.sync.status in FAILED_STATUSES


def conclude(
    claim: Claim,
    outcome: Outcome,
    schedule: Schedule,
    *,
    now: datetime,
    jitter: float,
    grace: timedelta,
    probe: bool = False,
) -> SyncResult:
    """Give the result to write. It counts the attempt, so a crash before is not an attempt.

    `jitter` is 0 to 1. The product is overdue `grace` after its next attempt.
    """
    product, attempt = claim.product, outcome.attempt
    if not _counts(product, outcome, probe=probe):
        sync = _as_planned(product, attempt, now, grace, probe=probe)
        back = replace(product, sync=sync, revision=product.revision + 1)
        return SyncResult(back, claim, None if probe else attempt)
    sync = replace(
        product.sync,
        attempts=product.sync.attempts + 1,
        first_attempt_at=product.sync.first_attempt_at or attempt.time,
        next_attempt_at=None,
        planned_at=None,
        lease=None,
        claim=None,
        last_error=attempt.error,
    )
    completed: datetime | None = None
    if outcome.verdict is Verdict.DELIVERED:
        # A tombstone is overdue at once: reconcile drops it.
        overdue_at = _dropped_at(product, now) if product.deleted_at is not None else None
        sync, completed = _delivered(sync, product.version, overdue_at), now
    elif outcome.verdict is Verdict.REJECTED:
        sync = _failed(sync, SyncStatus.REJECTED, now, grace)
    else:
        sync = _retry(sync, outcome, schedule, jitter, grace) or _failed(
            sync, SyncStatus.EXHAUSTED, now, grace
        )
    done = replace(product, sync=sync, sync_completed_at=completed, revision=product.revision + 1)
    return SyncResult(done, claim, attempt)


def _counts(product: Product, outcome: Outcome, *, probe: bool) -> bool:
    """Say whether an attempt is counted.

    A probe that found the supply chain down is not, nor a failure before its planned time:
    otherwise outages that come and go would use up a budget of 72 hours in minutes.
    """
    if outcome.verdict is not Verdict.FAILED:
        return True
    planned = product.sync.planned_at
    early = planned is not None and planned > outcome.attempt.time
    return not early and not (probe and is_systemic(product, outcome))


def _as_planned(
    product: Product, attempt: Attempt, now: datetime, grace: timedelta, *, probe: bool
) -> SyncState:
    """Go back to the planned time; parked, since a deferred message cannot be brought forward."""
    sync = product.sync
    due = sync.planned_at or sync.next_attempt_at
    # After a probe it comes last of all parked products, so the next probe takes another one.
    earliest = now + max(grace, ENQUEUE_AT_LEAST_EVERY) if probe else now
    back = replace(
        sync,
        next_attempt_at=due,
        planned_at=None,
        lease=None,
        claim=None,
        last_error=attempt.error,
    )
    return _parked(back, max(due or earliest, earliest))


def _dropped_at(tombstone: Product, now: datetime) -> datetime:
    """Say when a confirmed deletion may be dropped: its idempotency key goes with it."""
    return now + KEY_LIFE if tombstone.keyed else now


def _delivered(sync: SyncState, version: int, overdue_at: datetime | None) -> SyncState:
    return replace(
        sync,
        status=SyncStatus.DELIVERED,
        delivered_version=version,
        behind_since=None,
        overdue_at=overdue_at,
        last_error=None,
        failed_at=None,
    )


def _failed(sync: SyncState, status: SyncStatus, now: datetime, grace: timedelta) -> SyncState:
    # Overdue until its dead letter is known to be sent.
    return replace(sync, status=status, failed_at=now, overdue_at=now + grace)


def _retry(
    sync: SyncState, outcome: Outcome, schedule: Schedule, jitter: float, grace: timedelta
) -> SyncState | None:
    following = schedule.next_attempt(
        failed=sync.attempts,
        started=outcome.attempt.time,
        aim=sync.aim_at,
        ends=sync.ends_at,
        jitter=jitter,
        retry_after=outcome.retry_after,
    )
    if following is None:
        return None
    return replace(
        sync,
        status=SyncStatus.RETRYING,
        next_attempt_at=following.due,
        aim_at=following.aim,
        ends_at=following.ends,
        overdue_at=following.due + grace,
    )


def park_result(result: SyncResult) -> SyncResult:
    """Let the document carry the schedule instead of the message."""
    product, due = result.product, result.product.sync.next_attempt_at
    if due is None:
        return result
    return replace(result, product=replace(product, sync=_parked(product.sync, due)))


def disposition_of(result: SyncResult) -> Disposition:
    """Give the disposition of the message whose result was written."""
    sync = result.product.sync
    if not sync.waits:
        return Acknowledge(sync.status.value)
    due = sync.next_attempt_at
    return Acknowledge("parked") if sync.parked or due is None else Defer(due)


def completion_of(result: SyncResult, now: datetime, trace: str | None) -> Event:
    """Build the event `product:sync-complete`: the supply chain has accepted this version."""
    return _event(result.product, EventType.SYNC_COMPLETE, now, trace)


def news_of(result: SyncResult, now: datetime, trace: str | None) -> tuple[Event, ...]:
    """Build the events for those who look after the sync: it has failed, or has recovered."""
    if result.failed:
        return (failure_of(result.product, now, trace),)
    if result.delivered and result.claim.product.sync.failed_at is not None:
        return (_event(result.product, EventType.SYNC_RECOVERED, now, trace),)
    return ()


def failure_of(product: Product, now: datetime, trace: str | None) -> Event:
    """Build the event of a product that is exhausted or rejected."""
    return _event(product, _FAILURES[product.sync.status], now, trace)


_FAILURES = {
    SyncStatus.EXHAUSTED: EventType.SYNC_EXHAUSTED,
    SyncStatus.REJECTED: EventType.SYNC_REJECTED,
}


def _event(product: Product, event_type: EventType, now: datetime, trace: str | None) -> Event:
    return replace(product, outbox=()).with_event(event_type, now, trace).outbox[-1]


# ---- what an overdue product and a dead letter mean ----


class Duty(StrEnum):
    """What reconcile owes an overdue product."""

    MESSAGE = "its message counts as lost: another one"
    LETTER = "it failed, and its dead letter is not known to be sent"
    DELETION = "its deletion is confirmed: it is dropped"


def duty_of(product: Product) -> Duty:
    """Say what an overdue product needs."""
    if product.sync.status in FAILED_STATUSES:
        return Duty.LETTER
    return Duty.DELETION if product.sync.status is SyncStatus.DELIVERED else Duty.MESSAGE


def next_enqueue(product: Product, now: datetime, grace: timedelta) -> datetime:
    """Say when an overdue product is overdue again: its new message may be lost too, or it is held.

    The time between two messages doubles, up to an hour, so that a queue with a long backlog is
    not flooded with duplicates. It is a multiple of `grace`: many products get the same time, and
    can be written together.
    """
    due = product.sync.next_attempt_at or product.sync.behind_since or product.updated_at
    return now + max(1, min(now - due, ENQUEUE_AT_LEAST_EVERY) // grace) * grace


class LetterMeans(StrEnum):
    """What a dead letter means for its product."""

    WORK = "work for a person: it stays"
    NOTHING = "nothing (any more): it is deleted"
    CRASH = "its message crashed its worker: the product becomes exhausted"
    WAIT = "unknown while a lease is held, or while the store is behind"


def judge_letter(
    product: Product | None, letter: SyncMessage, message_id: str, now: datetime
) -> LetterMeans:
    """Say what a dead letter means. `product` must be read after the letter was received.

    A dead letter that we sent has the budget after the document's. One with the document's own
    budget was moved by the queue's redrive policy. That can be a dead letter that was moved back:
    then it carries the schedule. Otherwise it belongs to a failure that a replay has ended.
    """
    if product is None or letter.version < product.version:
        return LetterMeans.NOTHING
    if letter.version > product.version:
        return LetterMeans.WAIT
    sync = product.sync
    if letter.budget == sync.budget + 1 and sync.status in FAILED_STATUSES:
        return LetterMeans.WORK
    if letter.budget != sync.budget or sync.status in {*FAILED_STATUSES, SyncStatus.DELIVERED}:
        return LetterMeans.NOTHING
    if sync.leased(now):
        return LetterMeans.WAIT
    unclaimed = sync.message_id is None and not letter.is_letter
    return LetterMeans.CRASH if unclaimed or sync.message_id == message_id else LetterMeans.NOTHING


def worker_died(product: Product, message_id: str, now: datetime) -> Product:
    """Make a product exhausted whose message crashes its workers; it is overdue for its letter."""
    sync = replace(
        product.sync,
        status=SyncStatus.EXHAUSTED,
        next_attempt_at=None,
        lease=None,
        claim=None,
        message_id=message_id,
        overdue_at=now,
        failed_at=now,
        last_error=WORKERS_DIED,
    )
    return replace(product, sync=sync, revision=product.revision + 1)

"""Decisions: what a message, an attempt, an overdue product and a dead letter mean. No I/O.

A message only names a product, its version and its budget; the document decides, by these numbers
and never by time stamps. A late event, a duplicate and a message that a person moved back look the
same in time. Several workers can take the same decision, in any order.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.domain.events import Event, EventType
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    Attempt,
    Lease,
    SyncState,
    SyncStatus,
)

EARLY = timedelta(seconds=1)
"""SQS counts in whole seconds: a message that comes back this early has come back on time."""
ENQUEUE_AT_LEAST_EVERY = timedelta(hours=1)
"""However long a product has waited: a queue that was emptied is filled again within this time."""


# ---- what happens to a message next (the queue failures are typed by it) ----


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Done with it. `reason` is also the name of the metric."""

    reason: str


@dataclass(frozen=True, slots=True)
class Defer:
    """It stays in the queue, and becomes visible again at `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Reject:
    """It can never be understood: it goes to the dead-letter queue as it is, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Try:
    """Claim the product, and call the supply chain within this budget."""

    budget: int


Disposition = Acknowledge | Defer | Reject
Decision = Acknowledge | Defer | Try


def decide(
    product: Product | None, message: SyncMessage, message_id: str, now: datetime
) -> Decision:
    """Say what a message means, by the document it points to (docs/architecture.md has the table).

    A message that is newer than the document (a restored store) is judged by the document.
    """
    if product is None or product.pair > (message.version, message.budget):
        # What came later has a message of its own.
        return Acknowledge("superseded")
    sync = product.sync
    if sync.status in FAILED_STATUSES:
        redrive = message.version == product.version and message.budget > sync.budget
        return Try(message.budget) if redrive else Acknowledge("duplicate")
    if sync.status is SyncStatus.DELIVERED:
        return Acknowledge("duplicate")
    carries_schedule = sync.message_id == message_id
    if sync.lease is not None and sync.lease.until > now:
        own = (sync.lease.version, sync.lease.budget) == product.pair
        # The message that carries the schedule comes back when its worker died in mid-call.
        if own and not carries_schedule:
            return Acknowledge("duplicate")
        return Defer(sync.lease.until)
    if sync.next_attempt_at is not None and sync.next_attempt_at > now + EARLY:
        return Defer(sync.next_attempt_at) if carries_schedule else Acknowledge("duplicate")
    return Try(sync.budget)


@dataclass(frozen=True, slots=True)
class Claim:
    """The wish to be the one who calls the supply chain for a product.

    `product` is the product with the lease taken; it holds if its revision still is `seen`.
    `event_id`: of the event in its outbox that the stream is known to have.
    """

    product: Product
    seen: int
    token: str
    event_id: str | None


@dataclass(frozen=True, slots=True)
class Times:
    """When a claim is made, when its lease ends, and from when on its message counts as lost."""

    now: datetime
    until: datetime
    overdue_at: datetime


def claim(
    product: Product, message: SyncMessage, message_id: str, budget: int, token: str, times: Times
) -> Claim:
    """Take the lease for one call within this budget; one that is not the present one is new."""
    sync = product.sync
    if budget != sync.budget:
        sync = sync.restarted(times.now, times.overdue_at, budget=budget)
    leased = replace(
        sync,
        lease=Lease(token, times.until, product.version, budget),
        claim=token,
        message_id=message_id,
        overdue_at=times.overdue_at,
    )
    claimed = replace(product, sync=leased, revision=product.revision + 1)
    return Claim(claimed, product.revision, token, message.event_id)


# ---- what an attempt leads to ----


class Verdict(StrEnum):
    """What an answer of the supply chain means."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt and what it means; `retry_after` is the supply chain's own wish."""

    attempt: Attempt
    verdict: Verdict
    retry_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What to write after an attempt; it holds only while the claim does.

    `product` is the product afterwards. `event` is to be kept in the outbox: it could not be
    published.
    """

    product: Product
    claim: Claim
    attempt: Attempt
    event: Event | None = None

    @property
    def delivered(self) -> bool:
        """Say whether the supply chain has accepted this version."""
        return self.product.sync.status is SyncStatus.DELIVERED

    @property
    def failed(self) -> bool:
        """Say whether the product has failed, and so needs a dead letter."""
        return self.product.sync.status in FAILED_STATUSES


def judge(status: int, *, deleting: bool, reject_statuses: Collection[int]) -> Verdict:
    """Say what an HTTP status means. A product that is gone already needs no deletion."""
    if 200 <= status < 300 or (deleting and status in {404, 410}):
        return Verdict.DELIVERED
    return Verdict.REJECTED if status in reject_statuses else Verdict.FAILED


def conclude(
    claim: Claim,
    outcome: Outcome,
    schedule: Schedule,
    *,
    now: datetime,
    jitter: float,
    grace: timedelta,
) -> SyncResult:
    """Say what to write after an attempt: it is counted here, so a crash before is no attempt."""
    product, attempt = claim.product, outcome.attempt
    sync = replace(
        product.sync,
        attempts=product.sync.attempts + 1,
        first_attempt_at=product.sync.first_attempt_at or attempt.time,
        next_attempt_at=None,
        lease=None,
        claim=None,
        last_error=attempt.error,
    )
    completed: datetime | None = None
    if outcome.verdict is Verdict.DELIVERED:
        sync, completed = _delivered(sync, product.version), now
    elif outcome.verdict is Verdict.REJECTED:
        sync = _failed(sync, SyncStatus.REJECTED, now + grace)
    else:
        sync = _retry(sync, outcome, schedule, jitter, grace) or _failed(
            sync, SyncStatus.EXHAUSTED, now + grace
        )
    done = replace(product, sync=sync, sync_completed_at=completed, revision=product.revision + 1)
    return SyncResult(done, claim, attempt)


def _delivered(sync: SyncState, version: int) -> SyncState:
    return replace(
        sync,
        status=SyncStatus.DELIVERED,
        delivered_version=version,
        behind_since=None,
        overdue_at=None,
        last_error=None,
    )


def _failed(sync: SyncState, status: SyncStatus, overdue_at: datetime) -> SyncState:
    # Overdue until its dead letter is known to be sent: it is owed from now on.
    return replace(sync, status=status, overdue_at=overdue_at)


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


def disposition_of(result: SyncResult) -> Disposition:
    """Say what happens to the message of an attempt whose result was written."""
    due = result.product.sync.next_attempt_at
    return Defer(due) if due is not None else Acknowledge(result.product.sync.status.value)


def completion_of(result: SyncResult, now: datetime, trace: str | None) -> Event:
    """Write the event that says: the supply chain has accepted this version at least once."""
    bare = replace(result.product, outbox=())
    return bare.with_event(EventType.SYNC_COMPLETE, now, trace).outbox[-1]


# ---- what an overdue product and a dead letter mean ----


def next_enqueue(product: Product, now: datetime, grace: timedelta) -> datetime:
    """Say when to enqueue an overdue product again if this message, too, leads to nothing.

    The time between two messages doubles, up to an hour, so that a queue with a long backlog is
    not flooded with messages for what it already holds.
    """
    due = product.sync.next_attempt_at or product.sync.behind_since or product.updated_at
    return now + max(grace, min(now - due, ENQUEUE_AT_LEAST_EVERY))


class LetterMeans(StrEnum):
    """What becomes of a dead letter."""

    WORK = "work for a person: it stays"
    NOTHING = "nothing (any more): it is deleted"
    CRASH = "its message crashed its worker: the product is exhausted"
    WAIT = "not known while a lease holds"


def judge_letter(
    product: Product | None, letter: SyncMessage, message_id: str, now: datetime
) -> LetterMeans:
    """Say what a dead letter means, by the document as it was read after the letter was received.

    A letter of ours names the budget after the document's. A message that names the document's own
    was moved by the queue itself, since it was received too often. So may be a letter that was
    moved back: then it carries the schedule. Otherwise it is the letter of the failure that a
    replay has ended.
    """
    if product is None or letter.version != product.version:
        return LetterMeans.NOTHING
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
    """Make a product exhausted whose message has crashed its workers; its dead letter is owed."""
    sync = replace(
        product.sync,
        status=SyncStatus.EXHAUSTED,
        next_attempt_at=None,
        lease=None,
        claim=None,
        message_id=message_id,
        overdue_at=now,
        last_error="its worker died",
    )
    return replace(product, sync=sync, revision=product.revision + 1)

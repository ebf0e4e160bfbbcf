"""Decisions: what a message, an attempt, an overdue product and a dead letter mean. No I/O.

A message only names a product and its version; the document decides. Several workers can take the
same decision, in any order.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.domain.events import Event, EventType
from chalicelib.domain.messages import ReceivedMessage, SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    Attempt,
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
    """It carries the schedule: the queue shows it again at `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Requeue:
    """Waiting that is not an attempt: a new message at `at` takes its place."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Expire:
    """It fails at once, and again, until the queue's redrive policy dead-letters it."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """It goes to the dead-letter queue now, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Try:
    """Call the supply chain. `fresh`: with a new budget, since somebody redrove the message."""

    fresh: bool = False


Disposition = Acknowledge | Defer | Requeue | Expire | DeadLetter
Decision = Disposition | Try


def decide(
    product: Product | None, sync_message: SyncMessage, message: ReceivedMessage, now: datetime
) -> Decision:
    """Say what a message means, by the document it points to (the table of design section 3)."""
    if product is None or product.version > sync_message.version:
        return Acknowledge("superseded")
    sync = product.sync
    if sync.status is SyncStatus.DELIVERED:
        return Acknowledge("duplicate")
    is_scheduled = sync.message_id == message.id
    if sync.lease is not None and sync.lease.until > now:
        if sync.lease.version != product.version or sync.message_id is None:
            # The call is for an older version, or was under way when somebody asked for a replay.
            return Requeue(sync.lease.until)
        # The message_id itself comes back if its worker died in mid-call: it must not be lost.
        return Defer(sync.lease.until) if is_scheduled else Acknowledge("duplicate")
    if sync.status in FAILED_STATUSES:
        return _decide_failed(sync) if is_scheduled else _decide_redrive(sync, message)
    if sync.next_attempt_at is not None and sync.next_attempt_at > now + EARLY:
        return Defer(sync.next_attempt_at) if is_scheduled else Acknowledge("duplicate")
    return Try()


def _decide_failed(sync: SyncState) -> Disposition:
    if sync.status is SyncStatus.EXHAUSTED:
        return Expire()
    return DeadLetter(sync.last_error or "rejected")


def _decide_redrive(sync: SyncState, message: ReceivedMessage) -> Decision:
    """Tell a message that somebody moved back from one that was sent before it came to this."""
    if sync.failed_at is not None and message.sent <= sync.failed_at:
        return Acknowledge("duplicate")
    return Try(fresh=True)


@dataclass(frozen=True, slots=True)
class Claim:
    """The wish to be the one who calls the supply chain for a product, as it was seen."""

    product: Product
    owner: str
    message_id: str
    now: datetime
    until: datetime
    overdue_at: datetime
    fresh: bool


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
    """What to write after an attempt; holds only while `owner` has the lease."""

    product_id: str
    version: int
    owner: str
    sync: SyncState
    attempt: Attempt
    sync_completed_at: datetime | None = None
    event: Event | None = None


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
    trace: str | None,
) -> tuple[SyncResult, Disposition]:
    """Say what to write after an attempt, and what happens to its message."""
    started = _started(claim, outcome)
    if outcome.verdict is Verdict.DELIVERED:
        return _delivered(claim, started, outcome, now=now, trace=trace)
    error = outcome.attempt.error or f"HTTP {outcome.attempt.status}"
    if outcome.verdict is Verdict.REJECTED:
        reason = f"the supply chain rejects version {claim.product.version}: {error}"
        rejected = replace(started, status=SyncStatus.REJECTED, failed_at=now, last_error=reason)
        return _result(claim, rejected, outcome), DeadLetter(reason)
    due = schedule.next_attempt(
        failed=started.attempts,
        first=started.first_attempt_at or now,
        now=now,
        jitter=jitter,
        retry_after=outcome.retry_after,
    )
    if due is None:
        exhausted = replace(started, status=SyncStatus.EXHAUSTED, failed_at=now, last_error=error)
        return _result(claim, exhausted, outcome), Expire()
    sync = replace(
        started,
        status=SyncStatus.RETRYING,
        next_attempt_at=due,
        overdue_at=due + grace,
        last_error=error,
    )
    return _result(claim, sync, outcome), Defer(due)


def _started(claim: Claim, outcome: Outcome) -> SyncState:
    """Give the state with this attempt counted: a crash before here is not an attempt."""
    seen = claim.product.sync
    before = SyncState(restarted_at=claim.now) if claim.fresh else seen
    return SyncState(
        attempts=before.attempts + 1,
        first_attempt_at=before.first_attempt_at or outcome.attempt.time,
        behind_since=seen.behind_since,
        delivered_version=seen.delivered_version,
        message_id=claim.message_id,
        restarted_at=before.restarted_at,
    )


def _delivered(
    claim: Claim, started: SyncState, outcome: Outcome, *, now: datetime, trace: str | None
) -> tuple[SyncResult, Disposition]:
    version = claim.product.version
    sync = replace(
        started, status=SyncStatus.DELIVERED, delivered_version=version, behind_since=None
    )
    done = replace(claim.product, sync=sync, sync_completed_at=now, outbox=())
    event = done.with_event(EventType.SYNC_COMPLETE, now, trace).outbox[-1]
    result = replace(_result(claim, sync, outcome), sync_completed_at=now, event=event)
    return result, Acknowledge("delivered")


def _result(claim: Claim, sync: SyncState, outcome: Outcome) -> SyncResult:
    return SyncResult(claim.product.id, claim.product.version, claim.owner, sync, outcome.attempt)


# ---- what an overdue product and a dead letter mean ----


def next_enqueue(product: Product, now: datetime, grace: timedelta) -> datetime:
    """Say when to enqueue an overdue product again if this message, too, leads to nothing.

    The time between two messages doubles, up to an hour, so that a queue with a long backlog is
    not flooded with messages for what it already holds.
    """
    due = product.sync.next_attempt_at or product.sync.restarted_at or product.updated_at
    return now + max(grace, min(now - due, ENQUEUE_AT_LEAST_EVERY))


def dead_letter_is_settled(product: Product | None, version: int) -> bool:
    """Say whether a dead-letter message means no work for a person (any more).

    Its product is deleted, has a newer version (with a message of its own), or has not failed: it
    was delivered, or is on its way again and watched by reconcile.
    """
    if product is None or product.version > version:
        return True
    return product.sync.status not in FAILED_STATUSES

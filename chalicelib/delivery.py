"""What one message, one attempt and one overdue product mean. Pure decisions, no I/O.

A message is a doorbell; the document decides. Whatever is decided here can be decided twice, by
several workers, in any order.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib import exact_json
from chalicelib.backoff import Schedule
from chalicelib.errors import PoisonMessageError
from chalicelib.models import (
    HEADER_VALUE,
    STUCK,
    Attempt,
    Doorbell,
    Event,
    EventType,
    Message,
    Product,
    SyncState,
    SyncStatus,
    rfc3339,
)

EARLY = timedelta(seconds=1)
"""SQS counts in whole seconds: a message that comes back this early has come back on time."""
RING_AT_LEAST_EVERY = timedelta(hours=1)
"""However long a product has waited: a queue that was emptied is filled again within this time."""


# ---- what happens to a message next (the queue failures are typed by it) ----


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Done with it. `reason` is also the name of the metric."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hide:
    """It carries the schedule: the queue shows it again at `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Waiting that is not an attempt: a new message at `at` takes its place."""

    at: datetime


@dataclass(frozen=True, slots=True)
class LetGo:
    """It fails at once, and again, until the queue's redrive policy dead-letters it."""


@dataclass(frozen=True, slots=True)
class Bury:
    """It goes to the dead-letter queue now, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Try:
    """Call the supply chain. `fresh`: with a new budget, since somebody redrove the message."""

    fresh: bool = False


Disposition = Acknowledge | Hide | SendAgain | LetGo | Bury
Decision = Disposition | Try


PRODUCT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _is_ours(product_id: object, version: object) -> bool:
    """Say whether these can be a product's id and version (a bool is an int to Python)."""
    is_id = isinstance(product_id, str) and PRODUCT_ID.fullmatch(product_id)
    return bool(is_id) and type(version) is int and version >= 0


def _text(value: object) -> str | None:
    """Give what is only passed on; what could break a header or a message is left out."""
    return value if isinstance(value, str) and HEADER_VALUE.fullmatch(value) else None


def parse_doorbell(body: str) -> Doorbell:
    """Read a queue message's body; raises PoisonMessageError if it is none of ours."""
    try:
        content = exact_json.loads(body)
    except ValueError as error:
        raise PoisonMessageError(f"the message is not JSON: {error}") from error
    match content:
        case {"productId": product_id, "version": version, **rest} if _is_ours(product_id, version):
            trace, event_id = _text(rest.get("trace")), _text(rest.get("eventId"))
            return Doorbell(product_id, version, trace, event_id)
    raise PoisonMessageError("the message names no productId and version")


BRIDGED = frozenset({EventType.CREATED, EventType.UPDATED, EventType.DELETED})
BRIDGED_TYPES = [event_type.value for event_type in BRIDGED]


def doorbell_for(data: bytes, trace: str | None) -> Doorbell:
    """Turn an event from the stream into the queue's message.

    Raises PoisonMessageError if it is not a CloudEvent about a change of a product.
    """
    try:
        event = exact_json.loads(data)
    except ValueError as error:
        raise PoisonMessageError(f"the event is not JSON: {error}") from error
    match event:
        case {
            "specversion": "1.0",
            "type": event_type,
            "data": {"id": product_id, "version": version},
        } if event_type in BRIDGED_TYPES and _is_ours(product_id, version):
            return Doorbell(product_id, version, _text(trace), _text(event.get("id")))
    raise PoisonMessageError("the event is no CloudEvent about a change of a product")


def decide(
    product: Product | None, doorbell: Doorbell, message: Message, now: datetime
) -> Decision:
    """Say what a message means, by the document it points to (the table of design section 3)."""
    if product is None or product.version > doorbell.version:
        return Acknowledge("superseded")
    sync = product.sync
    if sync.status is SyncStatus.DELIVERED:
        return Acknowledge("duplicate")
    is_carrier = sync.carrier == message.id
    if sync.lease is not None and sync.lease.until > now:
        if sync.lease.version != product.version or sync.carrier is None:
            # The call is for an older version, or was under way when somebody asked for a replay.
            return SendAgain(sync.lease.until)
        # The carrier itself comes back if its worker died in mid-call: it must not be lost.
        return Hide(sync.lease.until) if is_carrier else Acknowledge("duplicate")
    if sync.status in STUCK:
        return _decide_stuck(sync) if is_carrier else _decide_redrive(sync, message)
    if sync.next_attempt_at is not None and sync.next_attempt_at > now + EARLY:
        return Hide(sync.next_attempt_at) if is_carrier else Acknowledge("duplicate")
    return Try()


def _decide_stuck(sync: SyncState) -> Disposition:
    if sync.status is SyncStatus.EXHAUSTED:
        return LetGo()
    return Bury(sync.last_error or "rejected")


def _decide_redrive(sync: SyncState, message: Message) -> Decision:
    """Tell a message that somebody moved back from one that was sent before it came to this."""
    if sync.stuck_at is not None and message.sent <= sync.stuck_at:
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


# ---- what an attempt comes to ----


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
        stuck = replace(started, status=SyncStatus.REJECTED, stuck_at=now, last_error=reason)
        return _result(claim, stuck, outcome), Bury(reason)
    due = schedule.next_attempt(
        failed=started.attempts,
        first=started.first_attempt_at or now,
        now=now,
        jitter=jitter,
        retry_after=outcome.retry_after,
    )
    if due is None:
        stuck = replace(started, status=SyncStatus.EXHAUSTED, stuck_at=now, last_error=error)
        return _result(claim, stuck, outcome), LetGo()
    sync = replace(
        started,
        status=SyncStatus.RETRYING,
        next_attempt_at=due,
        overdue_at=due + grace,
        last_error=error,
    )
    return _result(claim, sync, outcome), Hide(due)


def _started(claim: Claim, outcome: Outcome) -> SyncState:
    """Give the state with this attempt counted: a crash before here is not an attempt."""
    seen = claim.product.sync
    before = SyncState(restarted_at=claim.now) if claim.fresh else seen
    return SyncState(
        attempts=before.attempts + 1,
        first_attempt_at=before.first_attempt_at or outcome.attempt.time,
        behind_since=seen.behind_since,
        delivered_version=seen.delivered_version,
        carrier=claim.message_id,
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


def next_ring(product: Product, now: datetime, grace: timedelta) -> datetime:
    """Say when to ring again for an overdue product if this ring, too, leads to nothing.

    The time it has been waiting doubles from ring to ring, up to an hour, so that a queue with a
    long backlog is not flooded with doorbells for what it already holds.
    """
    due = product.sync.next_attempt_at or product.sync.restarted_at or product.updated_at
    return now + max(grace, min(now - due, RING_AT_LEAST_EVERY))


def dead_letter_is_settled(product: Product | None, version: int) -> bool:
    """Say whether a dead-letter message means no work for a person (any more).

    Its product is deleted, has a newer version (with a message of its own), or is not stuck: it
    was delivered, or is on its way again and watched by reconcile.
    """
    if product is None or product.version > version:
        return True
    return product.sync.status not in STUCK


def describe(product: Product) -> dict[str, object]:
    """Give the state of a product's sync as operators see it."""
    sync = product.sync
    return {
        "id": product.id,
        "version": product.version,
        "deleted": product.deleted_at is not None,
        "status": sync.status.value,
        "attempts": sync.attempts,
        "deliveredVersion": sync.delivered_version,
        "behindSince": _time(sync.behind_since),
        "firstAttemptAt": _time(sync.first_attempt_at),
        "nextAttemptAt": _time(sync.next_attempt_at),
        "syncCompletedAt": _time(product.sync_completed_at),
        "lastError": sync.last_error,
        "history": [attempt.to_json() for attempt in sync.history],
    }


def _time(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None

"""Why a product is where it is: what has happened to it, and what comes next, in order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.domain.acts import Act
from chalicelib.domain.control import Control
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.exact_json import Json
from chalicelib.domain.failures import kind_of
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    Attempt,
    SyncState,
    SyncStatus,
)
from chalicelib.domain.times import rfc3339, rfc3339_or_none
from chalicelib.domain.trace import id_of


class Kind(StrEnum):
    """What an entry is about."""

    WRITE = "write"
    EVENT = "event"
    MESSAGE = "message"
    ATTEMPT = "attempt"
    HELD = "held"
    ACT = "act"
    LETTER = "letter"
    DELIVERED = "delivered"
    NEXT = "next"


@dataclass(frozen=True, slots=True)
class Entry:
    """One sentence about one moment; `at` None: now, or a time that nobody knows yet."""

    at: datetime | None
    kind: Kind
    text: str
    failed: bool = False
    future: bool = False
    details: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """Give the entry as operators see it."""
        return {
            "at": rfc3339_or_none(self.at),
            "kind": self.kind.value,
            "text": self.text,
            "failed": self.failed,
            "future": self.future,
            "details": self.details,
        }


@dataclass(frozen=True, slots=True)
class Situation:
    """A product with the newest events of its outbox, the sync as a whole, and the time."""

    product: Product
    control: Control
    now: datetime
    grace: timedelta

    @property
    def sync(self) -> SyncState:
        """The state of the product's sync."""
        return self.product.sync

    @property
    def held(self) -> str | None:
        """Why no calls are made at all, while the product waits for one."""
        return self.control.held_by(self.now) if self.sync.waits else None

    @property
    def is_called(self) -> bool:
        """Say whether a call for the newest version may be under way."""
        return self.sync.leased(self.now) and self.sync.claim is not None

    @property
    def due(self) -> datetime | None:
        """The time of the next attempt, if it is still to come."""
        planned = self.sync.next_attempt_at
        return planned if self.sync.waits and planned is not None and planned > self.now else None

    @property
    def unpublished(self) -> Event | None:
        """The event of the newest version, if it is still in the outbox."""
        changes = {EventType.CREATED, EventType.UPDATED, EventType.DELETED}
        own = [event for event in self.product.outbox if event.type in changes]
        return next((event for event in own if event.version == self.product.version), None)

    @property
    def is_unheard(self) -> bool:
        """Say whether the event has been in the outbox for so long that it counts as lost."""
        event = self.unpublished
        return event is not None and event.time + self.grace <= self.now


def timeline(situation: Situation, acts: Sequence[Act] = ()) -> Json:
    """Tell the life of a product's newest version, older attempts and what comes next.

    `acts`: what operators have done to it.
    """
    product = situation.product
    return {
        "id": product.id,
        "name": product.fields.name,
        "status": product.sync.status.value,
        "summary": summary(situation),
        "held": situation.held,
        "traceId": id_of(product.sync.trace),
        "entries": [entry.to_json() for entry in entries(situation, acts)],
    }


def entries(situation: Situation, acts: Sequence[Act] = ()) -> list[Entry]:
    """Give the entries in order of time: what was, what is now (without a time), what comes."""
    found = [
        *_writes(situation),
        *map(_act, acts),
        *_repair(situation),
        *_events(situation),
        *_messages(situation),
        *_attempts(situation),
        *_call(situation),
        *_held(situation),
        *_ends(situation),
        *_next(situation),
    ]

    def place(entry: Entry) -> tuple[bool, datetime, bool]:
        return entry.future, entry.at or situation.now, entry.at is None

    return sorted(found, key=place)


def _act(act: Act) -> Entry:
    """Tell an act about this product; it was kept before it took effect."""
    why = f": {act.why}" if act.why else ""
    return Entry(act.at, Kind.ACT, f"{act.what} by {act.who}{why}", details=act.details)


def _repair(situation: Situation) -> Iterator[Entry]:
    """Tell that an audit has had it delivered again, or has lifted its version."""
    begun = situation.sync.repair_started_at
    if begun is not None:
        text = (
            "an audit began, found that the supply chain held something else, "
            "and had it delivered again"
        )
        yield Entry(begun, Kind.ACT, text)


# ---- the answer in one sentence ----


def summary(situation: Situation) -> str:
    """Say in one sentence how it is with the newest version, and why."""
    product, sync = situation.product, situation.sync
    if sync.status is SyncStatus.DELIVERED:
        if product.deleted_at is not None:
            return "the supply chain has confirmed the deletion"
        return f"the supply chain has the newest version, {product.version}"
    if sync.status is SyncStatus.REJECTED:
        return (
            f"rejected by the supply chain: {sync.last_error or 'no reason is known'}; "
            "correct the product, or replay it"
        )
    if sync.status is SyncStatus.EXHAUSTED:
        return (
            f"given up after {_count(sync.attempts, 'attempt')}: "
            f"{sync.last_error or 'no reason is known'}; replay it when the cause is gone"
        )
    return _why_it_waits(situation)


def _why_it_waits(situation: Situation) -> str:
    sync, held = situation.sync, situation.held
    because = f": {sync.last_error}" if sync.last_error else ""
    if situation.is_called:
        return "a call of the supply chain is under way"
    if held is not None:
        return f"waits since no calls are made: {held}"
    if situation.due is not None:
        return f"waits for its next attempt in {span(situation.due - situation.now)}{because}"
    if situation.is_unheard:
        return "waits for the event stream: its event is still in the outbox"
    if sync.leased(situation.now):
        return "waits for the end of a call that was made before the last change or replay"
    if sync.last_error is None:
        return "waits for its first attempt"
    return f"waits for a worker: its next attempt is due{because}"


def span(length: timedelta) -> str:
    """Say a length of time in the largest unit that fits: `40 s`, `4 min`, `11 h`, `3 days`."""
    seconds = max(0, round(length.total_seconds()))
    for size, unit in ((172_800, "days"), (7200, "h"), (120, "min")):
        if seconds >= size:
            return f"{round(seconds / _SECONDS[unit])} {unit}"
    return f"{seconds} s"


_SECONDS = {"days": 86_400, "h": 3600, "min": 60}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


# ---- what was ----


def _writes(situation: Situation) -> Iterator[Entry]:
    product = situation.product
    created = "the product was created as version 0"
    yield Entry(product.created_at, Kind.WRITE, created, details={"version": 0})
    if product.version > 0:
        what = "the product was deleted" if product.deleted_at else "the product was changed"
        yield Entry(
            product.updated_at,
            Kind.WRITE,
            f"{what}: version {product.version}",
            details={"version": product.version},
        )


def _events(situation: Situation) -> Iterator[Entry]:
    product = situation.product
    if situation.unpublished is None:
        told = f"the event stream has the event of version {product.version}"
        yield Entry(product.updated_at, Kind.EVENT, told, details={"inOutbox": False})
    for event in product.outbox:
        yield _waiting(event, situation)


def _waiting(event: Event, situation: Situation) -> Entry:
    due = event.time + situation.grace
    text = f"the event {event.type} of version {event.version} is in the outbox: "
    text += (
        "the stream is not known to have it, and reconcile publishes it again"
        if due <= situation.now
        else f"it is published, or else reconcile does it after {rfc3339(due)}"
    )
    late = due <= situation.now
    details: Json = {"inOutbox": True, "eventId": event.id}
    return Entry(event.time, Kind.EVENT, text, failed=late, details=details)


def _messages(situation: Situation) -> Iterator[Entry]:
    sync = situation.sync
    if sync.enqueued_at is not None:
        details: Json = {"messageId": sync.message_id}
        text = "its message was put into the queue"
        yield Entry(sync.enqueued_at, Kind.MESSAGE, text, details=details)
    if not situation.sync.waits or situation.is_called:
        return
    if sync.parked:
        text = "parked: it has no message in the queue, and reconcile enqueues one when it is due"
        yield Entry(None, Kind.MESSAGE, text, details={"parked": True})
    elif sync.message_id is None:
        text = "no worker has taken a message for it yet"
        yield Entry(None, Kind.MESSAGE, text, details={"messageId": None})
    elif situation.due is not None:
        text = f"its message is deferred in the queue until {rfc3339(situation.due)}"
        yield Entry(None, Kind.MESSAGE, text, details={"messageId": sync.message_id})


def _attempts(situation: Situation) -> Iterator[Entry]:
    for attempt in situation.sync.history:
        yield _attempt(attempt, situation)


def _attempt(attempt: Attempt, situation: Situation) -> Entry:
    product, sync = situation.product, situation.sync
    begun = sync.first_attempt_at
    of_budget = attempt.version == product.version and begun is not None and attempt.time >= begun
    earlier = "" if of_budget or attempt.version != product.version else " in an earlier budget"
    answer = attempt.error or f"HTTP {attempt.status}, accepted"
    return Entry(
        attempt.time,
        Kind.ATTEMPT,
        f"version {attempt.version} was sent{earlier}: {answer}, after {attempt.duration:.2f} s",
        failed=attempt.error is not None,
        details={
            "version": attempt.version,
            "budget": sync.budget if of_budget else None,
            "statusCode": attempt.status,
            "durationSeconds": round(attempt.duration, 3),
            "error": attempt.error,
            "errorKind": kind_of(attempt.error),
        },
    )


def _call(situation: Situation) -> Iterator[Entry]:
    sync = situation.sync
    if sync.lease is None:
        return
    details: Json = {"version": sync.lease.version, "leaseUntil": rfc3339(sync.lease.until)}
    text = f"version {sync.lease.version} is being sent: a worker has the lease until "
    text += rfc3339(sync.lease.until)
    if not sync.leased(situation.now):
        text = f"a worker has begun to send version {sync.lease.version}, and never reported back"
        yield Entry(sync.lease.until, Kind.ATTEMPT, text, failed=True, details=details)
    elif sync.claim is None:
        text += "; the result will not count, since the product was changed or replayed meanwhile"
        yield Entry(None, Kind.ATTEMPT, text, details=details)
    else:
        yield Entry(None, Kind.ATTEMPT, text, details=details)


def _held(situation: Situation) -> Iterator[Entry]:
    control, held = situation.control, situation.held
    if held is None:
        return
    paused = control.pause if control.is_paused(situation.now) else None
    since = paused.since if paused else control.breaker.since
    yield Entry(since, Kind.HELD, f"no calls are made: {held}")
    if paused is not None and paused.until is not None:
        yield Entry(paused.until, Kind.HELD, "the pause ends", future=True)


def _ends(situation: Situation) -> Iterator[Entry]:
    product, sync = situation.product, situation.sync
    if sync.status in FAILED_STATUSES:
        owed = sync.overdue_at is not None
        text = "its dead letter is in the dead-letter queue"
        text = "its dead letter is not known to be sent" if owed else text
        details: Json = {"reason": sync.status.value, "letterSent": not owed}
        told = f"{sync.status}, and not tried again: {text}"
        yield Entry(sync.failed_at, Kind.LETTER, told, failed=True, details=details)
    elif sync.failed_at is not None:
        text = "it was given up or rejected, and has been changed, replayed or redriven since"
        yield Entry(sync.failed_at, Kind.LETTER, text, failed=True)
    if sync.status is SyncStatus.DELIVERED:
        details = {"version": product.version}
        text = f"delivered: the supply chain has version {product.version}"
        if product.deleted_at is not None:
            text = "delivered: the supply chain has confirmed the deletion"
        yield Entry(product.sync_completed_at, Kind.DELIVERED, text, details=details)


# ---- what comes ----


def _next(situation: Situation) -> Iterator[Entry]:
    if situation.sync.waits and not situation.is_called:
        yield _next_attempt(situation)
    overdue_at = situation.sync.overdue_at
    if overdue_at is None:
        return
    text = _duty(situation)
    if overdue_at > situation.now:
        yield Entry(overdue_at, Kind.NEXT, text, future=True)
    else:
        yield Entry(None, Kind.NEXT, f"{text} in its next run", future=True)


def _next_attempt(situation: Situation) -> Entry:
    planned = situation.sync.planned_at
    if situation.held is not None:
        # Its own time does not hold: the end of the outage or the pause brings it forward.
        text = "the next attempt, as soon as calls are allowed again"
        return Entry(None, Kind.NEXT, text, future=True)
    if situation.due is not None:
        return Entry(situation.due, Kind.NEXT, "the next attempt", future=True)
    text = "the next attempt is due: a worker makes it when it has the message"
    details: Json = {"plannedAt": rfc3339(planned)} if planned else {}
    return Entry(None, Kind.NEXT, text, future=True, details=details)


def _duty(situation: Situation) -> str:
    if situation.sync.status in FAILED_STATUSES:
        return "reconcile sends its dead letter"
    if situation.sync.status is SyncStatus.DELIVERED:
        return "reconcile drops the deleted product"
    if situation.held is not None:
        return "reconcile looks at it again, and enqueues nothing while no calls are made"
    if situation.sync.parked:
        return "reconcile puts a message into the queue"
    return "if nothing has happened by then, reconcile puts another message into the queue"

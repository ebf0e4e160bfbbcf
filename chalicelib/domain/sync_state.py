"""The delivery state of a product: status, budget, attempts, lease, schedule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chalicelib.domain.exact_json import Json
from chalicelib.domain.times import rfc3339

HISTORY_LIMIT = 18
"""Attempts in the history of a product: those of one full budget."""


class SyncStatus(StrEnum):
    """The delivery status of a product's newest version."""

    PENDING = "pending"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    REJECTED = "rejected"


FAILED_STATUSES = frozenset({SyncStatus.EXHAUSTED, SyncStatus.REJECTED})
"""The catalog does not retry these: a person must decide, and replay or redrive."""


WAITING_STATUSES = frozenset({SyncStatus.PENDING, SyncStatus.RETRYING})
"""The supply chain lacks the newest version, and the catalog will call it."""


UNDELIVERED_STATUSES = FAILED_STATUSES | WAITING_STATUSES


@dataclass(frozen=True, slots=True)
class Position:
    """The place of a product in a list: the value that the list is in the order of, and the id."""

    id: str
    behind_since: datetime | None = None
    updated_at: datetime | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of the supply chain. `duration` in seconds; `status` None if none was received."""

    time: datetime
    version: int
    status: int | None
    duration: float
    error: str | None = None

    def to_json(self) -> Json:
        """Give the attempt as operators see it."""
        return {
            "time": rfc3339(self.time),
            "version": self.version,
            "statusCode": self.status,
            "durationSeconds": round(self.duration, 3),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Lease:
    """Until `until`, only `owner` may call the supply chain, for `version` and `budget`."""

    owner: str
    until: datetime
    version: int
    budget: int = 0


@dataclass(frozen=True, slots=True)
class SyncState:
    """The delivery state of this product.

    `budget`: how often this version was replayed or redriven; a write starts at 0.
    `behind_since`: since when the supply chain lacks the newest version (None when it has it).
    `overdue_at`: when reconcile must look at this product: its message then counts as lost, its
    dead letter is owed, or it is a confirmed deletion to be dropped.
    `aim_at`, `ends_at`: the planned time of the next attempt before jitter, and the horizon's end.
    `planned_at`: when the next attempt was due before it was brought forward; None if it was not.
    `message_id`: of the message that carries the schedule; None before the first claim.
    `parked`: no message carries it: reconcile enqueues one at `overdue_at`.
    `claim`: the token of the current call. A write or a replay clears it, and keeps the lease: the
    result of that call is then not written, and no second call begins meanwhile.
    `bulk`: this budget began with a batch write or a redrive: single changes need not wait for it.
    `redrive_started_at`: the beginning of the last redrive that has restarted this product, and
    `repair_started_at` of the last audit; None if none has.
    `failed_at`: when it became exhausted or rejected; kept until a version of it is delivered.
    `trace`: of the request that began this budget.
    `enqueued_at`: when the message of the last claim was put into the queue, by the queue's clock.
    `repairs`: how often audits have repaired what the supply chain holds, without success so far.
    """

    status: SyncStatus = SyncStatus.PENDING
    budget: int = 0
    attempts: int = 0
    delivered_version: int | None = None
    first_attempt_at: datetime | None = None
    next_attempt_at: datetime | None = None
    aim_at: datetime | None = None
    ends_at: datetime | None = None
    planned_at: datetime | None = None
    behind_since: datetime | None = None
    overdue_at: datetime | None = None
    lease: Lease | None = None
    claim: str | None = None
    message_id: str | None = None
    parked: bool = False
    last_error: str | None = None
    history: tuple[Attempt, ...] = ()
    bulk: bool = False
    redrive_started_at: datetime | None = None
    failed_at: datetime | None = None
    trace: str | None = None
    enqueued_at: datetime | None = None
    repairs: int = 0
    repair_started_at: datetime | None = None

    def restarted(
        self,
        now: datetime,
        overdue_at: datetime,
        *,
        budget: int = 0,
        bulk: bool = False,
        trace: str | None = None,
    ) -> SyncState:
        """Start a new budget; keep the lease, the history and what the supply chain has.

        The last redrive and the last audit too: they must not restart this product a second time,
        whoever has restarted it since. Without a trace of its own, it has that of the budget
        before.
        """
        return SyncState(
            budget=budget,
            delivered_version=self.delivered_version,
            behind_since=self.behind_since or now,
            overdue_at=overdue_at,
            lease=self.lease,
            history=self.history,
            bulk=bulk,
            redrive_started_at=self.redrive_started_at,
            # A process of the release before, which delivers it, leaves the time where it is.
            failed_at=None if self.status is SyncStatus.DELIVERED else self.failed_at,
            trace=trace or self.trace,
            repair_started_at=self.repair_started_at,
        )

    @property
    def waits(self) -> bool:
        """Say whether the catalog will call the supply chain."""
        return self.status in WAITING_STATUSES

    def leased(self, now: datetime) -> bool:
        """Say whether a call may be under way."""
        return self.lease is not None and self.lease.until > now

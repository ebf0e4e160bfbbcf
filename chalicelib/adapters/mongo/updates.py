"""The conditional updates of a claim and of its result: what each may change, and what it does."""

from __future__ import annotations

from pymongo import UpdateOne

from chalicelib.adapters.mongo.documents import (
    NO_LEASE,
    Document,
    attempt_to_document,
    event_to_document,
    sync_to_document,
)
from chalicelib.domain.delivery import Claim, SyncResult
from chalicelib.domain.product import OUTBOX_LIMIT
from chalicelib.domain.sync_state import HISTORY_LIMIT, SyncStatus

RESTARTED = (
    "status",
    "attempts",
    "firstAttemptAt",
    "nextAttemptAt",
    "behindSince",
    "overdueAt",
    "message_id",
    "restartedAt",
    "failedAt",
    "lastError",
)
"""What a fresh budget resets; the lease, the delivered version and the history stay."""


def push(values: list[Document], limit: int) -> Document:
    return {"$each": values, "$slice": -limit}


def claim_update(claim: Claim) -> UpdateOne:
    product = claim.product
    update: Document = {
        "sync.lease": {"owner": claim.owner, "until": claim.until, "version": product.version},
        "sync.message_id": claim.message_id,
        "sync.overdueAt": claim.overdue_at,
    }
    if claim.fresh:
        update |= {
            "sync.status": SyncStatus.PENDING.value,
            "sync.attempts": 0,
            "sync.firstAttemptAt": None,
            "sync.nextAttemptAt": None,
            "sync.restartedAt": claim.now,
            "sync.failedAt": None,
        }
    return UpdateOne(
        {
            "_id": product.id,
            "version": product.version,
            # Seen and unchanged: an attempt that somebody made meanwhile has moved these.
            "sync.status": product.sync.status.value,
            "sync.attempts": product.sync.attempts,
            "sync.lease.until": {"$lte": claim.now},
        },
        {"$set": update},
    )


def result_update(result: SyncResult) -> UpdateOne:
    sync = sync_to_document(result.sync)
    update: Document = {
        "$set": {
            "syncCompletedAt": result.sync_completed_at,
            **{f"sync.{name}": sync[name] for name in RESTARTED},
            "sync.lease": NO_LEASE,
        },
        "$push": {"sync.history": push([attempt_to_document(result.attempt)], HISTORY_LIMIT)},
    }
    if result.event is not None:
        update["$push"]["outbox"] = push([event_to_document(result.event)], OUTBOX_LIMIT)
        update["$max"] = {"sync.deliveredVersion": result.version}
    return UpdateOne(
        {
            "_id": result.product_id,
            "version": result.version,
            "sync.lease.owner": result.owner,
            # A replay during the call has cleared it: its fresh budget must not be overwritten.
            "sync.message_id": sync["message_id"],
        },
        update,
    )


def superseded_update(result: SyncResult) -> UpdateOne:
    update: Document = {
        "$set": {"sync.lease": NO_LEASE},
        "$push": {"sync.history": push([attempt_to_document(result.attempt)], HISTORY_LIMIT)},
    }
    if result.event is not None:
        update["$max"] = {"sync.deliveredVersion": result.version}
    return UpdateOne({"_id": result.product_id, "sync.lease.owner": result.owner}, update)

"""The conditional updates of one document: which revision each may change, and what it changes.

Each filter is `_id` and one more comparison: the revision that was seen, or the token of a claim.
"""

from __future__ import annotations

from collections.abc import Sequence

from pymongo import UpdateOne

from chalicelib.adapters.mongo.documents import (
    NO_LEASE,
    Document,
    attempt_to_document,
    event_to_document,
    fields_to_document,
    sync_to_document,
    to_document,
)
from chalicelib.domain.delivery import Claim, SyncResult, Transition
from chalicelib.domain.events import Event
from chalicelib.domain.product import OPTIONAL_FIELDS, OUTBOX_LIMIT, Product
from chalicelib.domain.sync_state import HISTORY_LIMIT, SyncState

NEXT_REVISION: Document = {"revision": 1}
_BUDGET = (
    "status",
    "budget",
    "attempts",
    "firstAttemptAt",
    "nextAttemptAt",
    "plannedAt",
    "aimAt",
    "endsAt",
    "behindSince",
    "overdueAt",
    "claim",
    "messageId",
    "parked",
    "lastError",
    "bulk",
    "redriveStartedAt",
    "failedAt",
    "trace",
    "enqueuedAt",
    "repairs",
    "repairStartedAt",
)
"""The fields of one budget; the lease, the delivered version and the history are kept."""


def budget_fields(sync: SyncState) -> Document:
    """Give the fields that a new budget sets."""
    document = sync_to_document(sync)
    return {f"sync.{name}": document[name] for name in _BUDGET}


def _changes(before: SyncState, after: SyncState) -> Document:
    """Give the fields of `budget_fields` that differ: a write costs what it changes."""
    old = budget_fields(before)
    return {name: value for name, value in budget_fields(after).items() if value != old[name]}


def into_outbox(*events: Event) -> Document:
    """Give the `$push` of events; the newest OUTBOX_LIMIT stay."""
    return {"$each": [event_to_document(event) for event in events], "$slice": -OUTBOX_LIMIT}


def out_of_outbox(event_id: str) -> Document:
    """Give the `$pull` of an event that the stream has stored."""
    return {"outbox": {"id": event_id}}


def claim_update(claim: Claim) -> UpdateOne:
    """Take the lease, if the product still has the revision that was read."""
    sync = claim.product.sync
    fields = {
        **_changes(claim.before.sync, sync),
        "sync.lease": sync_to_document(sync)["lease"],
    }
    update: Document = {"$set": fields, "$inc": NEXT_REVISION}
    if claim.event_id is not None:
        update["$pull"] = out_of_outbox(claim.event_id)
    return UpdateOne({"_id": claim.product.id, "revision": claim.before.revision}, update)


def transition_update(transition: Transition) -> UpdateOne:
    """Change the sync without a call, if the product still has the revision that was read."""
    before, after = transition.before, transition.after
    update: Document = {"$set": _changes(before.sync, after.sync), "$inc": NEXT_REVISION}
    if transition.event_id is not None:
        update["$pull"] = out_of_outbox(transition.event_id)
    return UpdateOne({"_id": before.id, "revision": before.revision}, update)


def result_update(result: SyncResult) -> UpdateOne:
    """Write the result of an attempt, if no write and no replay has cleared its token."""
    product = result.product
    update = _after_call(result, result.events)
    # Nobody else changes these while the token is there, except reconcile, which postpones.
    update["$set"] |= _changes(result.claim.product.sync, product.sync)
    update["$set"]["sync.overdueAt"] = product.sync.overdue_at
    if result.delivered:
        update["$set"]["syncCompletedAt"] = product.sync_completed_at
    return UpdateOne({"_id": product.id, "sync.claim": result.claim.token}, update)


def superseded_update(result: SyncResult) -> UpdateOne:
    """Release the lease of a call whose result is ignored; keep the call in the history."""
    owner = {"_id": result.product.id, "sync.lease.owner": result.claim.token}
    return UpdateOne(owner, _after_call(result, result.announcements))


def put_back_update(product: Product, expected_revision: int) -> UpdateOne:
    """Write a product as a whole, but for what is known of its creation."""
    document = to_document(product, None)
    update: Document = {"$set": document}
    if absent := dict.fromkeys(OPTIONAL_FIELDS - fields_to_document(product).keys(), ""):
        update["$unset"] = absent
    condition = {"_id": document.pop("_id"), "revision": expected_revision}
    return UpdateOne(condition, update)


def _after_call(result: SyncResult, events: Sequence[Event]) -> Document:
    update: Document = {"$set": {"sync.lease": NO_LEASE}, "$inc": NEXT_REVISION}
    pushed: Document = {}
    if result.attempt is not None:
        attempt = attempt_to_document(result.attempt)
        pushed["sync.history"] = {"$each": [attempt], "$slice": -HISTORY_LIMIT}
    if events:
        pushed["outbox"] = into_outbox(*events)
    if pushed:
        update["$push"] = pushed
    if result.delivered:
        update["$max"] = {"sync.deliveredVersion": result.product.version}
    return update

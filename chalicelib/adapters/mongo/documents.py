"""Products to documents and back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128, Int64, ObjectId

from chalicelib.domain.errors import UnreadableDocumentError
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.product import FIELD_TYPES, OPTIONAL_FIELDS, Product, ProductFields
from chalicelib.domain.sync_state import Attempt, Lease, SyncState, SyncStatus
from chalicelib.usecases.ports import Creation

Document = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every time in a document."""

_TIMES = (
    "firstAttemptAt",
    "nextAttemptAt",
    "plannedAt",
    "aimAt",
    "endsAt",
    "behindSince",
    "overdueAt",
    "redriveStartedAt",
    "failedAt",
    "enqueuedAt",
    "repairStartedAt",
)
NO_LEASE: Document = {"owner": "", "until": EPOCH, "version": -1, "budget": -1}
"""Stands for "no lease": the field is always there, so that a query for it is one comparison."""


def new_product_id() -> str:
    """Create an id: 24 hexadecimal digits that grow with time, so that new ids are adjacent."""
    return str(ObjectId())


def fields_to_document(product: Product) -> Document:
    document = {name: _to_bson(value) for name, value in product.fields.to_json().items()}
    if product.deleted_at is not None:
        # A deleted product frees its sku.
        document.pop("sku", None)
    return document


_STORABLE = {str, int, bool, Decimal, dict}
if unknown := {name: kind for name, kind in FIELD_TYPES.items() if kind not in _STORABLE}:
    # Before anything is stored that could not be read again.
    raise TypeError(f"no way is known to store the fields {unknown}")


def _to_bson(value: object) -> object:
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, dict):
        # Pairs, since a key may contain characters that a BSON field name must not.
        return [[key, _to_bson(item)] for key, item in value.items()]
    return value


def _from_bson(value: object) -> object:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    # BSON's 64 bits are a subclass of int, which JSON and logs would show as what it is.
    return int(value) if isinstance(value, Int64) else value


def to_document(product: Product, creation: Creation | None) -> Document:
    document = {
        "_id": product.id,
        **fields_to_document(product),
        "version": product.version,
        "revision": product.revision,
        "createdAt": product.created_at,
        "updatedAt": product.updated_at,
        "deletedAt": product.deleted_at,
        "syncCompletedAt": product.sync_completed_at,
        "outbox": [event_to_document(event) for event in product.outbox],
        "sync": sync_to_document(product.sync),
    }
    if creation is not None:
        document["creation"] = {
            "key": creation.key,
            "fingerprint": creation.fingerprint,
            "answer": creation.answer,
        }
        # Not one of them: the release before cannot read a creation that has more.
        document["batchSize"] = creation.batch_size
    return document


def to_creation(document: Document) -> Creation:
    creation = document["creation"]
    return Creation(
        key=creation["key"],
        fingerprint=creation["fingerprint"],
        answer=creation["answer"],
        # Not in documents of earlier releases.
        batch_size=document.get("batchSize"),
    )


def sync_to_document(sync: SyncState) -> Document:
    lease = sync.lease
    document: Document = {
        "status": sync.status.value,
        "budget": sync.budget,
        "attempts": sync.attempts,
        "firstAttemptAt": sync.first_attempt_at,
        "nextAttemptAt": sync.next_attempt_at,
        "plannedAt": sync.planned_at,
        "aimAt": sync.aim_at,
        "endsAt": sync.ends_at,
        "behindSince": sync.behind_since,
        "overdueAt": sync.overdue_at,
        "claim": sync.claim,
        "messageId": sync.message_id,
        "parked": sync.parked,
        "lastError": sync.last_error,
        "bulk": sync.bulk,
        "redriveStartedAt": sync.redrive_started_at,
        "failedAt": sync.failed_at,
        "trace": sync.trace,
        "enqueuedAt": sync.enqueued_at,
        "repairs": sync.repairs,
        "repairStartedAt": sync.repair_started_at,
        "history": [attempt_to_document(attempt) for attempt in sync.history],
        # Always there, so that "no lease holds" is one comparison.
        "lease": _lease_to_document(lease) if lease else NO_LEASE,
    }
    if sync.delivered_version is not None:
        document["deliveredVersion"] = sync.delivered_version
    return document


def _lease_to_document(lease: Lease) -> Document:
    return {
        "owner": lease.owner,
        "until": lease.until,
        "version": lease.version,
        "budget": lease.budget,
    }


def event_to_document(event: Event) -> Document:
    return {
        "id": event.id,
        "type": event.type.value,
        "version": event.version,
        "time": event.time,
        "data": event.data,
        "trace": event.trace,
        "bulk": event.bulk,
    }


def attempt_to_document(attempt: Attempt) -> Document:
    return {
        "time": attempt.time,
        "version": attempt.version,
        "status": attempt.status,
        "duration": attempt.duration,
        "error": attempt.error,
    }


def to_product(document: Document) -> Product:
    """Convert a document to a product. Raises UnreadableDocumentError."""
    try:
        return _to_product(document)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        name = document.get("_id")
        raise UnreadableDocumentError(f"product {name} cannot be read: {error!r}") from error


def _check_types(document: Document) -> None:
    """Raise TypeError for a number or a time of another type: a decision could not compare it."""
    sync = document["sync"]
    counts = (document["version"], document["revision"], sync["budget"], sync["attempts"])
    times = [sync.get(name) for name in _TIMES]
    if not all(isinstance(count, int) for count in counts):
        raise TypeError(f"no counts: {counts}")
    if not all(time is None or isinstance(time, datetime) for time in times):
        raise TypeError(f"no times: {times}")
    if not isinstance(sync["lease"]["until"], datetime):
        raise TypeError("the lease has no end")


def _to_product(document: Document) -> Product:
    _check_types(document)
    return Product(
        id=document["_id"],
        fields=_to_fields(document),
        version=document["version"],
        revision=document["revision"],
        created_at=document["createdAt"],
        updated_at=document["updatedAt"],
        deleted_at=document["deletedAt"],
        sync_completed_at=document["syncCompletedAt"],
        sync=_to_sync(document["sync"]),
        outbox=tuple(_to_event(document["_id"], item) for item in document.get("outbox", ())),
        keyed="creation" in document,
    )


def _to_fields(document: Document) -> ProductFields:
    # Only the types are checked: a stricter rule of a later version must not make a product
    # unreadable.
    fields = {name: _to_field(name, kind, document) for name, kind in FIELD_TYPES.items()}
    return ProductFields.model_construct(**fields)


def _to_field(name: str, kind: type, document: Document) -> Any:  # noqa: ANN401 - each its own
    if name in OPTIONAL_FIELDS and document.get(name) is None:
        return None
    value = document[name]
    plain = {key: _from_bson(item) for key, item in value} if kind is dict else _from_bson(value)
    if not isinstance(plain, kind):
        raise TypeError(f"{name} is no {kind.__name__}")
    return plain


def _to_sync(document: Document) -> SyncState:
    lease = document["lease"]
    return SyncState(
        status=SyncStatus(document["status"]),
        budget=document["budget"],
        attempts=document["attempts"],
        delivered_version=document.get("deliveredVersion"),
        first_attempt_at=document["firstAttemptAt"],
        next_attempt_at=document["nextAttemptAt"],
        # Not in documents of earlier releases.
        planned_at=document.get("plannedAt"),
        aim_at=document["aimAt"],
        ends_at=document["endsAt"],
        behind_since=document["behindSince"],
        overdue_at=document["overdueAt"],
        lease=Lease(**lease) if lease["owner"] else None,
        claim=document["claim"],
        message_id=document["messageId"],
        parked=document.get("parked", False),
        last_error=document["lastError"],
        history=tuple(Attempt(**attempt) for attempt in document.get("history", ())),
        bulk=document.get("bulk", False),
        redrive_started_at=document.get("redriveStartedAt"),
        failed_at=document.get("failedAt"),
        trace=document.get("trace"),
        enqueued_at=document.get("enqueuedAt"),
        repairs=document.get("repairs", 0),
        repair_started_at=document.get("repairStartedAt"),
    )


def _to_event(product_id: str, document: Document) -> Event:
    return Event(
        EventType(document["type"]),
        product_id,
        document["version"],
        document["time"],
        document["data"],
        document.get("trace"),
        document.get("bulk", False),
    )

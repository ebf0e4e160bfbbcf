"""The product store on MongoDB: one document per product, every state change one atomic write.

Only what Atlas has: conditional `update_one`s, bulk writes and partial indexes; no transaction,
no `findAndModify`. Filters avoid `$or`, so each starts from `_id` or an index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from bson import Decimal128
from bson.codec_options import CodecOptions
from pymongo import ASCENDING, IndexModel, MongoClient, UpdateOne, WriteConcern
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from chalicelib.delivery import Claim, SyncResult
from chalicelib.errors import (
    CatalogError,
    DuplicateIdempotencyKeyError,
    DuplicateSkuError,
    StoreUnavailableError,
)
from chalicelib.models import (
    HISTORY_LIMIT,
    OUTBOX_LIMIT,
    OUTBOX_PAGE,
    STUCK,
    Attempt,
    Event,
    EventType,
    Lease,
    Product,
    ProductFields,
    SyncState,
    SyncStatus,
)
from chalicelib.ports import Creation, ProductQuery, Summary

Document = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_LEASE: Document = {"owner": "", "until": EPOCH, "version": -1}
_WITHOUT_BULK = {"outbox": False, "sync.history": False, "creation": False}

# "$gt EPOCH" in a partial filter means "is there": a query that repeats it may use the index.
_PRESENT: Document = {"$gt": EPOCH}
INDEXES = [
    IndexModel("sku", name="sku", unique=True, partialFilterExpression={"sku": {"$exists": True}}),
    IndexModel(
        "creation.key",
        name="idempotency_key",
        unique=True,
        partialFilterExpression={"creation.key": {"$exists": True}},
    ),
    IndexModel("outbox.time", name="outbox", partialFilterExpression={"outbox.time": _PRESENT}),
    IndexModel(
        "sync.overdueAt", name="overdue", partialFilterExpression={"sync.overdueAt": _PRESENT}
    ),
    IndexModel(
        "sync.behindSince", name="behind", partialFilterExpression={"sync.behindSince": _PRESENT}
    ),
    IndexModel("deletedAt", name="deleted", partialFilterExpression={"deletedAt": _PRESENT}),
    IndexModel([("sync.status", ASCENDING), ("_id", ASCENDING)], name="status"),
]


@contextmanager
def _unavailable() -> Iterator[None]:
    # Whatever MongoDB fails at, the write may or may not have happened: the caller tries again.
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailableError(f"MongoDB: {type(error).__name__}: {error}") from error


class MongoStore:
    """Implements `ports.Store`. Connects, and makes the indexes, at the first use."""

    def __init__(self, connect: Callable[[], MongoClient[Document]], database: str) -> None:
        self._connect = connect
        self._database = database
        self._indexed = False

    @cached_property
    def _client(self) -> MongoClient[Document]:
        return self._connect()

    @property
    def _products(self) -> MongoCollection[Document]:
        # Not under the lock of a cached property: while MongoDB is away, each request must fail
        # by its own patience, not one after the other. Making indexes twice makes them once.
        if not self._indexed:
            self._collection.create_indexes(INDEXES)
            self._indexed = True
        return self._collection

    @cached_property
    def _collection(self) -> MongoCollection[Document]:
        return self._client[self._database].get_collection(
            "products",
            codec_options=CodecOptions(tz_aware=True, tzinfo=UTC),
            # An acknowledged write is on disk on most nodes: a 2xx must survive any crash.
            write_concern=WriteConcern(w="majority", j=True),
        )

    # ---- writing products ----

    def insert(
        self, products: Sequence[tuple[Product, Creation | None]]
    ) -> list[CatalogError | None]:
        failures: list[CatalogError | None] = [None] * len(products)
        with _unavailable():
            try:
                self._products.insert_many(
                    [_to_document(product, creation) for product, creation in products],
                    ordered=False,
                )
            except BulkWriteError as error:
                for failure in _only_duplicates(error):
                    failures[failure["index"]] = _duplicate(failure)
        return failures

    def created_under(self, key: str) -> Creation | None:
        with _unavailable():
            found = self._products.find_one({"creation.key": key}, {"creation": True})
        return Creation(**found["creation"]) if found else None

    def save_change(self, product: Product, *, expected_version: int) -> bool:
        fields = _fields_to_document(product)
        sync = _sync_to_document(product.sync)
        update = {
            "$set": {
                **fields,
                "version": product.version,
                "updatedAt": product.updated_at,
                "deletedAt": product.deleted_at,
                "syncCompletedAt": product.sync_completed_at,
                **{f"sync.{name}": sync[name] for name in _RESTARTED},
            },
            "$push": {"outbox": _push([_event_to_document(product.outbox[-1])], OUTBOX_LIMIT)},
        }
        absent = {name: "" for name in ("sku", "description", "attributes") if name not in fields}
        if absent:
            update["$unset"] = absent
        with _unavailable():
            try:
                return self._update(
                    {"_id": product.id, "version": expected_version, "deletedAt": None}, update
                )
            except DuplicateKeyError as error:
                raise DuplicateSkuError("another product has this sku") from error

    def _update(self, condition: Document, update: Document) -> bool:
        return self._products.update_one(condition, update).matched_count == 1

    # ---- reading products ----

    def get(self, product_id: str) -> Product | None:
        with _unavailable():
            found = self._products.find_one({"_id": product_id}, {"creation": False})
        return _to_product(found) if found else None

    def get_many(self, product_ids: Collection[str]) -> dict[str, Product]:
        if not product_ids:
            return {}
        with _unavailable():
            found = list(self._products.find({"_id": {"$in": list(product_ids)}}, _WITHOUT_BULK))
        return {document["_id"]: _to_product(document) for document in found}

    def find(self, query: ProductQuery) -> list[Product]:
        condition: Document = {}
        if query.sku is not None:
            condition["sku"] = query.sku
        if query.status is not None:
            condition["sync.status"] = query.status.value
        if query.status in (None, SyncStatus.DELIVERED):
            # An operator who asks for another status must also see deletions on their way.
            condition["deletedAt"] = None
        if query.after is not None:
            condition["_id"] = {"$gt": query.after}
        return self._find(condition, "_id", query.limit, _WITHOUT_BULK)

    def _find(
        self, condition: Document, order: str, limit: int, projection: Document
    ) -> list[Product]:
        with _unavailable():
            cursor = self._products.find(condition, projection).sort(order, ASCENDING).limit(limit)
            return [_to_product(document) for document in cursor]

    def summary(self, outbox_before: datetime | None = None) -> Summary:
        with _unavailable():
            # One look, so that no product is counted twice on its way from status to status; the
            # sort lets it run on the index alone.
            groups = self._products.aggregate(
                [
                    {"$sort": {"sync.status": ASCENDING}},
                    {"$group": {"_id": "$sync.status", "count": {"$sum": 1}}},
                ]
            )
            counts = dict.fromkeys(SyncStatus, 0)
            counts |= {SyncStatus(group["_id"]): group["count"] for group in groups}
            time = _PRESENT if outbox_before is None else {**_PRESENT, "$lt": outbox_before}
            backlog = self._products.count_documents({"outbox.time": time})
        oldest = self._find({"sync.behindSince": _PRESENT}, "sync.behindSince", 1, _WITHOUT_BULK)
        return Summary(counts, oldest[0].sync.behind_since if oldest else None, backlog)

    # ---- the outbox ----

    def remove_events(self, events: Sequence[Event]) -> None:
        self._bulk(
            [
                UpdateOne({"_id": event.product_id}, {"$pull": {"outbox": {"id": event.id}}})
                for event in events
            ]
        )

    def left_behind(self, before: datetime, limit: int) -> list[Product]:
        condition = {"outbox.time": {**_PRESENT, "$lt": before}}
        oldest = {"creation": False, "outbox": {"$slice": OUTBOX_PAGE}}
        return self._find(condition, "outbox.time", limit, oldest)

    # ---- the state of the sync ----

    def overdue(self, now: datetime, limit: int) -> list[Product]:
        condition = {"sync.overdueAt": {**_PRESENT, "$lte": now}}
        return self._find(condition, "sync.overdueAt", limit, _WITHOUT_BULK)

    def postpone(self, products: Mapping[str, tuple[datetime, datetime]]) -> None:
        self._bulk(
            [
                UpdateOne(
                    {"_id": product_id, "sync.overdueAt": seen}, {"$set": {"sync.overdueAt": then}}
                )
                for product_id, (seen, then) in products.items()
            ]
        )

    def restart(self, product: Product, now: datetime) -> bool:
        restarted = _sync_to_document(product.sync.restarted(now, now))
        update = {f"sync.{name}": restarted[name] for name in _RESTARTED}
        with _unavailable():
            return self._update(
                {"_id": product.id, "version": product.version},
                {"$set": {**update, "syncCompletedAt": None}},
            )

    def restart_stuck(self, statuses: Collection[SyncStatus], now: datetime) -> int:
        wanted = [status.value for status in statuses if status in STUCK]
        restarted = _sync_to_document(SyncState(overdue_at=now, restarted_at=now))
        # They have been behind all along: since when stays.
        update = {f"sync.{name}": restarted[name] for name in _RESTARTED if name != "behindSince"}
        with _unavailable():
            return self._products.update_many(
                {"sync.status": {"$in": wanted}}, {"$set": update}
            ).matched_count

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        matched = self._bulk([_claim_update(claim) for claim in claims])
        wanted = {claim.product.id for claim in claims}
        if matched == len(claims):
            return wanted
        # Some were taken by another worker first: look whose the leases are.
        with _unavailable():
            held = self._products.find(
                {
                    "_id": {"$in": list(wanted)},
                    "sync.lease.owner": {"$in": [claim.owner for claim in claims]},
                },
                {"_id": True},
            )
            return {document["_id"] for document in held}

    def record(self, results: Sequence[SyncResult]) -> None:
        if self._bulk([_result_update(result) for result in results]) < len(results):
            # Some version has moved on, or was replayed, during its call. This matches only there:
            # where a result was written, its lease was given back with it.
            self._bulk([_superseded_update(result) for result in results])

    def drop_tombstones(self) -> int:
        with _unavailable():
            return self._products.delete_many(
                {
                    "deletedAt": _PRESENT,
                    "sync.status": SyncStatus.DELIVERED.value,
                    "outbox": {"$size": 0},
                }
            ).deleted_count

    def ping(self) -> None:
        with _unavailable():
            self._client.admin.command("ping")

    def _bulk(self, updates: Sequence[UpdateOne]) -> int:
        if not updates:
            return 0
        with _unavailable():
            return self._products.bulk_write(list(updates), ordered=False).matched_count


# ---- updates ----

_RESTARTED = (
    "status",
    "attempts",
    "firstAttemptAt",
    "nextAttemptAt",
    "behindSince",
    "overdueAt",
    "carrier",
    "restartedAt",
    "stuckAt",
    "lastError",
)
"""What a fresh budget resets; the lease, the delivered version and the history stay."""


def _push(values: list[Document], limit: int) -> Document:
    return {"$each": values, "$slice": -limit}


def _claim_update(claim: Claim) -> UpdateOne:
    product = claim.product
    update: Document = {
        "sync.lease": {"owner": claim.owner, "until": claim.until, "version": product.version},
        "sync.carrier": claim.message_id,
        "sync.overdueAt": claim.overdue_at,
    }
    if claim.fresh:
        update |= {
            "sync.status": SyncStatus.PENDING.value,
            "sync.attempts": 0,
            "sync.firstAttemptAt": None,
            "sync.nextAttemptAt": None,
            "sync.restartedAt": claim.now,
            "sync.stuckAt": None,
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


def _result_update(result: SyncResult) -> UpdateOne:
    sync = _sync_to_document(result.sync)
    update: Document = {
        "$set": {
            "syncCompletedAt": result.sync_completed_at,
            **{f"sync.{name}": sync[name] for name in _RESTARTED},
            "sync.lease": _NO_LEASE,
        },
        "$push": {"sync.history": _push([_attempt_to_document(result.attempt)], HISTORY_LIMIT)},
    }
    if result.event is not None:
        update["$push"]["outbox"] = _push([_event_to_document(result.event)], OUTBOX_LIMIT)
        update["$max"] = {"sync.deliveredVersion": result.version}
    return UpdateOne(
        {
            "_id": result.product_id,
            "version": result.version,
            "sync.lease.owner": result.owner,
            # A replay during the call has cleared it: its fresh budget must not be overwritten.
            "sync.carrier": sync["carrier"],
        },
        update,
    )


def _superseded_update(result: SyncResult) -> UpdateOne:
    update: Document = {
        "$set": {"sync.lease": _NO_LEASE},
        "$push": {"sync.history": _push([_attempt_to_document(result.attempt)], HISTORY_LIMIT)},
    }
    if result.event is not None:
        update["$max"] = {"sync.deliveredVersion": result.version}
    return UpdateOne({"_id": result.product_id, "sync.lease.owner": result.owner}, update)


def _only_duplicates(error: BulkWriteError) -> list[Document]:
    failures: list[Document] = error.details["writeErrors"]
    if error.details.get("writeConcernErrors") or any(f["code"] != 11000 for f in failures):
        raise StoreUnavailableError(f"MongoDB: {error.details}") from error
    return failures


def _duplicate(failure: Document) -> CatalogError:
    if "creation.key" in failure.get("keyPattern", {}) or "idempotency_key" in failure["errmsg"]:
        return DuplicateIdempotencyKeyError("a product was created under this key")
    return DuplicateSkuError("another product has this sku")


# ---- documents ----


def _fields_to_document(product: Product) -> Document:
    document = product.fields.to_json()
    document["price"] = Decimal128(product.fields.price)
    if product.fields.attributes is not None:
        # Pairs, since a field name of BSON must not hold every character that ours may.
        document["attributes"] = [
            [key, Decimal128(value) if isinstance(value, Decimal) else value]
            for key, value in product.fields.attributes.items()
        ]
    if product.deleted_at is not None:
        # A deleted product holds its sku no longer.
        document.pop("sku", None)
    return document


def _to_document(product: Product, creation: Creation | None) -> Document:
    document = {
        "_id": product.id,
        **_fields_to_document(product),
        "version": product.version,
        "createdAt": product.created_at,
        "updatedAt": product.updated_at,
        "deletedAt": product.deleted_at,
        "syncCompletedAt": product.sync_completed_at,
        "outbox": [_event_to_document(event) for event in product.outbox],
        "sync": _sync_to_document(product.sync),
    }
    if creation is not None:
        document["creation"] = {
            "key": creation.key,
            "fingerprint": creation.fingerprint,
            "answer": creation.answer,
        }
    return document


def _sync_to_document(sync: SyncState) -> Document:
    lease = sync.lease
    document: Document = {
        "status": sync.status.value,
        "attempts": sync.attempts,
        "firstAttemptAt": sync.first_attempt_at,
        "nextAttemptAt": sync.next_attempt_at,
        "behindSince": sync.behind_since,
        "overdueAt": sync.overdue_at,
        "carrier": sync.carrier,
        "restartedAt": sync.restarted_at,
        "stuckAt": sync.stuck_at,
        "lastError": sync.last_error,
        "history": [_attempt_to_document(attempt) for attempt in sync.history],
        # Always there, so that "no lease holds" is one comparison.
        "lease": {"owner": lease.owner, "until": lease.until, "version": lease.version}
        if lease
        else _NO_LEASE,
    }
    if sync.delivered_version is not None:
        document["deliveredVersion"] = sync.delivered_version
    return document


def _event_to_document(event: Event) -> Document:
    return {
        "id": event.id,
        "type": event.type.value,
        "version": event.version,
        "time": event.time,
        "data": event.data,
        "trace": event.trace,
    }


def _attempt_to_document(attempt: Attempt) -> Document:
    return {
        "time": attempt.time,
        "version": attempt.version,
        "status": attempt.status,
        "duration": attempt.duration,
        "error": attempt.error,
    }


def _to_product(document: Document) -> Product:
    return Product(
        id=document["_id"],
        fields=_to_fields(document),
        version=document["version"],
        created_at=document["createdAt"],
        updated_at=document["updatedAt"],
        deleted_at=document["deletedAt"],
        sync_completed_at=document["syncCompletedAt"],
        sync=_to_sync(document["sync"]),
        outbox=tuple(_to_event(document["_id"], item) for item in document.get("outbox", ())),
    )


def _to_fields(document: Document) -> ProductFields:
    attributes = document.get("attributes")
    # Checked when it was written: a rule made stricter later must not make a product unreadable.
    return ProductFields.model_construct(
        name=document["name"],
        price=document["price"].to_decimal(),
        quantity=int(document["quantity"]),
        sku=document.get("sku"),
        description=document.get("description"),
        attributes=None
        if attributes is None
        else {
            key: value.to_decimal() if isinstance(value, Decimal128) else value
            for key, value in attributes
        },
    )


def _to_sync(document: Document) -> SyncState:
    lease = document["lease"]
    return SyncState(
        status=SyncStatus(document["status"]),
        attempts=document["attempts"],
        delivered_version=document.get("deliveredVersion"),
        first_attempt_at=document["firstAttemptAt"],
        next_attempt_at=document["nextAttemptAt"],
        behind_since=document["behindSince"],
        overdue_at=document["overdueAt"],
        lease=Lease(**lease) if lease["owner"] else None,
        carrier=document["carrier"],
        # Not in documents of before 2026-11-23.
        restarted_at=document.get("restartedAt"),
        stuck_at=document.get("stuckAt"),
        last_error=document["lastError"],
        history=tuple(Attempt(**attempt) for attempt in document.get("history", ())),
    )


def _to_event(product_id: str, document: Document) -> Event:
    return Event(
        EventType(document["type"]),
        product_id,
        document["version"],
        document["time"],
        document["data"],
        document.get("trace"),
    )

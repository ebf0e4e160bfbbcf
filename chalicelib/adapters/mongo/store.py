"""The product store on MongoDB: one document per product, every state change one atomic write.

Only what Atlas has: conditional `update_one`s, bulk writes and partial indexes; no transaction,
no `findAndModify`. Filters avoid `$or`, so each starts from `_id` or an index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property

from bson.codec_options import CodecOptions
from pymongo import ASCENDING, MongoClient, UpdateOne, WriteConcern
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from chalicelib.adapters.mongo.documents import (
    Document,
    event_to_document,
    fields_to_document,
    sync_to_document,
    to_document,
    to_product,
)
from chalicelib.adapters.mongo.indexes import INDEXES, PRESENT
from chalicelib.adapters.mongo.updates import (
    RESTARTED,
    claim_update,
    push,
    result_update,
    superseded_update,
)
from chalicelib.domain.delivery import Claim, SyncResult
from chalicelib.domain.errors import (
    CatalogError,
    DuplicateIdempotencyKeyError,
    DuplicateSkuError,
    StoreUnavailableError,
)
from chalicelib.domain.events import Event
from chalicelib.domain.product import OUTBOX_LIMIT, OUTBOX_PAGE, Product
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    SyncState,
    SyncStatus,
)
from chalicelib.usecases.ports import Creation, ProductQuery, Summary

_WITHOUT_BULK = {"outbox": False, "sync.history": False, "creation": False}


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
                    [to_document(product, creation) for product, creation in products],
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
        fields = fields_to_document(product)
        sync = sync_to_document(product.sync)
        update = {
            "$set": {
                **fields,
                "version": product.version,
                "updatedAt": product.updated_at,
                "deletedAt": product.deleted_at,
                "syncCompletedAt": product.sync_completed_at,
                **{f"sync.{name}": sync[name] for name in RESTARTED},
            },
            "$push": {"outbox": push([event_to_document(product.outbox[-1])], OUTBOX_LIMIT)},
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
        return to_product(found) if found else None

    def get_many(self, product_ids: Collection[str]) -> dict[str, Product]:
        if not product_ids:
            return {}
        with _unavailable():
            found = list(self._products.find({"_id": {"$in": list(product_ids)}}, _WITHOUT_BULK))
        return {document["_id"]: to_product(document) for document in found}

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
            return [to_product(document) for document in cursor]

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
            time = PRESENT if outbox_before is None else {**PRESENT, "$lt": outbox_before}
            backlog = self._products.count_documents({"outbox.time": time})
        oldest = self._find({"sync.behindSince": PRESENT}, "sync.behindSince", 1, _WITHOUT_BULK)
        return Summary(counts, oldest[0].sync.behind_since if oldest else None, backlog)

    # ---- the outbox ----

    def remove_events(self, events: Sequence[Event]) -> None:
        self._bulk(
            [
                UpdateOne({"_id": event.product_id}, {"$pull": {"outbox": {"id": event.id}}})
                for event in events
            ]
        )

    def unpublished(self, before: datetime, limit: int) -> list[Product]:
        condition = {"outbox.time": {**PRESENT, "$lt": before}}
        oldest = {"creation": False, "outbox": {"$slice": OUTBOX_PAGE}}
        return self._find(condition, "outbox.time", limit, oldest)

    # ---- the state of the sync ----

    def overdue(self, now: datetime, limit: int) -> list[Product]:
        condition = {"sync.overdueAt": {**PRESENT, "$lte": now}}
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
        restarted = sync_to_document(product.sync.restarted(now, now))
        update = {f"sync.{name}": restarted[name] for name in RESTARTED}
        with _unavailable():
            return self._update(
                {"_id": product.id, "version": product.version},
                {"$set": {**update, "syncCompletedAt": None}},
            )

    def restart_failed(self, statuses: Collection[SyncStatus], now: datetime) -> int:
        wanted = [status.value for status in statuses if status in FAILED_STATUSES]
        restarted = sync_to_document(SyncState(overdue_at=now, restarted_at=now))
        # They have been behind all along: since when stays.
        update = {f"sync.{name}": restarted[name] for name in RESTARTED if name != "behindSince"}
        with _unavailable():
            return self._products.update_many(
                {"sync.status": {"$in": wanted}}, {"$set": update}
            ).matched_count

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        matched = self._bulk([claim_update(claim) for claim in claims])
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
        if self._bulk([result_update(result) for result in results]) < len(results):
            # Some version has moved on, or was replayed, during its call. This matches only there:
            # where a result was written, its lease was given back with it.
            self._bulk([superseded_update(result) for result in results])

    def drop_tombstones(self) -> int:
        with _unavailable():
            return self._products.delete_many(
                {
                    "deletedAt": PRESENT,
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


def _only_duplicates(error: BulkWriteError) -> list[Document]:
    failures: list[Document] = error.details["writeErrors"]
    if error.details.get("writeConcernErrors") or any(f["code"] != 11000 for f in failures):
        raise StoreUnavailableError(f"MongoDB: {error.details}") from error
    return failures


def _duplicate(failure: Document) -> CatalogError:
    if "creation.key" in failure.get("keyPattern", {}) or "idempotency_key" in failure["errmsg"]:
        return DuplicateIdempotencyKeyError("a product was created under this key")
    return DuplicateSkuError("another product has this sku")

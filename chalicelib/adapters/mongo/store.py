"""The product store on MongoDB: one document per product, every state change one atomic write.

Uses only conditional `update_one`s, bulk writes and partial indexes; no transaction, no
`findAndModify`. Filters avoid `$or`, so each uses `_id` or an index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from bson.codec_options import CodecOptions
from pymongo import DESCENDING, DeleteOne, InsertOne, MongoClient, UpdateOne, WriteConcern
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.results import BulkWriteResult

from chalicelib.adapters.mongo.activity import counting, to_minute
from chalicelib.adapters.mongo.acts import act_to_document, to_act
from chalicelib.adapters.mongo.audits import AUDIT_ID, audit_to_document, to_audit
from chalicelib.adapters.mongo.controls import CONTROL_ID, control_to_document, to_control
from chalicelib.adapters.mongo.documents import (
    EPOCH,
    NO_LEASE,
    Document,
    fields_to_document,
    to_creation,
    to_document,
    to_product,
)
from chalicelib.adapters.mongo.failures import told
from chalicelib.adapters.mongo.indexes import (
    ANY_STATUS,
    LIVE,
    NO_COLLECTION,
    PRESENT,
    check_indexes,
)
from chalicelib.adapters.mongo.poison import condition_of, letter_to_document, to_letter
from chalicelib.adapters.mongo.queries import ORDERS, Hint, conditions, hint_for, ranges
from chalicelib.adapters.mongo.republishes import (
    REPUBLISH_ID,
    republish_to_document,
    to_republish,
)
from chalicelib.adapters.mongo.restores import (
    RESTORE_ID,
    restore_to_document,
    to_restore,
)
from chalicelib.adapters.mongo.updates import (
    NEXT_REVISION,
    budget_fields,
    claim_update,
    into_outbox,
    out_of_outbox,
    put_back_update,
    result_update,
    superseded_update,
    transition_update,
)
from chalicelib.adapters.once import Once
from chalicelib.domain.acts import Act
from chalicelib.domain.audit import AuditState
from chalicelib.domain.control import Control
from chalicelib.domain.delivery import Claim, SyncResult, Transition
from chalicelib.domain.errors import (
    CatalogError,
    ConcurrentChangeError,
    DuplicateIdempotencyKeyError,
    DuplicateSkuError,
    StoreUnavailableError,
    UnreadableDocumentError,
)
from chalicelib.domain.events import Event
from chalicelib.domain.poison import PoisonLetter, PoisonSelection
from chalicelib.domain.product import OPTIONAL_FIELDS, OUTBOX_PAGE, Product
from chalicelib.domain.republish import RepublishState
from chalicelib.domain.restore import RestoreState
from chalicelib.domain.selection import Portion
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    UNDELIVERED_STATUSES,
    Position,
    SyncStatus,
)
from chalicelib.domain.throughput import Minute
from chalicelib.domain.times import in_milliseconds
from chalicelib.usecases.ports import (
    BACKLOG_LIMIT,
    Creation,
    Found,
    Order,
    ProductQuery,
    PutBack,
    Summary,
    Window,
)

AT_ONCE = 25
"""Writes of one command. On the embedded server other writers wait for a whole command."""
_CREATION = {"creation": True, "batchSize": True}
# Of the creation only the key: what it says is that there is one.
_WITHOUT_ANSWER = {"creation.fingerprint": False, "creation.answer": False}
_WITHOUT_OUTBOX = {"outbox": False, **_WITHOUT_ANSWER}
_WITH_NEWEST_EVENTS = {**_WITHOUT_ANSWER, "outbox": {"$slice": -OUTBOX_PAGE}}
_WITHOUT_BULK = {"sync.history": False, **_WITHOUT_OUTBOX}
_NO_DETAILS = dict.fromkeys(OPTIONAL_FIELDS, False)
_WITHOUT_DETAILS = {**_WITHOUT_BULK, **_NO_DETAILS}
_OWN_RESULT = {
    "revision": True,
    "sync.attempts": True,
    "sync.claim": True,
    "sync.lease.owner": True,
}
_OWN_TRANSITION = {
    "version": True,
    "revision": True,
    "sync.budget": True,
    "sync.claim": True,
    "sync.messageId": True,
    "sync.overdueAt": True,
}
# One query, so that a product that changes its status is not counted twice.
_UNDELIVERED_BY_STATUS: list[Document] = [
    {"$match": {"sync.status": ANY_STATUS, "sync.behindSince": PRESENT}},
    {
        "$group": {
            "_id": "$sync.status",
            "count": {"$sum": 1},
            "since": {"$min": "$sync.behindSince"},
        }
    },
]


@contextmanager
def _unavailable() -> Iterator[None]:
    # After any error of MongoDB the write may or may not have happened: the caller tries again.
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailableError(f"MongoDB: {told(error)}") from error


def acts_of(client: MongoClient[Document], database: str) -> MongoCollection[Document]:
    """Give the collection of the acts of operators."""
    products = products_of(client, database)
    return client[database].get_collection(
        "acts",
        codec_options=products.codec_options,
        # No failover may lose the record of what has taken effect.
        write_concern=products.write_concern,
    )


def products_of(client: MongoClient[Document], database: str) -> MongoCollection[Document]:
    """Give the collection of the products."""
    return client[database].get_collection(
        "products",
        codec_options=CodecOptions(tz_aware=True, tzinfo=UTC),
        # An acknowledged write is on disk on most nodes: a 2xx must survive any crash.
        write_concern=WriteConcern(w="majority", j=True),
    )


class MongoStore:
    """Implements `ports.Store`. Connects, and checks that the indexes are there, at the first use.

    What concerns products raises StoreNotMigratedError while an index is missing: without it, a sku
    could be used twice, or a query would read the whole catalog.
    """

    def __init__(self, connect: Callable[[], MongoClient[Document]], database: str) -> None:
        self._connected = Once(connect)
        self._database = database
        self._checked = False

    @property
    def _client(self) -> MongoClient[Document]:
        return self._connected()

    @property
    def _products(self) -> MongoCollection[Document]:
        # Not a cached property, whose lock would make requests wait for one another's time-out
        # while MongoDB is away. Checking twice has no effect.
        if not self._checked:
            check_indexes(self._collection)
            self._checked = True
        return self._collection

    @cached_property
    def _collection(self) -> MongoCollection[Document]:
        return products_of(self._client, self._database)

    @cached_property
    def _controls(self) -> MongoCollection[Document]:
        return self._client[self._database].get_collection(
            "control",
            codec_options=self._collection.codec_options,
            write_concern=self._collection.write_concern,
            read_concern=ReadConcern("majority"),
        )

    @cached_property
    def _poison(self) -> MongoCollection[Document]:
        return self._client[self._database].get_collection(
            "poison",
            codec_options=self._collection.codec_options,
            write_concern=self._collection.write_concern,
        )

    @cached_property
    def _acts(self) -> MongoCollection[Document]:
        return acts_of(self._client, self._database)

    @cached_property
    def _activity(self) -> MongoCollection[Document]:
        # The default concern, whatever the address says: one node has the counts, maybe not on its
        # disk yet. They decide nothing, and must not delay a delivery.
        return self._client[self._database].get_collection(
            "activity",
            codec_options=self._collection.codec_options,
            write_concern=WriteConcern(w=1),
        )

    @property
    def _committed(self) -> MongoCollection[Document]:
        """The collection with majority read concern: a failover cannot roll back what is read."""
        return self._products.with_options(read_concern=ReadConcern("majority"))

    # ---- writing products ----

    def insert(
        self, products: Sequence[tuple[Product, Creation | None]]
    ) -> list[CatalogError | None]:
        failures: list[CatalogError | None] = []
        for start in range(0, len(products), AT_ONCE):
            failures += self._insert(products[start : start + AT_ONCE])
        return failures

    def _insert(
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
                refused = _only_duplicates(error)
                skus = {f["index"]: products[f["index"]][0].fields.sku for f in refused}
                holders = self._holders([sku for sku in skus.values() if sku is not None])
                for failure in refused:
                    holder = holders.get(skus[failure["index"]])
                    failures[failure["index"]] = _duplicate(failure, holder)
        return failures

    def _holders(self, skus: Sequence[str]) -> dict[str | None, str]:
        """Give the ids of the products that have these skus now."""
        if not skus:
            return {}
        try:
            found = list(self._products.find({"sku": {"$in": skus}}, {"sku": True}))
        except PyMongoError:
            # What was refused is known without them.
            return {}
        return {document["sku"]: document["_id"] for document in found}

    def created_under(self, key: str) -> Creation | None:
        with _unavailable():
            # Its answer is a promise: not from a creation that may be rolled back.
            found = self._committed.find_one({"creation.key": key}, _CREATION)
        return to_creation(found) if found else None

    def created_in_batch(self, keys: Sequence[str]) -> list[Creation]:
        with _unavailable():
            condition = {"creation.key": {"$in": list(keys)}}
            found = list(self._committed.find(condition, _CREATION))
        return [to_creation(document) for document in found]

    def save_change(self, product: Product, *, expected_version: int) -> bool:
        fields = fields_to_document(product)
        update: Document = {
            "$set": {
                **fields,
                "version": product.version,
                "updatedAt": product.updated_at,
                "deletedAt": product.deleted_at,
                "syncCompletedAt": product.sync_completed_at,
                **budget_fields(product.sync),
            },
            "$inc": NEXT_REVISION,
            "$push": {"outbox": into_outbox(product.outbox[-1])},
        }
        if absent := dict.fromkeys(OPTIONAL_FIELDS - fields.keys(), ""):
            update["$unset"] = absent
        with _unavailable():
            try:
                # A deletion raises the version, so this never changes a tombstone.
                return self._update({"_id": product.id, "version": expected_version}, update)
            except DuplicateKeyError as error:
                sku = product.fields.sku
                holder = self._holders([sku] if sku else []).get(sku)
                raise DuplicateSkuError(holder) from error

    def save_sync(
        self, product: Product, *, expected_revision: int, event: Event | None = None
    ) -> bool:
        fields = {"syncCompletedAt": product.sync_completed_at, **budget_fields(product.sync)}
        if product.sync.lease is None:
            fields["sync.lease"] = NO_LEASE
        update: Document = {"$set": fields, "$inc": NEXT_REVISION}
        if event is not None:
            update["$push"] = {"outbox": into_outbox(event)}
        with _unavailable():
            return self._update({"_id": product.id, "revision": expected_revision}, update)

    def _update(self, condition: Document, update: Document) -> bool:
        return self._products.update_one(condition, update).matched_count == 1

    # ---- reading products ----

    def get(
        self, product_id: str, *, majority: bool = False, outbox: bool = False
    ) -> Product | None:
        with _unavailable():
            products = self._committed if majority else self._products
            parts = _WITH_NEWEST_EVENTS if outbox else _WITHOUT_OUTBOX
            found = products.find_one({"_id": product_id}, parts)
        return to_product(found) if found else None

    def get_many(self, product_ids: Collection[str], *, details: bool = True) -> Found:
        if not product_ids:
            return Found({})
        condition = {"_id": {"$in": list(product_ids)}}
        with _unavailable():
            found = list(self._products.find(condition, _projection(details=details)))
        return _found(found)

    def find(self, query: ProductQuery) -> list[Product]:
        if query.order is not Order.BEHIND_SINCE:
            # A tombstone has no sku.
            live = LIVE if query.sku is None else {}
            return self._find_in_order({**conditions(query), **live}, query)
        return self._undelivered(query)

    def _undelivered(self, query: ProductQuery, **more: object) -> list[Product]:
        # A range of the index for each status, which is in order. A product that goes on meanwhile
        # is found twice, not missed: waiting statuses come before those that they end in.
        found: dict[str, Product] = {}
        for one in _by_status(query):
            found |= {item.id: item for item in self._find_in_order(conditions(one) | more, one)}
        return sorted(found.values(), key=_age)[: query.limit]

    def search(self, query: ProductQuery, reads: int) -> Window:
        end = self._end(query, reads) if query.selection.reads_documents else None
        found = self.find(replace(query, limit=query.limit + 1, until=end))
        if len(found) <= query.limit:
            return Window(found, end)
        page = found[: query.limit]
        return Window(page, Position(page[-1].id, page[-1].sync.behind_since))

    def _end(self, query: ProductQuery, reads: int) -> Position | None:
        """Find out how far a page may read; None: to the end. Reads entries of the index only."""
        ends = [
            Position(document["_id"], document["sync"]["behindSince"])
            for one in _by_status(query)
            for document in self._entry(one, reads)
        ]
        return min(ends, key=lambda end: (end.behind_since or EPOCH, end.id), default=None)

    def _entry(self, query: ProductQuery, number: int) -> list[Document]:
        """Find the entry with this number, counted from 1, in each range of one status."""
        status = {"sync.status": conditions(query)["sync.status"]}
        fields = {"_id": True, "sync.behindSince": True}
        found: list[Document] = []
        with _unavailable():
            for part in ranges(query):
                cursor = self._products.find(status | part, fields).sort(ORDERS[query.order])
                found += cursor.skip(number - 1).limit(1)
        return found

    def count(self, portion: Portion) -> int:
        status, selection = portion
        query = ProductQuery(
            0, statuses=frozenset({status}), selection=selection, order=Order.BEHIND_SINCE
        )
        (part,) = ranges(query)
        condition = conditions(query) | part
        options: dict[str, Any] = {"hint": hint} if (hint := hint_for(condition)) else {}
        with _unavailable():
            return self._products.count_documents(condition, **options)

    def walk(self, after: str | None, limit: int, *, majority: bool = False) -> Found:
        condition: Document = {"_id": {"$gt": after}} if after else {}
        with _unavailable():
            products = self._committed if majority else self._products
            cursor = products.find(condition, _WITHOUT_BULK).sort("_id").limit(limit)
            found = list(cursor)
        return _found(found)

    def _find_in_order(self, condition: Document, query: ProductQuery) -> list[Product]:
        found: list[Product] = []
        for part in ranges(query):
            if missing := query.limit - len(found):
                projection = _projection(details=query.details, history=query.history)
                found += self._find(
                    condition | part,
                    ORDERS[query.order],
                    missing,
                    projection,
                    hint=hint_for(condition),
                )
        return found

    def _find(
        self,
        condition: Document,
        order: Sequence[str],
        limit: int,
        projection: Document = _WITHOUT_BULK,
        *,
        majority: bool = False,
        hint: Hint = None,
    ) -> list[Product]:
        found: list[Product] = []
        seen = 0
        with _unavailable():
            products = self._committed if majority else self._products
            # Reads on if some documents cannot be read: a short page would look like the last one.
            while missing := limit - len(found):
                cursor = products.find(condition, projection).hint(hint).skip(seen).limit(missing)
                page = list(cursor.sort(list(order)) if order else cursor)
                found += _readable(page)
                seen += len(page)
                if len(page) < missing:
                    break
        return found

    def summary(self, outbox_before: datetime) -> Summary:
        with _unavailable():
            groups = list(self._products.aggregate(_UNDELIVERED_BY_STATUS))
            # Delivered products are not read: there may be millions.
            total = self._products.estimated_document_count()
            late = {**PRESENT, "$lt": outbox_before}
            backlog = self._products.count_documents({"outbox.time": late}, limit=BACKLOG_LIMIT)
        counts: dict[str, int] = {group["_id"]: group["count"] for group in groups}
        oldest: dict[str, datetime] = {group["_id"]: group["since"] for group in groups}
        # Not below zero: a product may have been inserted between the two counts.
        counts[SyncStatus.DELIVERED] = max(0, total - sum(counts.values()))
        known = {status: counts.pop(status.value, 0) for status in SyncStatus}
        since = {status: oldest[status.value] for status in SyncStatus if status in oldest}
        return Summary(known, since, backlog, unreadable=sum(counts.values()))

    # ---- the outbox ----

    def remove_events(self, events: Collection[tuple[str, str]]) -> None:
        self._bulk(
            [
                UpdateOne({"_id": product_id}, {"$pull": out_of_outbox(event_id)})
                for product_id, event_id in events
            ]
        )

    def unpublished(self, before: datetime, limit: int) -> list[Product]:
        condition = {"outbox.time": {**PRESENT, "$lt": before}}
        oldest = {**_WITHOUT_ANSWER, "outbox": {"$slice": OUTBOX_PAGE}}
        # Not sorted: MongoDB would sort all that waits, since this index is on an array. It finds
        # them in the order of the index, so about oldest first.
        return self._find(condition, [], limit, oldest, majority=True)

    # ---- the state of the sync ----

    def overdue(self, now: datetime, limit: int) -> list[Product]:
        condition = {"sync.overdueAt": {**PRESENT, "$lte": now}}
        return self._find(condition, ["sync.overdueAt"], limit, _WITHOUT_DETAILS)

    def postpone(self, products: Mapping[str, tuple[datetime, datetime]]) -> int:
        # An update of several documents takes a third of the time of several updates. Compared by
        # $lte: for one value MongoDB would consider the index, where many products may have it.
        groups: dict[datetime, list[str]] = {}
        changed = 0
        for product_id, (_, then) in products.items():
            groups.setdefault(then, []).append(product_id)
        for then, ids in groups.items():
            for start in range(0, len(ids), AT_ONCE):
                part = ids[start : start + AT_ONCE]
                seen = max(products[product_id][0] for product_id in part)
                condition = {"_id": {"$in": part}, "sync.overdueAt": {"$lte": seen}}
                update = {"$set": {"sync.overdueAt": then}}
                with _unavailable():
                    changed += self._products.update_many(condition, update).matched_count
        return changed

    def apply(self, transitions: Sequence[Transition]) -> set[str]:
        after = {transition.after.id: transition.after for transition in transitions}
        if self._bulk([transition_update(transition) for transition in transitions]) == len(after):
            return set(after)
        # Some products have changed. One that is changed again by now counts as not changed by us.
        with _unavailable():
            found = self._products.find({"_id": {"$in": list(after)}}, _OWN_TRANSITION)
            return {d["_id"] for d in found if _is_applied(d, after[d["_id"]])}

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        wanted = {claim.product.id for claim in claims}
        if self._bulk([claim_update(claim) for claim in claims]) == len(claims):
            return wanted
        # Some products have changed: find those with a token of ours.
        tokens = [claim.token for claim in claims]
        with _unavailable():
            held = self._products.find(
                {"_id": {"$in": list(wanted)}, "sync.claim": {"$in": tokens}}, {"_id": True}
            )
            return {document["_id"] for document in held}

    def record(self, results: Sequence[SyncResult]) -> set[str]:
        wanted = {result.product.id: result.product for result in results}
        if self._bulk([result_update(result) for result in results]) == len(results):
            return set(wanted)
        # Some products were changed or replayed during the call. This matches only those: a
        # written result has released its lease.
        self._bulk([superseded_update(result) for result in results])
        with _unavailable():
            # A product that is as we have written it counts as recorded. If it has changed since,
            # its message is deferred and decided again, which does no harm.
            found = self._products.find({"_id": {"$in": list(wanted)}}, _OWN_RESULT)
            return {d["_id"] for d in found if _is_unchanged(d, wanted[d["_id"]])}

    def letters_sent(self, products: Collection[Product]) -> None:
        self._bulk(
            [
                UpdateOne(
                    {"_id": product.id, "revision": product.revision},
                    {
                        "$set": {"sync.overdueAt": None, "sync.messageId": None},
                        "$inc": NEXT_REVISION,
                    },
                )
                for product in products
            ]
        )

    def failed(self, limit: int) -> list[Product]:
        query = ProductQuery(
            limit, statuses=FAILED_STATUSES, order=Order.BEHIND_SINCE, details=False
        )
        return self._undelivered(query, **{"sync.overdueAt": {"$not": PRESENT}})

    def drop_tombstones(self, products: Collection[Product]) -> int:
        # The only removal: so the document itself must say that its deletion is confirmed. After a
        # failover it may be another one with the revision that was read.
        confirmed = {
            "deletedAt": PRESENT,
            "sync.status": SyncStatus.DELIVERED.value,
            "outbox": {"$size": 0},
        }
        deletions = [
            DeleteOne({"_id": product.id, "revision": product.revision, **confirmed})
            for product in products
        ]
        return sum(done.deleted_count for done in self._write(deletions))

    # ---- the sync as a whole ----

    def control(self) -> Control:
        with _unavailable():
            # From the majority: after a failover another state may have the revision of one that
            # was rolled back, and a change of that one would be written over it.
            found = self._controls.find_one({"_id": CONTROL_ID})
        return to_control(found) if found else Control()

    def save_control(self, control: Control, *, expected_revision: int) -> bool:
        return self._replace(control_to_document(control), expected_revision)

    def _replace(self, document: Document, expected_revision: int) -> bool:
        """Write a document of `control`, if its stored revision is the expected one."""
        condition = {"_id": document["_id"], "revision": expected_revision}
        with _unavailable():
            if expected_revision > 0:
                return self._controls.replace_one(condition, document).matched_count == 1
            try:
                self._controls.insert_one(document)
            except DuplicateKeyError:
                return False
            return True

    def audit(self) -> AuditState:
        with _unavailable():
            found = self._controls.find_one({"_id": AUDIT_ID})
        return to_audit(found) if found else AuditState()

    def save_audit(self, state: AuditState, *, expected_revision: int) -> bool:
        return self._replace(audit_to_document(state), expected_revision)

    # ---- a restored store ----

    def put_back(self, products: Sequence[PutBack]) -> dict[str, CatalogError]:
        failures: dict[str, CatalogError] = {}
        for start in range(0, len(products), AT_ONCE):
            failures |= self._put_back(products[start : start + AT_ONCE])
        return failures

    def _put_back(self, products: Sequence[PutBack]) -> dict[str, CatalogError]:
        operations = [
            InsertOne(to_document(product, None))
            if expected is None
            else put_back_update(product, expected)
            for product, expected in products
        ]
        failures: dict[str, CatalogError] = {}
        with _unavailable():
            try:
                done = self._products.bulk_write(operations, ordered=False)
                written = done.matched_count + done.inserted_count
            except BulkWriteError as error:
                refused = _only_duplicates(error)
                failures = self._refusals([(it, products[it["index"]].product) for it in refused])
                written = error.details["nMatched"] + error.details["nInserted"]
            if written + len(failures) < len(products):
                failures |= self._moved([each.product for each in products], failures)
        return failures

    def _refusals(self, refused: Sequence[tuple[Document, Product]]) -> dict[str, CatalogError]:
        skus = [item.fields.sku for _, item in refused if item.fields.sku is not None]
        holders = self._holders(skus)
        return {
            item.id: _another_document()
            if _is_of_id(failure)
            else _duplicate(failure, holders.get(item.fields.sku))
            for failure, item in refused
        }

    def _moved(self, wanted: Sequence[Product], failed: Collection[str]) -> dict[str, CatalogError]:
        """Find those whose document is another one than was read, and than was to be written."""
        ids = [item.id for item in wanted if item.id not in failed]
        found = self._products.find({"_id": {"$in": ids}}, {"version": True, "revision": True})
        there = {each["_id"]: (each["version"], each["revision"]) for each in found}
        return {
            item.id: _another_document()
            for item in wanted
            if item.id not in failed and there.get(item.id) != (item.version, item.revision)
        }

    def restore(self) -> RestoreState:
        with _unavailable():
            found = self._controls.find_one({"_id": RESTORE_ID})
        return to_restore(found) if found else RestoreState()

    def save_restore(self, state: RestoreState, *, expected_revision: int) -> bool:
        return self._replace(restore_to_document(state), expected_revision)

    # ---- how far a republish is ----

    def republish(self) -> RepublishState:
        with _unavailable():
            found = self._controls.find_one({"_id": REPUBLISH_ID})
        return to_republish(found) if found else RepublishState()

    def save_republish(self, state: RepublishState, *, expected_revision: int) -> bool:
        return self._replace(republish_to_document(state), expected_revision)

    # ---- what operators look at ----

    def add_activity(self, minutes: Sequence[Minute]) -> None:
        with _unavailable():
            self._activity.bulk_write([counting(minute) for minute in minutes], ordered=False)

    def activity(self, minutes: Collection[datetime]) -> list[Minute]:
        with _unavailable():
            # Each by its id: the embedded server would read them all for a range.
            found = list(self._activity.find({"_id": {"$in": list(minutes)}}))
        return [to_minute(document) for document in found]

    def forget_activity(self, before: datetime) -> None:
        with _unavailable():
            self._activity.delete_many({"_id": {"$lt": before}})

    def add_act(self, act: Act) -> None:
        with _unavailable():
            self._acts.insert_one(act_to_document(act))

    def acts(
        self, limit: int, *, before: str | None = None, product_id: str | None = None
    ) -> list[Act]:
        condition: Document = {"_id": {"$lt": before}} if before else {}
        if product_id is not None:
            condition["productId"] = product_id
        with _unavailable():
            found = list(self._acts.find(condition).sort("_id", DESCENDING).limit(limit))
        return [to_act(document) for document in found]

    # ---- the quarantine ----

    def quarantine(self, letters: Sequence[PoisonLetter]) -> None:
        if not letters:
            return
        with _unavailable():
            try:
                self._poison.insert_many(map(letter_to_document, letters), ordered=False)
            except BulkWriteError as error:
                # They come again if their deletion from the queue has failed.
                _only_duplicates(error)

    def quarantined(
        self, selection: PoisonSelection, limit: int, *, after: str | None = None
    ) -> list[PoisonLetter]:
        with _unavailable():
            cursor = self._poison.find(condition_of(selection, after))
            return [to_letter(found) for found in cursor.sort("_id").limit(limit)]

    def count_quarantined(self, selection: PoisonSelection) -> int:
        condition = condition_of(selection)
        with _unavailable():
            if not condition:
                # Each minute: it must not read them all.
                return self._poison.estimated_document_count()
            return self._poison.count_documents(condition)

    def quarantine_bytes(self) -> int:
        with _unavailable():
            try:
                answer = self._poison.database.command("collStats", self._poison.name)
            except OperationFailure as error:
                if error.code == NO_COLLECTION:
                    return 0
                raise
        return int(answer["size"])

    def discard(self, message_ids: Collection[str]) -> int:
        with _unavailable():
            return self._poison.delete_many({"_id": {"$in": list(message_ids)}}).deleted_count

    def ping(self) -> None:
        with _unavailable():
            self._products.database.command("ping")

    def _bulk(self, updates: Sequence[UpdateOne]) -> int:
        return sum(done.matched_count for done in self._write(updates))

    def _write(self, operations: Sequence[UpdateOne | DeleteOne]) -> Iterator[BulkWriteResult]:
        """Write by commands of AT_ONCE each, in no order."""
        for start in range(0, len(operations), AT_ONCE):
            part = list(operations[start : start + AT_ONCE])
            with _unavailable():
                done = self._products.bulk_write(part, ordered=False)
            yield done


def _only_duplicates(error: BulkWriteError) -> list[Document]:
    failures: list[Document] = error.details["writeErrors"]
    if error.details.get("writeConcernErrors") or any(f["code"] != 11000 for f in failures):
        raise StoreUnavailableError(f"MongoDB: {error.details}") from error
    return failures


def _duplicate(failure: Document, holder: str | None) -> CatalogError:
    names = ("creation_key", "idempotency_key")  # the second one of the release before
    if "creation.key" in failure.get("keyPattern", {}) or any(
        name in failure["errmsg"] for name in names
    ):
        return DuplicateIdempotencyKeyError("a product was created under this key")
    return DuplicateSkuError(holder)


def _is_of_id(failure: Document) -> bool:
    return "_id" in failure.get("keyPattern", {}) or "_id_" in failure["errmsg"]


def _another_document() -> ConcurrentChangeError:
    return ConcurrentChangeError("the document is another one by now")


def _is_unchanged(document: Document, written: Product) -> bool:
    sync = document["sync"]
    idle = sync["claim"] is None and not sync["lease"]["owner"]
    # Reconcile may have made the product exhausted (see `worker_died`): then attempts differ.
    counted = sync["attempts"] == written.sync.attempts
    return bool(idle and counted and document["revision"] == written.revision)


def _is_applied(document: Document, written: Product) -> bool:
    """Say whether it is as it was written; another change may have the same revision."""
    sync = document["sync"]
    held = (document["version"], document["revision"], sync["budget"], sync["claim"])
    wanted = (written.version, written.revision, written.sync.budget, written.sync.claim)
    carrier = (sync["messageId"], sync["overdueAt"])
    # Permits of the rate limit are given for microseconds, which BSON cuts off.
    overdue_at = written.sync.overdue_at
    if overdue_at is not None:
        overdue_at = in_milliseconds(overdue_at)
    return held == wanted and carrier == (written.sync.message_id, overdue_at)


def _found(documents: Sequence[Document]) -> Found:
    products = {product.id: product for product in _readable(documents)}
    return Found(products, frozenset(document["_id"] for document in documents) - products.keys())


def _projection(*, details: bool, history: bool = False) -> Document:
    bulk = _WITHOUT_OUTBOX if history else _WITHOUT_BULK
    return bulk if details else {**bulk, **_NO_DETAILS}


def _by_status(query: ProductQuery) -> list[ProductQuery]:
    """Give a query for each status of a list of what is not delivered."""
    wanted = query.statuses or UNDELIVERED_STATUSES
    return [replace(query, statuses=frozenset({each})) for each in SyncStatus if each in wanted]


def _age(product: Product) -> tuple[datetime, str]:
    return product.sync.behind_since or EPOCH, product.id


def _readable(documents: Iterable[Document]) -> Iterator[Product]:
    for document in documents:
        with suppress(UnreadableDocumentError):
            yield to_product(document)

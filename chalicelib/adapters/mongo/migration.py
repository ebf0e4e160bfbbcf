"""Changes the indexes, and what earlier releases have stored, to what this release needs.

Idempotent; several at once are safe; what was interrupted is continued by another run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from pymongo import IndexModel, MongoClient, UpdateOne
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import NetworkTimeout, OperationFailure, PyMongoError

from chalicelib.adapters.mongo.acts import ACT_INDEXES
from chalicelib.adapters.mongo.documents import EPOCH, Document
from chalicelib.adapters.mongo.failures import told
from chalicelib.adapters.mongo.indexes import (
    INDEXES,
    PRESENT,
    RETIRED,
    RETIRED_DELETED,
    Listed,
    definition,
    list_indexes,
    missing,
)
from chalicelib.adapters.mongo.queries import ORDERS, conditions, ranges
from chalicelib.adapters.mongo.store import acts_of, products_of
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.sync_state import FAILED_STATUSES, Position, SyncStatus
from chalicelib.usecases.ports import Order, ProductQuery

PAGE = 1000
_CONFLICTS = {85, 86}
"""Another index has this name, or the same key and filter with other options."""
_NO_INDEX = 27
# Releases before ADR 20 left these with no time; reconcile drops what is overdue.
_CONFIRMED_DELETION: Document = {
    "sync.status": SyncStatus.DELIVERED.value,
    "sync.overdueAt": None,
}
_FAILURE = {
    "updatedAt": True,
    "sync.behindSince": True,
    "sync.failedAt": True,
    "sync.history": {"$slice": -1},
}
_WITHOUT_TIME: Document = {
    "sync.status": {"$in": sorted(FAILED_STATUSES)},
    "sync.failedAt": None,
}


def migrate(
    connect: Callable[[], MongoClient[Document]], database: str, now: datetime
) -> Iterator[str]:
    """Give a line for each change, when it is made. Raises StoreUnavailableError."""
    with _failing():
        products = products_of(connect(), database)
        yield from _make_missing(products)
        # Before the index by which they are found is dropped.
        if _finds_deletions(products):
            yield from _make_deletions_overdue(products, now)
        yield from _drop(products, _unwanted(list_indexes(products)))
        acts = acts_of(products.database.client, database)
        yield from _make(acts, missing(list_indexes(acts), ACT_INDEXES))
        yield from _note_when_failed(products)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except NetworkTimeout as error:
        # MongoDB does not end a build when its client has left.
        raise StoreUnavailableError(
            f"MongoDB: no answer in time: {error}. If an index is being built, that goes on; "
            "the next run waits for it"
        ) from error
    except PyMongoError as error:
        raise StoreUnavailableError(f"MongoDB: {told(error)}") from error


def _make_missing(products: MongoCollection[Document]) -> Iterator[str]:
    found = list_indexes(products)
    try:
        yield from _make(products, [_with_free_name(index, found) for index in missing(found)])
    except OperationFailure as error:
        if error.code not in _CONFLICTS:
            raise
        # MongoDB does not allow both at a time, so what is wrong has to go first.
        yield from _drop(products, _replaced(list_indexes(products)))
        yield from _make(products, missing(list_indexes(products)))


def _make(products: MongoCollection[Document], indexes: Collection[IndexModel]) -> Iterator[str]:
    if not indexes:
        return
    began = time.monotonic()
    # With one command, since MongoDB then reads the collection once. It waits for one that another
    # client has begun to build.
    names = products.create_indexes(list(indexes))
    seconds = time.monotonic() - began
    yield from (f"made the index {name} ({seconds:.1f} s for all)" for name in names)


def _with_free_name(index: IndexModel, found: Collection[Listed]) -> IndexModel:
    """Give the index a second name if another index has its name.

    The wrong index is dropped when the right one is there, so uniqueness is always enforced.
    """
    first, second = _names(index)
    building = [other.name for other in found if other.definition == definition(index.document)]
    taken = any(other.name == first for other in found)
    name = building[0] if building else second if taken else first
    options = {key: value for key, value in index.document.items() if key not in {"key", "name"}}
    return IndexModel(index.document["key"], name=name, **options)


def _unwanted(found: Collection[Listed]) -> list[Listed]:
    """Give the retired indexes that are still there, and those with a wrong definition."""
    retired = [other for other in found if any(_is(other, index) for index in RETIRED)]
    return retired + _replaced(found)


def _replaced(found: Collection[Listed]) -> list[Listed]:
    """Give the indexes that have one of our names, and another definition."""
    ours = {name for index in INDEXES for name in _names(index)}
    wanted = [definition(index.document) for index in INDEXES]
    return [other for other in found if other.name in ours and other.definition not in wanted]


def _is(listed: Listed, index: IndexModel) -> bool:
    return listed.name in _names(index) and listed.definition == definition(index.document)


def _names(index: IndexModel) -> tuple[str, str]:
    """Give the two names under which we make an index."""
    name = index.document["name"]
    return name, f"{name}_replacement"


def _drop(products: MongoCollection[Document], unwanted: Iterable[Listed]) -> Iterator[str]:
    for index in unwanted:
        try:
            products.drop_index(index.name)
        except OperationFailure as error:
            # Another run was faster.
            if error.code != _NO_INDEX:
                raise
        else:
            yield f"dropped the index {index.name}"


def _finds_deletions(products: MongoCollection[Document]) -> bool:
    """Say whether the index is still there by which earlier releases found their deletions."""
    wanted = (RETIRED_DELETED.document["name"], definition(RETIRED_DELETED.document))
    return any((index.name, index.definition) == wanted for index in list_indexes(products))


def _make_deletions_overdue(products: MongoCollection[Document], now: datetime) -> Iterator[str]:
    changed = 0
    for ids in _pages(products):
        late = {"$set": {"sync.overdueAt": now}}
        found = {"_id": {"$in": ids}, **_CONFIRMED_DELETION}
        changed += products.update_many(found, late).modified_count
    if changed:
        yield f"made {changed} confirmed deletions overdue, which reconcile drops"


def _pages(products: MongoCollection[Document]) -> Iterator[list[str]]:
    """Give the ids page by page. What has been made overdue is not found again."""
    after = EPOCH
    name = RETIRED_DELETED.document["name"]
    while True:
        condition = {"deletedAt": {**PRESENT, "$gte": after}, **_CONFIRMED_DELETION}
        cursor = products.find(condition, {"deletedAt": True}).sort("deletedAt").limit(PAGE)
        try:
            page = list(cursor.hint(name))
        except OperationFailure:
            # Another run has dropped the index when all was done.
            if _finds_deletions(products):
                raise
            return
        if not page:
            return
        yield [document["_id"] for document in page]
        after = page[-1]["deletedAt"]


def _note_when_failed(products: MongoCollection[Document]) -> Iterator[str]:
    """Fill in when products failed, where an earlier release did not note it."""
    changed = 0
    for page in _failed(products):
        updates = [
            UpdateOne({"_id": document["_id"], **_WITHOUT_TIME}, {"$set": {"sync.failedAt": time}})
            for document in page
            if document["sync"].get("failedAt") is None and (time := _failure_of(document))
        ]
        if updates:
            changed += products.bulk_write(updates, ordered=False).modified_count
    if changed:
        yield f"noted when {changed} products failed"


def _failed(products: MongoCollection[Document]) -> Iterator[list[Document]]:
    """Give the failed products page by page, in the order of their index."""
    for status in sorted(FAILED_STATUSES):
        query = ProductQuery(PAGE, statuses=frozenset({status}), order=Order.BEHIND_SINCE)
        while page := _page_of(products, query):
            yield page
            last = page[-1]
            query = replace(query, after=Position(last["_id"], last["sync"]["behindSince"]))


def _page_of(products: MongoCollection[Document], query: ProductQuery) -> list[Document]:
    for part in ranges(query):
        cursor = products.find(conditions(query) | part, _FAILURE).sort(ORDERS[query.order])
        if page := list(cursor.limit(query.limit)):
            return page
    return []


def _failure_of(document: Document) -> datetime | None:
    """Give the time of the last attempt, or of the last change if that came later."""
    attempts = document["sync"].get("history") or [{}]
    # A document that cannot be read must not hold up the migration.
    times = [document.get("updatedAt"), attempts[-1].get("time")]
    return max((time for time in times if isinstance(time, datetime)), default=None)

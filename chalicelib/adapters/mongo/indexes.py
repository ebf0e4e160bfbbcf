"""The indexes of the products, and the condition that a query repeats to use a partial one.

Who changes them, and when: docs/adr/0021-indexes-are-made-by-a-command.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import OperationFailure

from chalicelib.adapters.mongo.documents import EPOCH, Document
from chalicelib.domain.errors import StoreNotMigratedError

# "$gt EPOCH" in a partial filter means "has a time". A query must repeat it to use the index.
PRESENT: dict[str, Any] = {"$gt": EPOCH}
# The same for text.
PRESENT_TEXT: dict[str, Any] = {"$gt": ""}
LIVE: Document = {"deletedAt": None}
"""A condition on products: not tombstones, of which there may be many after a mass deletion."""
INDEXES = [
    # Not partial: SecantusDB would not use them for a condition with `$in`.
    IndexModel("sku", name="sku_sparse", unique=True, sparse=True),
    IndexModel("creation.key", name="creation_key", unique=True, sparse=True),
    IndexModel(
        [("name", ASCENDING), ("_id", ASCENDING)], name="name", partialFilterExpression=LIVE
    ),
    IndexModel(
        [("updatedAt", ASCENDING), ("_id", ASCENDING)], name="updated", partialFilterExpression=LIVE
    ),
    IndexModel("outbox.time", name="outbox", partialFilterExpression={"outbox.time": PRESENT}),
    IndexModel(
        "sync.overdueAt", name="overdue", partialFilterExpression={"sync.overdueAt": PRESENT}
    ),
    # Every product that is not delivered: by status, oldest change first.
    IndexModel(
        [("sync.status", ASCENDING), ("sync.behindSince", ASCENDING), ("_id", ASCENDING)],
        name="undelivered",
        partialFilterExpression={"sync.behindSince": PRESENT},
    ),
]
"""Few, since each costs every write. A delivered product has no entry in a partial one.

An index that changes gets another name; the old one is retired by the release after. So the next
release may retire `sku` and `idempotency_key` (partial, with `$exists`)."""
RETIRED_DELETED = IndexModel(
    "deletedAt", name="deleted", partialFilterExpression={"deletedAt": PRESENT}
)
RETIRED = [
    RETIRED_DELETED,
    IndexModel([("sync.status", ASCENDING), ("_id", ASCENDING)], name="status"),
    IndexModel(
        "sync.behindSince", name="behind", partialFilterExpression={"sync.behindSince": PRESENT}
    ),
]
"""What earlier releases made and the migration drops.

An index is put here by the second release that does not need it: while a release is rolled out or
rolled back, processes of the one before start, and refuse to work without their indexes."""
ANY_STATUS = PRESENT_TEXT
"""A condition on the first field of `undelivered`, without which MongoDB would not use it."""

Definition = tuple[list[tuple[str, Any]], Document]
_NOT_DEFINING = {"key", "name", "v", "ns", "background"}
NO_COLLECTION = 26


@dataclass(frozen=True, slots=True)
class Listed:
    """An index that the server has, or is building. A unique one enforces nothing until then."""

    name: str
    definition: Definition
    building: bool = False


def definition(index: Mapping[str, Any]) -> Definition:
    """Give what an index does, to compare: its key and its options, without its name."""
    options = {
        name: value
        for name, value in index.items()
        if name not in _NOT_DEFINING and value is not False
    }
    return list(index["key"].items()), options


def list_indexes(products: MongoCollection[Document]) -> list[Listed]:
    """List the indexes of the collection, by one command."""
    # Without the option, an index that is being built looks like one that is there.
    command = {"listIndexes": products.name, "includeBuildUUIDs": True}
    try:
        answer = products.database.command(command, codec_options=products.codec_options)
    except OperationFailure as error:
        if error.code == NO_COLLECTION:
            return []
        raise
    # A collection has 64 indexes at most: all are in the first batch.
    return [_listed(entry) for entry in answer["cursor"]["firstBatch"]]


def _listed(entry: Document) -> Listed:
    # One that is being built is wrapped.
    index = entry.get("spec", entry)
    return Listed(index["name"], definition(index), building="buildUUID" in entry)


def missing(
    found: Collection[Listed], needed: Collection[IndexModel] = INDEXES
) -> list[IndexModel]:
    """Give the needed indexes that are not ready, whatever their names are."""
    ready = [index.definition for index in found if not index.building]
    return [index for index in needed if definition(index.document) not in ready]


def check_indexes(products: MongoCollection[Document]) -> None:
    """Raise StoreNotMigratedError unless all needed indexes are ready. Others do not matter."""
    if lacking := missing(list_indexes(products)):
        names = ", ".join(index.document["name"] for index in lacking)
        raise StoreNotMigratedError(
            f"MongoDB: no index {names} yet: run python -m functions.migrate"
        )

"""The indexes of the products, and the condition that a query repeats to use a partial one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, IndexModel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# "$gt EPOCH" in a partial filter means "has a time". A query must repeat it to use the index.
PRESENT: dict[str, Any] = {"$gt": EPOCH}
INDEXES = [
    IndexModel("sku", name="sku", unique=True, partialFilterExpression={"sku": {"$exists": True}}),
    IndexModel(
        "creation.key",
        name="idempotency_key",
        unique=True,
        partialFilterExpression={"creation.key": {"$exists": True}},
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
"""Few, since each costs every write. A delivered product has no entry in a partial one."""
ANY_STATUS: dict[str, Any] = {"$gt": ""}
"""A condition on the first field of `undelivered`, without which MongoDB would not use it."""

"""Counts of attempts, as one document for each minute of the collection `activity`."""

from __future__ import annotations

from pymongo import UpdateOne

from chalicelib.adapters.mongo.documents import Document
from chalicelib.domain.throughput import Minute


def counting(minute: Minute) -> UpdateOne:
    """Give the update that adds these counts to those of other processes."""
    counts = {"delivered": minute.delivered, "failed": minute.failed}
    counts |= {f"kinds.{kind}": count for kind, count in minute.kinds.items()}
    return UpdateOne({"_id": minute.at}, {"$inc": counts}, upsert=True)


def to_minute(document: Document) -> Minute:
    """Convert a document back."""
    kinds = {kind: int(count) for kind, count in document.get("kinds", {}).items()}
    return Minute(document["_id"], int(document["delivered"]), int(document["failed"]), kinds)

"""Lists of products as filters that each use one index: `_id`, or one of indexes.py."""

from __future__ import annotations

from typing import Any

from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.indexes import PRESENT, PRESENT_TEXT
from chalicelib.usecases.ports import Order, ProductQuery

ORDERS = {
    Order.ID: ["_id"],
    Order.NAME: ["name", "_id"],
    Order.UPDATED_AT: ["updatedAt", "_id"],
    Order.BEHIND_SINCE: ["sync.behindSince", "_id"],
}
_SURROGATES = (0xD800, 0xDFFF)
_LAST = 0x10FFFF


def conditions(query: ProductQuery) -> Document:
    """Give the filters of a list, without its order."""
    given: dict[str, Any] = {
        "sku": query.sku,
        "name": starting_with(query.name) if query.name is not None else None,
        "updatedAt": {"$gte": query.updated_since} if query.updated_since is not None else None,
        "sync.status": {"$in": sorted(query.statuses)} if query.statuses else None,
    }
    return {name: condition for name, condition in given.items() if condition is not None}


def ranges(query: ProductQuery) -> list[Document]:
    """Give the ranges of the index that a page is read from, in order."""
    after, field = query.after, ORDERS[query.order][0]
    if query.order is Order.ID:
        return [{"_id": {"$gt": after.id}} if after else {}]
    bounds = {**_present(query.order), **conditions(query).get(field, {})}
    if after is None:
        return [{field: bounds}]
    value = query.order.of(after)
    # The rest of the same value, then what comes later.
    return [
        {field: value, "_id": {"$gt": after.id}},
        {field: {**_upper(bounds), "$gt": value}},
    ]


def starting_with(prefix: str) -> Document:
    """Give the condition on a text that begins with a prefix, as a range of an index."""
    after = _after(prefix)
    return {"$gte": prefix, **({"$lt": after} if after else {})}


def _after(prefix: str) -> str:
    """Give the first text that comes after all with this prefix; empty if there is none."""
    kept = prefix.rstrip(chr(_LAST))
    if not kept:
        return ""
    following = ord(kept[-1]) + 1
    if following == _SURROGATES[0]:
        # No text in UTF-8 contains these.
        following = _SURROGATES[1] + 1
    return kept[:-1] + chr(following)


def _present(order: Order) -> Document:
    return PRESENT_TEXT if order is Order.NAME else PRESENT


def _upper(bounds: Document) -> Document:
    return {name: bound for name, bound in bounds.items() if name == "$lt"}

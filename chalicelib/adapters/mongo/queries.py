"""Lists of products as filters that each use one index: `_id`, or one of indexes.py."""

from __future__ import annotations

import operator
import re
from datetime import datetime
from typing import Any

from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.indexes import PRESENT, PRESENT_TEXT
from chalicelib.domain.failures import pattern_of
from chalicelib.domain.selection import Selection
from chalicelib.domain.sync_state import FAILED_STATUSES
from chalicelib.domain.times import PRECISION
from chalicelib.usecases.ports import Order, ProductQuery

ORDERS = {
    Order.ID: ["_id"],
    Order.NAME: ["name", "_id"],
    Order.UPDATED_AT: ["updatedAt", "_id"],
    Order.BEHIND_SINCE: ["sync.behindSince", "_id"],
}
Hint = list[tuple[str, int]] | None
_UNDELIVERED: Hint = [("sync.status", 1), ("sync.behindSince", 1), ("_id", 1)]
_COMPARE = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt}
_SURROGATES = (0xD800, 0xDFFF)
_LAST = 0x10FFFF


def conditions(query: ProductQuery) -> Document:
    """Give the filters of a list, without its order. A selection needs one status."""
    statuses = sorted(query.statuses)
    given: dict[str, Any] = {
        "sku": query.sku,
        "name": starting_with(query.name) if query.name is not None else None,
        "updatedAt": {"$gte": query.updated_since} if query.updated_since is not None else None,
        "sync.status": statuses[0] if len(statuses) == 1 else {"$in": statuses},
        "sync.behindSince": _behind(query) or None,
        "$and": _selected(query) or None,
    }
    if not statuses:
        del given["sync.status"]
    return {name: condition for name, condition in given.items() if condition is not None}


def _behind(query: ProductQuery) -> Document:
    """Give the bounds of a selection that are a range of the index."""
    chosen = query.selection
    if query.statuses <= FAILED_STATUSES:
        return _bounds(None, chosen.behind_by)
    last = [time for time in (chosen.until, chosen.behind_by) if time is not None]
    return _bounds(chosen.since, min(last, default=None))


def _selected(query: ProductQuery) -> list[Document]:
    """Give the conditions of a selection for which documents are read."""
    found = _errors(query.selection)
    if query.statuses <= FAILED_STATUSES:
        # Negated: a failure of the release before has no time, and is not left out.
        since, until = query.selection.since, query.selection.until
        found += [{"sync.failedAt": {"$not": {"$lt": since}}}] if since else []
        found += [{"sync.failedAt": {"$not": {"$gt": until}}}] if until else []
    return found


def _errors(chosen: Selection) -> list[Document]:
    patterns: list[Document] = []
    if chosen.error_kind is not None:
        patterns.append({"$regex": pattern_of(chosen.error_kind)})
    if chosen.error_text is not None:
        # BSON ends a pattern at a zero byte.
        text = re.escape(chosen.error_text).replace("\0", r"\x00")
        patterns.append({"$regex": text, "$options": "i"})
    return [{"sync.lastError": pattern} for pattern in patterns]


def _bounds(first: datetime | None, last: datetime | None) -> Document:
    # Not $lte: SecantusDB leaves out what is equal, where the index has another field behind it.
    upper = {"$lt": last + PRECISION} if last else {}
    return {**({"$gte": first} if first else {}), **upper}


def hint_for(condition: Document) -> Hint:
    """Name the index of a condition on what it does not have: SecantusDB would use none."""
    return _UNDELIVERED if condition.keys() & {"$and", "sync.overdueAt"} else None


def ranges(query: ProductQuery) -> list[Document]:
    """Give the ranges of the index that a page is read from, in order."""
    after, until, field = query.after, query.until, ORDERS[query.order][0]
    if query.order is Order.ID:
        return [{"_id": {"$gt": after.id}} if after else {}]
    bounds = {**_present(query.order), **conditions(query).get(field, {})}
    first: Any = query.order.of(after) if after else None
    last: Any = query.order.of(until) if until else None
    if after and until and first == last:
        between = {field: first, "_id": {"$gt": after.id, "$lte": until.id}}
        return [between] if _are_met(bounds, first) else []
    begin = [{field: first, "_id": {"$gt": after.id}}] if after and _are_met(bounds, first) else []
    end = [{field: last, "_id": {"$lte": until.id}}] if until and _are_met(bounds, last) else []
    between = {
        **bounds,
        **({"$gt": first} if after else {}),
        **({"$lt": min(last, bounds.get("$lt", last))} if until else {}),
    }
    # The rest of the same value, then what comes later, up to the last of the last value.
    return [*begin, {field: between}, *end]


def _are_met(bounds: Document, value: Any) -> bool:  # noqa: ANN401 - as the field
    """Say whether a value is within bounds: a position may be another status' one."""
    return all(_COMPARE[name](value, bound) for name, bound in bounds.items())


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

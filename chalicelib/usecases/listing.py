"""The list of products: which orders and filters it has, and its cursors."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from chalicelib.domain.errors import FieldError, InvalidRequestError
from chalicelib.domain.sync_state import Position, SyncStatus
from chalicelib.domain.times import rfc3339
from chalicelib.usecases.ports import Order, ProductQuery
from chalicelib.usecases.validation import OptionalTime, in_utc, validated

PAGE_LIMIT = 100


class Sort(StrEnum):
    """What a list may be sorted by."""

    ID = "id"
    UPDATED_AT = "updatedAt"


def some_of(statuses: Iterable[SyncStatus]) -> BeforeValidator:
    """Check here, so that an error names the parameter and not its place in the list."""
    names = [status.value for status in statuses]

    def check(value: object) -> object:
        if not (isinstance(value, list) and all(item in names for item in value)):
            raise ValueError(f"must be one of: {', '.join(names)}; repeat it for several")
        return value

    return BeforeValidator(check)


class PageRequest(BaseModel):
    """The query parameters of every list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=PAGE_LIMIT, description="Products on a page, at most.")
    cursor: str | None = Field(
        default=None,
        description="The `nextCursor` of the page before, with the same parameters.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},
    )


class ListRequest(PageRequest):
    """The query parameters of the list."""

    sync_status: Annotated[list[SyncStatus], some_of(SyncStatus)] = Field(
        default=[],
        alias="syncStatus",
        description="Only products with one of these; repeat the parameter for several. Without "
        "`delivered` the list is in the order of the oldest undelivered change, and contains "
        "deletions that are on their way.",
    )
    sku: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        default=None, description="Only the product with this sku."
    )
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Only products whose name begins with this, upper and lower case as written. "
        "The list is in the order of the names.",
    )
    updated_since: OptionalTime = Field(
        default=None,
        alias="updatedSince",
        description="Only products that were changed at this time or later, RFC 3339. The list is "
        "in the order of `updatedAt`. Ask again from a minute before the newest `updatedAt` that "
        "you have: a change may be stored a moment after a later one. Deleted products are not in "
        "it: listen to `product.deleted`.",
    )
    sort: Sort | None = Field(
        default=None,
        description="`id` (the default: oldest product first) or `updatedAt` (oldest change first, "
        "a product that changes meanwhile comes again). Other orders follow from the filters.",
    )


Parameters = TypeVar("Parameters", bound=PageRequest)


def page_request(model: type[Parameters], parameters: object) -> Parameters:
    """Check the parameters of a list. Raises InvalidRequestError."""
    known = ", ".join(it.alias or name for name, it in model.model_fields.items())
    unknown = f"is not a known parameter; there are {known}"
    return validated(model, parameters, unknown=unknown)


def page_query(parameters: object) -> ProductQuery:
    """Give the query of a page, and of one product more. Raises InvalidRequestError."""
    request = page_request(ListRequest, parameters)
    query = ProductQuery(
        request.limit + 1,
        statuses=frozenset(request.sync_status),
        sku=request.sku,
        name=request.name,
        updated_since=request.updated_since,
        order=_order(request),
    )
    return after_cursor(query, request.cursor)


def after_cursor(query: ProductQuery, cursor: str | None) -> ProductQuery:
    """Give the query of the page after a cursor. Raises InvalidRequestError."""
    if cursor is None:
        return query
    after = _decode_cursor(cursor, query.order)
    if not _is_in(query, after):
        # The page would have what the filter leaves out.
        raise _foreign_cursor()
    return replace(query, after=after)


def _order(request: ListRequest) -> Order:
    """Give the order of a list: one filter decides it, so that a page is a range of an index.

    Raises InvalidRequestError for a combination that no index serves.
    """
    forced = _forced_order(request)
    if forced is None:
        return Order(request.sort or Sort.ID)
    name, order = forced
    if name == "name" and request.updated_since is not None:
        raise InvalidRequestError([FieldError("updatedSince", "cannot be combined with name")])
    if request.sort is not None and request.sort.value != order.value:
        message = f"cannot be {request.sort}: with {name} the list is in the order of {order}"
        raise InvalidRequestError([FieldError("sort", message)])
    return order


def _forced_order(request: ListRequest) -> tuple[str, Order] | None:
    if request.sync_status and SyncStatus.DELIVERED not in request.sync_status:
        return "syncStatus", Order.BEHIND_SINCE
    if request.name is not None:
        return "name", Order.NAME
    return ("updatedSince", Order.UPDATED_AT) if request.updated_since is not None else None


_CURSOR = re.compile("([0-9a-f]{24})(?: ([A-Za-z]+) (.+))?", re.DOTALL)
"""The id of the last product, and in an order other than that of the ids its name and value."""


def next_cursor(last: Position, order: Order) -> str:
    """Give the cursor of the page after this product."""
    value = order.of(last)
    shown = rfc3339(value) if isinstance(value, datetime) else value
    text = f"{last.id} {order.value} {shown}" if shown else last.id
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode_cursor(cursor: str, order: Order) -> Position:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        product_id, name, value = _CURSOR.fullmatch(text).groups()  # type: ignore[union-attr]  # caught
        # A cursor belongs to one order of the list.
        if order is not Order(name or Order.ID):
            raise _foreign_cursor()
        return _position(product_id, order, value)
    except (binascii.Error, ValueError, AttributeError):
        raise _foreign_cursor() from None


def _is_in(query: ProductQuery, after: Position) -> bool:
    """Say whether the filter that decides the order lets this position through."""
    if query.name is not None and after.name is not None:
        return after.name.startswith(query.name)
    if query.updated_since is not None and after.updated_at is not None:
        return after.updated_at >= query.updated_since
    if query.selection.behind_by is not None and after.behind_since is not None:
        return after.behind_since <= query.selection.behind_by
    return True


def _position(product_id: str, order: Order, value: str) -> Position:
    """Raises ValueError for a time that is none."""
    if order is Order.ID:
        return Position(product_id)
    if order is Order.NAME:
        return Position(product_id, name=value)
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError("no time zone")
    time = in_utc(time)
    if order is Order.UPDATED_AT:
        return Position(product_id, updated_at=time)
    return Position(product_id, behind_since=time)


def _foreign_cursor() -> InvalidRequestError:
    return InvalidRequestError(
        [FieldError("cursor", "is not one that this list gave out: begin without it")]
    )

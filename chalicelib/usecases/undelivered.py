"""What is not delivered, for operators: the products behind, and the dead letters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from chalicelib import telemetry
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.exact_json import Json
from chalicelib.domain.failures import kind_of
from chalicelib.domain.poison import ALL_POISON, POISON_SHOWN
from chalicelib.domain.product import Product
from chalicelib.domain.selection import Selection
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    UNDELIVERED_STATUSES,
    SyncStatus,
)
from chalicelib.domain.times import rfc3339_or_none
from chalicelib.usecases.controls import Controls
from chalicelib.usecases.listing import (
    PageRequest,
    after_cursor,
    next_cursor,
    page_request,
    some_of,
)
from chalicelib.usecases.ports import Order, ProductQuery, Queue, Store, Window
from chalicelib.usecases.validation import ErrorKind, OptionalTime

READS = 2_500
"""Products of each status that a page reads at most, to find those that its filters select."""


class UndeliveredRequest(PageRequest):
    """The query parameters of the list of what is not delivered."""

    status: Annotated[
        list[Literal["pending", "retrying", "exhausted", "rejected"]],
        some_of(each for each in SyncStatus if each in UNDELIVERED_STATUSES),
    ] = Field(
        default=[],
        description="Only products with one of these; repeat the parameter for several.",
    )
    behind_since: OptionalTime = Field(
        default=None,
        alias="behindSince",
        description="Only what is behind since this time, RFC 3339, or longer.",
    )
    error_kind: ErrorKind = Field(
        default=None,
        alias="errorKind",
        description="Only products whose last error is of this kind: `http-<status>`, `timeout`, "
        "`connection`, or `worker`.",
    )
    text: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None,
        alias="q",
        description="Only products whose last error contains this text, in upper or lower case.",
    )


class DeadLettersRequest(PageRequest):
    """The query parameters of the list of dead letters."""


class Undelivered:
    """Lists what operators look for. Every method raises StoreUnavailableError."""

    reads = READS

    def __init__(
        self,
        store: Store,
        controls: Controls,
        queue: Queue,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._controls = controls
        self._queue = queue
        self._clock = clock

    def products(self, parameters: object) -> Json:
        """Give one page of what is not delivered: `{items, nextCursor}`.

        It may be empty and not the last: it ends after `reads` products of a status, whether they
        are wanted or not. Raises InvalidRequestError.
        """
        request = page_request(UndeliveredRequest, parameters)
        query = ProductQuery(
            request.limit,
            statuses=frozenset(map(SyncStatus, request.status)),
            order=Order.BEHIND_SINCE,
            details=False,
            history=True,
            selection=Selection(
                behind_by=request.behind_since,
                error_kind=request.error_kind,
                error_text=request.text,
            ),
        )
        page = self._store.search(after_cursor(query, request.cursor), self.reads)
        held = self._controls.read().held_by(self._clock())
        return {
            "items": [_state_of(product, held) for product in page.products],
            "nextCursor": _cursor_of(page),
        }

    def dead_letters(self, parameters: object) -> Json:
        """Give one page of what has failed, and what is in the dead-letter queue besides.

        Raises InvalidRequestError.
        """
        request = page_request(DeadLettersRequest, parameters)
        query = ProductQuery(
            request.limit, statuses=FAILED_STATUSES, order=Order.BEHIND_SINCE, details=False
        )
        page = self._store.search(after_cursor(query, request.cursor), self.reads)
        poison = self._store.quarantined(ALL_POISON, POISON_SHOWN)
        return {
            "count": self._count(),
            "items": [_letter_of(product) for product in page.products],
            "nextCursor": _cursor_of(page),
            "poison": [letter.to_json() for letter in poison],
            "poisonCount": self._store.count_quarantined(ALL_POISON),
        }

    def _count(self) -> int | None:
        try:
            return self._queue.count_dead_letters()
        except QueueUnavailableError as error:
            telemetry.log.warning("the queue is away", reason=str(error))
            return None


def _cursor_of(page: Window) -> str | None:
    return next_cursor(page.after, Order.BEHIND_SINCE) if page.after else None


def _state_of(product: Product, held: str | None) -> Json:
    return {**product.sync_to_json(), "held": held if product.sync.waits else None}


def _letter_of(product: Product) -> Json:
    sync = product.sync
    return {
        "productId": product.id,
        "name": product.fields.name,
        "version": product.version,
        "deleted": product.deleted_at is not None,
        "reason": sync.status.value,
        "lastError": sync.last_error,
        "lastErrorKind": kind_of(sync.last_error),
        "attempts": sync.attempts,
        "failedAt": rfc3339_or_none(sync.failed_at),
        "behindSince": rfc3339_or_none(sync.behind_since),
        # Until then it is owed.
        "letterSent": sync.overdue_at is None,
    }

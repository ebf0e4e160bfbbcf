"""The messages of the sync queue and of its dead-letter queue: how they are written and read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chalicelib.domain import exact_json
from chalicelib.domain.errors import PoisonMessageError
from chalicelib.domain.events import BRIDGED_TYPES, HEADER_VALUE, log_fields_of
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import Product


@dataclass(frozen=True, slots=True)
class SyncMessage:
    """A sync message: deliver this version of this product, in this budget of attempts.

    Only the bridge sets `event_id`: it proves that the stream has that event. `is_letter`: it was
    written as a dead letter, and was perhaps moved back since. `bulk` only chooses the queue, so it
    is not in the body.
    """

    product_id: str
    version: int
    budget: int = 0
    trace: str | None = None
    event_id: str | None = None
    is_letter: bool = False
    bulk: bool = False

    @property
    def log_fields(self) -> Json:
        """Fields that identify the product and its event in the logs of all roles."""
        return log_fields_of(self.product_id, self.version, self.event_id, self.trace)

    def to_json(self) -> str:
        """Give the message body as JSON; `trace` is included for the logs."""
        body: Json = {
            "productId": self.product_id,
            "version": self.version,
            "budget": self.budget,
        }
        body |= {"trace": self.trace} if self.trace else {}
        body |= {"eventId": self.event_id} if self.event_id else {}
        return exact_json.dumps(body)


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message of the sync queue, as received: `sent` when, `receives` counts from 1."""

    id: str
    receipt: str
    body: str
    receives: int
    sent: datetime
    received: datetime


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message for the dead-letter queue: a body, and attributes that the SQS console shows."""

    body: str
    attributes: Mapping[str, str]


def dead_letter_for(product: Product) -> DeadLetter:
    """Build the dead letter of a failed product.

    It is a sync message of the *next* budget: moved back to the sync queue, by any tool, it is a
    redrive. Moved back twice, it is a duplicate.
    """
    sync = product.sync
    error = sync.last_error or "unknown"
    body: Json = {
        "productId": product.id,
        "version": product.version,
        "budget": sync.budget + 1,
        "reason": sync.status.value,
        "attempts": sync.attempts,
        "lastError": error,
    }
    body |= {"trace": sync.trace} if sync.trace else {}
    attributes = {
        "reason": f"{sync.status}: {error}",
        "attempts": str(sync.attempts),
        "lastError": error,
    }
    # ASCII: SQS refuses characters that XML 1.0 does not allow, and the answer may contain any.
    return DeadLetter(json.dumps(body), attributes)


PRODUCT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_COUNT = 2**53
"""The largest version or budget that a message may have."""


def _is_count(value: object) -> bool:
    # A bool is an int in Python.
    return type(value) is int and 0 <= value <= MAX_COUNT


def is_version_of(product_id: object, version: object) -> bool:
    """Say whether these can be a product's id and version."""
    is_id = isinstance(product_id, str) and PRODUCT_ID.fullmatch(product_id)
    return bool(is_id) and _is_count(version)


def _text(value: object) -> str | None:
    """Give a value that is only passed on; None if it could break a header or a message."""
    return value if isinstance(value, str) and HEADER_VALUE.fullmatch(value) else None


def parse_sync_message(body: str) -> SyncMessage:
    """Parse the body of a sync message. Raises PoisonMessageError if it is not one."""
    try:
        content = exact_json.loads(body)
    except ValueError as error:
        raise PoisonMessageError(f"the message is not JSON: {error}") from error
    match content:
        case {
            "productId": product_id,
            "version": version,
            "budget": budget,
            **rest,
        } if is_version_of(product_id, version) and _is_count(budget):
            trace, event_id = _text(rest.get("trace")), _text(rest.get("eventId"))
            return SyncMessage(product_id, version, budget, trace, event_id, "reason" in rest)
    raise PoisonMessageError("the message names no productId, version and budget")


def message_to(product: Product) -> SyncMessage:
    """Build the sync message for a product, without an event from the stream."""
    sync = product.sync
    return SyncMessage(product.id, *product.pair, sync.trace, bulk=sync.bulk)


def sync_message_for(data: bytes, trace: str | None) -> SyncMessage:
    """Build the sync message for an event from the stream.

    Raises PoisonMessageError if it is not a CloudEvent about a change of a product.
    """
    try:
        event = exact_json.loads(data)
    except ValueError as error:
        raise PoisonMessageError(f"the event is not JSON: {error}") from error
    match event:
        case {
            "specversion": "1.0",
            "type": event_type,
            "data": {"id": product_id, "version": version},
        } if event_type in BRIDGED_TYPES and is_version_of(product_id, version):
            trace, event_id = _text(trace), _text(event.get("id"))
            bulk = event.get("bulk") is True
            return SyncMessage(product_id, version, 0, trace, event_id, bulk=bulk)
    raise PoisonMessageError("the event is no CloudEvent about a change of a product")

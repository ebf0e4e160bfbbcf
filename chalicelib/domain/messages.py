"""The messages of the sync queue: how they are written, read, and made from an event."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from chalicelib.domain import exact_json
from chalicelib.domain.errors import PoisonMessageError
from chalicelib.domain.events import BRIDGED_TYPES, HEADER_VALUE, log_fields_of
from chalicelib.domain.exact_json import Json


@dataclass(frozen=True, slots=True)
class SyncMessage:
    """The queue's message: this product has this version to deliver. The document decides."""

    product_id: str
    version: int
    trace: str | None = None
    event_id: str | None = None

    @property
    def log_fields(self) -> Json:
        """What finds the event behind it again in the logs of every part that it passes."""
        return log_fields_of(self.product_id, self.version, self.event_id, self.trace)

    def to_json(self) -> str:
        """Write the message body; trace and event are there to be found in the logs."""
        body: Json = {"productId": self.product_id, "version": self.version}
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


PRODUCT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _is_ours(product_id: object, version: object) -> bool:
    """Say whether these can be a product's id and version (a bool is an int to Python)."""
    is_id = isinstance(product_id, str) and PRODUCT_ID.fullmatch(product_id)
    return bool(is_id) and type(version) is int and version >= 0


def _text(value: object) -> str | None:
    """Give what is only passed on; what could break a header or a message is left out."""
    return value if isinstance(value, str) and HEADER_VALUE.fullmatch(value) else None


def parse_sync_message(body: str) -> SyncMessage:
    """Read a queue message's body; raises PoisonMessageError if it is none of ours."""
    try:
        content = exact_json.loads(body)
    except ValueError as error:
        raise PoisonMessageError(f"the message is not JSON: {error}") from error
    match content:
        case {"productId": product_id, "version": version, **rest} if _is_ours(product_id, version):
            trace, event_id = _text(rest.get("trace")), _text(rest.get("eventId"))
            return SyncMessage(product_id, version, trace, event_id)
    raise PoisonMessageError("the message names no productId and version")


def sync_message_for(data: bytes, trace: str | None) -> SyncMessage:
    """Turn an event from the stream into the queue's message.

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
        } if event_type in BRIDGED_TYPES and _is_ours(product_id, version):
            return SyncMessage(product_id, version, _text(trace), _text(event.get("id")))
    raise PoisonMessageError("the event is no CloudEvent about a change of a product")

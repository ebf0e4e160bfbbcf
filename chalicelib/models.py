"""Products, their events and the state of their sync. Pure: no I/O, no clock of its own."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
)

from chalicelib import exact_json

Json = dict[str, Any]

MAX_INT64 = 2**63 - 1
SIZE_LIMIT = 200 * 1024
"""Bytes of a request's body, and of a product as JSON."""
OUTBOX_LIMIT = 50
"""Unpublished events a product keeps. Only an event stream that is away for long fills it; the
oldest are then dropped: 50 times SIZE_LIMIT is well below the 16 MB of a document in MongoDB."""
OUTBOX_PAGE = 5
"""Events of one product that are relayed at a time."""
HISTORY_LIMIT = 18
"""Attempts that the history of a product keeps: those of one full budget."""


def _number(value: object) -> object:
    # A JSON number only: bool is an int to Python, and a price in a string is a caller's mistake.
    if isinstance(value, Decimal):
        return value
    if type(value) is int:
        return Decimal(value)
    raise ValueError("must be a number")


def _plain(value: Decimal) -> Decimal:
    # 1E+3 and 1000 are one price; written out, it reads as one too. A zero may have an exponent
    # of any size.
    return Decimal(f"{value:f}") if value else Decimal(0)


def _attribute_value(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _TEXT.validate_python(value)
    if isinstance(value, Decimal):
        return _plain(_EXACT.validate_python(value))
    if isinstance(value, int) and abs(value) <= MAX_INT64:
        return value
    raise ValueError("must be text, a number within 64 bits, or true/false")


_TEXT: TypeAdapter[str] = TypeAdapter(Annotated[str, StringConstraints(max_length=1000)])
# 34 digits is what BSON's Decimal128 holds.
_EXACT: TypeAdapter[Decimal] = TypeAdapter(
    Annotated[Decimal, Field(max_digits=34, decimal_places=20, allow_inf_nan=False)]
)

Price = Annotated[
    Decimal,
    BeforeValidator(_number),
    Field(gt=0, decimal_places=4, max_digits=34),
    AfterValidator(_plain),
    # No multipleOf: validators that count in binary fractions refuse 19.99 by it.
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0}),
]
AttributeKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
AttributeValue = Annotated[
    bool | int | Decimal | str,
    PlainValidator(_attribute_value),
    WithJsonSchema({"type": ["string", "number", "boolean"], "maxLength": 1000}),
]


class ProductFields(BaseModel):
    """What an API consumer writes of a product. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="ProductFields")

    name: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200)]
    price: Price = Field(description="More than 0, at most 4 decimal places, kept exactly.")
    quantity: Annotated[StrictInt, Field(ge=0, le=MAX_INT64)]
    sku: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)] | None = Field(
        default=None, description="Stock keeping unit; unique among all products."
    )
    description: Annotated[str, StringConstraints(strict=True, max_length=20_000)] | None = None
    attributes: Annotated[dict[AttributeKey, AttributeValue], Field(max_length=100)] | None = Field(
        default=None, description="Flat map of text, numbers and booleans."
    )

    def to_json(self) -> Json:
        """Give the fields that are set; numbers stay `Decimal`."""
        return self.model_dump(exclude_none=True)

    def fingerprint(self) -> str:
        """Give a digest that two bodies share exactly if they mean the same (12.5 is 12.50)."""
        return hashlib.sha256(exact_json.dumps(_canonical(self.to_json())).encode()).hexdigest()


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        return {key: _canonical(value[key]) for key in sorted(value)}
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
    return value


class SyncStatus(StrEnum):
    """Where the newest version of a product stands on its way to the supply chain."""

    PENDING = "pending"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    REJECTED = "rejected"


STUCK = frozenset({SyncStatus.EXHAUSTED, SyncStatus.REJECTED})
"""Nothing more happens by itself: a person decides, then redrives."""


class EventType(StrEnum):
    """Types of the CloudEvents; the NATS subject is the same with a dot."""

    CREATED = "product:created"
    UPDATED = "product:updated"
    DELETED = "product:deleted"
    SYNC_COMPLETE = "product:sync-complete"

    @property
    def subject(self) -> str:
        """The NATS subject of this type."""
        return self.value.replace(":", ".")


HEADER_VALUE = re.compile(r"[!-~]{1,500}")
"""What an event may bring along as its trace or id: whoever published it wrote these."""


def _log_fields(product_id: str, version: int, event_id: str | None, trace: str | None) -> Json:
    return {"product_id": product_id, "version": version, "event_id": event_id, "trace": trace}


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one product. `data` is the JSON text of the whole product at that version.

    Text rather than a structure, so that it leaves the outbox as exactly as it went in. `trace`
    is the X-Ray trace header of the request that caused it.
    """

    type: EventType
    product_id: str
    version: int
    time: datetime
    data: str
    trace: str | None = None

    @property
    def id(self) -> str:
        """CloudEvents id and `Nats-Msg-Id`: the same event, published twice, is stored once."""
        return f"{self.product_id}:{self.version}:{self.type}"

    @property
    def log_fields(self) -> Json:
        """What finds this event again in the logs of every part that it passes."""
        return _log_fields(self.product_id, self.version, self.id, self.trace)

    def to_cloudevent(self) -> str:
        """Write structured-mode CloudEvents 1.0 JSON."""
        envelope: Json = {
            "specversion": "1.0",
            "id": self.id,
            "source": "/products",
            "type": self.type.value,
            "subject": self.product_id,
            "time": rfc3339(self.time),
            "datacontenttype": "application/json",
        }
        head = exact_json.dumps(envelope)
        return f'{head[:-1]},"data":{self.data}}}'


@dataclass(frozen=True, slots=True)
class Doorbell:
    """The queue's message: this product has this version to deliver. The document decides."""

    product_id: str
    version: int
    trace: str | None = None
    event_id: str | None = None

    @property
    def log_fields(self) -> Json:
        """What finds the event behind it again in the logs of every part that it passes."""
        return _log_fields(self.product_id, self.version, self.event_id, self.trace)

    def to_json(self) -> str:
        """Write the message body; trace and event are there to be found in the logs."""
        body: Json = {"productId": self.product_id, "version": self.version}
        body |= {"trace": self.trace} if self.trace else {}
        body |= {"eventId": self.event_id} if self.event_id else {}
        return exact_json.dumps(body)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the sync queue, as received: `sent` when, `receives` counts from 1."""

    id: str
    receipt: str
    body: str
    receives: int
    sent: datetime
    received: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of the supply chain. `duration` in seconds; `status` None if none was received."""

    time: datetime
    version: int
    status: int | None
    duration: float
    error: str | None = None

    def to_json(self) -> Json:
        """Give the attempt as operators see it."""
        return {
            "time": rfc3339(self.time),
            "version": self.version,
            "statusCode": self.status,
            "durationSeconds": round(self.duration, 3),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Lease:
    """Until `until`, only `owner` may call the supply chain for this product."""

    owner: str
    until: datetime
    version: int


@dataclass(frozen=True, slots=True)
class SyncState:
    """How far the supply chain is with this product.

    `behind_since`: since when it lacks the newest version (None when it has it).
    `overdue_at`: from when on the message that should drive this product counts as lost.
    `carrier`: id of the queue message that carries the schedule; None until one is called for.
    `restarted_at`: when the present budget was asked for, by a write, a replay or a redrive.
    `stuck_at`: since when it is exhausted or rejected.
    """

    status: SyncStatus = SyncStatus.PENDING
    attempts: int = 0
    delivered_version: int | None = None
    first_attempt_at: datetime | None = None
    next_attempt_at: datetime | None = None
    behind_since: datetime | None = None
    overdue_at: datetime | None = None
    lease: Lease | None = None
    carrier: str | None = None
    restarted_at: datetime | None = None
    stuck_at: datetime | None = None
    last_error: str | None = None
    history: tuple[Attempt, ...] = ()

    def restarted(self, now: datetime, overdue_at: datetime) -> SyncState:
        """Start a fresh budget; what the supply chain holds, and a running call, stay known."""
        return SyncState(
            delivered_version=self.delivered_version,
            behind_since=self.behind_since or now,
            overdue_at=overdue_at,
            restarted_at=now,
            lease=self.lease,
            history=self.history,
        )


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the store holds it, with its own outbox and the state of its sync."""

    id: str
    fields: ProductFields
    version: int
    created_at: datetime
    updated_at: datetime
    sync: SyncState
    deleted_at: datetime | None = None
    sync_completed_at: datetime | None = None
    outbox: tuple[Event, ...] = field(default=())

    def to_json(self) -> Json:
        """Give the product as API consumers and event listeners see it."""
        deleted = {"deletedAt": rfc3339(self.deleted_at)} if self.deleted_at else {}
        return {
            "id": self.id,
            **self.fields.to_json(),
            "version": self.version,
            "createdAt": rfc3339(self.created_at),
            "updatedAt": rfc3339(self.updated_at),
            **deleted,
            "syncCompletedAt": rfc3339(self.sync_completed_at) if self.sync_completed_at else None,
            "syncStatus": self.sync.status.value,
        }

    def with_event(self, event_type: EventType, now: datetime, trace: str | None) -> Product:
        """Put an event about this very version into the outbox."""
        data = exact_json.dumps(self.to_json())
        event = Event(event_type, self.id, self.version, now, data, trace)
        return replace(self, outbox=(*self.outbox, event)[-OUTBOX_LIMIT:])


def now_utc() -> datetime:
    """Give the time to the millisecond, which is what BSON keeps."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def rfc3339(moment: datetime) -> str:
    """Write a UTC time with milliseconds: `2026-01-31T12:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Products: what a consumer writes, and what the store holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

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

from chalicelib.domain import exact_json
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.exact_json import Json
from chalicelib.domain.failures import kind_of
from chalicelib.domain.sync_state import Position, SyncState
from chalicelib.domain.times import rfc3339, rfc3339_or_none
from chalicelib.domain.trace import id_of

MAX_INT64 = 2**63 - 1
SIZE_LIMIT = 200 * 1024
"""Bytes of a request's body, and of a product as JSON."""
OUTBOX_LIMIT = 50
"""Events in a product's outbox. It is full only when the stream has been away for long; then the
oldest are dropped. 50 times SIZE_LIMIT is well below the 16 MB of a document in MongoDB."""
OUTBOX_PAGE = 5
"""Events of one product that are relayed at a time."""
KEY_LIFE = timedelta(hours=24)
"""How long the idempotency key of a creation outlives its product's confirmed deletion."""


def _number(value: object) -> object:
    # A JSON number only: bool is an int to Python, and a price in a string is a caller's mistake.
    if isinstance(value, Decimal):
        return value
    if type(value) is int:
        return Decimal(value)
    raise ValueError("must be a number")


# What is a blank differs between regular expressions of Python and of JSON Schema, so it is named.
# And from the start: some generated clients look for a pattern only there.
_NOT_BLANK = r"^[\s\S]*[^\s\x00-\x1f\x85\ufeff]"


def _not_blank(value: str) -> str:
    if not re.search(_NOT_BLANK, value):
        raise ValueError("must not be blank")
    return value


def _plain(value: Decimal) -> Decimal:
    # 1E+3 and 1000 are the same price and get the same text. A zero may have any exponent.
    return Decimal(f"{value:f}") if value else Decimal(0)


def _whole(value: object) -> object:
    # To JSON Schema 3.0 is an integer too, and some languages write 3 like this. Compared first:
    # 1e999999999 has as many digits.
    if isinstance(value, Decimal) and -MAX_INT64 <= value <= MAX_INT64:
        whole = value.to_integral_value()
        return int(whole) if whole == value else value
    return value


def _attribute_value(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _TEXT.validate_python(value)
    if isinstance(value, Decimal):
        return _plain(_PLACES.validate_python(_DIGITS.validate_python(value)))
    if isinstance(value, int) and abs(value) <= MAX_INT64:
        return value
    raise ValueError("must be text, a number within 64 bits, or true/false")


_TEXT: TypeAdapter[str] = TypeAdapter(Annotated[str, StringConstraints(max_length=1000)])
# 34 digits is what BSON's Decimal128 holds. Places are a rule of their own: one rule for both would
# leave 14 digits before the point, and refuse 1e16, which as 10000000000000000 is accepted.
_DIGITS: TypeAdapter[Decimal] = TypeAdapter(
    Annotated[Decimal, Field(max_digits=34, ge=-MAX_INT64, le=MAX_INT64, allow_inf_nan=False)]
)
_PLACES: TypeAdapter[Decimal] = TypeAdapter(Annotated[Decimal, Field(decimal_places=20)])

Price = Annotated[
    Decimal,
    BeforeValidator(_number),
    Field(gt=0, decimal_places=4, max_digits=34),
    AfterValidator(_plain),
    # No multipleOf: validators that use binary floats refuse 19.99 with it.
    # The bound is what 34 digits leave before the point.
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**30}),
]
Name = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=200),
    AfterValidator(_not_blank),
    Field(json_schema_extra={"pattern": _NOT_BLANK}),
]
AttributeKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
AttributeValue = Annotated[
    bool | int | Decimal | str,
    PlainValidator(_attribute_value),
    WithJsonSchema(
        {
            "type": ["string", "number", "boolean"],
            "maxLength": 1000,
            "minimum": -MAX_INT64,
            "maximum": MAX_INT64,
        }
    ),
]


class ProductFields(BaseModel):
    """The fields of a product that API consumers write. Unknown fields are refused.

    The one place where a field is defined: the store, the API's documents, the events, the body of
    the supply chain's calls and the importer follow from it. A field that may be absent has the
    default None. The first of its `examples` is used wherever an example is shown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, title="ProductFields")

    name: Name = Field(description="Not of blanks only.", examples=["Desk lamp"])
    price: Price = Field(
        description="More than 0, with at most 4 decimal places and 30 digits before the point; "
        "kept exactly.",
        examples=[19.90],
    )
    quantity: Annotated[StrictInt, Field(ge=0, le=MAX_INT64), BeforeValidator(_whole)] = Field(
        examples=[3], json_schema_extra={"format": "int64"}
    )
    sku: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)] | None = Field(
        # No example: sent a second time, it would be taken.
        default=None,
        description="Stock keeping unit; unique among all products.",
    )
    description: Annotated[str, StringConstraints(strict=True, max_length=20_000)] | None = Field(
        default=None, examples=["Black, with a long arm."]
    )
    attributes: Annotated[dict[AttributeKey, AttributeValue], Field(max_length=100)] | None = Field(
        default=None,
        description="Flat map of text, numbers and booleans.",
        examples=[{"color": "black", "watts": 9.5, "dimmable": True}],
    )

    def to_json(self) -> Json:
        """Give the fields that are set; numbers stay `Decimal`."""
        return self.model_dump(exclude_none=True)

    def fingerprint(self) -> str:
        """Give a digest that is equal for bodies with equal values (12.5 is 12.50)."""
        return hashlib.sha256(exact_json.dumps(_canonical(self.to_json())).encode()).hexdigest()


def _plain_type(annotation: Any) -> type:  # noqa: ANN401 - what a field may be annotated with
    """Give the class of a field's values, without its rules and None."""
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        (one,) = {_plain_type(part) for part in get_args(annotation)} - {NoneType}
        return one
    kind: type = get_origin(annotation) or annotation
    return kind


FIELD_TYPES: Mapping[str, type] = {
    name: _plain_type(field.annotation) for name, field in ProductFields.model_fields.items()
}
"""The fields of a product in their order, and the class of their values."""
OPTIONAL_FIELDS = frozenset(
    name for name, field in ProductFields.model_fields.items() if not field.is_required()
)


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        return {key: _canonical(value[key]) for key in sorted(value)}
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
    return value


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the store holds it, with its own outbox and the state of its sync.

    `revision` grows by one with every change of state, not only with a new version. A writer that
    finds it changed reads and decides again. `keyed`: it was created under an idempotency key.
    """

    id: str
    fields: ProductFields
    version: int
    created_at: datetime
    updated_at: datetime
    sync: SyncState
    deleted_at: datetime | None = None
    sync_completed_at: datetime | None = None
    outbox: tuple[Event, ...] = ()
    revision: int = 0
    keyed: bool = False

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
            "syncCompletedAt": rfc3339_or_none(self.sync_completed_at),
            "syncStatus": self.sync.status.value,
        }

    @property
    def position(self) -> Position:
        """Its place in any list."""
        return Position(self.id, self.sync.behind_since, self.updated_at, self.fields.name)

    @property
    def pair(self) -> tuple[int, int]:
        """(version, budget), which is compared with that of a message."""
        return self.version, self.sync.budget

    @property
    def idempotency_key(self) -> str:
        """The idempotency key of every call within one budget: `<id>:<version>[:<budget>]`.

        Each budget has its own key, so that a supply chain that stores answers by key does not
        answer a replay with an old refusal.
        """
        budget = f":{self.sync.budget}" if self.sync.budget else ""
        return f"{self.id}:{self.version}{budget}"

    def sync_to_json(self) -> Json:
        """Give the state of the sync as operators see it."""
        sync = self.sync
        return {
            "id": self.id,
            "name": self.fields.name,
            "version": self.version,
            "deleted": self.deleted_at is not None,
            "status": sync.status.value,
            "budget": sync.budget,
            "attempts": sync.attempts,
            "deliveredVersion": sync.delivered_version,
            "behindSince": rfc3339_or_none(sync.behind_since),
            "firstAttemptAt": rfc3339_or_none(sync.first_attempt_at),
            "nextAttemptAt": rfc3339_or_none(sync.next_attempt_at),
            "syncCompletedAt": rfc3339_or_none(self.sync_completed_at),
            "failedAt": rfc3339_or_none(sync.failed_at),
            "lastError": sync.last_error,
            "lastErrorKind": kind_of(sync.last_error),
            "traceId": id_of(sync.trace),
            "history": [attempt.to_json() for attempt in sync.history],
        }

    def with_version(
        self,
        version: int,
        sync: SyncState,
        event_type: EventType,
        now: datetime,
        trace: str | None,
    ) -> Product:
        """Make a later version, which the supply chain lacks; its event is the only new one."""
        later = replace(
            self, version=version, updated_at=now, sync_completed_at=None, sync=sync, outbox=()
        )
        return later.with_event(event_type, now, trace)

    def with_event(self, event_type: EventType, now: datetime, trace: str | None) -> Product:
        """Add an event about this version to the outbox."""
        data = exact_json.dumps(self.to_json())
        event = Event(event_type, self.id, self.version, now, data, trace, self.sync.bulk)
        return replace(self, outbox=(*self.outbox, event)[-OUTBOX_LIMIT:])

"""The contract of the events: an AsyncAPI document, built from the constants and models that write
them. Its examples are made by the same code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from chalicelib.domain import exact_json
from chalicelib.domain.events import (
    CONTENT_TYPE,
    CONTENT_TYPE_HEADER,
    DATA_CONTENT_TYPE,
    MESSAGE_ID_HEADER,
    SOURCE,
    SPECVERSION,
    TRACE_HEADER,
    Event,
    EventType,
    StreamNames,
)
from chalicelib.domain.exact_json import Json
from chalicelib.domain.messages import PRODUCT_ID
from chalicelib.domain.product import OUTBOX_LIMIT, Product, ProductFields
from chalicelib.domain.republish import republished
from chalicelib.domain.retry import QUEUE_RETENTION_SECONDS
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.domain.trace import PATTERN
from chalicelib.http import contract

_DAYS = QUEUE_RETENTION_SECONDS // 86_400

_INTRODUCTION = """\
Every change of a product, and every delivery of a version to the supply chain, is an event on the
JetStream stream `{stream}`, one subject for each type. A message is a CloudEvent 1.0 in structured
mode: one JSON object.

"""
_RULES = f"""\
**Consumer.** Create a durable consumer of your own. It has its own place in the stream, and takes
no message from anybody else. Acknowledge a message when your work is stored, not before. The stream
keeps an event for {_DAYS} days, so a consumer may be away for that long.

**At least once.** An event may come more than once. Deduplicate by its `id`. `data.version` does
not identify an event: `{EventType.SYNC_COMPLETE}` has the version of the change that was delivered.

**No order.** An older event may come after a newer one, and `{EventType.SYNC_COMPLETE}` before the
event of its change. `data` is the whole product at that version: keep the highest `data.version` of
each product, of a deleted one too, and ignore a `{EventType.CREATED}`, `{EventType.UPDATED}`,
`{EventType.DELETED}` or `{EventType.REPUBLISHED}` with a lower one.

**Gaps.** While NATS is away, the events of a product wait in its document, the newest
{OUTBOX_LIMIT} of them; older ones are dropped. The newest version comes when NATS is back.

**Growth.** New fields of `data`, new attributes and new types may be added. Ignore what you do not
know."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a type says. `data`: what its schema says about `data` besides that of a product."""

    summary: str
    description: str
    data: Json


_MEANINGS = {
    EventType.CREATED: _Meaning(
        "A product was created",
        "Once per product, also for each product of a batch. Its version is 0.",
        {"properties": {"version": {"const": 0}}},
    ),
    EventType.UPDATED: _Meaning(
        "A product was changed",
        "Once per new version. A write that changes nothing makes no version and no event.",
        {"properties": {"version": {"minimum": 1}}},
    ),
    EventType.DELETED: _Meaning(
        "A product was deleted",
        "Its last change: a tombstone, which has a version of its own, the fields of the product "
        "as they were, and `deletedAt`.",
        {
            "properties": {"version": {"minimum": 1}, "deletedAt": {"type": "string"}},
            "required": ["deletedAt"],
        },
    ),
    EventType.SYNC_COMPLETE: _Meaning(
        "The supply chain has accepted a version",
        "`data` is the product at that version, with `syncCompletedAt`; of a deletion with "
        "`deletedAt` and without `sku`. A version that is overtaken by a newer one may have no "
        "such event. After a replay of the same version it may come again, with the same `id`.",
        {
            "properties": {
                "syncStatus": {"const": SyncStatus.DELIVERED.value},
                "syncCompletedAt": {"type": "string"},
            }
        },
    ),
    EventType.SYNC_EXHAUSTED: _Meaning(
        "The catalog has given up on a version",
        "All its attempts have failed, or every worker that tried it has crashed: the supply chain "
        "lacks this version until somebody replays it or writes a newer one. Once per version by "
        "`id`; if a replay fails too it comes again, with the same `id`.",
        {"properties": {"syncStatus": {"const": SyncStatus.EXHAUSTED.value}}},
    ),
    EventType.SYNC_REJECTED: _Meaning(
        "The supply chain has rejected a version",
        "It will not take this product as it is: somebody must correct it, or replay it. Once per "
        "version by `id`; if a replay is rejected too it comes again, with the same `id`.",
        {"properties": {"syncStatus": {"const": SyncStatus.REJECTED.value}}},
    ),
    EventType.SYNC_RECOVERED: _Meaning(
        "A product that was exhausted or rejected is delivered",
        "Beside the event of the delivery. Its version may be a later one than that which has "
        "failed. Once per version by `id`.",
        {
            "properties": {
                "syncStatus": {"const": SyncStatus.DELIVERED.value},
                "syncCompletedAt": {"type": "string"},
            }
        },
    ),
    EventType.REPUBLISHED: _Meaning(
        "A product is said again, as it is now",
        "No change: an operator has the whole catalog published, for listeners that lack it. Of "
        "products that are not deleted. `run` is the same in all events of one republish. A "
        "listener that keeps copies takes it as it takes a change; others ignore it.",
        {},
    ),
}


class ProductEvent(BaseModel):
    """A CloudEvent about one product."""

    model_config = ConfigDict(title="ProductEvent")

    specversion: str = Field(json_schema_extra={"const": SPECVERSION})
    id: str = Field(description="`<product id>:<version>:<type>`. Deduplicate by it.")
    source: str = Field(json_schema_extra={"const": SOURCE})
    type: EventType
    subject: str = Field(
        description="The product's id.", json_schema_extra={"pattern": f"^{PRODUCT_ID.pattern}$"}
    )
    time: str = Field(
        description="When it happened, in UTC.", json_schema_extra={"format": "date-time"}
    )
    datacontenttype: str = Field(json_schema_extra={"const": DATA_CONTENT_TYPE})
    bulk: bool = Field(
        default=False,
        description="Extension attribute, absent unless true: one of many, by a batch write or a "
        "redrive, or of a republish. Whoever has little capacity can do the others first.",
    )
    run: str = Field(
        default_factory=str,
        description=f"Extension attribute of `{EventType.REPUBLISHED}`, absent from the others: "
        "when this republish began.",
        json_schema_extra={"format": "date-time"},
    )
    traceparent: str = Field(
        default_factory=str,
        description="Extension attribute: the trace of the request that caused the event, as W3C "
        "Trace Context writes it. Absent if it is not known.",
        json_schema_extra={"pattern": PATTERN},
    )
    data: contract.Product = Field(description="The whole product at this version.")


@cache
def document(names: StreamNames) -> str:
    """Give the AsyncAPI 3.0 document as JSON. Made once: it never changes while we run."""
    return exact_json.dumps(
        {
            "asyncapi": "3.0.0",
            "info": {
                "title": "Product catalog: events",
                "version": "1",
                "description": _INTRODUCTION.format(stream=names.stream) + _RULES,
            },
            "defaultContentType": CONTENT_TYPE,
            "servers": {"nats": _server(names)},
            "channels": {_key(event_type): _channel(event_type, names) for event_type in EventType},
            "operations": {
                f"send{_key(event_type)}": _operation(event_type) for event_type in EventType
            },
            "components": {
                "messages": {_key(event_type): _message(event_type) for event_type in EventType},
                "schemas": _schemas(),
            },
        }
    )


def _key(event_type: EventType) -> str:
    """Name a type within the document: `ProductSyncComplete`."""
    return event_type.value.replace(":", "-").title().replace("-", "")


def _reference(*path: str) -> Json:
    return {"$ref": "/".join(("#", *path))}


def _server(names: StreamNames) -> Json:
    return {
        "host": "{host}",
        "protocol": "nats",
        "description": f"Where the JetStream stream {names.stream} is.",
        "variables": {"host": {"description": "Host and port of the setting NATS_URL."}},
        "x-jetstream": {
            "stream": names.stream,
            "subjects": [names.subjects],
            "maxAgeSeconds": QUEUE_RETENTION_SECONDS,
        },
    }


def _channel(event_type: EventType, names: StreamNames) -> Json:
    key = _key(event_type)
    return {
        "address": names.subject(event_type),
        "description": _MEANINGS[event_type].summary,
        "messages": {key: _reference("components", "messages", key)},
    }


def _operation(event_type: EventType) -> Json:
    key = _key(event_type)
    return {
        "action": "send",
        "summary": _MEANINGS[event_type].summary,
        "channel": _reference("channels", key),
        "messages": [_reference("channels", key, "messages", key)],
    }


def _message(event_type: EventType) -> Json:
    meaning, key = _MEANINGS[event_type], _key(event_type)
    example = _example(event_type)
    payload = exact_json.loads(example.to_cloudevent())
    return {
        "name": event_type.value,
        "title": meaning.summary,
        "description": meaning.description,
        "contentType": CONTENT_TYPE,
        "headers": _reference("components", "schemas", "Headers"),
        "payload": _reference("components", "schemas", key),
        "examples": [{"name": key, "headers": example.headers, "payload": payload}],
    }


def _schemas() -> Json:
    _, schema = models_json_schema(
        [(ProductEvent, "validation")], ref_template="#/components/schemas/{model}"
    )
    kinds = {_key(event_type): _payload(event_type) for event_type in EventType}
    return {**schema["$defs"], **kinds, "Headers": _headers()}


def _payload(event_type: EventType) -> Json:
    product_id = PRODUCT_ID.pattern
    return {
        "title": _key(event_type),
        "allOf": [
            _reference("components", "schemas", ProductEvent.__name__),
            {
                "type": "object",
                "properties": {
                    "type": {"const": event_type.value},
                    "id": {"pattern": f"^{product_id}:[0-9]+:{event_type}$"},
                    "data": {"type": "object", **_MEANINGS[event_type].data},
                },
            },
        ],
    }


def _headers() -> Json:
    return {
        "type": "object",
        "required": [MESSAGE_ID_HEADER, CONTENT_TYPE_HEADER],
        "properties": {
            MESSAGE_ID_HEADER: {
                "type": "string",
                "description": "The event's `id`; in a republish with `run` behind it. The stream "
                "stores it once within its duplicate window.",
            },
            CONTENT_TYPE_HEADER: {"type": "string", "const": CONTENT_TYPE},
            TRACE_HEADER: {
                "type": "string",
                "description": "X-Ray trace of the request that caused the event, if it is known.",
            },
        },
    }


# ---- the examples ----

_CHANGED_AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
_DELIVERED_AT = datetime(2026, 1, 31, 12, 0, 0, 400_000, tzinfo=UTC)
_VERSIONS = {EventType.CREATED: 0, EventType.DELETED: 2}
_STATUSES = {
    EventType.SYNC_COMPLETE: SyncStatus.DELIVERED,
    EventType.SYNC_EXHAUSTED: SyncStatus.EXHAUSTED,
    EventType.SYNC_REJECTED: SyncStatus.REJECTED,
    EventType.SYNC_RECOVERED: SyncStatus.DELIVERED,
}
_TRACE = "Root=1-697df0c0-0123456789abcdef01234567"


def _example(event_type: EventType) -> Event:
    """Make an event of the life of one product: created, changed, delivered, deleted."""
    shown = contract.example_of(ProductFields)
    fields = ProductFields.model_validate(exact_json.loads(exact_json.dumps(shown)))
    version = _VERSIONS.get(event_type, 1)
    product = Product(
        "697df0c0e83a27b54f1c0d96", fields, version, _CHANGED_AT, _CHANGED_AT, SyncState()
    )
    now = _CHANGED_AT
    if event_type is EventType.REPUBLISHED:
        return republished(product, _DELIVERED_AT, _DELIVERED_AT)
    if event_type is EventType.DELETED:
        product = replace(product, deleted_at=now)
    if status := _STATUSES.get(event_type):
        now = _DELIVERED_AT
        completed = now if status is SyncStatus.DELIVERED else None
        product = replace(product, sync_completed_at=completed, sync=SyncState(status=status))
    return product.with_event(event_type, now, _TRACE).outbox[-1]

"""The events about products: CloudEvents 1.0 on the stream."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chalicelib.domain import exact_json
from chalicelib.domain.exact_json import Json
from chalicelib.domain.times import rfc3339
from chalicelib.domain.trace import TRACEPARENT, id_of, to_traceparent

SPECVERSION = "1.0"
SOURCE = "/products"
DATA_CONTENT_TYPE = "application/json"
CONTENT_TYPE = "application/cloudevents+json"
MESSAGE_ID_HEADER = "Nats-Msg-Id"
CONTENT_TYPE_HEADER = "Content-Type"
TRACE_HEADER = "X-Amzn-Trace-Id"
HEADER_VALUE = re.compile(r"[!-~]{1,500}")
"""Allowed trace and id of an event; other publishers may have written them."""


class EventType(StrEnum):
    """Types of the CloudEvents; the NATS subject is the same with a dot."""

    CREATED = "product:created"
    UPDATED = "product:updated"
    DELETED = "product:deleted"
    SYNC_COMPLETE = "product:sync-complete"
    SYNC_EXHAUSTED = "product:sync-exhausted"
    SYNC_REJECTED = "product:sync-rejected"
    SYNC_RECOVERED = "product:sync-recovered"
    REPUBLISHED = "product:republished"

    @property
    def subject(self) -> str:
        """The NATS subject of this type."""
        return self.value.replace(":", ".")


@dataclass(frozen=True, slots=True)
class StreamNames:
    """What the stream of one environment, its subjects and the bridge's consumer are called."""

    stream: str = "PRODUCTS"
    before: str = ""
    """What each subject begins with."""
    consumer: str = "sync-bridge"
    reader: str = "restore"
    """The consumer that reads the stream as a record, and lives for a page."""

    @classmethod
    def of(cls, prefix: str | None) -> StreamNames:
        """Give the names of an environment: `staging` has `staging-PRODUCTS`, `staging.product.*`.

        So two environments on one NATS account get nothing of each other's.
        """
        if not prefix:
            return cls()
        of_ours = f"{prefix}-PRODUCTS", f"{prefix}.", f"{prefix}-sync-bridge", f"{prefix}-restore"
        return cls(*of_ours)

    @property
    def subjects(self) -> str:
        """The subjects of all events: one for each type."""
        return f"{self.before}product.*"

    def subject(self, event_type: EventType) -> str:
        """Give the subject of the events of a type."""
        return f"{self.before}{event_type.subject}"

    @property
    def bridged(self) -> list[str]:
        """The subjects of the events that the bridge forwards."""
        return sorted(map(self.subject, BRIDGED))


BRIDGED = frozenset({EventType.CREATED, EventType.UPDATED, EventType.DELETED})
BRIDGED_TYPES = [event_type.value for event_type in BRIDGED]


def log_fields_of(product_id: str, version: int, event_id: str | None, trace: str | None) -> Json:
    """Name a product and its event; the trace by its id, as the API and other tools write it."""
    found = id_of(trace) or trace
    return {"product_id": product_id, "version": version, "event_id": event_id, "trace": found}


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one product. `data` is the JSON text of the whole product at that version.

    Text rather than a structure, so that it is published exactly as it was stored. `trace` is the
    X-Ray trace header of the request that caused it. `bulk`: it is one of many, see `SyncState`.
    `run`: the republish that it is of, by its beginning.
    """

    type: EventType
    product_id: str
    version: int
    time: datetime
    data: str
    trace: str | None = None
    bulk: bool = False
    run: datetime | None = None

    @property
    def id(self) -> str:
        """CloudEvents id: the same event, published twice, has it twice."""
        return f"{self.product_id}:{self.version}:{self.type}"

    @property
    def message_id(self) -> str:
        """`Nats-Msg-Id`: the same event, published twice, is stored once; in each republish."""
        return f"{self.id}:{rfc3339(self.run)}" if self.run else self.id

    @property
    def log_fields(self) -> Json:
        """Fields that identify this event in the logs of all roles."""
        return log_fields_of(self.product_id, self.version, self.id, self.trace)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the NATS message."""
        headers = {MESSAGE_ID_HEADER: self.message_id, CONTENT_TYPE_HEADER: CONTENT_TYPE}
        return headers | ({TRACE_HEADER: self.trace} if self.trace else {})

    def to_cloudevent(self) -> str:
        """Give the event as structured-mode CloudEvents 1.0 JSON."""
        envelope: Json = {
            "specversion": SPECVERSION,
            "id": self.id,
            "source": SOURCE,
            "type": self.type.value,
            "subject": self.product_id,
            "time": rfc3339(self.time),
            "datacontenttype": DATA_CONTENT_TYPE,
        }
        # Extension attributes, absent where they say nothing.
        envelope |= {"bulk": True} if self.bulk else {}
        envelope |= {"run": rfc3339(self.run)} if self.run else {}
        traceparent = to_traceparent(self.trace)
        envelope |= {TRACEPARENT: traceparent} if traceparent else {}
        head = exact_json.dumps(envelope)
        return f'{head[:-1]},"data":{self.data}}}'

"""The HTTP contract: every operation, once, and the models of its answers.

The routes, the authorizer's policy and the OpenAPI document are built from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from chalicelib.domain import errors
from chalicelib.domain.acts import ActKind
from chalicelib.domain.audit import Difference
from chalicelib.domain.breaker import BreakerState
from chalicelib.domain.exact_json import Json
from chalicelib.domain.poison import EXCERPT, POISON_SHOWN
from chalicelib.domain.product import KEY_LIFE, ProductFields
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.domain.timeline import Kind
from chalicelib.domain.trace import TRACEPARENT
from chalicelib.usecases.acts import ActsRequest
from chalicelib.usecases.audits import AuditRequest
from chalicelib.usecases.catalog import BATCH_LIMIT, BatchRequest
from chalicelib.usecases.listing import ListRequest
from chalicelib.usecases.operations import ControlRequest, RedriveRequest, ReplayRequest
from chalicelib.usecases.quarantine import DiscardRequest, PoisonRequest
from chalicelib.usecases.republish import RepublishRequest
from chalicelib.usecases.restores import RestoreRequest
from chalicelib.usecases.undelivered import DeadLettersRequest, UndeliveredRequest

READ, WRITE, ADMIN = "products:read", "products:write", "sync:admin"
"""The scopes a token can carry."""

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]

# ---- answers ----


class Product(ProductFields):
    """A product in an answer of the API."""

    model_config = ConfigDict(title="Product", extra="allow")

    id: str = Field(description="Made by the server.", json_schema_extra={"readOnly": True})
    version: int = Field(
        ge=0, description="Grows with each change: by one, but after a restore or an audit by more."
    )
    createdAt: Time  # noqa: N815 - JSON's name
    updatedAt: Time  # noqa: N815 - JSON's name
    deletedAt: Time | None = Field(  # noqa: N815 - JSON's name
        default=None, description="Only while a deletion is on its way to the supply chain."
    )
    syncCompletedAt: Time | None = Field(  # noqa: N815 - JSON's name
        description="null until the current version is delivered."
    )
    syncStatus: SyncStatus  # noqa: N815 - JSON's name

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe what is answered: a product that is older than a pattern may break it."""
        made = handler(core)
        for described in handler.resolve_ref_schema(made)["properties"].values():
            described.pop("pattern", None)
        return made


class FieldProblem(BaseModel):
    """A field at fault."""

    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(
        description="What went wrong, to decide by: `urn:product-catalog:problem:` and its name.",
        json_schema_extra={"format": "uri"},
    )
    title: str
    status: int
    detail: str = Field(description="What went wrong, to read.")
    errors: list[FieldProblem] = Field(
        default_factory=list, description="All fields at fault, of the type `invalid`."
    )
    productId: str | None = Field(  # noqa: N815 - JSON's name
        default=None,
        description="The product that has the sku, of the type `duplicate-sku`; "
        "not there if it has given the sku up meanwhile.",
    )


class ProductPage(BaseModel):
    """One page of products; `nextCursor` is null on the last."""

    items: list[Product]
    nextCursor: str | None  # noqa: N815 - JSON's name


class BatchResult(BaseModel):
    """The result of one item of a batch: its product, or its problem."""

    status: int
    product: Product | None = None
    error: Problem | None = None


class BatchAnswer(BaseModel):
    """One result per item, in order."""

    items: list[BatchResult]


_TIMELINE: Json = {
    "id": "697df0c0e83a27b54f1c0d96",
    "name": "Desk lamp",
    "status": "retrying",
    "summary": "waits for its next attempt in 4 min: HTTP 503: busy",
    "held": None,
    "traceId": "697df0c00123456789abcdef01234567",
    "entries": [
        {
            "at": "2026-01-31T12:00:00.400Z",
            "kind": "attempt",
            "text": "version 1 was sent: HTTP 503: busy, after 0.21 s",
            "failed": True,
            "future": False,
            "details": {
                "version": 1,
                "budget": 0,
                "statusCode": 503,
                "durationSeconds": 0.21,
                "error": "HTTP 503: busy",
                "errorKind": "http-503",
            },
        },
        {
            "at": "2026-01-31T12:08:00.400Z",
            "kind": "next",
            "text": "the next attempt",
            "failed": False,
            "future": True,
            "details": {},
        },
    ],
}


class AttemptRecord(BaseModel):
    """One call of the supply chain."""

    time: Time
    version: int
    statusCode: int | None  # noqa: N815 - JSON's name
    durationSeconds: float  # noqa: N815 - JSON's name
    error: str | None


class SyncRecord(BaseModel):
    """The delivery state of a product."""

    id: str
    name: str
    version: int
    deleted: bool
    status: SyncStatus
    budget: int = Field(description="How often this version was replayed or redriven.")
    attempts: int
    deliveredVersion: int | None  # noqa: N815 - JSON's name
    behindSince: Time | None  # noqa: N815 - JSON's name
    firstAttemptAt: Time | None  # noqa: N815 - JSON's name
    nextAttemptAt: Time | None  # noqa: N815 - JSON's name
    syncCompletedAt: Time | None  # noqa: N815 - JSON's name
    failedAt: Time | None = Field(  # noqa: N815 - JSON's name
        description="When it became exhausted or rejected; kept until it is delivered."
    )
    lastError: str | None  # noqa: N815 - JSON's name
    lastErrorKind: str | None = Field(  # noqa: N815 - JSON's name
        description="`http-<status>`, `timeout`, `connection`, or `worker` if its workers crashed.",
        examples=["http-503"],
    )
    traceId: str | None = Field(  # noqa: N815 - JSON's name
        description="Of the request that began this budget of attempts, as in the logs and in the "
        "`traceparent` of events and calls.",
        examples=["697df0c00123456789abcdef01234567"],
    )
    held: str | None = Field(
        description="While the product waits: why no calls are made at all; null if they are.",
        examples=["paused: their release", "the breaker is open since …: HTTP 503"],
    )
    history: list[AttemptRecord]


class TimelineEntry(BaseModel):
    """One sentence about one moment in the life of a product."""

    at: Time | None = Field(description="null: now, or a time that is not known yet.")
    kind: Kind = Field(description="What it is about.")
    text: str
    failed: bool = Field(description="Something went wrong.")
    future: bool = Field(description="It is still to come.")
    details: dict[str, object] = Field(description="Numbers and names, by kind; more may come.")


class ProductTimeline(BaseModel):
    """Why a product is where it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TIMELINE]})

    id: str
    name: str
    status: SyncStatus
    summary: str = Field(description="The answer in one sentence.")
    held: str | None = Field(
        description="While the product waits: why no calls are made at all; null if they are."
    )
    traceId: str | None = Field(  # noqa: N815 - JSON's name
        description="Of the request that began this budget of attempts."
    )
    entries: list[TimelineEntry] = Field(
        description="In order of time: what was, what is now, what is still to come."
    )


class SyncControl(BaseModel):
    """The pause of an operator."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "paused": True,
                    "reason": "their release",
                    "until": "2026-01-31T22:00:00.000Z",
                    "since": "2026-01-31T20:00:00.000Z",
                }
            ]
        }
    )

    paused: bool
    reason: str | None
    until: Time | None = Field(description="When the sync resumes by itself.")
    since: Time | None


class BreakerRecord(BaseModel):
    """The circuit breaker between the catalog and the supply chain."""

    state: BreakerState
    since: Time | None = Field(description="When it opened, or closed again.")
    reason: str | None = Field(description="The last systemic error, while it is not closed.")
    callsPerSecond: float | None = Field(  # noqa: N815 - JSON's name
        description="The limit of calls per second now; null for none, or while it is not closed."
    )


class RedriveRecord(BaseModel):
    """A redrive that is under way."""

    startedAt: Time  # noqa: N815 - JSON's name
    count: int = Field(description="Products at its beginning.")
    done: int = Field(description="Products that are restarted; after a crash it may be less.")


class StuckRecord(BaseModel):
    """What the catalog does not retry: exhausted and rejected products."""

    count: int
    oldestSeconds: float | None = Field(  # noqa: N815 - JSON's name
        description="Since when the supply chain lacks the oldest of their changes."
    )


class MinuteRecord(BaseModel):
    """The attempts that ended in one minute."""

    at: Time = Field(description="Its beginning.")
    delivered: int
    failed: int


class ThroughputRecord(BaseModel):
    """What was delivered, and what has failed, in the last minutes; a few seconds late."""

    deliveredPerMinute: float = Field(  # noqa: N815 - JSON's name
        description="The mean of the last five whole minutes and the current one."
    )
    failedPerMinute: float = Field(  # noqa: N815 - JSON's name
        description="The same of the attempts that failed."
    )
    failureKinds: dict[str, int] = Field(  # noqa: N815 - JSON's name
        description="The attempts of the last 15 minutes that failed: `http-<status>`, `timeout`, "
        "`connection`.",
        examples=[{"http-503": 12, "timeout": 3}],
    )
    minutes: list[MinuteRecord] = Field(
        description="The last 60, oldest first, none left out; the current one is the last."
    )


class DifferenceRecord(BaseModel):
    """A product that the supply chain held in another state than the catalog."""

    id: str
    difference: Difference
    version: int = Field(description="The newest version.")
    held: int | None = Field(description="The version that the supply chain named, if any.")
    fields: list[str] = Field(description="Those that differed, at the same version.")
    repaired: bool
    at: Time


_AUDIT: Json = {
    "state": "done",
    "checked": 5000,
    "total": 5000,
    "behind": 0,
    "unanswered": 0,
    "repair": True,
    "differences": {"missing": 0, "older": 0, "newer": 0, "different": 1, "undeleted": 0},
    "repaired": 1,
    "startedAt": "2026-01-31T12:00:00.000Z",
    "finishedAt": "2026-01-31T12:08:20.000Z",
    "startedBy": "operator",
    "stoppedBy": None,
    "statement": "at 2026-01-31T12:08:20.000Z the supply chain held the newest version of all "
    "5,000 products, but for 1: 1 differed (1 repaired since)",
    "examples": [
        {
            "id": "6b05e78b3969dfca0964608b",
            "difference": "different",
            "version": 3,
            "held": 3,
            "fields": ["price"],
            "repaired": True,
            "at": "2026-01-31T12:03:07.000Z",
        }
    ],
}


class AuditWalk(BaseModel):
    """A comparison of all products with what the supply chain holds."""

    state: Literal["none", "running", "done"]
    checked: int = Field(description="Products looked at, with deletions that are kept.")
    total: int = Field(description="About how many there are.")
    behind: int = Field(description="Not compared: their newest version is not delivered.")
    unanswered: int = Field(
        description="Could not be compared: no usable answer, or the document cannot be read."
    )
    repair: bool = Field(description="Whether what differs is repaired.")
    differences: dict[Difference, int]
    repaired: int
    startedAt: Time | None  # noqa: N815 - JSON's name
    finishedAt: Time | None  # noqa: N815 - JSON's name
    startedBy: str | None  # noqa: N815 - JSON's name
    stoppedBy: str | None = Field(  # noqa: N815 - JSON's name
        description="Who has stopped it before its end, if anybody."
    )
    statement: str | None = Field(description="What it has proved; null before its end.")
    examples: list[DifferenceRecord] = Field(description="The first 100.")


class AuditRecord(AuditWalk):
    """The full audit that runs, else the last one; and the rolling one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {**_AUDIT, "held": None, "lastStatement": _AUDIT["statement"], "rolling": None}
            ]
        }
    )

    held: str | None = Field(description="Why it waits, while it runs.")
    lastStatement: str | None = Field(  # noqa: N815 - JSON's name
        description="What the last full audit that has ended has proved."
    )
    rolling: AuditWalk | None = Field(
        description="The audit that reconcile makes, of a few products in each run."
    )


class LossRecord(BaseModel):
    """A product of which a change is lost here."""

    id: str
    restored: int = Field(description="The newest version that store and stream knew.")
    held: int | None = Field(
        description="The version that the supply chain had; null if it once had the product, and "
        "had it no more, so that a deletion is lost. The same as `restored`: two changes have this "
        "version, since somebody wrote in between; the supply chain or the stream has the other."
    )


class ClashRecord(BaseModel):
    """A product that was stored without its sku, since another one has it."""

    id: str
    sku: str
    holder: str | None = Field(description="The product that has the sku, if it is known.")


class StrayRecord(BaseModel):
    """A product that only a dead letter names."""

    id: str
    version: int = Field(description="The highest version that a dead letter names.")


class RestoreRecord(BaseModel):
    """The last restore: how far it is, and what it has found.

    Lists have 1,000 entries at most; the counts before them are of all, and the logs name all.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "state": "lifted",
                    "mode": "restore",
                    "held": "every product is ready to be delivered: set CATALOG_MODE=normal",
                    "startedAt": "2026-01-31T12:00:00.000Z",
                    "startedBy": "operator",
                    "asks": True,
                    "firstEventAt": "2026-01-17T12:00:10.000Z",
                    "events": 9120,
                    "eventsLeft": 0,
                    "unreadableEvents": 0,
                    "replayed": 812,
                    "lifted": 5000,
                    "total": 5000,
                    "unanswered": 0,
                    "lost": 1,
                    "losses": [{"id": "6b05e78b3969dfca0964608b", "restored": 5, "held": 7}],
                    "skuCount": 0,
                    "skus": [],
                    "strayCount": 0,
                    "strays": [],
                    "unreadableCount": 0,
                    "unreadable": [],
                    "liftedAt": "2026-01-31T12:01:40.000Z",
                    "finishedAt": None,
                    "statement": None,
                    "proved": False,
                }
            ]
        }
    )

    state: Literal["none", "replaying", "lifting", "lifted", "auditing", "done"] = Field(
        description="`lifted`: writes may be accepted. `done`: the audit at the end has ended."
    )
    mode: Literal["normal", "restore"] = Field(
        description="The setting `CATALOG_MODE` of the process that answers."
    )
    held: str | None = Field(description="What it waits for, if it waits.")
    startedAt: Time | None  # noqa: N815 - JSON's name
    startedBy: str | None  # noqa: N815 - JSON's name
    asks: bool = Field(description="Whether the supply chain is asked before a version is lifted.")
    firstEventAt: Time | None = Field(  # noqa: N815 - JSON's name
        description="When the oldest change that the stream has was made. If that is after the "
        "time that the store was restored to, changes between the two may be lost."
    )
    events: int = Field(description="Events of products that were read from the stream.")
    eventsLeft: int | None = Field(  # noqa: N815 - JSON's name
        description="Messages of the stream that follow; null before the first was read."
    )
    unreadableEvents: int = Field(  # noqa: N815 - JSON's name
        description="Events that could not be read."
    )
    replayed: int = Field(description="Products of which the stream had a newer version.")
    lifted: int = Field(description="Products with a version above all that was given out.")
    total: int = Field(description="About how many products there are.")
    unanswered: int = Field(description="Lifted without an answer of the supply chain.")
    lost: int = Field(description="How many `losses` there are, also those not listed.")
    losses: list[LossRecord]
    skuCount: int  # noqa: N815 - JSON's name
    skus: list[ClashRecord] = Field(description="Products that have no sku now.")
    strayCount: int  # noqa: N815 - JSON's name
    strays: list[StrayRecord] = Field(description="Products that neither store nor stream has.")
    unreadableCount: int  # noqa: N815 - JSON's name
    unreadable: list[str] = Field(description="Documents that could not be read, nor lifted.")
    liftedAt: Time | None  # noqa: N815 - JSON's name
    finishedAt: Time | None  # noqa: N815 - JSON's name
    statement: str | None = Field(description="What the audit at the end has proved.")
    proved: bool = Field(description="Whether that audit found every product right.")


class SyncSummary(BaseModel):
    """The delivery state of the whole catalog."""

    products: dict[SyncStatus, int]
    oldestUndeliveredSeconds: float | None = Field(  # noqa: N815 - JSON's name
        description="The age of the oldest change that waits; what is stuck does not count."
    )
    stuck: StuckRecord
    outboxBacklog: int = Field(  # noqa: N815 - JSON's name
        description="Products with an event that is older than the grace; 10000 for more too."
    )
    unreadable: int = Field(description="Documents that this version of the service cannot read.")
    breaker: BreakerRecord
    control: SyncControl
    catchingUp: bool = Field(  # noqa: N815 - JSON's name
        description="What an outage or a pause has delayed is being brought forward."
    )
    redrive: RedriveRecord | None
    throughput: ThroughputRecord
    estimatedSecondsToConverge: float | None = Field(  # noqa: N815 - JSON's name
        description="When all that waits will be delivered, at the rate of the last minutes and "
        "within the limit; 0 if nothing waits, null while no calls are made or if nothing was "
        "delivered lately. New changes, and the waits until the next attempts of what has failed, "
        "are not foreseen."
    )
    audit: AuditRecord | None = Field(description="null if there never was a full audit.")


class ActRecord(BaseModel):
    """What an operator has done. It was kept before it took effect, so it may have had none."""

    id: str
    at: Time
    who: str = Field(description="The token's `sub`.")
    what: ActKind
    why: str | None = Field(description="The reason that was given.")
    productId: str | None = Field(  # noqa: N815 - JSON's name
        description="The product that it is about, if it is about one."
    )
    details: dict[str, Any] = Field(description="For example filters, and how many products.")


class ActPage(BaseModel):
    """One page of acts, newest first; `nextCursor` is null on the last."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "id": "6b05e78b3969dfca0964608b",
                            "at": "2026-01-31T20:00:00.000Z",
                            "who": "jane",
                            "what": "redrive",
                            "why": "they have mended it",
                            "productId": None,
                            "details": {"status": "exhausted", "count": 120},
                        }
                    ],
                    "nextCursor": None,
                }
            ]
        }
    )

    items: list[ActRecord]
    nextCursor: str | None  # noqa: N815 - JSON's name


class SyncPage(BaseModel):
    """One page of what is not delivered, oldest change first.

    With `errorKind` or `q` a page may be empty and not the last: `nextCursor` is null on the last.
    """

    items: list[SyncRecord]
    nextCursor: str | None  # noqa: N815 - JSON's name


class DeadLetterRecord(BaseModel):
    """A product that has failed: its dead letter is work for a person."""

    productId: str  # noqa: N815 - JSON's name
    name: str
    version: int
    deleted: bool
    reason: Literal["exhausted", "rejected"]
    lastError: str | None  # noqa: N815 - JSON's name
    lastErrorKind: str | None  # noqa: N815 - JSON's name
    attempts: int
    failedAt: Time | None = Field(  # noqa: N815 - JSON's name
        description="null if it failed under an earlier release, which did not note it."
    )
    behindSince: Time | None  # noqa: N815 - JSON's name
    letterSent: bool = Field(  # noqa: N815 - JSON's name
        description="Whether its dead letter is in the queue; within minutes after it failed."
    )


class PoisonRecord(BaseModel):
    """A message that was never about a product, and is in the quarantine now."""

    messageId: str  # noqa: N815 - JSON's name
    reason: str | None = Field(description="null if the queue has moved it.")
    body: str = Field(description=f"The first {EXCERPT} characters; whole in the list of its own.")
    seenAt: Time = Field(  # noqa: N815 - JSON's name
        description="When it was moved into the quarantine."
    )


class DeadLetterPage(BaseModel):
    """One page of what has failed, oldest change first; and the poison letters."""

    count: int | None = Field(
        description="Letters in the queue, approximately; null if the queue does not answer."
    )
    items: list[DeadLetterRecord]
    nextCursor: str | None  # noqa: N815 - JSON's name
    poison: list[PoisonRecord] = Field(description=f"{POISON_SHOWN} of them at most.")
    poisonCount: int = Field(  # noqa: N815 - JSON's name
        description="Messages in the quarantine, approximately."
    )


class PoisonPage(BaseModel):
    """One page of the quarantine, in the order of the messages' ids.

    It may be shorter than was asked for, since bodies are long: `nextCursor` is null on the last.
    """

    items: list[PoisonRecord]
    nextCursor: str | None  # noqa: N815 - JSON's name


class Discarded(BaseModel):
    """The number of poison messages that are gone for good, or would be."""

    count: int
    left: int = Field(
        description="What there was no time for: repeat the request. Of a dry run: all."
    )
    dryRun: bool = Field(description="Nothing was discarded.")  # noqa: N815 - JSON's name
    until: Time = Field(
        description="What was moved into the quarantine later is not meant, unless `messageIds` "
        "name it. By the clock of the catalog: discard an export by its `messageIds`."
    )


class RepublishRecord(BaseModel):
    """The republish that runs, else the last one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "state": "running",
                    "checked": 2600,
                    "total": 5000,
                    "published": 2588,
                    "refused": 0,
                    "unreadable": 0,
                    "maxRate": 500.0,
                    "startedAt": "2026-01-31T12:00:00.000Z",
                    "finishedAt": None,
                    "startedBy": "operator",
                    "stoppedBy": None,
                    "held": None,
                }
            ]
        }
    )

    state: Literal["none", "running", "done"]
    checked: int = Field(description="Products looked at, with deletions, which have no event.")
    total: int = Field(description="About how many there are.")
    published: int = Field(description="Events that the stream has taken.")
    refused: int = Field(
        description="Events that it has not, though it took others: they may be too large for it."
    )
    unreadable: int = Field(description="Documents that cannot be read, and have no event.")
    maxRate: float | None = Field(  # noqa: N815 - JSON's name
        description="Events per second, at most."
    )
    startedAt: Time | None  # noqa: N815 - JSON's name
    finishedAt: Time | None  # noqa: N815 - JSON's name
    startedBy: str | None  # noqa: N815 - JSON's name
    stoppedBy: str | None = Field(  # noqa: N815 - JSON's name
        description="Who has stopped it before its end, if anybody."
    )
    held: str | None = Field(description="Why it waits, while it runs.")


class Redriven(BaseModel):
    """The number of products that are replayed, or would be."""

    count: int
    dryRun: bool = Field(description="Nothing was changed.")  # noqa: N815 - JSON's name


class Health(BaseModel):
    """For readiness with each dependency's own state.

    `ok`; `degraded`: writes are accepted, but not all dependencies answer; `away`: no writes.
    """

    status: str
    dependencies: dict[str, str] = Field(default_factory=dict)
    ageSeconds: float | None = Field(  # noqa: N815 - JSON's name
        default=None,
        description="For readiness: how long ago the dependencies were asked. "
        "A process asks them once in a few seconds, however often it is called.",
    )


# ---- requests ----


class ProductPatch(ProductFields):
    """The fields to change; null removes one. An object is merged, anything else replaced."""

    model_config = ConfigDict(title="ProductPatch")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the writable fields, none of which a patch must have."""
        made = handler(core)
        schema = handler.resolve_ref_schema(made)
        del schema["required"]
        for described in schema["properties"].values():
            described.pop("default", None)
            for kind in described.get("anyOf", []):
                _merged(kind)
        return made


def _merged(kind: JsonSchemaValue) -> None:
    """Describe the patch of an object: null removes an entry, so it may have more of them."""
    if "additionalProperties" in kind:
        kind["additionalProperties"] = {"anyOf": [kind["additionalProperties"], {"type": "null"}]}
        kind.pop("maxProperties", None)


PAGE_HEADERS = (
    "Cache-Control",
    "Content-Security-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
)
"""What a page with scripts tells the browser."""

KEY_HOURS = KEY_LIFE // timedelta(hours=1)
ENTITY_TAG = r'\s*(W/)?"([^"]*)"\s*(?:,|$)'
HEADERS: dict[str, Json] = {
    "Idempotency-Key": {
        "description": "Makes a creation safe to repeat: 1 to 255 printable ASCII characters, new "
        "for each creation or batch, such as a UUID. The key is of the token's `sub`, which it "
        "needs, and of the operation. A repetition creates nothing and gets the first answer, "
        "also after the product was changed. With another body it is refused (422 `key-reused`; "
        "of a batch, the item), and so is a batch of another size. A key lives as long as its "
        f"product, and {KEY_HOURS} hours after the supply chain has confirmed the deletion. A "
        "creation that was refused has not used its key.",
        "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
    },
    "If-Match": {
        "description": 'Change the product only if it has one of these versions: `"3"`, or '
        '`"3", "4"`. `*` is any version. A weak tag, such as `W/"3"`, matches none.',
        "schema": {"type": "string", "pattern": rf"^(\s*\*\s*|({ENTITY_TAG})*)$"},
    },
    "If-None-Match": {
        "description": 'Answer 304 if the product has one of these versions: `"3"`, `W/"3"`, or '
        '`"3", "4"`. `*` is any version.',
        "schema": {"type": "string", "pattern": rf"^(\s*\*\s*|({ENTITY_TAG})*)$"},
    },
    TRACEPARENT: {
        "description": "The trace of the caller, as W3C Trace Context writes it: "
        "`00-<32 digits>-<16 digits>-01`. Logs, events and calls of the supply chain have its id. "
        "Without one that is valid it is that of `X-Amzn-Trace-Id`, or a new one; `traceId` of "
        "the product's sync says which.",
        "schema": {"type": "string"},
    },
}
"""The headers that operations read. The server checks their values by the patterns."""


def example_of(model: type[BaseModel]) -> Json:
    """Give a body of the examples that the model's fields have.

    What must be unique has none: an example can be sent again and again.
    """
    return {name: shown.examples[0] for name, shown in model.model_fields.items() if shown.examples}


def _patches(model: type[BaseModel]) -> dict[str, Json]:
    """Give two patches: one changes what a product must have, the other removes the rest."""
    required = {name for name, shown in model.model_fields.items() if shown.is_required()}
    example = example_of(model)
    return {
        "change": {name: value for name, value in example.items() if name in required},
        "remove": {name: None for name in model.model_fields if name not in required},
    }


# ---- operations ----


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    `scopes`: the token needs one of them; none: no token needed. `answers`: the model of each
    status, or a media type of which no more is said. `sends` names the headers of a successful
    answer that its model does not imply. `problems` are the errors, besides those of every
    operation.
    """

    name: str
    method: str
    path: str
    summary: str
    scopes: frozenset[str] = frozenset()
    body: type[BaseModel] | None = None
    examples: dict[str, Json] = field(default_factory=dict)
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    answers: dict[int, type[BaseModel] | str | None] = field(default_factory=dict)
    sends: tuple[str, ...] = ()
    problems: tuple[type[Exception], ...] = ()

    @property
    def tag(self) -> str:
        """Name the group of operations that it belongs to."""
        if not self.scopes:
            return "service"
        return "sync" if "sync" in self.path.split("/") else "products"


TAGS = {
    "products": "Write and read products. Every write is answered at once; its delivery to the "
    "supply chain follows.",
    "sync": "See how far the supply chain is, deliver again, pause and resume, audit, restore, "
    "publish the catalog again.",
    "service": "The service itself: its health, its documentation, the console's page. No token is "
    "needed.",
}

_BODY = (errors.MalformedRequestError, errors.PayloadTooLargeError)
_STORED = (errors.ProductNotFoundError, errors.UnreadableDocumentError)
_CHANGE = (
    *_STORED,
    errors.VersionMismatchError,
    errors.ConcurrentChangeError,
    errors.ReadOnlyError,
)

OPERATIONS = (
    Operation(
        "createProduct",
        "POST",
        "/products",
        "Create a product",
        frozenset({WRITE}),
        body=ProductFields,
        examples={"product": example_of(ProductFields)},
        headers=("Idempotency-Key", TRACEPARENT),
        answers={201: Product},
        problems=(
            *_BODY,
            errors.DuplicateSkuError,
            errors.DuplicateIdempotencyKeyError,
            errors.IdempotencyKeyReusedError,
            errors.ReadOnlyError,
        ),
    ),
    Operation(
        "listProducts",
        "GET",
        "/products",
        "List products",
        frozenset({READ}),
        query=ListRequest,
        answers={200: ProductPage},
    ),
    Operation(
        "createProducts",
        "POST",
        "/products/batch",
        f"Create up to {BATCH_LIMIT} products, each on its own",
        frozenset({WRITE}),
        body=BatchRequest,
        examples={"batch": {"items": [example_of(ProductFields)]}},
        headers=("Idempotency-Key", TRACEPARENT),
        answers={207: BatchAnswer},
        problems=(*_BODY, errors.IdempotencyKeyReusedError, errors.ReadOnlyError),
    ),
    Operation(
        "getProduct",
        "GET",
        "/products/{product_id}",
        "Get a product",
        frozenset({READ}),
        headers=("If-None-Match",),
        answers={200: Product, 304: None},
        problems=_STORED,
    ),
    Operation(
        "replaceProduct",
        "PUT",
        "/products/{product_id}",
        "Replace a product",
        frozenset({WRITE}),
        body=ProductFields,
        examples={"product": example_of(ProductFields)},
        headers=("If-Match", TRACEPARENT),
        answers={200: Product},
        problems=(*_BODY, *_CHANGE, errors.DuplicateSkuError),
    ),
    Operation(
        "patchProduct",
        "PATCH",
        "/products/{product_id}",
        "Change some fields (RFC 7396 merge patch)",
        frozenset({WRITE}),
        body=ProductPatch,
        examples=_patches(ProductFields),
        headers=("If-Match", TRACEPARENT),
        answers={200: Product},
        problems=(*_BODY, *_CHANGE, errors.DuplicateSkuError),
    ),
    Operation(
        "deleteProduct",
        "DELETE",
        "/products/{product_id}",
        "Delete a product, here and in the supply chain",
        frozenset({WRITE}),
        headers=("If-Match", TRACEPARENT),
        answers={204: None},
        problems=_CHANGE,
    ),
    Operation(
        "getProductSync",
        "GET",
        "/products/{product_id}/sync",
        "How far the supply chain is with a product",
        frozenset({READ, ADMIN}),
        answers={200: SyncRecord},
        problems=_STORED,
    ),
    Operation(
        "getProductTimeline",
        "GET",
        "/products/{product_id}/sync/timeline",
        "Why a product is where it is, and what comes next",
        frozenset({READ, ADMIN}),
        answers={200: ProductTimeline},
        problems=_STORED,
    ),
    Operation(
        "replayProduct",
        "POST",
        "/products/{product_id}/sync",
        "Deliver the newest version (again) now",
        frozenset({ADMIN}),
        body=ReplayRequest,
        examples={"replay": {}, "with a reason": {"reason": "they have mended the product"}},
        headers=(TRACEPARENT,),
        answers={202: SyncRecord},
        problems=(*_BODY, *_STORED, errors.ConcurrentChangeError),
    ),
    Operation(
        "getSync",
        "GET",
        "/sync",
        "Products per status, what waits and what is stuck, throughput, when all is delivered",
        frozenset({READ, ADMIN}),
        answers={200: SyncSummary},
    ),
    Operation(
        "listUndelivered",
        "GET",
        "/sync/products",
        "List what is not delivered, why, and what comes next",
        frozenset({READ, ADMIN}),
        query=UndeliveredRequest,
        answers={200: SyncPage},
    ),
    Operation(
        "listDeadLetters",
        "GET",
        "/sync/dead-letters",
        "List what has failed, and what is in the dead-letter queue",
        frozenset({READ, ADMIN}),
        query=DeadLettersRequest,
        answers={200: DeadLetterPage},
    ),
    Operation(
        "listPoison",
        "GET",
        "/sync/dead-letters/poison",
        "List the messages that are about no product, with whole bodies",
        frozenset({READ, ADMIN}),
        query=PoisonRequest,
        answers={200: PoisonPage},
    ),
    Operation(
        "discardPoison",
        "POST",
        "/sync/dead-letters/discard",
        "Discard messages that are about no product; never a product's dead letter",
        frozenset({ADMIN}),
        body=DiscardRequest,
        examples={
            "count": {"dryRun": True},
            "what is no JSON": {"reason": "not JSON", "until": "2026-01-31T12:00:00Z"},
            "what was exported": {"messageIds": ["2f8a1c9e-5d34-4b1a-9a57-6c0e2d7b4f11"]},
        },
        answers={202: Discarded},
        problems=_BODY,
    ),
    Operation(
        "redriveProducts",
        "POST",
        "/sync/redrive",
        "Redrive all products that are exhausted or rejected, or wait, or some of them",
        frozenset({ADMIN}),
        body=RedriveRequest,
        examples={
            "failed": {},
            "retry now": {"status": "retrying"},
            "count what failed with 503 since noon": {
                "errorKind": "http-503",
                "since": "2026-01-31T12:00:00Z",
                "dryRun": True,
            },
        },
        query=RedriveRequest,
        answers={202: Redriven},
        problems=(*_BODY, errors.ConcurrentChangeError, errors.RedriveUnderWayError),
    ),
    Operation(
        "controlSync",
        "PUT",
        "/sync/control",
        "Pause the sync, or resume it",
        frozenset({ADMIN}),
        body=ControlRequest,
        examples={
            "pause": {"paused": True, "reason": "their release"},
            "resume": {"paused": False},
        },
        answers={200: SyncControl},
        problems=(*_BODY, errors.ConcurrentChangeError),
    ),
    Operation(
        "listActs",
        "GET",
        "/sync/acts",
        "What operators have done, newest first: replays, redrives, pauses, audits and more",
        frozenset({READ, ADMIN}),
        query=ActsRequest,
        answers={200: ActPage},
    ),
    Operation(
        "startAudit",
        "POST",
        "/sync/audit",
        "Compare all products with what the supply chain holds",
        frozenset({ADMIN}),
        body=AuditRequest,
        examples={"audit": {}, "count only": {"reason": "before the release", "repair": False}},
        answers={202: AuditRecord},
        problems=(*_BODY, errors.ConcurrentChangeError),
    ),
    Operation(
        "stopAudit",
        "DELETE",
        "/sync/audit",
        "Stop the audit that runs, if one does",
        frozenset({ADMIN}),
        answers={200: AuditRecord},
        problems=(errors.ConcurrentChangeError,),
    ),
    Operation(
        "getAudit",
        "GET",
        "/sync/audit",
        "How far the audit is, and what it has found",
        frozenset({READ, ADMIN}),
        answers={200: AuditRecord},
    ),
    Operation(
        "startRepublish",
        "POST",
        "/sync/republish",
        "Publish every product again, as events for listeners that lack it",
        frozenset({ADMIN}),
        body=RepublishRequest,
        examples={"republish": {}, "slowly": {"reason": "the new search", "maxRate": 50}},
        answers={202: RepublishRecord},
        problems=(*_BODY, errors.ConcurrentChangeError),
    ),
    Operation(
        "stopRepublish",
        "DELETE",
        "/sync/republish",
        "Stop the republish that runs, if one does",
        frozenset({ADMIN}),
        answers={200: RepublishRecord},
        problems=(errors.ConcurrentChangeError,),
    ),
    Operation(
        "getRepublish",
        "GET",
        "/sync/republish",
        "How far the republish is",
        frozenset({READ, ADMIN}),
        answers={200: RepublishRecord},
    ),
    Operation(
        "startRestore",
        "POST",
        "/sync/restore",
        "Make a store that was restored to an earlier time whole again; from the beginning",
        frozenset({ADMIN}),
        body=RestoreRequest,
        examples={"restore": {"reason": "restored to 12:00"}, "do not ask": {"ask": False}},
        answers={202: RestoreRecord},
        problems=(*_BODY, errors.NotRestoringError, errors.ConcurrentChangeError),
    ),
    Operation(
        "getRestore",
        "GET",
        "/sync/restore",
        "How far the restore is, and what it has found",
        frozenset({READ, ADMIN}),
        answers={200: RestoreRecord},
    ),
    Operation("getHealth", "GET", "/health", "Alive", answers={200: Health}),
    Operation(
        "getReadiness",
        "GET",
        "/ready",
        "Dependencies reachable",
        answers={200: Health, 503: Health},
    ),
    Operation(
        "getOpenApi",
        "GET",
        "/openapi.json",
        "The OpenAPI document",
        answers={200: "application/json"},
    ),
    Operation(
        "getAsyncApi",
        "GET",
        "/asyncapi.json",
        "The AsyncAPI document of the events",
        answers={200: "application/json"},
    ),
    Operation(
        "getDocs",
        "GET",
        "/docs",
        "The OpenAPI document, to read and to try",
        answers={200: "text/html"},
    ),
    Operation(
        "getConsole",
        "GET",
        "/console",
        "The operator's console: a page that asks for a token, and for all that it shows",
        answers={200: "text/html"},
        sends=PAGE_HEADERS,
    ),
)

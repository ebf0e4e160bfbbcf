"""The HTTP contract: every operation, once, and the models of its answers.

The routes, the authorizer's policy and the OpenAPI document are built from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from chalicelib.domain import errors
from chalicelib.domain.breaker import BreakerState
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import KEY_LIFE, ProductFields
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.catalog import BATCH_LIMIT, BatchRequest
from chalicelib.usecases.listing import ListRequest
from chalicelib.usecases.operations import ControlRequest, RedriveRequest

READ, WRITE, ADMIN = "products:read", "products:write", "sync:admin"
"""The scopes a token can carry."""

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]

# ---- answers ----


class Product(ProductFields):
    """A product in an answer of the API."""

    model_config = ConfigDict(title="Product", extra="allow")

    id: str = Field(description="Made by the server.", json_schema_extra={"readOnly": True})
    version: int = Field(ge=0, description="Grows by one with each change.")
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
    lastError: str | None  # noqa: N815 - JSON's name
    held: str | None = Field(
        description="While the product waits: why no calls are made at all; null if they are.",
        examples=["paused: their release", "the breaker is open since …: HTTP 503"],
    )
    history: list[AttemptRecord]


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


class SyncSummary(BaseModel):
    """The delivery state of the whole catalog."""

    products: dict[SyncStatus, int]
    oldestUndeliveredSeconds: float | None  # noqa: N815 - JSON's name
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


class Redriven(BaseModel):
    """The number of products that are replayed."""

    count: int


class Health(BaseModel):
    """For readiness with each dependency's own state.

    `ok`; `degraded`: writes are accepted, but not all dependencies answer; `away`: no writes.
    """

    status: str
    dependencies: dict[str, str] = Field(default_factory=dict)


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
}
"""The headers that operations read. The server checks their values by these patterns."""


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
    "sync": "See how far the supply chain is, deliver again, pause and resume.",
    "service": "The service itself: its health, its documentation, the console's page. No token is "
    "needed.",
}

_BODY = (errors.MalformedRequestError, errors.PayloadTooLargeError)
_STORED = (errors.ProductNotFoundError, errors.UnreadableDocumentError)
_CHANGE = (*_STORED, errors.VersionMismatchError, errors.ConcurrentChangeError)

OPERATIONS = (
    Operation(
        "createProduct",
        "POST",
        "/products",
        "Create a product",
        frozenset({WRITE}),
        body=ProductFields,
        examples={"product": example_of(ProductFields)},
        headers=("Idempotency-Key",),
        answers={201: Product},
        problems=(
            *_BODY,
            errors.DuplicateSkuError,
            errors.DuplicateIdempotencyKeyError,
            errors.IdempotencyKeyReusedError,
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
        headers=("Idempotency-Key",),
        answers={207: BatchAnswer},
        problems=(*_BODY, errors.IdempotencyKeyReusedError),
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
        headers=("If-Match",),
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
        headers=("If-Match",),
        answers={200: Product},
        problems=(*_BODY, *_CHANGE, errors.DuplicateSkuError),
    ),
    Operation(
        "deleteProduct",
        "DELETE",
        "/products/{product_id}",
        "Delete a product, here and in the supply chain",
        frozenset({WRITE}),
        headers=("If-Match",),
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
        "replayProduct",
        "POST",
        "/products/{product_id}/sync",
        "Deliver the newest version (again) now",
        frozenset({ADMIN}),
        answers={202: SyncRecord},
        problems=(*_STORED, errors.ConcurrentChangeError),
    ),
    Operation(
        "getSync",
        "GET",
        "/sync",
        "Products per status, oldest undelivered change, outbox backlog",
        frozenset({ADMIN}),
        answers={200: SyncSummary},
    ),
    Operation(
        "redriveProducts",
        "POST",
        "/sync/redrive",
        "Redrive all products that are exhausted or rejected, or are retried",
        frozenset({ADMIN}),
        body=RedriveRequest,
        examples={"failed": {}, "retry now": {"status": "retrying"}},
        query=RedriveRequest,
        answers={202: Redriven},
        problems=(*_BODY, errors.ConcurrentChangeError),
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

"""The HTTP contract: every operation, once. The OpenAPI document, the docs page and the
authorizer's policy are built from it, and a test compares it with the routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from chalicelib.domain import exact_json
from chalicelib.domain.breaker import BreakerState
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import ProductFields
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.catalog import (
    BATCH_LIMIT,
    BatchRequest,
    ListRequest,
)
from chalicelib.usecases.operations import ControlRequest, RedriveRequest

READ, WRITE, ADMIN = "products:read", "products:write", "sync:admin"
"""The scopes a token can carry."""


class Product(ProductFields):
    """A product in an answer of the API."""

    model_config = ConfigDict(title="Product", extra="allow")

    id: str = Field(description="Made by the server.", json_schema_extra={"readOnly": True})
    version: int = Field(ge=0, description="Grows by one with each change.")
    createdAt: str = Field(json_schema_extra={"format": "date-time"})  # noqa: N815 - JSON's name
    updatedAt: str = Field(json_schema_extra={"format": "date-time"})  # noqa: N815 - JSON's name
    deletedAt: str | None = Field(  # noqa: N815 - JSON's name
        default=None, description="Only while a deletion is on its way to the supply chain."
    )
    syncCompletedAt: str | None = Field(  # noqa: N815 - JSON's name
        description="null until the current version is delivered."
    )
    syncStatus: SyncStatus  # noqa: N815 - JSON's name


class FieldProblem(BaseModel):
    """A field at fault."""

    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = Field(default_factory=list)


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

    time: str
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
    behindSince: str | None  # noqa: N815 - JSON's name
    firstAttemptAt: str | None  # noqa: N815 - JSON's name
    nextAttemptAt: str | None  # noqa: N815 - JSON's name
    syncCompletedAt: str | None  # noqa: N815 - JSON's name
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
    until: str | None = Field(description="When the sync resumes by itself.")
    since: str | None


class BreakerRecord(BaseModel):
    """The circuit breaker between the catalog and the supply chain."""

    state: BreakerState
    since: str | None = Field(description="When it opened, or closed again.")
    reason: str | None = Field(description="The last systemic error, while it is not closed.")
    callsPerSecond: float | None = Field(  # noqa: N815 - JSON's name
        description="The limit of calls per second now; null for none, or while it is not closed."
    )


class RedriveRecord(BaseModel):
    """A redrive that is under way."""

    startedAt: str  # noqa: N815 - JSON's name
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


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `scopes`: the token needs one of them; none: no token needed."""

    method: str
    path: str
    summary: str
    scopes: frozenset[str] = frozenset()
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    answers: dict[int, type[BaseModel] | None] = field(default_factory=dict)
    problems: tuple[int, ...] = ()


_BODY = (400, 413, 422)

OPERATIONS = (
    Operation(
        "POST",
        "/products",
        "Create a product",
        frozenset({WRITE}),
        body=ProductFields,
        headers=("Idempotency-Key",),
        answers={201: Product},
        problems=(*_BODY, 409),
    ),
    Operation(
        "GET",
        "/products",
        "List products, in the order of their ids",
        frozenset({READ}),
        query=ListRequest,
        answers={200: ProductPage},
        problems=(422,),
    ),
    Operation(
        "POST",
        "/products/batch",
        f"Create up to {BATCH_LIMIT} products, each on its own",
        frozenset({WRITE}),
        body=BatchRequest,
        headers=("Idempotency-Key",),
        answers={207: BatchAnswer},
        problems=_BODY,
    ),
    Operation(
        "GET",
        "/products/{product_id}",
        "Get a product",
        frozenset({READ}),
        headers=("If-None-Match",),
        answers={200: Product, 304: None},
        problems=(404, 422),
    ),
    Operation(
        "PUT",
        "/products/{product_id}",
        "Replace a product",
        frozenset({WRITE}),
        body=ProductFields,
        headers=("If-Match",),
        answers={200: Product},
        problems=(*_BODY, 404, 409, 412),
    ),
    Operation(
        "PATCH",
        "/products/{product_id}",
        "Change some fields (RFC 7396 merge patch)",
        frozenset({WRITE}),
        body=ProductFields,
        headers=("If-Match",),
        answers={200: Product},
        problems=(*_BODY, 404, 409, 412),
    ),
    Operation(
        "DELETE",
        "/products/{product_id}",
        "Delete a product, here and in the supply chain",
        frozenset({WRITE}),
        headers=("If-Match",),
        answers={204: None},
        problems=(404, 412, 422),
    ),
    Operation(
        "GET",
        "/products/{product_id}/sync",
        "How far the supply chain is with a product",
        frozenset({READ, ADMIN}),
        answers={200: SyncRecord},
        problems=(404,),
    ),
    Operation(
        "POST",
        "/products/{product_id}/sync",
        "Deliver the newest version (again) now",
        frozenset({ADMIN}),
        answers={202: SyncRecord},
        problems=(404,),
    ),
    Operation(
        "GET",
        "/sync",
        "Products per status, oldest undelivered change, outbox backlog",
        frozenset({ADMIN}),
        answers={200: SyncSummary},
    ),
    Operation(
        "POST",
        "/sync/redrive",
        "Replay all products that are exhausted or rejected",
        frozenset({ADMIN}),
        body=RedriveRequest,
        query=RedriveRequest,
        answers={202: Redriven},
        problems=_BODY,
    ),
    Operation(
        "PUT",
        "/sync/control",
        "Pause the sync, or resume it",
        frozenset({ADMIN}),
        body=ControlRequest,
        answers={200: SyncControl},
        problems=_BODY,
    ),
    Operation("GET", "/health", "Alive", answers={200: Health}),
    Operation("GET", "/ready", "Dependencies reachable", answers={200: Health, 503: Health}),
    Operation("GET", "/openapi.json", "This document", answers={200: None}),
    Operation("GET", "/docs", "This document, to read and to try", answers={200: None}),
)

_HEADERS = {
    "Idempotency-Key": "Repeating a request with the same key repeats its answer. "
    "Needs a token with a `sub` claim.",
    "If-Match": 'Only if the product has this version: `"3"`.',
    "If-None-Match": "304 if the product still has this version.",
}
_PROBLEMS = {
    400: f"The body is not JSON, or nested deeper than {exact_json.DEPTH_LIMIT} levels",
    401: "No valid bearer token",
    403: "The token lacks the scope",
    404: "No such product",
    409: "Another product has this sku",
    412: "The product has another version",
    413: "The body is larger than 200 KB",
    422: "A rule is broken; `errors` names the fields",
    503: "The store is away; `Retry-After` says when to try again",
}


@cache
def document() -> str:
    """Give the OpenAPI 3.1 document as JSON text."""
    return exact_json.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Product Catalog",
                "version": "1.0.0",
                "description": "Takes every write at once; the supply chain gets the newest "
                "version of every product, or an operator sees why not.",
            },
            "servers": [{"url": "/api"}],
            "paths": _paths(),
            "components": {
                "schemas": _schemas(),
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
                },
            },
        }
    )


@cache
def docs_page() -> str:
    """Give the docs page: one HTML file with all it needs, so that it works offline."""
    # Powertools contains Swagger UI; imported here, since only this route needs it.
    from aws_lambda_powertools.event_handler.openapi import swagger_ui  # noqa: PLC0415

    folder = Path(swagger_ui.__file__).parent
    return swagger_ui.generate_swagger_html(
        # Inside a script element, "</" could end it.
        document().replace("</", "<\\/"),
        (folder / "swagger-ui-bundle.min.js").read_text(),
        (folder / "swagger-ui.min.css").read_text(),
        "",
        None,
    )


def _paths() -> Json:
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return paths


def _operation(operation: Operation) -> Json:
    described: Json = {
        "summary": operation.summary,
        "operationId": f"{operation.method.lower()}{operation.path}".replace("/", "_"),
        "parameters": _parameters(operation),
        "responses": _responses(operation),
    }
    if operation.scopes:
        described["security"] = [{"bearer": []}]
        described["description"] = "Scope: " + " or ".join(sorted(operation.scopes))
    if operation.body is not None:
        described["requestBody"] = _request_body(operation)
    return described


def _request_body(operation: Operation) -> Json:
    assert operation.body is not None  # noqa: S101 - the caller has just asked
    if operation.method == "PATCH":
        schema: Json = {"type": "object", "description": "Any of the fields; null removes one."}
        return {"required": True, "content": {"application/merge-patch+json": {"schema": schema}}}
    content = {"application/json": {"schema": _reference(operation.body)}}
    return {"required": operation.body is not RedriveRequest, "content": content}


def _parameters(operation: Operation) -> list[Json]:
    parameters: list[Json] = []
    if "{product_id}" in operation.path:
        parameters.append(_parameter("product_id", "path", {"type": "string"}, required=True))
    if operation.query is not None:
        properties = operation.query.model_json_schema(ref_template=_REFERENCE)["properties"]
        parameters += [_parameter(name, "query", schema) for name, schema in properties.items()]
    for name in operation.headers:
        described = {"type": "string", "description": _HEADERS[name]}
        parameters.append(_parameter(name, "header", described))
    return parameters


def _parameter(name: str, place: str, schema: Json, *, required: bool = False) -> Json:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _responses(operation: Operation) -> Json:
    responses: Json = {}
    for status, model in operation.answers.items():
        responses[str(status)] = {"description": "OK" if status < 400 else "Not ready"}
        if model is not None:
            content = {"application/json": {"schema": _reference(model)}}
            responses[str(status)]["content"] = content
    problems = {*operation.problems, *((401, 403, 503) if operation.scopes else ())}
    for status in sorted(problems):
        content = {"application/problem+json": {"schema": _reference(Problem)}}
        responses[str(status)] = {"description": _PROBLEMS[status], "content": content}
    return responses


_REFERENCE = "#/components/schemas/{model}"


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _schemas() -> Json:
    models: list[Any] = [
        model
        for operation in OPERATIONS
        for model in (operation.body, operation.query, *operation.answers.values())
        if model is not None
    ]
    _, schema = models_json_schema(
        [(model, "validation") for model in dict.fromkeys([*models, Problem])],
        ref_template=_REFERENCE,
    )
    definitions: Json = schema["$defs"]
    return definitions

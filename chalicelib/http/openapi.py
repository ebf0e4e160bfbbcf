"""The HTTP contract as an OpenAPI document, and as a page to read it and to try it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from chalicelib.domain import errors, exact_json
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import SIZE_LIMIT
from chalicelib.http.authorizer import UNAUTHORIZED, ForbiddenError, UnauthorizedError
from chalicelib.http.contract import (
    ADMIN,
    HEADERS,
    OPERATIONS,
    READ,
    TAGS,
    WRITE,
    Operation,
    Problem,
    Product,
)
from chalicelib.http.problems import (
    ExpectationError,
    HeadersTooLargeError,
    MethodNotAllowedError,
    NoSuchRouteError,
    UnknownCodingError,
    UriTooLongError,
    problem_body,
    problem_of,
)
from chalicelib.usecases.restores import NOT_RESTORING

_DESCRIPTION = """Takes every write at once; the supply chain gets the newest version of every
product, or an operator sees why not.

Every error is answered as problem details (RFC 9457). Its `type` says what went wrong: the examples
of the components have one of each. A type may come before any operation is reached, such as
`no-such-route`, or `method-not-allowed` with the path's methods in `Allow`. An unknown query
parameter is refused, and so is a repeated one that is no list. `HEAD` is answered as `GET`.

After 503, or without an answer, a write may have been stored: repeat it, a creation under the same
`Idempotency-Key`. A 503 `read-only` has stored nothing: no write is accepted while a restored store
is made whole."""
_EVERYWHERE = (errors.InvalidRequestError, Exception)
_WITH_A_TOKEN = (UnauthorizedError, ForbiddenError, errors.StoreUnavailableError)
_EXAMPLES = (
    errors.MalformedRequestError("the body cannot be read as JSON: Expecting value at 1:1"),
    errors.InvalidRequestError([errors.FieldError("price", "Input should be greater than 0")]),
    errors.PayloadTooLargeError(f"a body may have {SIZE_LIMIT} bytes at most"),
    errors.ProductNotFoundError("no product has the id 6b05e78b3969dfca0964608b"),
    errors.DuplicateSkuError("6b05e78b3969dfca0964608b"),
    errors.DuplicateIdempotencyKeyError("a product was created under this key"),
    errors.IdempotencyKeyReusedError(
        "this key was used with another body: a new creation needs a new key"
    ),
    errors.VersionMismatchError("the product is at version 4: read it, and send its ETag"),
    errors.ConcurrentChangeError(),
    errors.RedriveUnderWayError(
        "20 redrives with different filters are under way: wait until GET /sync shows none, "
        "or redrive without filters"
    ),
    errors.NotRestoringError(NOT_RESTORING),
    errors.ReadOnlyError(),
    errors.StoreUnavailableError(),
    NoSuchRouteError("no such route: /api/product"),
    MethodNotAllowedError("the path has no method PUT, but GET, HEAD, OPTIONS, POST"),
    UriTooLongError("Request Line is too large (5000 > 4094)"),
    HeadersTooLargeError("at most 100 headers of 8190 bytes each are read"),
    ExpectationError("Unable to comply with expectation: 'miracles'"),
    UnknownCodingError("Unsupported transfer coding: 'rot13'"),
    UnauthorizedError(UNAUTHORIZED),
    ForbiddenError("the token lacks the scope products:write"),
    errors.UnreadableDocumentError(),
    Exception(),
)
"""One error of each row of the table of problems: what its answer looks like."""
_PROBLEMS = {type(error): error for error in _EXAMPLES}

_SENT: dict[str, Json] = {
    "ETag": {
        "description": "The product's version, to send as If-Match or If-None-Match.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
    },
    "Location": {
        "description": "The path of the new product.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "In how many seconds to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Cache-Control": {
        "description": "Ask again each time: a new release has a new page.",
        "schema": {"type": "string", "const": "no-cache"},
    },
    "Content-Security-Policy": {
        "description": "The page runs its own scripts, and talks to this API alone.",
        "schema": {"type": "string"},
    },
    "Referrer-Policy": {
        "description": "The page's address goes to nobody.",
        "schema": {"type": "string", "const": "no-referrer"},
    },
    "X-Content-Type-Options": {
        "description": "The page is what its media type says.",
        "schema": {"type": "string", "const": "nosniff"},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "schema": {"type": "string", "const": "Bearer"},
    },
}
"""The headers of answers."""
_OTHER_BODIES: dict[str, Json] = {
    "application/json": {"type": "object"},
    "text/html": {"type": "string"},
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
                "description": _DESCRIPTION,
            },
            "servers": [{"url": "/api"}],
            "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
            "paths": _paths(),
            "components": {
                "schemas": _schemas(),
                "headers": _SENT,
                "examples": _examples(),
                "securitySchemes": {
                    "bearer": {
                        "type": "http",
                        "scheme": "bearer",
                        "bearerFormat": "JWT",
                        "description": "`exp`, and `scope` with one or more of "
                        f"{', '.join(f'`{scope}`' for scope in (READ, WRITE, ADMIN))}; `iss` and "
                        "`aud` where the deployment asks for them, always with tokens of an "
                        "identity provider. Signed with HS256, RS256 or ES256.",
                    }
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
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": operation.name,
        "parameters": parameters(operation),
        "responses": _responses(operation),
    }
    if operation.scopes:
        described["security"] = [{"bearer": []}]
        described["description"] = "Scope: " + " or ".join(sorted(operation.scopes))
    if operation.body is not None:
        described["requestBody"] = _request_body(operation, operation.body)
    return described


# ---- requests ----


def _request_body(operation: Operation, model: type[BaseModel]) -> Json:
    kind = "merge-patch+json" if operation.method == "PATCH" else "json"
    examples = {name: {"value": value} for name, value in operation.examples.items()}
    content = {"schema": _reference(model), "examples": examples}
    return {
        # Of a model that needs nothing, nothing need be sent.
        "required": any(field.is_required() for field in model.model_fields.values()),
        "content": {f"application/{kind}": content},
    }


def parameters(operation: Operation) -> list[Json]:
    """Describe the parameters of path, query and header."""
    found: list[Json] = []
    if "{product_id}" in operation.path:
        described = {"description": "The product's id.", "schema": {"type": "string"}}
        found.append({"name": "product_id", "in": "path", "required": True, **described})
    if operation.query is not None:
        properties = operation.query.model_json_schema(ref_template=_REFERENCE)["properties"]
        found += [_query_parameter(name, dict(it)) for name, it in properties.items()]
    for name in operation.headers:
        found.append({"name": name, "in": "header", "required": False, **HEADERS[name]})
    return found


def _query_parameter(name: str, schema: Json) -> Json:
    """Describe a field of a query's model. Pages show the description of the parameter only."""
    parameter: Json = {"name": name, "in": "query", "required": False}
    if "description" in schema:
        parameter["description"] = schema.pop("description")
    # A page would send an example, or a default of null, as it is.
    schema.pop("examples", None)
    if schema.get("default", "") is None:
        del schema["default"]
    # A query has no null.
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    schema |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": True}
    return {**parameter, "schema": schema}


# ---- answers ----


def _responses(operation: Operation) -> Json:
    responses: Json = {}
    for status, model in operation.answers.items():
        described: Json = {"description": HTTPStatus(status).phrase}
        responses[str(status)] = described
        if headers := _headers([*_sent_with(status, model), *operation.sends]):
            described["headers"] = headers
        if isinstance(model, str):
            described["content"] = {model: {"schema": _OTHER_BODIES[model]}}
        elif model is not None:
            described["content"] = {"application/json": {"schema": _reference(model)}}
    for status, kinds in sorted(_by_status(problems_of(operation)).items()):
        responses[str(status)] = _refusal(kinds)
    return responses


def _sent_with(status: int, model: object) -> list[str]:
    tag = ["ETag"] if model is Product or status == HTTPStatus.NOT_MODIFIED else []
    return [*tag, "Location"] if status == HTTPStatus.CREATED else tag


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def problems_of(operation: Operation) -> list[type[Exception]]:
    """Give the errors that an operation can answer."""
    guarded = _WITH_A_TOKEN if operation.scopes else ()
    return [*operation.problems, *guarded, *_EVERYWHERE]


def _by_status(kinds: Iterable[type[Exception]]) -> dict[int, list[Exception]]:
    found: dict[int, list[Exception]] = {}
    for kind in kinds:
        found.setdefault(problem_of(_PROBLEMS[kind]).status, []).append(_PROBLEMS[kind])
    return found


def _refusal(examples: list[Exception]) -> Json:
    """Describe the answers of one status: the table's rows, each with an example."""
    rows = [problem_of(error) for error in examples]
    content = {
        "schema": _reference(Problem),
        "examples": {row.slug: {"$ref": f"#/components/examples/{row.slug}"} for row in rows},
    }
    described: Json = {
        "description": "; ".join(row.title for row in rows),
        "content": {"application/problem+json": content},
    }
    if headers := _headers(dict.fromkeys(name for row in rows for name in row.headers)):
        described["headers"] = headers
    return described


def _examples() -> Json:
    return {
        problem_of(error).slug: {"summary": problem_of(error).title, "value": problem_body(error)}
        for error in _EXAMPLES
    }


# ---- schemas ----

_REFERENCE = "#/components/schemas/{model}"


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _schemas() -> Json:
    models: list[Any] = [Problem]
    for operation in OPERATIONS:
        models += [operation.body, operation.query, *operation.answers.values()]
    _, schema = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models) if isinstance(model, type)],
        ref_template=_REFERENCE,
    )
    definitions: Json = schema["$defs"]
    bodies = {operation.body for operation in OPERATIONS}
    for operation in OPERATIONS:
        if operation.query and operation.query not in bodies:
            # Described as parameters; only what its fields refer to is needed here.
            definitions.pop(operation.query.__name__, None)
    return definitions

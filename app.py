"""The HTTP API: routes, the authorizer, and the one table from domain errors to HTTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple

from chalice.app import AuthRequest, AuthResponse, AuthRoute, Chalice, Request, Response

from chalicelib import errors, exact_json, openapi, telemetry
from chalicelib.bootstrap import allowed_origin, container
from chalicelib.catalog import Catalog, Origin, Precondition
from chalicelib.models import SIZE_LIMIT, Json
from chalicelib.tokens import InvalidTokenError

Headers = dict[str, str | list[str]]

RETRY_AFTER = {"Retry-After": "5"}


class CatalogApi(Chalice):
    """Chalice keeps the current request on the app; a host with threads needs one per thread."""

    _requests = threading.local()

    @property
    def current_request(self) -> Request:
        """The request that this thread is answering."""
        request: Request = self._requests.current
        return request

    @current_request.setter
    def current_request(self, request: Request) -> None:
        self._requests.current = request


app = CatalogApi(app_name="product-catalog", configure_logs=False)


# ---- the authorizer ----


@app.authorizer(ttl_seconds=300)
def authorize(request: AuthRequest) -> AuthResponse:
    """Turn a bearer token into the operations that it allows."""
    try:
        caller = container().tokens.verify(request.token)
    except InvalidTokenError as error:
        telemetry.log.info("token refused", reason=str(error))
        # API Gateway's contract: this very text makes it answer 401.
        raise Exception("Unauthorized") from error  # noqa: TRY002
    allowed: list[str | AuthRoute] = [
        AuthRoute(re.sub(r"{\w+}", "*", operation.path), [operation.method])
        for operation in openapi.OPERATIONS
        # The open ones are always in: a policy must name at least one resource.
        if not operation.scopes or operation.scopes & caller.scopes
    ]
    return AuthResponse(routes=allowed, principal_id=caller.principal or "anonymous")


# ---- errors ----


class Problem(NamedTuple):
    """How a domain error reads in HTTP."""

    status: int
    slug: str
    title: str
    headers: Mapping[str, str] = {}


PROBLEMS: dict[type[Exception], Problem] = {
    errors.MalformedRequestError: Problem(400, "malformed", "The request cannot be read"),
    errors.InvalidRequestError: Problem(422, "invalid", "The request breaks a rule"),
    errors.PayloadTooLargeError: Problem(413, "too-large", "The request is too large"),
    errors.ProductNotFoundError: Problem(404, "no-such-product", "No such product"),
    errors.DuplicateSkuError: Problem(409, "duplicate-sku", "The sku is taken"),
    errors.DuplicateIdempotencyKeyError: Problem(409, "in-progress", "The key is in use"),
    errors.IdempotencyKeyReusedError: Problem(422, "key-reused", "The key was used before"),
    errors.VersionMismatchError: Problem(412, "version-mismatch", "The version is another"),
    errors.ConcurrentChangeError: Problem(503, "contended", "Too many writers", RETRY_AFTER),
    errors.StoreUnavailableError: Problem(503, "unavailable", "Try again later", RETRY_AFTER),
    Exception: Problem(500, "internal", "Something went wrong here"),
}


def problem_body(error: Exception) -> Json:
    """Give RFC 9457 problem details for an error; nothing of an unexpected one gets out."""
    problem = next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)
    expected = problem.status < 500
    body: Json = {
        "type": f"urn:product-catalog:problem:{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": str(error) if expected else problem.title,
    }
    if isinstance(error, errors.InvalidRequestError):
        body["errors"] = [{"field": item.field, "message": item.message} for item in error.errors]
    return body


def problem_response(error: Exception) -> Response:
    """Answer with problem details."""
    problem = next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)
    headers: Headers = {"Content-Type": "application/problem+json", **problem.headers}
    return Response(exact_json.dumps(problem_body(error)), headers, problem.status)


# ---- requests and responses ----

View = Callable[..., Response]


def route(method: str, path: str) -> Callable[[View], View]:
    """Register an operation of the contract: its scopes decide whether it is authorized."""
    operation = next(o for o in openapi.OPERATIONS if (o.method, o.path) == (method, path))

    def register(view: View) -> View:
        @wraps(view)
        def answer(**parameters: str) -> Response:
            try:
                response = view(**parameters)
            except errors.CatalogError as error:
                telemetry.log.info("refused", reason=str(error), operation=view.__name__)
                response = problem_response(error)
            except Exception as error:  # noqa: BLE001 - answered 500, and logged
                telemetry.log.exception("unexpected error", operation=view.__name__)
                response = problem_response(error)
            return readable(response)

        registered: View = app.route(
            path,
            methods=[method],
            name=view.__name__,
            authorizer=authorize if operation.scopes else None,
            # Whatever the body is called: body() sees whether it is JSON.
            content_types=[],
        )(answer)
        return registered

    return register


def readable(response: Response) -> Response:
    """Let the pages of the one origin that may, read an answer; the gateway answers preflights."""
    if allowed := allowed_origin():
        response.headers |= {
            "Access-Control-Allow-Origin": allowed,
            "Access-Control-Expose-Headers": "ETag,Location,Retry-After",
            "Vary": "Origin",
        }
    return response


def catalog() -> Catalog:
    """Give the use cases."""
    return container().catalog


def header(name: str) -> str | None:
    """Give a header of the current request."""
    value: str | None = app.current_request.headers.get(name)
    return value


def body(*, required: bool = True) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Parse the request's JSON body. Raises MalformedRequestError and its kin."""
    raw = app.current_request.raw_body
    if not raw and not required:
        return {}
    if len(raw) > SIZE_LIMIT:
        raise errors.PayloadTooLargeError(f"a body may have {SIZE_LIMIT} bytes at most")
    try:
        return exact_json.loads(raw)
    except ValueError as error:
        raise errors.MalformedRequestError(f"the body is not JSON: {error}") from error


def query() -> Json:
    """Give the query's parameters."""
    return dict(app.current_request.query_params or {})


def origin() -> Origin:
    """Say where the current request comes from."""
    key = header("idempotency-key")
    if key is not None and not 0 < len(key) <= 255:
        fault = errors.FieldError("Idempotency-Key", "must have 1 to 255 characters")
        raise errors.InvalidRequestError([fault])
    authorizer = app.current_request.context.get("authorizer") or {}
    trace = header("x-amzn-trace-id") or telemetry.new_trace()
    return Origin(str(authorizer.get("principalId", "")), key, trace)


ENTITY_TAG = re.compile(r'\s*(W/)?"([^"]*)"\s*(?:,|$)')


def entity_tags(name: str, *, strong: bool) -> list[str] | None:
    """Read If-Match or If-None-Match (RFC 9110); None means that any version will do."""
    value = header(name.lower())
    if value is None or value.strip() == "*":
        return None
    tags, position = [], 0
    while position < len(value):
        found = ENTITY_TAG.match(value, position)
        if found is None:
            fault = errors.FieldError(name, 'must be * or entity tags such as "3"')
            raise errors.InvalidRequestError([fault])
        if not (strong and found[1]):
            tags.append(found[2])
        position = found.end()
    return tags


def precondition() -> Precondition:
    """Read If-Match: the versions that may be changed."""
    return Precondition(entity_tags("If-Match", strong=True))


def respond(status: int, content: object, **headers: str) -> Response:
    """Answer with JSON."""
    return Response(
        exact_json.dumps(content), {"Content-Type": "application/json", **headers}, status
    )


def product_response(status: int, product: Json, **headers: str) -> Response:
    """Answer with a product and its entity tag."""
    return respond(status, product, ETag=f'"{product["version"]}"', **headers)


# ---- products ----


@route("POST", "/products")
def create_product() -> Response:
    product = catalog().create(body(), origin())
    return product_response(201, product, Location=f"/api/products/{product['id']}")


@route("GET", "/products")
def list_products() -> Response:
    return respond(200, catalog().list_products(query()))


@route("POST", "/products/batch")
def create_batch() -> Response:
    outcomes = catalog().create_batch(body(), origin())
    return respond(207, {"items": [batch_item(outcome) for outcome in outcomes]})


def batch_item(outcome: Json | errors.CatalogError) -> Json:
    """Give one item's result: what it would have been answered on its own."""
    if isinstance(outcome, errors.CatalogError):
        problem = problem_body(outcome)
        return {"status": problem["status"], "error": problem}
    return {"status": 201, "product": outcome}


@route("GET", "/products/{product_id}")
def get_product(product_id: str) -> Response:
    product = catalog().get(product_id)
    conditional = header("if-none-match") is not None
    known = entity_tags("If-None-Match", strong=False)
    if conditional and (known is None or str(product["version"]) in known):
        return Response("", {"ETag": f'"{product["version"]}"'}, 304)
    return product_response(200, product)


@route("PUT", "/products/{product_id}")
def replace_product(product_id: str) -> Response:
    return product_response(200, catalog().replace(product_id, body(), precondition(), origin()))


@route("PATCH", "/products/{product_id}")
def patch_product(product_id: str) -> Response:
    return product_response(200, catalog().merge(product_id, body(), precondition(), origin()))


@route("DELETE", "/products/{product_id}")
def delete_product(product_id: str) -> Response:
    catalog().delete(product_id, precondition(), origin())
    return Response("", {}, 204)


# ---- sync ----


@route("GET", "/products/{product_id}/sync")
def get_sync(product_id: str) -> Response:
    return respond(200, catalog().sync_state(product_id))


@route("POST", "/products/{product_id}/sync")
def replay_product(product_id: str) -> Response:
    return respond(202, catalog().replay(product_id))


@route("GET", "/sync")
def get_summary() -> Response:
    return respond(200, catalog().summary())


@route("POST", "/sync/redrive")
def redrive() -> Response:
    return respond(202, {"count": catalog().redrive(query_or_body())})


def query_or_body() -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Give what is asked by query, by an optional body, or by both."""
    asked, given = query(), body(required=False)
    if not isinstance(given, dict):
        return given
    if twice := [errors.FieldError(name, "is given twice") for name in asked.keys() & given.keys()]:
        raise errors.InvalidRequestError(twice)
    return asked | given


# ---- the service itself ----


@route("GET", "/health")
def health() -> Response:
    return respond(200, {"status": "ok"})


@route("GET", "/ready")
def ready() -> Response:
    dependencies = container().readiness()
    # Without the stream or the queue, writes are still taken: the outbox holds the events.
    able = dependencies["mongodb"] == "ok"
    return respond(
        200 if able else 503, {"status": "ok" if able else "away", "dependencies": dependencies}
    )


@route("GET", "/openapi.json")
def openapi_document() -> Response:
    return Response(openapi.document(), {"Content-Type": "application/json"}, 200)


@route("GET", "/docs")
def docs() -> Response:
    return Response(openapi.docs_page(), {"Content-Type": "text/html; charset=utf-8"}, 200)

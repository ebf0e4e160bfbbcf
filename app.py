"""The HTTP API: the routes, and the authorizer in front of them."""

from __future__ import annotations

from collections.abc import Callable

from chalice.app import AuthRequest, AuthResponse, Request, Response

from chalicelib.bootstrap import container
from chalicelib.http import asyncapi, authorizer, openapi, requests
from chalicelib.http.console import page as console_page
from chalicelib.http.responses import (
    batch_item,
    no_content,
    not_modified,
    respond,
    respond_product,
)
from chalicelib.http.routing import CatalogApi, View
from chalicelib.usecases.acts import ActsRequest
from chalicelib.usecases.audits import Audits
from chalicelib.usecases.catalog import Catalog
from chalicelib.usecases.listing import ListRequest
from chalicelib.usecases.operations import Operations, RedriveRequest
from chalicelib.usecases.quarantine import PoisonRequest
from chalicelib.usecases.restores import Restores
from chalicelib.usecases.undelivered import DeadLettersRequest, Undelivered, UndeliveredRequest

app = CatalogApi(app_name="product-catalog", configure_logs=False)


@app.authorizer(ttl_seconds=300)
def authorize(request: AuthRequest) -> AuthResponse:
    return authorizer.policy(container().tokens, request.token)


def route(method: str, path: str) -> Callable[[View], View]:
    """Register an operation of the OpenAPI document: its scopes decide who may call it."""
    return app.operation(method, path, authorize, lambda: container().tokens)


def catalog() -> Catalog:
    """Give the use cases of API consumers."""
    return container().catalog


def operations() -> Operations:
    """Give the use cases of operators."""
    return container().operations


def undelivered() -> Undelivered:
    """Give what operators look for."""
    return container().undelivered


def audits() -> Audits:
    """Give the use cases of audits."""
    return container().audits


def restores() -> Restores:
    """Give the use cases of restores."""
    return container().restores


# ---- products ----


@route("POST", "/products")
def create_product(request: Request) -> Response:
    product = catalog().create(requests.body(request), requests.origin(request))
    return respond_product(201, product, Location=f"/api/products/{product['id']}")


@route("GET", "/products")
def list_products(request: Request) -> Response:
    return respond(200, catalog().list_products(requests.query(request, ListRequest)))


@route("POST", "/products/batch")
def create_batch(request: Request) -> Response:
    outcomes = catalog().create_batch(requests.body(request), requests.origin(request))
    return respond(207, {"items": [batch_item(outcome) for outcome in outcomes]})


@route("GET", "/products/{product_id}")
def get_product(request: Request, product_id: str) -> Response:
    product = catalog().get(product_id)
    if requests.is_known(request, product["version"]):
        return not_modified(product)
    return respond_product(200, product)


@route("PUT", "/products/{product_id}")
def replace_product(request: Request, product_id: str) -> Response:
    condition, origin = requests.precondition(request), requests.origin(request)
    product = catalog().replace(product_id, requests.body(request), condition, origin)
    return respond_product(200, product)


@route("PATCH", "/products/{product_id}")
def patch_product(request: Request, product_id: str) -> Response:
    condition, origin = requests.precondition(request), requests.origin(request)
    product = catalog().merge(product_id, requests.body(request), condition, origin)
    return respond_product(200, product)


@route("DELETE", "/products/{product_id}")
def delete_product(request: Request, product_id: str) -> Response:
    catalog().delete(product_id, requests.precondition(request), requests.origin(request))
    return no_content()


# ---- sync ----


@route("GET", "/products/{product_id}/sync")
def get_sync(_: Request, product_id: str) -> Response:
    return respond(200, operations().sync_state(product_id))


@route("GET", "/products/{product_id}/sync/timeline")
def get_timeline(_: Request, product_id: str) -> Response:
    return respond(200, operations().timeline(product_id))


@route("POST", "/products/{product_id}/sync")
def replay_product(request: Request, product_id: str) -> Response:
    body, origin = requests.body(request, required=False), requests.origin(request)
    return respond(202, operations().replay(product_id, body, origin))


@route("GET", "/sync")
def get_summary(_: Request) -> Response:
    return respond(200, {**operations().summary(), "audit": audits().last()})


@route("GET", "/sync/products")
def list_undelivered(request: Request) -> Response:
    return respond(200, undelivered().products(requests.query(request, UndeliveredRequest)))


@route("GET", "/sync/dead-letters")
def list_dead_letters(request: Request) -> Response:
    return respond(200, undelivered().dead_letters(requests.query(request, DeadLettersRequest)))


@route("GET", "/sync/dead-letters/poison")
def list_poison(request: Request) -> Response:
    return respond(200, container().quarantine.page(requests.query(request, PoisonRequest)))


@route("POST", "/sync/dead-letters/discard")
def discard_poison(request: Request) -> Response:
    body, origin = requests.body(request, required=False), requests.origin(request)
    return respond(202, container().quarantine.discard(body, origin))


@route("POST", "/sync/redrive")
def redrive(request: Request) -> Response:
    asked = requests.query_or_body(request, RedriveRequest)
    return respond(202, operations().redrive(asked, requests.origin(request)))


@route("PUT", "/sync/control")
def control_sync(request: Request) -> Response:
    return respond(200, operations().control(requests.body(request), requests.origin(request)))


@route("GET", "/sync/acts")
def list_acts(request: Request) -> Response:
    return respond(200, container().acts.page(requests.query(request, ActsRequest)))


@route("POST", "/sync/audit")
def start_audit(request: Request) -> Response:
    body, origin = requests.body(request, required=False), requests.origin(request)
    return respond(202, audits().start(body, origin))


@route("DELETE", "/sync/audit")
def stop_audit(request: Request) -> Response:
    return respond(200, audits().stop(requests.origin(request)))


@route("GET", "/sync/audit")
def get_audit(_: Request) -> Response:
    return respond(200, audits().show())


@route("POST", "/sync/restore")
def start_restore(request: Request) -> Response:
    body, origin = requests.body(request, required=False), requests.origin(request)
    return respond(202, restores().start(body, origin))


@route("GET", "/sync/restore")
def get_restore(_: Request) -> Response:
    return respond(200, restores().show())


@route("POST", "/sync/republish")
def start_republish(request: Request) -> Response:
    body, origin = requests.body(request, required=False), requests.origin(request)
    return respond(202, container().republishes.start(body, origin))


@route("DELETE", "/sync/republish")
def stop_republish(request: Request) -> Response:
    return respond(200, container().republishes.stop(requests.origin(request)))


@route("GET", "/sync/republish")
def get_republish(_: Request) -> Response:
    return respond(200, container().republishes.show())


# ---- the service itself ----


@route("GET", "/health")
def health(_: Request) -> Response:
    return respond(200, {"status": "ok"})


@route("GET", "/ready")
def ready(_: Request) -> Response:
    dependencies, age = container().readiness.states()
    # Without the stream or the queue, writes are still accepted: the outbox keeps the events.
    able = dependencies["mongodb"] == "ok"
    whole = all(state == "ok" for state in dependencies.values())
    status = "ok" if whole else "degraded" if able else "away"
    content = {"status": status, "dependencies": dependencies, "ageSeconds": round(age, 1)}
    return respond(200 if able else 503, content)


@route("GET", "/openapi.json")
def openapi_document(_: Request) -> Response:
    return Response(openapi.document(), {"Content-Type": "application/json"}, 200)


@route("GET", "/asyncapi.json")
def asyncapi_document(_: Request) -> Response:
    document = asyncapi.document(container().settings.stream_names)
    return Response(document, {"Content-Type": "application/json"}, 200)


@route("GET", "/docs")
def docs(_: Request) -> Response:
    return Response(openapi.docs_page(), {"Content-Type": "text/html; charset=utf-8"}, 200)


@route("GET", "/console")
def console(_: Request) -> Response:
    return Response(console_page.page(), {**console_page.headers()}, 200)

"""What the tests of the HTTP contract share: products, requests, events of API Gateway."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.http import contract
from chalicelib.http.contract import ADMIN, READ, WRITE
from tests.fakes import START, a_product
from tests.http import dashed, to_bytes
from tests.support import Json
from tests.unit.conftest import USE_CASES, World

ANVIL = {"name": "Anvil", "price": Decimal("12.50"), "quantity": 7}
UNKNOWN = "0123456789abcdef01234567"


def only_restore(world: World) -> None:
    """Run the app with CATALOG_MODE=restore from now on."""
    world.restoring = True
    world.connect()
    vars(world.parts).update({name: getattr(world, name) for name in USE_CASES})


def create(world: World, **changes: object) -> Json:
    """Create a product and give it as answered."""
    answer = world.client.post("/products", {**ANVIL, **changes})
    assert answer.status == 201, answer
    product: Json = answer.json()
    return product


def stored(world: World, **changes: Any) -> Product:  # noqa: ANN401 - any attribute of Product
    """Put a product into the store as it is."""
    product = a_product(**changes)
    world.store.products[product.id] = product
    return product


def failed_product(world: World, status: SyncStatus, **changes: Any) -> Product:  # noqa: ANN401 - as above
    """A product that waits for an operator."""
    return stored(world, sync=SyncState(status=status, attempts=18, behind_since=START), **changes)


REQUESTS = [
    (operation.method, operation.path.replace("{product_id}", UNKNOWN), operation.scopes)
    for operation in contract.OPERATIONS
]
SCOPES_OF_THE_DESIGN = {
    ("POST", "/products"): {WRITE},
    ("GET", "/products"): {READ},
    ("POST", "/products/batch"): {WRITE},
    ("GET", "/products/{product_id}"): {READ},
    ("PUT", "/products/{product_id}"): {WRITE},
    ("PATCH", "/products/{product_id}"): {WRITE},
    ("DELETE", "/products/{product_id}"): {WRITE},
    ("GET", "/products/{product_id}/sync"): {READ, ADMIN},
    ("GET", "/products/{product_id}/sync/timeline"): {READ, ADMIN},
    ("POST", "/products/{product_id}/sync"): {ADMIN},
    ("GET", "/sync"): {READ, ADMIN},
    ("GET", "/sync/products"): {READ, ADMIN},
    ("GET", "/sync/dead-letters"): {READ, ADMIN},
    ("GET", "/sync/dead-letters/poison"): {READ, ADMIN},
    ("POST", "/sync/dead-letters/discard"): {ADMIN},
    ("POST", "/sync/redrive"): {ADMIN},
    ("PUT", "/sync/control"): {ADMIN},
    ("GET", "/sync/acts"): {READ, ADMIN},
    ("POST", "/sync/audit"): {ADMIN},
    ("DELETE", "/sync/audit"): {ADMIN},
    ("GET", "/sync/audit"): {READ, ADMIN},
    ("POST", "/sync/restore"): {ADMIN},
    ("GET", "/sync/restore"): {READ, ADMIN},
    ("POST", "/sync/republish"): {ADMIN},
    ("DELETE", "/sync/republish"): {ADMIN},
    ("GET", "/sync/republish"): {READ, ADMIN},
    ("GET", "/health"): set(),
    ("GET", "/ready"): set(),
    ("GET", "/openapi.json"): set(),
    ("GET", "/asyncapi.json"): set(),
    ("GET", "/docs"): set(),
    ("GET", "/console"): set(),
}


def passed_on(*scopes: str, sub: str = "tester") -> Json:
    """What API Gateway makes of the authorizer's answer."""
    return {
        "principalId": sub or "anonymous",
        "integrationLatency": 5,
        "scope": " ".join(scopes),
        "sub": sub,
    }


def lambda_event(
    method: str,
    path: str,
    body: object = None,
    *,
    token: str | None = None,
    authorizer: object = None,
    **more: str,
) -> Json:
    """The event that API Gateway sends for a request (REST API, proxy integration).

    `authorizer` is what its Lambda authorizer has passed on; None where there is none. `more` are
    headers.
    """
    raw, _, query = path.partition("?")
    resource, parameters = resource_of(method, raw)
    values: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        values.setdefault(name, []).append(value)
    headers = {"X-Amzn-Trace-Id": "Root=1-0-0", **dashed(more)}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    return {
        "resource": resource,
        "path": raw,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: each[-1] for name, each in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "pathParameters": parameters,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method,
            "path": f"/api{raw}",
            "stage": "api",
            "identity": {"sourceIp": "192.0.2.1"},
            **({} if authorizer is None else {"authorizer": authorizer}),
        },
        "body": None if body is None else to_bytes(body).decode(),
        "isBase64Encoded": False,
    }


def resource_of(method: str, path: str) -> tuple[str, dict[str, str] | None]:
    """The route of a path, the literal ones first, and its parameters."""
    for operation in sorted(contract.OPERATIONS, key=lambda item: "{" in item.path):
        found = re.fullmatch(operation.path.replace("{product_id}", "(?P<product_id>[^/]+)"), path)
        if operation.method == method and found:
            return operation.path, found.groupdict() or None
    raise AssertionError(f"no route for {method} {path}")

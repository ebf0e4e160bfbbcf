"""API Gateway and the container host give the same answers."""

from __future__ import annotations

import base64
from decimal import Decimal

import pytest

import app as api
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.http.contract import ADMIN, READ, WRITE
from tests.fakes import fields
from tests.http import to_bytes
from tests.unit.api_support import (
    ANVIL,
    SCOPES_OF_THE_DESIGN,
    UNKNOWN,
    failed_product,
    lambda_event,
    passed_on,
    resource_of,
    stored,
)
from tests.unit.conftest import World

A, B = "a" * 24, "b" * 24
PARITY: list[tuple[str, str, object]] = [
    ("GET", f"/products/{A}", None),
    ("GET", f"/products/{UNKNOWN}", None),
    ("GET", "/products", None),
    ("GET", "/products?limit=1", None),
    ("GET", "/products?limit=1&limit=2", None),
    ("GET", "/products?limit=0", None),
    ("GET", "/products?sku=", None),
    ("PUT", f"/products/{A}", ANVIL),
    ("PUT", f"/products/{A}", "{"),
    ("PATCH", f"/products/{A}", {"price": Decimal("0.10"), "name": "日本"}),
    ("DELETE", f"/products/{A}", None),
    ("POST", "/products", {"name": ""}),
    ("POST", "/products", ""),
    ("POST", "/products/batch", {"items": [{"price": 0}]}),
    ("GET", f"/products/{B}/sync", None),
    ("GET", f"/products/{B}/sync/timeline", None),
    ("POST", f"/products/{B}/sync", None),
    ("POST", f"/products/{B}/sync", {"reason": 5}),
    ("GET", "/sync", None),
    ("GET", "/sync/products", None),
    ("GET", "/sync/products?status=exhausted&status=rejected&q=%C3%84", None),
    ("GET", "/sync/products?status=delivered", None),
    ("GET", "/sync/dead-letters", None),
    ("POST", "/sync/redrive", None),
    ("POST", "/sync/redrive", {"status": "exhausted"}),
    ("POST", "/sync/redrive?dryRun=true", None),
    ("PUT", "/sync/control", {"paused": True, "reason": "stock-taking"}),
    ("PUT", "/sync/control", {"paused": False}),
    ("PUT", "/sync/control", {"paused": "yes"}),
    ("PUT", "/sync/control", "{"),
    ("GET", "/sync/acts?limit=1", None),
    ("GET", "/sync/acts?cursor=x", None),
    ("POST", "/sync/audit", None),
    ("POST", "/sync/audit", {"reason": "stock-taking", "repair": False}),
    ("POST", "/sync/audit", {"repair": "no"}),
    ("GET", "/sync/audit", None),
    ("DELETE", "/sync/audit", None),
    ("POST", "/sync/restore", None),
    ("GET", "/sync/restore", None),
    ("POST", "/sync/republish", {"reason": "a new listener", "maxRate": 50}),
    ("POST", "/sync/republish", {"maxRate": "fast"}),
    ("GET", "/sync/republish", None),
    ("DELETE", "/sync/republish", None),
    ("GET", "/sync/dead-letters/poison?limit=5", None),
    ("POST", "/sync/dead-letters/discard", {"dryRun": True, "until": "2025-01-01T00:00:00Z"}),
    ("GET", "/health", None),
    ("GET", "/ready", None),
    ("GET", "/openapi.json", None),
    ("GET", "/asyncapi.json", None),
    ("GET", "/docs", None),
    ("GET", "/console", None),
]


@pytest.mark.parametrize(("method", "path", "body"), PARITY)
def test_both_hosts_give_the_same_answer(
    world: World, method: str, path: str, body: object
) -> None:
    def products() -> None:
        stored(world, id=A, fields=fields(sku="A", attributes={"a": Decimal("1.10")}))
        failed_product(world, SyncStatus.EXHAUSTED, id=B)

    products()
    # Without it each request had a trace of its own.
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    host = world.client.request(method, path, body, trace)
    products()
    event = lambda_event(method, path, body, authorizer=passed_on(READ, WRITE, ADMIN), **trace)
    cloud = api.app(event, None)
    assert cloud["statusCode"] == host.status
    assert (cloud["body"] or "") == host.text
    ours = {name: text for name, text in host.headers.items() if name != "Content-Length"}
    theirs = {**cloud["headers"]}
    if host.status == 204:
        theirs.pop("Content-Type", None)
    assert theirs == ours


def test_the_cases_of_the_comparison_cover_every_operation() -> None:
    seen = {(method, resource_of(method, path.split("?")[0])[0]) for method, path, _ in PARITY}
    assert seen == SCOPES_OF_THE_DESIGN.keys()


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "HEAD"])
def test_both_hosts_answer_a_method_that_is_no_operation_alike(world: World, method: str) -> None:
    host = world.client.request(method, "/products")
    event = lambda_event("GET", "/products", authorizer=passed_on(READ))
    event["requestContext"]["httpMethod"] = method
    cloud = api.app(event, None)
    assert cloud["statusCode"] == host.status
    # API Gateway leaves out the body of an answer to HEAD, as every web server does.
    assert method == "HEAD" or (cloud["body"] or "") == host.text
    ours = {name: text for name, text in host.headers.items() if name != "Content-Length"}
    assert cloud["headers"] == ours


def test_a_body_in_base64_is_understood(world: World) -> None:
    event = lambda_event("POST", "/products", authorizer=passed_on(WRITE))
    body = base64.b64encode(to_bytes(ANVIL)).decode()
    answer = api.app({**event, "body": body, "isBase64Encoded": True}, None)
    assert answer["statusCode"] == 201
    assert len(world.store.products) == 1


def test_a_path_that_the_gateway_still_has_after_an_update_is_not_found() -> None:
    event = lambda_event("GET", "/products", authorizer=passed_on(READ))
    event["requestContext"]["resourcePath"] = "/products/{product_id}/history"
    answer = api.app(event, None)
    assert answer["statusCode"] == 404
    assert '"urn:product-catalog:problem:no-such-route"' in answer["body"]

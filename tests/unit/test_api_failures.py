"""The HTTP contract while parts are away, and what goes along with a request."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.domain.product import Product
from chalicelib.http.contract import READ
from tests.http import problem_of
from tests.unit.api_support import (
    ANVIL,
    UNKNOWN,
    create,
)
from tests.unit.conftest import World

# ---- parts that are away ----


STORE_REQUESTS = [
    ("POST", "/products", ANVIL),
    ("GET", "/products", None),
    ("POST", "/products/batch", {"items": [ANVIL]}),
    ("GET", f"/products/{UNKNOWN}", None),
    ("PUT", f"/products/{UNKNOWN}", ANVIL),
    ("PATCH", f"/products/{UNKNOWN}", {}),
    ("DELETE", f"/products/{UNKNOWN}", None),
    ("GET", f"/products/{UNKNOWN}/sync", None),
    ("POST", f"/products/{UNKNOWN}/sync", None),
    ("GET", "/sync", None),
    ("POST", "/sync/redrive", None),
    ("PUT", "/sync/control", {"paused": True}),
    ("POST", "/sync/audit", None),
    ("GET", "/sync/audit", None),
]


@pytest.mark.parametrize(("method", "path", "body"), STORE_REQUESTS)
def test_without_the_store_the_answer_is_to_come_back(
    world: World, method: str, path: str, body: object
) -> None:
    world.store.away = True
    answer = world.client.request(method, path, body)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert problem_of(answer)["detail"] == "Try again later"


def test_writes_are_taken_while_the_stream_and_the_queue_are_away(world: World) -> None:
    world.stream.away = world.queue.away = True
    product = create(world)
    path = f"/products/{product['id']}"
    statuses = [
        world.client.put(path, {**ANVIL, "quantity": 1}).status,
        world.client.patch(path, {"quantity": 2}).status,
        world.client.post("/products/batch", {"items": [ANVIL]}).status,
        world.client.delete(path).status,
    ]
    assert statuses == [200, 200, 207, 204]
    assert len(world.store.products[product["id"]].outbox) == 4


def test_a_write_is_answered_though_its_event_stays_in_the_outbox(world: World) -> None:
    world.store.broken.add("remove_events")
    assert world.client.post("/products", ANVIL).status == 201


@pytest.mark.parametrize(("method", "path", "body"), STORE_REQUESTS)
def test_an_error_of_ours_tells_nothing_of_the_inside(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    path: str,
    body: object,
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise KeyError("mongodb://user:hunter2@host")

    for name in ("create", "list_products", "create_batch", "get", "replace", "merge", "delete"):
        monkeypatch.setattr(world.parts.catalog, name, explode)
    for name in ("sync_state", "replay", "summary", "redrive", "control"):
        monkeypatch.setattr(world.parts.operations, name, explode)
    for name in ("start", "show", "last"):
        monkeypatch.setattr(world.parts.audits, name, explode)
    answer = world.client.request(method, path, body)
    assert answer.status == 500
    assert problem_of(answer) == {
        "type": "urn:product-catalog:problem:internal",
        "title": "Something went wrong here",
        "status": 500,
        "detail": "Something went wrong here",
    }
    assert "hunter2" in capsys.readouterr().out


# ---- the trace ----


@pytest.mark.parametrize("given", ["Root=1-67891233-abcdef012345678912345678", None])
def test_the_trace_of_a_write_goes_along_with_its_event(world: World, given: str | None) -> None:
    headers = {"X-Amzn-Trace-Id": given} if given else {}
    world.client.request("POST", "/products", ANVIL, headers)
    (event,) = world.stream.log
    assert event.trace is not None
    assert event.trace == given if given else event.trace.startswith("Root=1-")


# ---- pages of another origin ----


@pytest.mark.parametrize("path", ["/products", "/products/unknown", "/health"])
def test_pages_of_the_given_origin_may_read_every_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("CORS_ORIGIN", "https://shop.example")
    answer = world.client.get(path)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]


def test_without_a_given_origin_no_other_page_may_read_answers(world: World) -> None:
    assert "Access-Control-Allow-Origin" not in world.client.get("/products").headers


# ---- threads ----


def test_parallel_requests_do_not_see_each_others_headers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/products/{create(world)['id']}"
    look_up, meeting = world.store.get, threading.Barrier(2)

    def meet(product_id: str) -> Product | None:
        # Both requests have begun before either one reads its headers.
        meeting.wait(10)
        return look_up(product_id)

    monkeypatch.setattr(world.store, "get", meet)
    clients = [world.client_with(READ) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        known = pool.submit(clients[0].get, path, If_None_Match="*")
        unknown = pool.submit(clients[1].get, path)
    assert (known.result().status, unknown.result().status) == (304, 200)

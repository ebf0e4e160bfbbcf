"""The HTTP contract while parts are away, and what goes along with a request."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.domain.product import Product
from chalicelib.domain.trace import from_traceparent, id_of, to_traceparent
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
    ("GET", f"/products/{UNKNOWN}/sync/timeline", None),
    ("POST", f"/products/{UNKNOWN}/sync", None),
    ("GET", "/sync", None),
    ("GET", "/sync/products", None),
    ("GET", "/sync/dead-letters", None),
    ("POST", "/sync/redrive", None),
    ("PUT", "/sync/control", {"paused": True}),
    ("POST", "/sync/audit", None),
    ("GET", "/sync/audit", None),
    ("DELETE", "/sync/audit", None),
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
    for name in ("sync_state", "timeline", "replay", "summary", "redrive", "control"):
        monkeypatch.setattr(world.parts.operations, name, explode)
    for name in ("products", "dead_letters"):
        monkeypatch.setattr(world.parts.undelivered, name, explode)
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


W3C = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
XRAY = "Root=1-67891233-abcdef012345678912345678"


def test_a_traceparent_of_the_caller_comes_before_xrays_header(world: World) -> None:
    headers = {"X-Amzn-Trace-Id": XRAY, "traceparent": W3C}
    product_id = world.client.request("POST", "/products", ANVIL, headers).json()["id"]
    state = world.client.get(f"/products/{product_id}/sync").json()
    assert state["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    (event,) = world.stream.log
    assert json.loads(event.data)["traceparent"] == W3C


@pytest.mark.parametrize("traceparent", ["", "nonsense", W3C.replace("00-", "ff-", 1), f"{W3C}-x"])
def test_what_is_no_traceparent_is_ignored(world: World, traceparent: str) -> None:
    headers = {"X-Amzn-Trace-Id": XRAY, "traceparent": traceparent}
    assert world.client.request("POST", "/products", ANVIL, headers).status == 201
    assert world.stream.log[0].trace == XRAY


@pytest.mark.parametrize("given", ["Root=1-2-3", "anything", f"{XRAY}; ", f"{XRAY};{'x' * 500}"])
def test_a_trace_by_which_nothing_is_found_is_replaced(world: World, given: str) -> None:
    world.client.request("POST", "/products", ANVIL, {"X-Amzn-Trace-Id": given})
    assert id_of(world.stream.log[0].trace) is not None


def test_one_trace_goes_from_the_request_through_an_outage_to_the_supply_chain(
    world: World,
) -> None:
    headers = {"traceparent": W3C}
    product_id = world.client.request("POST", "/products", ANVIL, headers).json()["id"]
    world.queue.messages.clear()
    world.clock.advance(3600)
    world.reconcile_once()
    world.sync_once()
    (call,) = world.supply_chain.calls
    assert (call.product_id, to_traceparent(call.trace)) == (product_id, W3C)
    complete = json.loads(world.stream.log[-1].data)
    assert (complete["type"], complete["traceparent"]) == ("product:sync-complete", W3C)


def test_the_calls_after_a_replay_have_the_trace_of_the_replay(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    product_id = create(world)["id"]
    world.pass_on()
    path = f"/products/{product_id}/sync"
    state = world.client.request("POST", path, None, {"traceparent": W3C}).json()
    assert state["traceId"] == id_of(from_traceparent(W3C))
    world.sync_once()
    first, second = world.supply_chain.calls
    assert to_traceparent(second.trace) == W3C != to_traceparent(first.trace)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if '"replayed"' in line]
    assert state["traceId"] in line


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

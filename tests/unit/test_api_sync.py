"""The HTTP contract: the state of the sync, replays, and the service itself."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from decimal import Decimal

import pytest

from chalicelib.domain.control import MOST_PORTIONS, Redrive
from chalicelib.domain.errors import StoreNotMigratedError
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.selection import Portion, Selection
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.domain.times import rfc3339
from tests.fakes import GRACE, START, a_failed_state
from tests.http import WsgiClient, problem_of
from tests.support import Json
from tests.unit.api_support import (
    ANVIL,
    UNKNOWN,
    create,
    failed_product,
    stored,
)
from tests.unit.conftest import World

NOT_PAUSED = {"paused": False, "reason": None, "until": None, "since": None}

# ---- sync ----


def test_the_state_of_a_sync_is_told(world: World) -> None:
    headers = {"X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678"}
    product = world.client.request("POST", "/products", ANVIL, headers).json()
    answer = world.client.get(f"/products/{product['id']}/sync")
    assert answer.status == 200
    assert answer.json() == {
        "id": product["id"],
        "name": "Anvil",
        "version": 0,
        "deleted": False,
        "status": "pending",
        "budget": 0,
        "attempts": 0,
        "deliveredVersion": None,
        "behindSince": "2026-01-01T00:00:00.000Z",
        "firstAttemptAt": None,
        "nextAttemptAt": None,
        "syncCompletedAt": None,
        "failedAt": None,
        "lastError": None,
        "lastErrorKind": None,
        "traceId": "67891233abcdef012345678912345678",
        "held": None,
        "history": [],
    }


def test_each_attempt_is_told(world: World) -> None:
    product = failed_once(world)
    state = world.client.get(f"/products/{product.id}/sync").json()
    assert (state["status"], state["attempts"]) == ("retrying", 1)
    (attempt,) = state["history"]
    assert attempt["statusCode"] == 503
    assert attempt["error"] == "HTTP 503"
    assert attempt["durationSeconds"] == Decimal("0.25")
    assert attempt["version"] == 0


def failed_once(world: World) -> Product:
    """A product whose first delivery has failed."""
    product = stored(world)
    world.supply_chain.answers[product.id] = [503]
    message_id = world.queue.send(SyncMessage(product.id, 0).to_json())
    world.parts.sync.handle(world.queue.receive())
    assert world.store.products[product.id].sync.message_id == message_id
    return product


def test_the_timeline_of_a_product_says_why_it_waits_and_what_comes(world: World) -> None:
    product = failed_once(world)
    answer = world.client.get(f"/products/{product.id}/sync/timeline")
    assert answer.status == 200
    told = answer.json()
    assert re.fullmatch(r"waits for its next attempt in 1[3-5] s: HTTP 503", told["summary"])
    assert [entry["kind"] for entry in told["entries"]] == [
        *("write", "event", "message", "attempt", "message", "next", "next")
    ]
    assert told["entries"][1]["details"]["inOutbox"]
    due = world.store.products[product.id].sync.next_attempt_at
    assert due is not None
    assert (told["entries"][5]["at"], told["entries"][5]["future"]) == (rfc3339(due), True)


def test_the_timeline_of_a_product_that_waits_says_that_all_calls_are_paused(
    world: World,
) -> None:
    product = failed_once(world)
    world.client.put("/sync/control", {"paused": True, "reason": "their release"})
    told = world.client.get(f"/products/{product.id}/sync/timeline").json()
    assert told["held"] == "paused: their release"


def test_a_product_that_does_not_exist_has_no_timeline(world: World) -> None:
    assert world.client.get(f"/products/{UNKNOWN}/sync/timeline").status == 404


def test_the_sync_of_a_deleted_product_is_told_until_it_is_confirmed(world: World) -> None:
    product = create(world)
    world.client.delete(f"/products/{product['id']}")
    state = world.client.get(f"/products/{product['id']}/sync").json()
    assert (state["deleted"], state["version"]) == (True, 1)


def test_a_replay_gives_a_fresh_budget_and_rings_at_once(world: World) -> None:
    product = failed_product(world, SyncStatus.EXHAUSTED)
    answer = world.client.post(f"/products/{product.id}/sync")
    assert (answer.status, answer.json()["status"], answer.json()["attempts"]) == (
        202,
        "pending",
        0,
    )
    (message,) = world.queue.messages
    trace = world.product(product.id).sync.trace
    assert message.body == SyncMessage(product.id, 0, 1, trace).to_json()


def test_a_replay_is_taken_while_the_queue_is_away(world: World) -> None:
    product = failed_product(world, SyncStatus.EXHAUSTED)
    world.queue.away = True
    assert world.client.post(f"/products/{product.id}/sync").status == 202
    assert world.store.products[product.id].sync.overdue_at == world.clock() + GRACE


def test_the_summary_counts_and_tells_how_old_the_oldest_change_is(world: World) -> None:
    world.stream.away = True
    create(world)
    failed_product(world, SyncStatus.REJECTED, outbox=())
    world.clock.advance(300.5)
    answer = world.client.get("/sync")
    summary = answer.json()
    minutes = summary["throughput"].pop("minutes")
    assert minutes[-1] == {"at": "2026-01-01T00:05:00.000Z", "delivered": 0, "failed": 0}
    assert len(minutes) == 60
    assert (answer.status, summary) == (
        200,
        {
            "products": {
                "pending": 1,
                "retrying": 0,
                "delivered": 0,
                "exhausted": 0,
                "rejected": 1,
            },
            "oldestUndeliveredSeconds": Decimal("300.5"),
            "stuck": {"count": 1, "oldestSeconds": Decimal("300.5")},
            "outboxBacklog": 1,
            "unreadable": 0,
            "breaker": {"state": "closed", "since": None, "reason": None, "callsPerSecond": None},
            "control": NOT_PAUSED,
            "catchingUp": False,
            "redrive": None,
            "throughput": {"deliveredPerMinute": 0, "failedPerMinute": 0, "failureKinds": {}},
            "estimatedSecondsToConverge": None,
            "audit": None,
        },
    )


def test_the_summary_of_an_empty_catalog_has_no_oldest_change(world: World) -> None:
    summary = world.client.get("/sync").json()
    assert summary["oldestUndeliveredSeconds"] is None
    assert summary["stuck"] == {"count": 0, "oldestSeconds": None}
    assert summary["estimatedSecondsToConverge"] == 0


def test_what_is_stuck_does_not_count_as_waiting(world: World) -> None:
    failed_product(world, SyncStatus.EXHAUSTED)
    failed_product(world, SyncStatus.REJECTED)
    summary = world.client.get("/sync").json()
    assert summary["oldestUndeliveredSeconds"] is None
    assert summary["stuck"]["count"] == 2
    assert summary["estimatedSecondsToConverge"] == 0


def test_the_summary_says_how_fast_it_goes_and_when_the_rest_will_be_delivered(
    world: World,
) -> None:
    for _ in range(11):
        create(world)
    world.pass_on()
    failed_product(world, SyncStatus.RETRYING)
    world.clock.advance(30)
    summary = world.client.get("/sync").json()
    # Ten of the eleven in five and a half minutes, and in the 30 s of this one; two are left.
    assert summary["throughput"]["deliveredPerMinute"] == Decimal("1.8")
    assert summary["throughput"]["minutes"][-1]["delivered"] == 10
    assert summary["estimatedSecondsToConverge"] == 6


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (None, 3),
        ({}, 3),
        ({"status": None}, 3),
        ({"status": "exhausted"}, 2),
        ({"status": "rejected"}, 1),
        ({"status": "retrying"}, 1),
    ],
)
def test_a_redrive_replays_what_is_stuck(world: World, body: object, count: int) -> None:
    failed_product(world, SyncStatus.EXHAUSTED)
    failed_product(world, SyncStatus.EXHAUSTED)
    failed_product(world, SyncStatus.REJECTED)
    failed_product(world, SyncStatus.RETRYING)
    create(world)
    answer = world.client.post("/sync/redrive", body)
    assert (answer.status, answer.json()) == (202, {"count": count, "dryRun": False})
    assert len(world.queue.messages) == count


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "delivered"}, "status"),
        ({"status": "lost"}, "status"),
        ({"sku": "S"}, "sku"),
    ],
)
def test_a_redrive_of_anything_else_is_refused(world: World, body: Json, field: str) -> None:
    answer = world.client.post("/sync/redrive", body)
    assert (answer.status, answer.fields) == (422, [field])


def test_a_refusal_says_what_can_be_redriven(world: World) -> None:
    answer = world.client.post("/sync/redrive", {"status": "delivered"})
    message = "Input should be 'exhausted', 'rejected', 'retrying' or 'pending'"
    assert answer.json()["errors"] == [{"field": "status", "message": message}]


def test_a_redrive_can_be_filtered_by_query_too(world: World) -> None:
    failed_product(world, SyncStatus.EXHAUSTED)
    failed_product(world, SyncStatus.REJECTED)
    answer = world.client.post("/sync/redrive?status=rejected")
    assert (answer.status, answer.json()) == (202, {"count": 1, "dryRun": False})


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/sync/redrive?status=delivered", None, "status"),
        ("/sync/redrive?state=rejected", None, "state"),
        ("/sync/redrive?status=rejected", {"status": "exhausted"}, "status"),
    ],
)
def test_a_redrive_whose_query_cannot_be_followed_is_refused(
    world: World, path: str, body: object, field: str
) -> None:
    answer = world.client.post(path, body)
    assert (answer.status, answer.fields) == (422, [field])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sync/redrive?errorKind=http-500&dryRun=true", None),
        ("/sync/redrive?dryRun=true", {"errorKind": "http-500"}),
        ("/sync/redrive", {"errorKind": "http-500", "dryRun": True}),
    ],
)
def test_a_dry_run_only_counts(world: World, path: str, body: object) -> None:
    stored(world, sync=a_failed_state(SyncStatus.EXHAUSTED))
    failed_product(world, SyncStatus.EXHAUSTED)
    answer = world.client.post(path, body)
    assert (answer.status, answer.json()) == (202, {"count": 1, "dryRun": True})
    assert world.queue.messages == []


def test_a_redrive_beside_too_many_others_is_a_conflict(world: World) -> None:
    failed_product(world, SyncStatus.EXHAUSTED)
    kinds = [f"http-{status}" for status in range(500, 500 + MOST_PORTIONS)]
    many = [Portion(SyncStatus.EXHAUSTED, Selection(error_kind=kind)) for kind in kinds]
    redrive = Redrive.begun(many, START, lambda _: 1, None)
    world.controls.change(lambda stored: (None, replace(stored, redrive=redrive)))
    answer = world.client.post("/sync/redrive")
    assert (answer.status, problem_of(answer)["type"]) == (
        409,
        "urn:product-catalog:problem:redrive-under-way",
    )


def test_a_redrive_with_a_body_that_is_no_json_is_malformed(world: World) -> None:
    assert world.client.post("/sync/redrive", "{").status == 400


# ---- the service itself ----


def test_health_needs_nothing(world: World) -> None:
    world.store.away = world.stream.away = world.queue.away = True
    answer = WsgiClient(world.gateway).get("/health")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


def test_ready_names_every_dependency(world: World) -> None:
    answer = WsgiClient(world.gateway).get("/ready")
    assert (answer.status, answer.json()) == (
        200,
        {
            "status": "ok",
            "dependencies": {"mongodb": "ok", "nats": "ok", "sqs": "ok"},
            "ageSeconds": 0.0,
        },
    )


def test_it_is_not_ready_without_the_store(world: World) -> None:
    world.store.away = True
    answer = world.client.get("/ready")
    assert (answer.status, answer.json()["status"]) == (503, "away")
    assert answer.json()["dependencies"]["mongodb"] == "unreachable"


def test_it_is_not_ready_until_the_store_is_migrated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise StoreNotMigratedError("no index sku yet")

    monkeypatch.setattr(world.store, "ping", refuse)
    answer = world.client.get("/ready")
    assert (answer.status, answer.json()["status"]) == (503, "away")
    assert answer.json()["dependencies"]["mongodb"] == "not migrated"


@pytest.mark.parametrize("name", ["nats", "sqs"])
def test_it_is_ready_without_the_stream_or_the_queue(world: World, name: str) -> None:
    (world.stream if name == "nats" else world.queue).away = True
    answer = world.client.get("/ready")
    assert (answer.status, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["dependencies"][name] == "unreachable"


def test_ready_does_not_wait_for_a_dependency_that_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.usecases.readiness.PATIENCE_SECONDS", 0.1)
    release = threading.Event()
    monkeypatch.setattr(world.queue, "ping", lambda: release.wait(10))
    try:
        answer = world.client.get("/ready")
    finally:
        release.set()
    assert (answer.status, answer.json()["dependencies"]["sqs"]) == (200, "no answer")


def test_a_dependency_that_hangs_is_asked_once_however_many_ask_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.usecases.readiness.PATIENCE_SECONDS", 0.1)
    release, asked = threading.Event(), []

    def hang() -> None:
        asked.append("sqs")
        release.wait(10)

    monkeypatch.setattr(world.queue, "ping", hang)
    try:
        answers = [world.client.get("/ready").json()["dependencies"] for _ in range(5)]
    finally:
        release.set()
    assert answers == [{"mongodb": "ok", "nats": "ok", "sqs": "no answer"}] * 5
    assert len(asked) == 1

"""What is logged of a delivery: bytes and lines at INFO, everything at DEBUG, failures in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import simplejson

from chalicelib import telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Json
    from tests.unit.conftest import World

BUDGET = 640
"""Bytes per delivered product, log lines and metrics of api, bridge and sync together."""
PRODUCT = {"name": "Desk lamp", "price": 19.9, "quantity": 3}


@pytest.fixture(autouse=True)
def _as_by_default() -> Iterator[None]:
    yield
    telemetry.configure(level="INFO", tracing=False)


def deliver(world: World, number: int = 1) -> list[str]:
    """Create products over HTTP, bridge and sync them as one batch; their ids."""
    ids = [world.client.post("/products", PRODUCT).json()["id"] for _ in range(number)]
    world.clock.advance(0.123)
    world.pass_on()
    return ids


def lines(capsys: pytest.CaptureFixture[str]) -> list[Json]:
    return [simplejson.loads(line) for line in capsys.readouterr().out.splitlines()]


def about(found: list[Json], product_id: str) -> list[Json]:
    return [line for line in found if line.get("product_id") == product_id]


@pytest.mark.parametrize("number", [1, 10])
def test_a_delivered_product_costs_no_more_log_than_its_budget(
    world: World, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    deliver(world, number)
    assert len(world.supply_chain.held) == number
    assert len(capsys.readouterr().out.encode()) / number <= BUDGET


def test_a_batch_logs_one_line_per_product_and_hop_and_one_of_metrics(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = deliver(world, 10)
    found = lines(capsys)
    for product_id in ids:
        messages = [(line["level"], line["message"]) for line in about(found, product_id)]
        assert messages == [("INFO", "accepted"), ("INFO", "attempt")]
    (metrics,) = [line for line in found if "message" not in line]
    assert metrics["delivery_lag"] == [pytest.approx(0.123, abs=0.001)] * 10
    assert len(found) == 21


def test_a_write_can_be_followed_at_info(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (product_id,) = deliver(world)
    accepted, attempt, _ = lines(capsys)
    assert accepted["trace"] == world.product(product_id).sync_to_json()["traceId"]
    assert accepted.keys() == {"level", "timestamp", "message", "product_id", "version", "trace"}
    del attempt["timestamp"], attempt["seconds"]
    assert attempt == {
        "level": "INFO",
        "message": "attempt",
        "product_id": product_id,
        "version": 0,
        "attempt": 1,
        "status_code": 200,
    }


def test_at_debug_each_step_is_logged_with_all_that_is_known(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure(level="DEBUG", tracing=False)
    (product_id,) = deliver(world)
    found = about(lines(capsys), product_id)
    event_id = f"{product_id}:0:product:created"
    of_event = [line for line in found if line.get("event_id") == event_id]
    assert [line["message"] for line in of_event] == ["published", "bridged", "attempt"]
    assert len({line["trace"] for line in found}) == 1
    assert of_event[-1].keys() >= {"budget", "message_id", "verdict", "status", "counted"}


def test_a_failed_attempt_is_logged_in_full(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    product_id = world.client.post("/products", PRODUCT).json()["id"]
    world.supply_chain.answers[product_id] = [503]
    world.pass_on()
    found = lines(capsys)
    (attempt,) = [line for line in found if line.get("message") == "attempt"]
    assert (attempt["level"], attempt["status"], attempt["attempt"]) == ("WARNING", "retrying", 1)
    assert (attempt["status_code"], attempt["verdict"]) == (503, "failed")
    assert attempt["error"]
    assert attempt.keys() >= {"event_id", "trace", "message_id", "budget", "counted", "seconds"}
    assert found[-1]["failed"] == 1


def test_the_attempt_after_which_no_other_follows_is_an_error(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    product_id = world.client.post("/products", PRODUCT).json()["id"]
    world.supply_chain.answers[product_id] = [413]
    world.pass_on()
    (attempt,) = [line for line in lines(capsys) if line.get("message") == "attempt"]
    assert (attempt["level"], attempt["status"]) == ("ERROR", "rejected")


def test_a_write_whose_event_was_not_published_says_so(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.stream.away = True
    world.client.post("/products", PRODUCT)
    reason, accepted = lines(capsys)
    assert (reason["level"], reason["message"]) == ("WARNING", "events stay in the outbox")
    assert (accepted["message"], accepted["published"]) == ("accepted", False)


def test_a_run_of_reconcile_is_one_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.put(outbox=())
    world.clock.advance(3600)
    world.reconcile_once()
    (line,) = lines(capsys)
    assert line.keys() >= {"outbox_backlog", "products_pending", "oldest_undelivered_seconds"}

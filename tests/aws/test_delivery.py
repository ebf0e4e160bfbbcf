"""From a write at the gateway to the supply chain, by the real functions, schedules and mapping."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

import nats
import pytest

from chalicelib.domain.events import TRACE_HEADER, StreamNames
from tests.aws.conftest import DeployedStack, Doomed
from tests.support import Json, eventually, exact_json

PATIENCE = 100.0
"""Seconds: the first run of the bridge starts a minute after the apply at the latest."""
TRACE = "Root=1-67891233-abcdef012345678912345678"
TRACE_ID = "67891233abcdef012345678912345678"


def state(aws: DeployedStack, product_id: str) -> Json:
    """The product's state; empty while the throttle has no answer for a caller that asks often."""
    answer = aws.api.get(f"/products/{product_id}/sync")
    return exact_json(answer) if answer.status_code == 200 else {}


def wait_for(aws: DeployedStack, product_id: str, status: str) -> Json:
    last: Json = {}

    def reached() -> bool:
        last.update(state(aws, product_id))
        return last.get("status") == status

    eventually(reached, PATIENCE, f"{product_id} is {status}")
    return last


def test_a_written_product_arrives_by_way_of_stream_bridge_and_queue(aws: DeployedStack) -> None:
    product = aws.create(price=Decimal("1234567890.1234"))
    wait_for(aws, product["id"], "delivered")
    held = aws.supply_chain.products()[product["id"]]
    assert (held["version"], held["price"]) == (0, Decimal("1234567890.1234"))


def test_the_trace_of_a_request_arrives_at_the_supply_chain(aws: DeployedStack) -> None:
    answer = aws.api.request(
        "POST",
        "/products",
        {"name": "Lamp", "price": 1, "quantity": 1},
        {"X-Amzn-Trace-Id": TRACE},
    )
    product = exact_json(answer)
    wait_for(aws, product["id"], "delivered")
    (call,) = aws.supply_chain.calls(product["id"])
    assert root(call["xAmznTraceId"]) == TRACE
    assert root(asyncio.run(last_header(aws.info["nats"]))) == TRACE
    assert call["traceparent"].split("-")[1] == TRACE_ID
    assert [line for line in aws.logged("api") if product["id"] in line and TRACE_ID in line]


def root(trace: str | None) -> str:
    """A trace without what Lambda may add to it: the parent, and whether it is sampled."""
    return (trace or "").partition(";")[0]


async def last_header(url: str) -> str | None:
    """The trace that the newest event of a creation carries in the stream."""
    async with await nats.connect(url) as connection:
        message = await connection.jetstream().get_last_msg(StreamNames().stream, "product.created")
    return (message.headers or {}).get(TRACE_HEADER)


def test_an_update_and_a_delete_arrive(aws: DeployedStack) -> None:
    product = aws.create()
    assert aws.api.patch(f"/products/{product['id']}", {"quantity": 77}).status_code == 200
    eventually(
        lambda: aws.supply_chain.products().get(product["id"], {}).get("quantity") == 77,
        PATIENCE,
        "the update arrives",
    )
    assert aws.api.delete(f"/products/{product['id']}").status_code == 204
    eventually(
        lambda: product["id"] not in aws.supply_chain.products(), PATIENCE, "the delete arrives"
    )


def test_eighteen_failed_attempts_with_growing_waits_end_in_the_dead_letter_queue(
    aws: DeployedStack, doomed: Doomed
) -> None:
    last = wait_for(aws, doomed.id, "exhausted")
    assert (last["attempts"], len(last["history"])) == (18, 18)
    times = [datetime.fromisoformat(attempt["time"]) for attempt in last["history"]]
    waits = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert sum(waits[:3]) < sum(waits[-3:]), waits
    letter = eventually(lambda: aws.dead_letter(doomed.id), PATIENCE, "it is dead-lettered")
    # The trace of the replay that began this budget: a redrive by hand is found by it too.
    assert letter["body"].pop("trace").startswith("Root=1-")
    assert letter["body"] == {
        "productId": doomed.id,
        "version": 0,
        # The one after: moved back to the queue by whatever tool, it is a redrive.
        "budget": last["budget"] + 1,
        "reason": "exhausted",
        "attempts": 18,
        "lastError": last["lastError"],
    }
    # An attribute is ASCII, whatever the supply chain has answered.
    error = last["lastError"].encode("ascii", "backslashreplace").decode()
    assert letter["reason"] == f"exhausted: {error}"


def test_a_redrive_brings_a_dead_letter_home(aws: DeployedStack, doomed: Doomed) -> None:
    eventually(lambda: aws.dead_letter(doomed.id), PATIENCE, "it is dead-lettered")
    aws.supply_chain.set(failIds=[])
    answer = aws.api.post("/sync/redrive", {"status": "exhausted"})
    assert (answer.status_code, answer.json()["count"]) == (202, 1)
    wait_for(aws, doomed.id, "delivered")
    assert aws.supply_chain.products()[doomed.id]["version"] == 0


@pytest.mark.parametrize("function", ["bridge", "reconcile"])
def test_a_schedule_runs_what_nobody_else_calls(aws: DeployedStack, function: str) -> None:
    # A run's lines are there when it has ended.
    eventually(
        lambda: [line for line in aws.logged(function) if line.startswith("START")],
        PATIENCE,
        f"{function} has run",
    )


def test_reconcile_clears_the_dead_letter_of_what_was_delivered(
    aws: DeployedStack, doomed: Doomed
) -> None:
    aws.run("reconcile")
    eventually(lambda: not aws.dead_letter(doomed.id), PATIENCE, "its dead letter is gone")

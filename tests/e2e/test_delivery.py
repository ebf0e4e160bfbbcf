"""The promise, on real servers and real processes: what was acknowledged is delivered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import nats
import nats.errors
import pytest
import simplejson

from chalicelib.adapters.jetstream import STREAM
from chalicelib.domain.messages import SyncMessage
from tests.support import Json, RunningStack, eventually, exact_json

PATIENCE = 60.0
"""Seconds; far more than the horizon of 30, since the machines that run this are slow."""
PROCESSES = ["api", "bridge", "sync", "reconcile", "nats", "mongodb", "sqs", "supplyChain"]


@pytest.fixture(autouse=True)
def reliable_again(stack: RunningStack) -> Iterator[None]:
    """Give the next test a supply chain that works, whatever this one made of it."""
    yield
    stack.up()
    stack.supply_chain.set(failureRate=0, failIds=[], rejectIds=[], latencySeconds=0)


def status(stack: RunningStack, product_id: str) -> str:
    return str(stack.get(f"/products/{product_id}/sync")["status"])


def wait_for(stack: RunningStack, product_id: str, wanted: str) -> Json:
    eventually(lambda: status(stack, product_id) == wanted, PATIENCE, f"{product_id} is {wanted}")
    return stack.get(f"/products/{product_id}/sync")


def holds(stack: RunningStack, product: Json) -> bool:
    """Whether the supply chain holds this very version, with its exact price."""
    held = stack.supply_chain.products().get(product["id"], {})
    return (held.get("version"), held.get("price")) == (product["version"], product["price"])


def wait_until_held(stack: RunningStack, products: list[Json]) -> None:
    newest = {product["id"]: product["version"] for product in products}

    def missing() -> list[str]:
        held = stack.supply_chain.products()
        return [key for key in newest if held.get(key, {}).get("version") != newest[key]]

    eventually(lambda: not missing(), PATIENCE, f"{len(newest)} products are held")


def answered_calls(stack: RunningStack, product_id: str) -> list[Json]:
    return [call for call in stack.supply_chain.calls(product_id) if call["method"] == "POST"]


def test_a_product_arrives_with_its_exact_price(stack: RunningStack) -> None:
    product = stack.create(price=Decimal("1234567890.1234"))
    wait_for(stack, product["id"], "delivered")
    assert holds(stack, product)


def test_everything_arrives_though_every_third_call_fails(stack: RunningStack) -> None:
    stack.supply_chain.set(failureRate=0.3)
    with ThreadPoolExecutor(4) as pool:
        products = list(pool.map(lambda n: stack.create(name=f"Product {n}"), range(60)))
    wait_until_held(stack, products)
    for product in products:
        wait_for(stack, product["id"], "delivered")


def test_a_product_updated_while_its_calls_fail_ends_with_the_newest_version(
    stack: RunningStack,
) -> None:
    product = stack.create()
    stack.supply_chain.set(failIds=[product["id"]])
    for quantity in range(20):
        answer = stack.api.patch(f"/products/{product['id']}", {"quantity": 1000 + quantity})
        assert answer.status_code == 200
    eventually(lambda: stack.supply_chain.calls(product["id"]), PATIENCE, "a call was made")
    stack.supply_chain.set(failIds=[])
    state = wait_for(stack, product["id"], "delivered")
    assert state["deliveredVersion"] == 20
    assert stack.supply_chain.products()[product["id"]]["quantity"] == 1019
    calls = answered_calls(stack, product["id"])
    assert not [call for call in calls if call["outcome"] == "stale" or call["concurrent"]]


def test_versions_reach_the_supply_chain_in_their_order(stack: RunningStack) -> None:
    stack.supply_chain.set(latencySeconds=0.2)
    product = stack.create()
    for quantity in range(10):
        stack.api.patch(f"/products/{product['id']}", {"quantity": 1000 + quantity})
    assert wait_for(stack, product["id"], "delivered")["deliveredVersion"] == 10
    calls = answered_calls(stack, product["id"])
    versions = [call["version"] for call in calls]
    assert versions == sorted(versions)
    assert not [call for call in calls if call["concurrent"]]


def test_a_duplicate_message_causes_one_call(stack: RunningStack) -> None:
    stack.supply_chain.set(latencySeconds=0.5)
    product = stack.create()
    stack.enqueue([SyncMessage(product["id"], 0)] * 5)
    wait_for(stack, product["id"], "delivered")
    stack.enqueue([SyncMessage(product["id"], 0)] * 5)
    # A product written after the duplicates is delivered after they were looked at.
    wait_for(stack, stack.create()["id"], "delivered")
    assert len(answered_calls(stack, product["id"])) == 1


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_killed_while_products_are_written_loses_none(
    stack: RunningStack, name: str
) -> None:
    stack.supply_chain.set(failureRate=0.2)
    acknowledged: list[Json] = []
    killed = threading.Event()

    def write() -> None:
        written = 0
        while written < 5 or not killed.is_set():
            product = stack.try_to_create()
            if product is not None:
                acknowledged.append(product)
                written += 1

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        eventually(lambda: len(acknowledged) >= 10, PATIENCE, "products were written")
        stack.kill(name)
        stack.up()
        killed.set()
        for writer in writers:
            writer.result(PATIENCE)
    stack.supply_chain.set(failureRate=0)
    wait_until_held(stack, acknowledged)


def test_writes_are_taken_and_delivered_while_nats_is_away(stack: RunningStack) -> None:
    stack.stop("nats")
    products = [stack.create() for _ in range(5)]
    wait_until_held(stack, products)
    assert stack.get("/sync")["outboxBacklog"] >= 5
    stack.up()
    eventually(
        lambda: stack.get("/sync")["outboxBacklog"] == 0, PATIENCE, "the outboxes are relayed"
    )


def test_writes_are_refused_clearly_while_mongodb_is_away(stack: RunningStack) -> None:
    stack.stop("mongodb")
    answer = stack.api.post("/products", {"name": "Lamp", "price": 1, "quantity": 1})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    stack.up()
    wait_for(stack, stack.create()["id"], "delivered")


def test_a_queue_that_was_purged_heals(stack: RunningStack) -> None:
    stack.stop("sync")
    products = [stack.create() for _ in range(5)]
    eventually(lambda: stack.queued() >= 5, PATIENCE, "the messages are in the queue")
    stack.purge_queue()
    stack.up()
    wait_until_held(stack, products)


def test_a_product_whose_calls_all_fail_is_dead_lettered_then_redriven(
    stack: RunningStack,
) -> None:
    product = stack.create()
    stack.supply_chain.set(failIds=[product["id"]])
    changed = exact_json(stack.api.patch(f"/products/{product['id']}", {"quantity": 77}))
    state = wait_for(stack, product["id"], "exhausted")
    assert (state["attempts"], len(state["history"])) == (18, 18)
    eventually(lambda: stack.dead_letter(product["id"]), PATIENCE, "it is dead-lettered")

    stack.supply_chain.set(failIds=[])
    answer = stack.api.post("/sync/redrive", {"status": "exhausted"})
    assert (answer.status_code, exact_json(answer)["count"]) == (202, 1)
    wait_for(stack, product["id"], "delivered")
    assert holds(stack, changed)
    eventually(lambda: not stack.dead_letter(product["id"]), PATIENCE, "its dead letter is gone")


def test_rejected_data_is_dead_lettered_at_once_with_the_reason(stack: RunningStack) -> None:
    stack.stop("sync")
    product = stack.create()
    stack.supply_chain.set(rejectIds=[product["id"]])
    stack.up()
    state = wait_for(stack, product["id"], "rejected")
    assert state["attempts"] == 1
    letter = eventually(lambda: stack.dead_letter(product["id"]), PATIENCE, "it is dead-lettered")
    assert "HTTP 422" in letter["reason"]

    stack.supply_chain.set(rejectIds=[])
    assert stack.api.post(f"/products/{product['id']}/sync").status_code == 202
    wait_for(stack, product["id"], "delivered")


def test_a_deleted_product_leaves_the_supply_chain_and_then_the_catalog(
    stack: RunningStack,
) -> None:
    product = stack.create(sku="to-be-deleted")
    wait_until_held(stack, [product])
    assert stack.api.delete(f"/products/{product['id']}").status_code == 204
    assert stack.api.get(f"/products/{product['id']}").status_code == 404
    eventually(
        lambda: product["id"] not in stack.supply_chain.products(), PATIENCE, "it is deleted there"
    )
    eventually(
        lambda: stack.api.get(f"/products/{product['id']}/sync").status_code == 404,
        PATIENCE,
        "the tombstone is dropped",
    )
    assert stack.create(sku="to-be-deleted")["version"] == 0


def test_an_event_that_nobody_understands_is_dead_lettered_and_blocks_nothing(
    stack: RunningStack,
) -> None:
    stack.publish("product.updated", b"{not an event")
    wait_for(stack, stack.create()["id"], "delivered")
    letter = eventually(
        lambda: next((item for item in stack.dead_letters() if "subject" in item["body"]), None),
        PATIENCE,
        "the event is dead-lettered",
    )
    assert letter["body"]["subject"] == "product.updated"
    assert "not JSON" in letter["reason"]


def test_an_independent_listener_gets_every_event(stack: RunningStack) -> None:
    product = stack.create()
    wait_for(stack, product["id"], "delivered")
    stack.api.patch(f"/products/{product['id']}", {"quantity": 5})
    wait_for(stack, product["id"], "delivered")
    stack.api.delete(f"/products/{product['id']}")
    # The bridge has taken them already; a durable consumer of one's own has a place of its own.
    expected = {
        "0:product:created",
        "0:product:sync-complete",
        "1:product:updated",
        "1:product:sync-complete",
        "2:product:deleted",
        "2:product:sync-complete",
    }
    heard: set[str] = set()

    def all_heard() -> bool:
        events = asyncio.run(listen(stack.settings["nats"]))
        heard.update(
            event["id"].partition(":")[2] for event in events if event["subject"] == product["id"]
        )
        return heard == expected

    eventually(all_heard, PATIENCE, "every event is heard")


async def listen(url: str) -> list[Json]:
    """What a microservice called "listener" hears next: up to 100 events."""
    async with await nats.connect(url) as connection:
        stream = connection.jetstream()
        listener = await stream.pull_subscribe("product.*", durable="listener", stream=STREAM)
        try:
            messages = await listener.fetch(100, timeout=0.5)
        except nats.errors.TimeoutError:
            return []
        for message in messages:
            await message.ack_sync()
        # Another test publishes what is no event at all.
        texts = [message.data for message in messages if b'"specversion"' in message.data]
        return [simplejson.loads(text, use_decimal=True) for text in texts]


def test_an_event_can_be_followed_through_the_logs_of_every_part(stack: RunningStack) -> None:
    product = stack.create()
    wait_for(stack, product["id"], "delivered")
    event_id = f"{product['id']}:0:product:created"
    messages = {
        entry["message"]: entry["trace"]
        for name in ("api", "bridge", "sync")
        for entry in log_entries(stack, name)
        if entry.get("event_id") == event_id
    }
    assert set(messages) == {"accepted", "published", "bridged", "attempt"}
    assert len(set(messages.values())) == 1


def log_entries(stack: RunningStack, name: str) -> list[Json]:
    lines = (stack.run_dir / "logs" / f"{name}.log").read_text().splitlines()
    return [simplejson.loads(line) for line in lines if line.startswith("{")]

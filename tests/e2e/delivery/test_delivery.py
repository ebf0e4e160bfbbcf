"""The promise, on real servers and real processes: what was acknowledged is delivered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from chalicelib.domain.messages import SyncMessage
from tests.e2e.delivery.steps import PATIENCE, answered_calls, holds, wait_for, wait_until_held
from tests.support import RunningStack, eventually


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

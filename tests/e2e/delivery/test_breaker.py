"""The supply chain is down: no attempt is spent, and no product is forgotten."""

from __future__ import annotations

from tests.e2e.delivery.steps import PATIENCE, wait_until_held
from tests.support import Json, RunningStack, eventually


def breaker(stack: RunningStack) -> str:
    return str(stack.get("/sync")["breaker"]["state"])


def all_calls(stack: RunningStack) -> int:
    return int(stack.supply_chain.summary()["calls"])


def an_outage(stack: RunningStack) -> list[Json]:
    stack.supply_chain.set(failureRate=1, kinds=["http_500"])
    products = [stack.create() for _ in range(12)]
    eventually(lambda: breaker(stack) != "closed", PATIENCE, "the breaker opens")
    return products


def test_an_outage_spends_no_attempt_and_everything_follows_it(stack: RunningStack) -> None:
    products = an_outage(stack)
    before = all_calls(stack)
    later = [stack.create() for _ in range(5)]
    eventually(lambda: all_calls(stack) >= before + 3, PATIENCE, "three probes are made")

    states = [stack.get(f"/products/{product['id']}/sync") for product in later]
    assert [state["attempts"] for state in states] == [0] * 5
    assert {state["status"] for state in states} == {"pending"}
    assert "breaker" in states[0]["held"]

    stack.supply_chain.set(failureRate=0)
    wait_until_held(stack, [*products, *later])
    eventually(lambda: breaker(stack) == "closed", PATIENCE, "the breaker is closed")


def test_an_outage_outlives_the_processes_that_saw_it(stack: RunningStack) -> None:
    products = an_outage(stack)
    for name in ("sync", "reconcile", "mongodb"):
        stack.kill(name)
    stack.up()
    assert breaker(stack) != "closed"

    stack.supply_chain.set(failureRate=0)
    wait_until_held(stack, products)

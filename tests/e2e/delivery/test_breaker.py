"""The supply chain is down, or an operator has paused: no attempt is lost, nor any product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.delivery.steps import PATIENCE, status, wait_until_held
from tests.support import Json, RunningStack, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def resumed(stack: RunningStack) -> Iterator[None]:
    """No pause of this test is left to the next."""
    yield
    stack.api.put("/sync/control", {"paused": False})


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


def test_nothing_is_called_while_an_operator_has_paused(stack: RunningStack) -> None:
    stack.api.put("/sync/control", {"paused": True, "reason": "maintenance"})
    # A worker may know the state of a second ago.
    known = stack.create()
    eventually(
        lambda: (
            "maintenance" in (stack.get(f"/products/{known['id']}/sync")["held"] or "")
            or status(stack, known["id"]) == "delivered"
        ),
        PATIENCE,
        "the pause is seen",
    )
    products = [stack.create() for _ in range(5)]
    eventually(lambda: stack.queued() == 0, PATIENCE, "the messages are parked")
    assert {status(stack, product["id"]) for product in products} <= {"pending", "delivered"}
    assert stack.get("/sync")["control"]["reason"] == "maintenance"

    stack.api.put("/sync/control", {"paused": False})
    wait_until_held(stack, [known, *products])

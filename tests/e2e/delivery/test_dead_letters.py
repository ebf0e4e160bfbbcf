"""What cannot be delivered is dead-lettered, with its reason, until it is redriven."""

from __future__ import annotations

from tests.e2e.delivery.steps import PATIENCE, holds, wait_for
from tests.support import RunningStack, eventually, exact_json


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


def test_an_event_that_nobody_understands_is_quarantined_and_blocks_nothing(
    stack: RunningStack,
) -> None:
    stack.publish("product.updated", b"{not an event")
    wait_for(stack, stack.create()["id"], "delivered")
    poison = eventually(
        lambda: stack.get("/sync/dead-letters")["poison"], PATIENCE, "the event is quarantined"
    )
    assert '"subject":"product.updated"' in poison[0]["body"]
    assert "not JSON" in poison[0]["reason"]

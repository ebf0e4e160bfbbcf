"""A budget of attempts belongs to a version and a replay, whatever arrives when."""

from __future__ import annotations

import json

from tests.e2e.delivery.steps import PATIENCE, answered_calls, wait_for
from tests.support import RunningStack, eventually, frozen


def test_an_event_that_comes_after_its_version_was_rejected_starts_nothing(
    stack: RunningStack,
) -> None:
    product = stack.create()
    wait_for(stack, product["id"], "delivered")
    stack.supply_chain.set(rejectIds=[product["id"]])
    with frozen(stack.settings["processes"]["nats"]):
        assert stack.api.patch(f"/products/{product['id']}", {"quantity": 8}).status_code == 200
        # Reconcile enqueues it, since the stream does not.
        wait_for(stack, product["id"], "rejected")
    eventually(lambda: stack.get("/sync")["outboxBacklog"] == 0, PATIENCE, "the event is relayed")
    # The stream keeps the order: when this one has arrived, so has the late event.
    wait_for(stack, stack.create()["id"], "delivered")
    eventually(lambda: stack.queued() == 0, PATIENCE, "the queue is empty")

    versions = [call["version"] for call in answered_calls(stack, product["id"])]
    letters = [it for it in stack.dead_letters() if it["body"].get("productId") == product["id"]]
    assert versions == [0, 1]
    assert [letter["body"]["budget"] for letter in letters] == [1]


def test_a_dead_letter_moved_back_to_the_queue_is_a_redrive(stack: RunningStack) -> None:
    stack.stop("sync")
    product = stack.create()
    stack.supply_chain.set(rejectIds=[product["id"]])
    stack.up()
    wait_for(stack, product["id"], "rejected")
    letter = eventually(lambda: stack.dead_letter(product["id"]), PATIENCE, "it is dead-lettered")

    stack.supply_chain.set(rejectIds=[])
    body = json.dumps(letter["body"])
    stack.sqs.send_message(QueueUrl=stack.settings["queueUrl"], MessageBody=body)
    state = wait_for(stack, product["id"], "delivered")
    assert (state["budget"], state["attempts"]) == (1, 1)
    keys = [call["idempotencyKey"] for call in answered_calls(stack, product["id"])]
    assert keys == [f"{product['id']}:0", f"{product['id']}:0:1"]
    eventually(lambda: not stack.dead_letter(product["id"]), PATIENCE, "its dead letter is gone")

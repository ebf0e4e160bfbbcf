"""An import delays nobody's single change."""

from __future__ import annotations

from tests.e2e.delivery.steps import PATIENCE, wait_until_held
from tests.support import PRODUCT, Json, RunningStack, eventually

BATCHES = 3
PER_BATCH = 100


def waiting(stack: RunningStack, url: str) -> int:
    """How many messages of this queue are visible."""
    answer = stack.sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def import_products(stack: RunningStack) -> list[Json]:
    """Create products with batches."""
    made: list[Json] = []
    for _ in range(BATCHES):
        answer = stack.api.post("/products/batch", {"items": [PRODUCT] * PER_BATCH})
        assert answer.status_code == 207, answer.text
        made += [item["product"] for item in answer.json()["items"]]
    return made


def test_a_single_change_overtakes_an_import(stack: RunningStack) -> None:
    stack.supply_chain.forget()
    stack.stop("sync")
    imported = import_products(stack)
    bulk, single = stack.settings["bulkQueueUrl"], stack.settings["queueUrl"]
    eventually(lambda: waiting(stack, bulk) == len(imported), PATIENCE, "the import is queued")
    created = stack.create()
    changed = imported[-1]
    assert stack.api.patch(f"/products/{changed['id']}", {"name": "changed"}).status_code == 200
    eventually(lambda: waiting(stack, single) == 2, PATIENCE, "the single changes are queued")

    stack.up()

    wait_until_held(stack, [*imported[:-1], created])
    order = [(call["id"], call["version"]) for call in stack.supply_chain.calls()]
    assert order.index((created["id"], 0)) < PER_BATCH
    assert order.index((changed["id"], 1)) < PER_BATCH
    # The import's message for it is superseded.
    assert (changed["id"], 0) not in order

"""Processes are killed, servers are away, the queue is purged: nothing is lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from embedded.services import ROLES, SERVERS
from tests.e2e.delivery.steps import PATIENCE, wait_for, wait_until_held
from tests.support import Json, RunningStack, eventually


def test_each_process_killed_in_turn_while_products_are_written_loses_none(
    stack: RunningStack,
) -> None:
    stack.supply_chain.set(failureRate=0.2)
    acknowledged: list[Json] = []
    done = threading.Event()

    def write() -> None:
        # Paced, since all of them are delivered to a supply chain that fails.
        while not done.wait(0.3):
            product = stack.try_to_create()
            if product is not None:
                acknowledged.append(product)

    def more_were_written(than: int) -> None:
        eventually(lambda: len(acknowledged) >= than + 5, PATIENCE, "products were written")

    # In turn: the waits for what a process took with it overlap, and alone each takes 30 s.
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        try:
            for name in (*ROLES, *SERVERS):
                more_were_written(len(acknowledged))
                stack.kill(name)
                stack.up()
        finally:
            done.set()
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

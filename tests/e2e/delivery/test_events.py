"""Each event can be heard by others, and followed through the logs."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import nats
import nats.errors
import simplejson

from chalicelib.domain.events import StreamNames
from tests.disasters import asked, listener_in, write_listener
from tests.e2e.delivery.steps import PATIENCE, wait_for
from tests.support import Json, RunningStack, eventually

ROOT = Path(__file__).parents[3]


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
    name = StreamNames().stream
    async with await nats.connect(url) as connection:
        stream = connection.jetstream()
        listener = await stream.pull_subscribe("product.*", durable="listener", stream=name)
        try:
            messages = await listener.fetch(100, timeout=0.5)
        except nats.errors.TimeoutError:
            return []
        for message in messages:
            await message.ack_sync()
        # Another test publishes what is no event at all.
        texts = [message.data for message in messages if b'"specversion"' in message.data]
        return [simplejson.loads(text, use_decimal=True) for text in texts]


def test_the_consumer_of_the_documentation_keeps_a_copy(
    stack: RunningStack, tmp_path: Path
) -> None:
    write_listener(tmp_path)
    product = stack.create()
    wait_for(stack, product["id"], "delivered")
    stack.api.patch(f"/products/{product['id']}", {"price": Decimal("17.50")})

    with listener_in(tmp_path, stack.settings["nats"]):
        heard = eventually(lambda: copy_of(tmp_path, product["id"]), PATIENCE, "version 1 is heard")

    assert heard == ("17.50", 1)


def copy_of(folder: Path, product_id: str) -> tuple[str, int] | None:
    """The price of version 1, and the version that was delivered; None until both are 1."""
    question = (
        "SELECT price, delivered.version FROM products JOIN delivered USING (id)"
        " WHERE id = ? AND products.version = 1 AND delivered.version = 1"
    )
    return next(iter(asked(folder, question, product_id)), None)


def test_a_write_can_be_followed_through_the_logs(stack: RunningStack) -> None:
    product = stack.create()
    wait_for(stack, product["id"], "delivered")
    messages = [
        (name, entry["message"], entry["version"])
        for name in ("api", "bridge", "sync")
        for entry in log_entries(stack, name)
        if entry.get("product_id") == product["id"]
    ]
    # The supply chain may have failed the first calls.
    assert messages[0] == ("api", "accepted", 0)
    assert set(messages[1:]) == {("sync", "attempt", 0)}


def log_entries(stack: RunningStack, name: str) -> list[Json]:
    lines = (stack.run_dir / "logs" / f"{name}.log").read_text().splitlines()
    return [simplejson.loads(line) for line in lines if line.startswith("{")]

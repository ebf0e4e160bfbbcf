"""The procedures of docs/disaster.md on real servers. With -rP they print what they measure."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.disasters import (
    Ctl,
    all_products,
    ctl_of,
    events_of,
    heard,
    listener_in,
    quarantined,
    write_listener,
)
from tests.e2e.delivery.steps import PATIENCE, holds, wait_for, wait_until_held
from tests.support import RunningStack, eventually

FLOOD = 600


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Print how long it took."""
    begun = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - begun:.1f} s")


@pytest.fixture
def ctl(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> Ctl:
    return ctl_of(stack, monkeypatch)


def test_after_the_loss_of_the_stream_all_is_delivered_and_a_new_listener_gets_the_catalog(
    stack: RunningStack, ctl: Ctl, tmp_path: Path
) -> None:
    before = stack.create(name="delivered before")
    wait_for(stack, before["id"], "delivered")
    stack.stop("bridge")
    lost = stack.create(name="in the stream only")

    stack.kill("nats")
    shutil.rmtree(stack.run_dir / "data" / "nats")
    with measured("from the loss of the stream until all is delivered"):
        stack.up()
        wait_until_held(stack, [lost, stack.create(name="afterwards")])

    calls = len(stack.supply_chain.calls())
    queued = stack.queued()
    assert ctl("republish", "--start", "--wait")["state"] == "done"
    write_listener(tmp_path)
    catalog = {key: item["version"] for key, item in all_products(stack).items()}
    with measured("from the start of a new listener until it has all"):  # noqa: SIM117 - to be read
        with listener_in(tmp_path, stack.settings["nats"]):
            eventually(lambda: heard(tmp_path) == catalog, PATIENCE, "the listener has all")
    assert "product:created" in events_of(tmp_path, lost["id"]), "its outbox had it still"
    assert "product:created" not in events_of(tmp_path, before["id"])
    assert (len(stack.supply_chain.calls()), stack.queued()) == (calls, queued)


def test_a_queue_that_was_purged_heals(stack: RunningStack) -> None:
    stack.stop("sync")
    products = [stack.create() for _ in range(20)]
    eventually(lambda: stack.queued() >= 20, PATIENCE, "the messages are in the queue")
    stack.purge_queue()
    assert stack.queued() == 0
    with measured("from the purge until all is delivered, with a grace of 2 s"):
        stack.up()
        wait_until_held(stack, products)


def test_a_flood_of_poison_hides_delays_and_blocks_nothing(
    stack: RunningStack, ctl: Ctl, tmp_path: Path
) -> None:
    stack.stop("sync")
    doomed = stack.create(name="rejected")
    stack.supply_chain.set(rejectIds=[doomed["id"]])
    stack.up()
    wait_for(stack, doomed["id"], "rejected")
    eventually(lambda: stack.dead_letter(doomed["id"]), PATIENCE, "it has its dead letter")
    url = stack.settings["dlqUrl"]
    with measured(f"from {FLOOD} poison messages until the dead-letter queue has none"):
        for _ in range(FLOOD // 10):
            stack.sqs.send_message_batch(
                QueueUrl=url,
                Entries=[{"Id": str(n), "MessageBody": f"flood {n}"} for n in range(10)],
            )
        meanwhile = stack.create(name="meanwhile")
        wait_for(stack, meanwhile["id"], "delivered")
        eventually(lambda: quarantined(stack) >= FLOOD, PATIENCE, "all are in the quarantine")
    assert holds(stack, meanwhile)
    eventually(lambda: stack.dead_letter(doomed["id"]), PATIENCE, "its letter can be seen")
    # Another test on this stack may have left a letter that reconcile has not deleted yet.
    assert all(letter["body"].get("productId") for letter in stack.dead_letters())

    export = tmp_path / "poison.ndjson"
    with measured(f"to export and discard {FLOOD} messages"):
        done = ctl("discard", "--poison", "--yes", "--export", str(export), "--why", "a test")

    assert done["count"] == len(export.read_text().splitlines()) >= FLOOD
    assert quarantined(stack) == 0
    # A sweep may have it in hand.
    eventually(lambda: stack.dead_letter(doomed["id"]), PATIENCE, "a product's letter stays")

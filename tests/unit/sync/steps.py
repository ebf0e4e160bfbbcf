"""What the tests of the sync share: messages, failures, and what happens in between."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Lease, SyncState, SyncStatus
from tests.fakes import START, Pipeline

LATER = START + timedelta(hours=1)
MESSAGE_ID = "message-1"
"""The first message of a fake queue has this id."""


def enqueue(
    pipeline: Pipeline,
    product: Product,
    version: int = 0,
    budget: int = 0,
    event_id: str | None = None,
) -> str:
    """Put a sync message into the queue; the id of the message."""
    message = SyncMessage(product.id, version, budget, "Root=1-2-3", event_id)
    return pipeline.queue.send(message.to_json())


def move_back(pipeline: Pipeline) -> None:
    """Move a copy of each dead letter to the queue, as a console does that then deletes them."""
    for letter in pipeline.queue.dead:
        pipeline.queue.send(letter.body)


def spend(pipeline: Pipeline) -> None:
    """Let time pass until no message is left: whole budgets, whatever comes of them."""
    for _ in range(100):
        if not pipeline.queue.messages:
            return
        due = min(message.visible_at for message in pipeline.queue.messages)
        pipeline.clock.now = max(pipeline.clock.now, due)
        pipeline.sync_once()
    raise AssertionError("the messages do not come to an end")


def waiting(pipeline: Pipeline) -> list[tuple[str, float]]:
    """Each message of the queue, and in how many seconds it becomes visible."""
    now = pipeline.clock()
    return [(m.id, (m.visible_at - now).total_seconds()) for m in pipeline.queue.messages]


def nothing_called(pipeline: Pipeline) -> bool:
    return pipeline.supply_chain.calls == []


def failing(pipeline: Pipeline, *answers: int | None) -> str:
    """Create a product whose calls are answered like this, and sync it once; its id."""
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = list(answers)
    pipeline.pass_on()
    return product_id


def status(pipeline: Pipeline, product_id: str) -> SyncStatus:
    return pipeline.product(product_id).sync.status


def leased(owner: str, until: datetime, version: int, message_id: str | None = None) -> SyncState:
    return SyncState(lease=Lease(owner, until, version), message_id=message_id, behind_since=START)


class WorkerDiedError(BaseException):
    """A process was killed at this point."""


def die() -> None:
    raise WorkerDiedError

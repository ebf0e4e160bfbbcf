"""A product at a moment of its sync, and what is decided for a message."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.domain.delivery import Decision, decide
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import SyncState
from tests.fakes import GRACE, START, a_product

NOW = START
LATER = NOW + GRACE
EARLIER = NOW - GRACE
SCHEDULE = Schedule()
MESSAGE_ID, OTHER = "message_id", "other"


def product(version: int = 3, **sync: object) -> Product:
    """The product p1, changed for the last time five minutes ago; `sync` goes into its state."""
    state = replace(SyncState(behind_since=EARLIER), **sync)  # type: ignore[arg-type]  # any field
    return a_product(
        id="p1",
        version=version,
        created_at=EARLIER,
        updated_at=EARLIER,
        sync=state,
        outbox=(),
    )


def decided(
    found: Product | None, message_id: str = OTHER, version: int = 3, budget: int = 0
) -> Decision:
    return decide(found, SyncMessage("p1", version, budget), message_id, NOW)

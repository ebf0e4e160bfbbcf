"""A product at a moment of its sync, and what is decided for a message."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from chalicelib.domain.delivery import Decision, decide
from chalicelib.domain.messages import ReceivedMessage, SyncMessage
from chalicelib.domain.product import Product, ProductFields
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import SyncState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
EARLIER = NOW - timedelta(minutes=5)
GRACE = timedelta(seconds=300)
SCHEDULE = Schedule()
CARRIER, OTHER = "message_id", "other"


def product(version: int = 3, **sync: object) -> Product:
    fields = ProductFields(name="Lamp", price=Decimal("19.90"), quantity=1)
    state = replace(SyncState(behind_since=EARLIER), **sync)  # type: ignore[arg-type]  # any field
    return Product("p1", fields, version, EARLIER, EARLIER, state)


def decided(
    found: Product | None, message_id: str = OTHER, version: int = 3, sent: datetime = NOW
) -> Decision:
    message = ReceivedMessage(message_id, "receipt", "", 1, sent, NOW)
    return decide(found, SyncMessage("p1", version), message, NOW)

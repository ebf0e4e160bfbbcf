"""Builders of products and their parts: valid, and as a write leaves them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import ObjectId

from chalicelib.domain import exact_json
from chalicelib.domain.events import EventType
from chalicelib.domain.product import FIELD_TYPES, Product, ProductFields
from chalicelib.domain.sync_state import SyncState, SyncStatus

START = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = timedelta(minutes=5)
BODY = {"name": "Anvil", "price": Decimal("12.50"), "quantity": 7}
"""The least that a client must send."""


_VALUES: dict[type, object] = {int: 7, bool: True, Decimal: 1.25, dict: {"key": "value"}}


def every_field() -> dict[str, Any]:
    """A body with each field of the model, as its example shows it, where it has one."""
    shown = {
        name: (field.examples or [_VALUES.get(FIELD_TYPES[name], name)])[0]
        for name, field in ProductFields.model_fields.items()
    }
    # Fractions as the API reads them.
    body: dict[str, Any] = exact_json.loads(exact_json.dumps(shown))
    return body


def every_field_changed() -> dict[str, Any]:
    """The same, with another value for each field."""
    return {name: _other(value) for name, value in every_field().items()}


def _other(value: Any) -> Any:  # noqa: ANN401 - as the fields
    if isinstance(value, bool):
        return not value
    if isinstance(value, dict):
        return {f"{key}.": _other(item) for key, item in value.items()}
    return value + value


def fields(**changes: object) -> ProductFields:
    """Valid fields; `changes` replaces or adds some."""
    return ProductFields.model_validate({**BODY, **changes})


def a_failed_state(status: SyncStatus) -> SyncState:
    """The sync state of a product whose 18 attempts are used up, or whose data is rejected."""
    return SyncState(status=status, attempts=18, behind_since=START, last_error="HTTP 500")


def a_product(**changes: Any) -> Product:  # noqa: ANN401 - any attribute of Product
    """A product as a write leaves it: pending, with the event of its version in the outbox."""
    now = changes.get("updated_at", START)
    made = Product(str(ObjectId()), fields(), 0, now, now, SyncState().restarted(now, now + GRACE))
    product = replace(made, **changes)
    if "outbox" in changes:
        return product
    changed = EventType.DELETED if product.deleted_at else EventType.UPDATED
    return product.with_event(changed if product.version else EventType.CREATED, now, None)

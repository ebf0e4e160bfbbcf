"""The delivery objective: 99 % of single changes are delivered within a minute. Pure.

It is about the catalog, so it counts only while the supply chain accepts: neither a delivery that
the supply chain has refused before, nor one that an outage or an operator has held.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.product import Product

WITHIN = timedelta(seconds=60)
"""From the change to its delivery."""


def in_time(
    before: Product, claimed: Product, delivered_at: datetime, accepting_since: datetime | None
) -> bool | None:
    """Say whether a delivery was in time; None if it does not count.

    `before`: the product as the worker has found it; `claimed`: within the budget of the call.
    `accepting_since`: since when calls are neither held nor on the ramp after it; None if they are.
    """
    since = claimed.sync.behind_since
    if since is None or accepting_since is None or since < accepting_since:
        return None
    if before.sync.parked or not _is_single_change(claimed) or _has_failed(claimed, since):
        return None
    return delivered_at - since <= WITHIN


def _is_single_change(product: Product) -> bool:
    """Say whether it is neither one of many, nor a replay, whose change was long ago."""
    return not product.sync.bulk and product.sync.budget == 0


def _has_failed(product: Product, since: datetime) -> bool:
    """Say whether a call has failed since the change; a probe that failed is in no history."""
    sync = product.sync
    failed = any(attempt.error and attempt.time >= since for attempt in sync.history)
    return failed or sync.last_error is not None

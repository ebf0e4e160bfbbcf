"""The supply chain in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from chalicelib.domain.delivery import Outcome, Verdict, judge
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class SupplyChainCall:
    """One call that the supply chain saw."""

    product_id: str
    version: int
    deleting: bool
    trace: str | None
    key: str


class FakeSupplyChain:
    """Implements `ports.SupplyChain`: answers 200 unless it is told otherwise.

    `answers` holds, per product, the statuses to come (None: no answer at all); `during` is called
    in the middle of each call; `away` lets every call fail without an answer.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.away = False
        self.answers: dict[str, list[int | None]] = {}
        self.retry_after: datetime | None = None
        self.during: Callable[[Product], None] | None = None
        self.calls: list[SupplyChainCall] = []
        self.held: dict[str, Product] = {}

    def deliver(self, product: Product, trace: str | None) -> Outcome:
        time, deleting = self._clock(), product.deleted_at is not None
        key = product.idempotency_key
        self.calls.append(SupplyChainCall(product.id, product.version, deleting, trace, key))
        if self.during is not None:
            self.during(product)
        scripted = self.answers.get(product.id)
        status = None if self.away else scripted.pop(0) if scripted else 200
        verdict = Verdict.FAILED
        if status is not None:
            verdict = judge(status, deleting=deleting, reject_statuses={413, 422})
        if verdict is Verdict.DELIVERED:
            self.held[product.id] = product
        error = (
            None if verdict is Verdict.DELIVERED else f"HTTP {status}" if status else "no answer"
        )
        attempt = Attempt(time, product.version, status, 0.25, error)
        return Outcome(attempt, verdict, self.retry_after)

    def versions(self, product_id: str) -> list[int]:
        """The versions that calls for this product carried, in order."""
        return [call.version for call in self.calls if call.product_id == product_id]

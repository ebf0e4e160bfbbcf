"""The supply chain in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from chalicelib.domain import exact_json
from chalicelib.domain.answers import Answer, Judgement, judge
from chalicelib.domain.delivery import Outcome, Verdict
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
    in the middle of each call; `away` lets every call fail without an answer. A question is
    answered by what it holds: `held`, which a test may change. `told` holds, per product, the
    answers to the next questions of an audit (None: no answer); `asked` its questions.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.away = False
        self.answers: dict[str, list[int | None]] = {}
        self.retry_after: datetime | None = None
        self.during: Callable[[Product], None] | None = None
        self.calls: list[SupplyChainCall] = []
        self.held: dict[str, Product] = {}
        self.told: dict[str, list[Answer | None]] = {}
        self.asked: list[str] = []

    def ask(self, product: Product) -> Answer | None:
        self.asked.append(product.id)
        told = self.told.get(product.id)
        if self.away:
            return None
        return told.pop(0) if told else self._ask(product.id)

    def deliver(self, product: Product, trace: str | None) -> Outcome:
        time, deleting = self._clock(), product.deleted_at is not None
        key = product.idempotency_key
        self.calls.append(SupplyChainCall(product.id, product.version, deleting, trace, key))
        if self.during is not None:
            self.during(product)
        scripted = self.answers.get(product.id)
        status = None if self.away else scripted.pop(0) if scripted else 200
        judgement = Judgement(Verdict.FAILED, "no answer")
        if status is not None:
            judgement = judge(product, Answer(status), lambda: self._ask(product.id), {413, 422})
        if judgement.verdict is Verdict.DELIVERED:
            self.held[product.id] = product
        attempt = Attempt(time, product.version, status, 0.25, judgement.error)
        return Outcome(attempt, judgement.verdict, self.retry_after, judgement.held)

    def _ask(self, product_id: str) -> Answer:
        held = self.held.get(product_id)
        if held is None or held.deleted_at is not None:
            return Answer(404)
        body = {"id": product_id, **held.fields.to_json(), "version": held.version}
        return Answer(200, exact_json.dumps(body).encode())

    def versions(self, product_id: str) -> list[int]:
        """The versions that calls for this product carried, in order."""
        return [call.version for call in self.calls if call.product_id == product_id]

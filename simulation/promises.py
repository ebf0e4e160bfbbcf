"""The promises that a run must keep: some are checked at each step, the rest when all is quiet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chalicelib.domain.messages import parse_sync_message
from chalicelib.domain.product import Product
from chalicelib.domain.retry import JITTER
from chalicelib.domain.sync_state import FAILED_STATUSES, SyncStatus
from simulation.servers import AtLeastOnceQueue, ReplicaSet, WindowedStream
from simulation.supply_chain import TIMEOUT, Call, SupplyChain

TOLERANCE = 2.5
"""Seconds that a visibility timeout's rounding and the clocks of two processes may differ."""


class BrokenPromiseError(Exception):
    """What the simulation is there to find; the text says what was promised and what happened."""


@dataclass(frozen=True)
class Answer:
    """What a consumer was answered 2xx: it must survive."""

    product_id: str
    version: int
    price: object


@dataclass
class Promises:
    """Watches one run. `waits` is the schedule's; `now` the true time in seconds."""

    waits: tuple[float, ...]
    now: Callable[[], float]
    faultless: bool = False
    # `wished`: budgets in which the supply chain has sent a Retry-After. `gone`: products of which a deletion was answered 204, or 404.
    answers: list[Answer] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    wished: set[tuple[str, object]] = field(default_factory=set)
    moves: Counter[str] = field(default_factory=Counter)
    _redrives: Counter[str] = field(default_factory=Counter)
    _running: dict[str, Call] = field(default_factory=dict)
    _newest: dict[str, int] = field(default_factory=dict)
    _counted: dict[tuple[str, object], dict[int, float]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    # ---- at each step ----

    def begun(self, call: Call, supply_chain: SupplyChain) -> None:
        """Judge a call as it begins."""
        product_id, version = call.product.id, call.product.version
        before = self._running.get(product_id)
        if (
            before
            and self.now() < min(before.end, before.start + TIMEOUT)
            and not before.caller.dead
        ):
            raise BrokenPromiseError(
                f"two calls at once for {product_id}: {before.product.version}, {version}"
            )
        newest = max(supply_chain.accepted[product_id], default=-1)
        if version < newest:
            raise BrokenPromiseError(
                f"{product_id}: version {version} is sent after {newest} was accepted"
            )
        self._running[product_id] = call
        self._space(call)

    def _space(self, call: Call) -> None:
        """No counted attempt comes before its time, and none after the last."""
        failed = call.product.sync.attempts
        counted = self._counted[call.product.id, call.budget]
        if failed > len(self.waits):
            raise BrokenPromiseError(
                f"{call.product.id}: attempt {failed + 1} of {len(self.waits) + 1}"
            )
        last = counted.get(failed)
        if failed and last is not None:
            # A Retry-After uses the horizon up: what is left is spread anew, never in a burst.
            planned = self.waits[0 if (call.product.id, call.budget) in self.wished else failed - 1]
            if call.start - last < planned * (1 - JITTER) - TOLERANCE:
                raise BrokenPromiseError(
                    f"{call.product.id}: attempt {failed + 1} came {call.start - last:.1f} s after "
                    f"the one before, planned are {planned:.1f} s less jitter"
                )
        counted[failed + 1] = call.start

    def wrote(
        self, method: str, before: Mapping[str, Product], after: Mapping[str, Product]
    ) -> None:
        """Judge a change of the store: who may take a failed product out of that state."""
        for product_id, old in before.items():
            new = after.get(product_id)
            if new is None or new is old or old.sync.status not in FAILED_STATUSES:
                continue
            if new.version != old.version or new.sync.status is old.sync.status:
                continue
            if method in {"save_sync", "restart_failed"}:
                continue
            self._redrives[product_id] += 1
            if method != "claim" or self._redrives[product_id] > self.moves[product_id]:
                raise BrokenPromiseError(
                    f"{product_id} leaves {old.sync.status} by a {method} that nobody asked for"
                )

    # ---- when all is quiet ----

    def check(
        self,
        store: ReplicaSet,
        queue: AtLeastOnceQueue,
        stream: WindowedStream,
        supply_chain: SupplyChain,
    ) -> None:
        """Judge the end of a run. Raises BrokenPromiseError."""
        if supply_chain.wrong_memory:
            raise BrokenPromiseError(
                f"a replay was answered from an older budget's memory: {supply_chain.wrong_memory}"
            )
        for answer in self.answers:
            _survives(answer, store)
        for product_id in self.gone:
            if not any(product.deleted_at for product in store.lineage.get(product_id, ())):
                raise BrokenPromiseError(f"a deletion was answered, and {product_id} is there")
        letters = Counter(_letter(message.body) for message in queue.dead)
        for product in store.products.values():
            self._settled(product, letters[product.id], supply_chain)
            self._published(product, stream)
        for product_id in letters:
            if product_id not in store.products:
                raise BrokenPromiseError(f"a dead letter is left of {product_id}, which is gone")
        if queue.messages:
            raise BrokenPromiseError(f"messages stay in the queue: {queue.messages}")

    def _settled(self, product: Product, letters: int, supply_chain: SupplyChain) -> None:
        status = product.sync.status
        if status in FAILED_STATUSES:
            if letters != 1:
                raise BrokenPromiseError(f"{product.id} is {status} with {letters} dead letters")
            return
        if letters:
            raise BrokenPromiseError(f"{product.id} is {status} with {letters} dead letters")
        if status is not SyncStatus.DELIVERED:
            raise BrokenPromiseError(f"{product.id} is still {status}: {product.sync}")
        if product.version not in supply_chain.accepted[product.id]:
            raise BrokenPromiseError(
                f"{product.id} is delivered, but the supply chain lacks {product.version}"
            )

    def _published(self, product: Product, stream: WindowedStream) -> None:
        if product.outbox:
            raise BrokenPromiseError(f"{product.id}: events stay in the outbox")

    def nothing_healed(self, relayed: int, enqueued: int, supply_chain: SupplyChain) -> None:
        """In a run without faults reconcile finds nothing to do, and nothing is called twice."""
        if relayed or enqueued:
            raise BrokenPromiseError(
                f"without a fault, reconcile relays {relayed} and enqueues {enqueued}"
            )
        calls = Counter((call.key, call.product.sync.attempts) for call in supply_chain.calls)
        if twice := [key for key, count in calls.items() if count > 1]:
            raise BrokenPromiseError(f"without a fault, called twice: {twice}")


def _survives(answer: Answer, store: ReplicaSet) -> None:
    lineage = store.lineage.get(answer.product_id, ())
    for product in lineage:
        if (product.version, product.fields.price) == (answer.version, answer.price):
            return
    raise BrokenPromiseError(f"a consumer was answered 2xx, and it is gone: {answer}")


def _letter(body: str) -> str:
    return parse_sync_message(body).product_id

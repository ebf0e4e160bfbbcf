"""The servers in memory, with what the real ones do and a unit test's fake need not.

Store: a replica set, whose writes are seen at once and are lost by a failover until the majority
has them. Queue: at least once, in no order, one message to two workers at a time. Stream: a
duplicate window, and a durable consumer that can be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.events import Event
from chalicelib.domain.product import Product
from chalicelib.usecases.ports import Creation
from tests.fakes import FakeQueue, FakeStore, FakeStream
from tests.fakes.queue import FakeQueueMessage

Snapshot = tuple[dict[str, Product], dict[str, Creation], dict[str, tuple[Product, ...]]]

CLIENT_SECONDS = 10.0
"""How long a driver waits for the majority."""


class ReplicaSet(FakeStore):
    """`products` is what the primary sees; `committed` what no failover takes away."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self.lineage: dict[str, tuple[Product, ...]] = {}
        self._pending: list[tuple[float, Snapshot]] = []
        self._committed: Snapshot = ({}, {}, {})
        self.term = 0

    def written(self, before: dict[str, Product], lag: float) -> float:
        """Note a write that has just been made; when the majority will have it."""
        for product_id, product in self.products.items():
            seen = before.get(product_id)
            if seen is None or seen.version != product.version:
                self.lineage = {
                    **self.lineage,
                    product_id: (*self.lineage.get(product_id, ()), product),
                }
        last = self._pending[-1][0] if self._pending else 0.0
        commit = max(last, self._now() + lag)
        self._pending.append((commit, self._snapshot()))
        return commit

    def committed(self) -> dict[str, Product]:
        """What the majority holds now."""
        self._advance()
        return self._committed[0]

    def fail_over(self) -> None:
        """Another node becomes primary: what the majority did not have is gone."""
        self._advance()
        products, creations, lineage = self._committed
        self.products, self._creations, self.lineage = dict(products), dict(creations), lineage
        self._pending.clear()
        self.term += 1

    def _advance(self) -> None:
        while self._pending and self._pending[0][0] <= self._now():
            self._committed = self._pending.pop(0)[1]

    def _snapshot(self) -> Snapshot:
        return dict(self.products), dict(self._creations), self.lineage


class AtLeastOnceQueue(FakeQueue):
    """SQS, standard: any order, and now and then a message that is in flight already."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        random: Random,
        duplicate: Callable[[], float],
        *,
        max_receive_count: int,
    ) -> None:
        super().__init__(clock, max_receive_count=max_receive_count)
        self._random = random
        self._duplicate = duplicate
        self.sent: list[str] = []

    def next_visible(self) -> datetime | None:
        """When the next message becomes visible; None if there is none."""
        return min((message.visible_at for message in self.messages), default=None)

    def _take(
        self, messages: Sequence[FakeQueueMessage], limit: int, hidden: timedelta
    ) -> list[tuple[FakeQueueMessage, str]]:
        if messages is self.messages:
            now = self._clock()
            for message in messages:
                # A server that did not hear of the other's receipt.
                if (
                    message.visible_at > now
                    and message.receives
                    and self._random.random() < self._duplicate()
                ):
                    message.visible_at = now
        shuffled = list(messages)
        self._random.shuffle(shuffled)
        return super()._take(shuffled, limit, hidden)


class WindowedStream(FakeStream):
    """JetStream: the same message id is stored again once the duplicate window is over."""

    def __init__(self, clock: Callable[[], datetime], window: float) -> None:
        super().__init__(clock)
        self._window = timedelta(seconds=window)
        self._stored_at: dict[str, datetime] = {}

    def publish(self, events: Sequence[Event]) -> list[Event]:
        now = self._clock()
        self._ids = {name for name in self._ids if now - self._stored_at[name] < self._window}
        stored = super().publish(events)
        for event in stored:
            self._stored_at.setdefault(event.id, now)
            if event.id not in self._ids or self._stored_at[event.id] + self._window <= now:
                self._stored_at[event.id] = now
        return stored

    def lose_consumer(self) -> None:
        """The durable consumer is made anew, and begins at the first message."""
        self._settled.clear()
        self._due.clear()

    def has(self, event_id: str) -> bool:
        """Say whether the stream has ever stored this event."""
        return event_id in self._stored_at


WRITES = frozenset(
    {
        "insert",
        "save_change",
        "remove_events",
        "postpone",
        "save_sync",
        "restart_failed",
        "claim",
        "record",
        "letters_sent",
        "drop_tombstones",
    }
)


class Port:
    """A port as a process sees it: each call takes time, may fail before or after its effect.

    `step(port, effect_done)` lets time pass; it raises where the call fails or the process ends.
    """

    def __init__(self, name: str, inner: object, step: Callable[[str, bool], None]) -> None:
        self._name = name
        self._inner = inner
        self._step = step

    def __getattr__(self, method: str) -> Callable[..., Any]:
        target = getattr(self._inner, method)

        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the port's own
            self._step(self._name, False)
            result = self._effect(method, lambda: target(*arguments, **options))
            self._step(self._name, True)
            return result

        return call

    def _effect(self, method: str, target: Callable[[], Any]) -> Any:  # noqa: ANN401 - as above
        del method
        return target()


class StorePort(Port):
    """The store as a process sees it: a write returns once the majority has it.

    `wrote(method, before)` is told of each write. `sleep` lets time pass.
    """

    def __init__(
        self,
        inner: ReplicaSet,
        step: Callable[[str, bool], None],
        sleep: Callable[[float], None],
        lag: Callable[[], float],
        wrote: Callable[[str, dict[str, Product]], None],
    ) -> None:
        super().__init__("store", inner, step)
        self._replicas = inner
        self._sleep = sleep
        self._lag = lag
        self._wrote = wrote

    def _effect(self, method: str, target: Callable[[], Any]) -> Any:  # noqa: ANN401 - the port's own
        if method not in WRITES:
            return target()
        before = dict(self._replicas.products)
        result = target()
        self._wrote(method, before)
        lag, term = self._lag(), self._replicas.term
        commit = self._replicas.written(before, lag)
        wait = commit - self._replicas._now()  # noqa: SLF001 - one module
        self._sleep(min(wait, CLIENT_SECONDS))
        if wait > CLIENT_SECONDS or self._replicas.term != term:
            raise StoreUnavailableError(f"{method}: the majority did not answer")
        return result

"""The servers in memory, with behaviour of the real ones that the unit tests' fakes lack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random

from chalicelib.domain.audit import AuditState
from chalicelib.domain.control import Control
from chalicelib.domain.delivery import PARK_LONGER
from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.events import Event
from chalicelib.domain.messages import ReceivedMessage, parse_sync_message
from chalicelib.domain.product import Product
from chalicelib.domain.republish import RepublishState
from chalicelib.domain.restore import RestoreState
from chalicelib.usecases.ports import Creation, ReceivedDeadLetter
from tests.fakes import FakeQueue, FakeStore, FakeStream
from tests.fakes.queue import FakeQueueMessage

Lineage = dict[str, tuple[Product, ...]]
Shared = tuple[Control, AuditState, RepublishState, RestoreState]
Snapshot = tuple[dict[str, Product], dict[str, Creation], Lineage, Shared]

LONG_WAIT = PARK_LONGER.total_seconds() + 5
RETENTION = timedelta(days=14)


class ReplicaSet(FakeStore):
    """A write is visible at once; a failover loses it unless the majority has it.

    `products`: the primary's documents. `lineage`: every version of each product that has survived.
    `term` grows with each failover.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self.lineage: Lineage = {}
        self.term = 0
        self._pending: list[tuple[float, Snapshot]] = []
        shared = (Control(), AuditState(), RepublishState(), RestoreState())
        self._committed: Snapshot = ({}, {}, {}, shared)

    def written(self, before: dict[str, Product], lag: float) -> float:
        """Note a new write; give the seconds until the majority has it."""
        new = {
            product_id: (*self.lineage.get(product_id, ()), product)
            for product_id, product in self.products.items()
            if product_id not in before or before[product_id].version != product.version
        }
        self.lineage = {**self.lineage, **new}
        last = self._pending[-1][0] if self._pending else 0.0
        commit = max(last, self._now() + lag)
        self._pending.append((commit, self._snapshot()))
        return commit - self._now()

    def _snapshot(self) -> Snapshot:
        products, creations = dict(self.products), dict(self._creations)
        shared = (
            self.stored_control,
            self.stored_audit,
            self.stored_republish,
            self.stored_restore,
        )
        return products, creations, self.lineage, shared

    # ---- the worst day ----

    def back_up(self) -> Snapshot:
        """Give what the majority has now."""
        self._advance()
        return self._committed

    def go_back(self, backup: Snapshot) -> None:
        """Be as it was then."""
        self._pending.clear()
        self._committed = backup
        self.fail_over()

    def forget_history(self) -> None:
        """From now on only what is there counts as what was ever written."""
        self.lineage = {name: (product,) for name, product in self.products.items()}
        self._pending.clear()
        self._committed = self._snapshot()

    # ---- the majority ----

    def committed(self) -> dict[str, Product]:
        """What the majority has now."""
        self._advance()
        return self._committed[0]

    def creations(self) -> dict[str, Creation]:
        """The creations under an idempotency key that have survived, by product."""
        return self._creations

    def created_under(self, key: str) -> Creation | None:
        self._advance()
        return next((made for made in self._committed[1].values() if made.key == key), None)

    def fail_over(self) -> None:
        """Another node becomes primary: what the majority did not have is gone."""
        self._advance()
        products, creations, self.lineage, shared = self._committed
        self.stored_control, self.stored_audit, self.stored_republish, self.stored_restore = shared
        self.products, self._creations = dict(products), dict(creations)
        self._pending.clear()
        self.term += 1

    def _advance(self) -> None:
        while self._pending and self._pending[0][0] <= self._now():
            self._committed = self._pending.pop(0)[1]


class AtLeastOnceQueue(FakeQueue):
    """A standard queue of SQS: any order, and sometimes the same message for two workers.

    `duplicate`: the probability of that at each receive. `in_flight`: the limit of messages in
    flight. `sent` is called for each new message. `room`: with so many messages in flight long
    waits should be parked; `crowded` is called if one is deferred nevertheless, with the seconds
    since when there were as many. `over_limit`: when it last refused everybody, and since when.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        random: Random,
        *,
        duplicate: Callable[[], float],
        in_flight: int,
        max_receive_count: int,
        sent: Callable[[], None],
        room: int,
        crowded: Callable[[float], None],
    ) -> None:
        super().__init__(clock, max_receive_count=max_receive_count)
        self._random = random
        self._duplicate = duplicate
        self._in_flight = in_flight
        self._sent = sent
        self.moved: set[str] = set()
        self.over_limit: tuple[datetime, datetime] | None = None
        self._room = room
        self._crowded = crowded
        self._full_since: datetime | None = None

    def next_visible(self) -> datetime | None:
        """When the next message becomes visible; None if there is none."""
        return min((message.visible_at for message in self.messages), default=None)

    def purge(self) -> None:
        """Lose every message."""
        self.messages.clear()

    def send(self, body: str, delay: int = 0) -> str:
        """Wake a long poll, too."""
        self._sent()
        return super().send(body, delay)

    def receive(self, limit: int = 10) -> list[ReceivedMessage]:
        now = self._clock()
        self.messages = [item for item in self.messages if now - item.sent_at < RETENTION]
        if sum(item.visible_at > now for item in self.messages) >= self._in_flight:
            self.over_limit = (now, self.over_limit[1] if self.over_limit else now)
            raise QueueUnavailableError("OverLimit: too many messages are in flight")
        self.over_limit = None
        for message in self.messages:
            # One server of the queue does not know yet that another has delivered the message.
            if message.receives and self._random.random() < self._duplicate():
                message.visible_at = now
        self.moved |= {
            parse_sync_message(item.body).product_id
            for item in self.messages
            if item.visible_at <= now and item.receives >= self._max_receive_count
        }
        self._look()
        received = super().receive(limit)
        self._look()
        return received

    def change_visibility(self, messages: Mapping[str, int]) -> None:
        full = self._look()
        if max(messages.values(), default=0) > LONG_WAIT and full:
            self._crowded((self._clock() - full).total_seconds())
        super().change_visibility(messages)

    def delete(self, receipts: Sequence[str]) -> None:
        self._look()
        super().delete(receipts)
        self._look()

    def _look(self) -> datetime | None:
        """Say since when there is no room."""
        now = self._clock()
        waiting = sum(item.receives > 0 and item.visible_at > now for item in self.messages)
        self._full_since = (self._full_since or now) if waiting >= self._room else None
        return self._full_since

    def receive_dead_letters(self, limit: int) -> list[ReceivedDeadLetter]:
        # Some server of the queue may not be asked: what it holds is counted, and not seen.
        seen = limit if self._random.random() >= self._duplicate() else self._random.randint(0, 2)
        return super().receive_dead_letters(min(limit, seen))

    def _take(
        self, messages: Sequence[FakeQueueMessage], limit: int, visibility: timedelta
    ) -> list[tuple[FakeQueueMessage, str]]:
        shuffled = list(messages)
        self._random.shuffle(shuffled)
        return super()._take(shuffled, limit, visibility)


class WindowedStream(FakeStream):
    """JetStream: the same message id is stored again once the duplicate window is over."""

    def __init__(self, clock: Callable[[], datetime], window: float) -> None:
        super().__init__(clock)
        self._window = timedelta(seconds=window)
        self._stored_at: dict[str, datetime] = {}

    def publish(self, events: Sequence[Event]) -> list[Event]:
        now = self._clock()
        self._ids = {name for name in self._ids if now - self._stored_at[name] < self._window}
        new = [event.message_id for event in events if event.message_id not in self._ids]
        stored = super().publish(events)
        self._stored_at |= dict.fromkeys(new, now)
        return stored

    def lose_consumer(self) -> None:
        """Create the durable consumer again: it begins at the first message."""
        self._settled.clear()
        self._due.clear()

    def lose(self) -> None:
        """Lose all: messages, consumer, and the ids of the duplicate window."""
        self.log.clear()
        self._ids.clear()
        self.lose_consumer()

    def has(self, event_id: str) -> bool:
        """Say whether the stream has ever stored this event."""
        return event_id in self._stored_at

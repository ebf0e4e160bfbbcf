"""The ports in memory, honest enough to fulfil the contract suites, and builders for products.

Each can be switched off: `away` makes every method raise the port's error, `broken` holds the names
of the methods that do. All are safe to use from several threads.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from chalicelib.adapters.mongo.documents import new_product_id
from chalicelib.domain.delivery import Outcome, Verdict, judge
from chalicelib.domain.errors import (
    CatalogError,
    DuplicateIdempotencyKeyError,
    DuplicateSkuError,
    PoisonMessageError,
    QueueUnavailableError,
    StoreUnavailableError,
    StreamUnavailableError,
)
from chalicelib.domain.events import BRIDGED, Event, EventType
from chalicelib.domain.messages import ReceivedMessage, SyncMessage, parse_sync_message
from chalicelib.domain.product import (
    OUTBOX_LIMIT,
    OUTBOX_PAGE,
    Product,
    ProductFields,
)
from chalicelib.domain.retry import SQS_MAX_VISIBILITY_SECONDS, Schedule
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    HISTORY_LIMIT,
    Attempt,
    Lease,
    SyncState,
    SyncStatus,
)
from chalicelib.usecases.bridge import Bridge, Bridged
from chalicelib.usecases.catalog import Catalog, Origin, Precondition
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.ports import (
    Creation,
    ProductQuery,
    ReceivedDeadLetter,
    StreamMessage,
    Summary,
)
from chalicelib.usecases.reconcile import Reconcile, Reconciled
from chalicelib.usecases.sync import Sync, SyncPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from chalicelib.domain.delivery import Claim, SyncResult

START = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = timedelta(minutes=5)


class FakeClock:
    """A clock that moves only when it is told to; milliseconds, as BSON keeps them."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(milliseconds=round(seconds * 1000))


def fields(**changes: object) -> ProductFields:
    """Valid fields; `changes` replaces or adds some."""
    return ProductFields.model_validate(
        {"name": "Anvil", "price": Decimal("12.50"), "quantity": 7, **changes}
    )


def a_product(**changes: Any) -> Product:  # noqa: ANN401 - any attribute of Product
    """A product as a write leaves it: pending, with the event of its version in the outbox."""
    now = changes.get("updated_at", START)
    made = Product(str(ObjectId()), fields(), 0, now, now, SyncState().restarted(now, now + GRACE))
    product = replace(made, **changes)
    if "outbox" in changes:
        return product
    changed = EventType.DELETED if product.deleted_at else EventType.UPDATED
    return product.with_event(changed if product.version else EventType.CREATED, now, None)


class _Switchable:
    error: type[CatalogError]

    def __init__(self) -> None:
        self.away = False
        self.broken: set[str] = set()
        self._lock = threading.RLock()

    def _reach(self, method: str) -> None:
        if self.away or method in self.broken:
            raise self.error(f"{method}: away")


# ---- the store ----


class FakeStore(_Switchable):
    """Implements `ports.Store`."""

    error = StoreUnavailableError

    def __init__(self) -> None:
        super().__init__()
        self.products: dict[str, Product] = {}
        self._creations: dict[str, Creation] = {}

    def insert(
        self, products: Sequence[tuple[Product, Creation | None]]
    ) -> list[CatalogError | None]:
        self._reach("insert")
        with self._lock:
            return [self._insert(product, creation) for product, creation in products]

    def _insert(self, product: Product, creation: Creation | None) -> CatalogError | None:
        if self._sku_is_taken(product):
            return DuplicateSkuError("another product has this sku")
        if creation is not None:
            if any(made.key == creation.key for made in self._creations.values()):
                return DuplicateIdempotencyKeyError("a product was created under this key")
            self._creations[product.id] = creation
        self.products[product.id] = product
        return None

    def _sku_is_taken(self, product: Product) -> bool:
        return product.fields.sku is not None and any(
            other.fields.sku == product.fields.sku and other.id != product.id
            for other in self.products.values()
        )

    def created_under(self, key: str) -> Creation | None:
        self._reach("created_under")
        with self._lock:
            return next((made for made in self._creations.values() if made.key == key), None)

    def get(self, product_id: str) -> Product | None:
        self._reach("get")
        return self.products.get(product_id)

    def get_many(self, product_ids: Collection[str]) -> dict[str, Product]:
        self._reach("get_many")
        with self._lock:
            found = [self.products[item] for item in product_ids if item in self.products]
        return {product.id: _slim(product) for product in found}

    def save_change(self, product: Product, *, expected_version: int) -> bool:
        self._reach("save_change")
        with self._lock:
            stored = self.products.get(product.id)
            if stored is None or stored.version != expected_version or stored.deleted_at:
                return False
            if product.deleted_at:
                bare = product.fields.model_copy(update={"sku": None})
                product = replace(product, fields=bare)
            if self._sku_is_taken(product):
                raise DuplicateSkuError("another product has this sku")
            self.products[product.id] = replace(
                product,
                created_at=stored.created_at,
                sync=_keep(stored.sync, product.sync),
                outbox=(*stored.outbox, product.outbox[-1])[-OUTBOX_LIMIT:],
            )
            return True

    def find(self, query: ProductQuery) -> list[Product]:
        self._reach("find")

        def wanted(product: Product) -> bool:
            if query.status in (None, SyncStatus.DELIVERED) and product.deleted_at is not None:
                return False
            return (
                (query.status is None or product.sync.status is query.status)
                and (query.sku is None or product.fields.sku == query.sku)
                and (query.after is None or product.id > query.after)
            )

        found = sorted(filter(wanted, self._all()), key=lambda product: product.id)
        return [_slim(product) for product in found[: query.limit]]

    def summary(self, outbox_before: datetime | None = None) -> Summary:
        self._reach("summary")
        products = self._all()
        late = outbox_before or datetime.max.replace(tzinfo=UTC)
        statuses = [product.sync.status for product in products]
        behind = [item.sync.behind_since for item in products if item.sync.behind_since]
        return Summary(
            {status: statuses.count(status) for status in SyncStatus},
            min(behind, default=None),
            sum(any(event.time < late for event in product.outbox) for product in products),
        )

    def remove_events(self, events: Sequence[Event]) -> None:
        self._reach("remove_events")
        published = {event.id for event in events}
        for product_id in {event.product_id for event in events}:
            self._change(
                product_id,
                lambda product: replace(
                    product, outbox=tuple(e for e in product.outbox if e.id not in published)
                ),
            )

    def unpublished(self, before: datetime, limit: int) -> list[Product]:
        self._reach("unpublished")

        def oldest(product: Product) -> datetime:
            return min(event.time for event in product.outbox)

        found = [item for item in self._all() if item.outbox and oldest(item) < before]
        return [
            replace(item, outbox=item.outbox[:OUTBOX_PAGE])
            for item in sorted(found, key=oldest)[:limit]
        ]

    def overdue(self, now: datetime, limit: int) -> list[Product]:
        self._reach("overdue")

        def due(product: Product) -> datetime:
            return product.sync.overdue_at or datetime.max.replace(tzinfo=UTC)

        found = sorted((item for item in self._all() if due(item) <= now), key=due)
        return [_slim(product) for product in found[:limit]]

    def postpone(self, products: Mapping[str, tuple[datetime, datetime]]) -> None:
        self._reach("postpone")
        for product_id, (seen, then) in products.items():
            self._change_sync(
                product_id,
                lambda sync, seen=seen, then=then: (  # type: ignore[misc]  # bound per turn
                    replace(sync, overdue_at=then) if sync.overdue_at == seen else sync
                ),
            )

    def restart(self, product: Product, now: datetime) -> bool:
        self._reach("restart")
        with self._lock:
            stored = self.products.get(product.id)
            if stored is None or stored.version != product.version:
                return False
            fresh = _keep(stored.sync, product.sync.restarted(now, now))
            self.products[product.id] = replace(stored, sync=fresh, sync_completed_at=None)
            return True

    def restart_failed(self, statuses: Collection[SyncStatus], now: datetime) -> int:
        self._reach("restart_failed")
        with self._lock:
            stuck = [
                item for item in self._all() if item.sync.status in FAILED_STATUSES & set(statuses)
            ]
            for product in stuck:
                fresh = SyncState().restarted(now, now)
                fresh = replace(fresh, behind_since=product.sync.behind_since)
                self.products[product.id] = replace(product, sync=_keep(product.sync, fresh))
            return len(stuck)

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        self._reach("claim")
        with self._lock:
            return {claim.product.id for claim in claims if self._claim(claim)}

    def _claim(self, claim: Claim) -> bool:
        seen, stored = claim.product, self.products.get(claim.product.id)
        if stored is None or stored.version != seen.version:
            return False
        if (stored.sync.status, stored.sync.attempts) != (seen.sync.status, seen.sync.attempts):
            return False
        if stored.sync.lease is not None and stored.sync.lease.until > claim.now:
            return stored.sync.lease.owner == claim.owner
        sync = replace(
            stored.sync,
            lease=Lease(claim.owner, claim.until, seen.version),
            message_id=claim.message_id,
            overdue_at=claim.overdue_at,
        )
        if claim.fresh:
            sync = replace(
                sync,
                status=SyncStatus.PENDING,
                attempts=0,
                first_attempt_at=None,
                next_attempt_at=None,
                restarted_at=claim.now,
                failed_at=None,
            )
        self.products[seen.id] = replace(stored, sync=sync)
        return True

    def record(self, results: Sequence[SyncResult]) -> None:
        self._reach("record")
        for result in results:
            self._change(result.product_id, lambda stored, result=result: _record(stored, result))  # type: ignore[misc]  # bound per turn

    def drop_tombstones(self) -> int:
        self._reach("drop_tombstones")
        with self._lock:
            done = [
                product.id
                for product in self.products.values()
                if product.deleted_at
                and product.sync.status is SyncStatus.DELIVERED
                and not product.outbox
            ]
            for product_id in done:
                del self.products[product_id]
                self._creations.pop(product_id, None)
            return len(done)

    def ping(self) -> None:
        self._reach("ping")

    def _all(self) -> list[Product]:
        with self._lock:
            return list(self.products.values())

    def _change(self, product_id: str, change: Callable[[Product], Product]) -> None:
        with self._lock:
            if product_id in self.products:
                self.products[product_id] = change(self.products[product_id])

    def _change_sync(self, product_id: str, change: Callable[[SyncState], SyncState]) -> None:
        self._change(product_id, lambda stored: replace(stored, sync=change(stored.sync)))


def _slim(product: Product) -> Product:
    return replace(product, outbox=(), sync=replace(product.sync, history=()))


def _keep(stored: SyncState, fresh: SyncState) -> SyncState:
    """What a fresh budget never touches stays as it is stored."""
    return replace(
        fresh,
        lease=stored.lease,
        delivered_version=stored.delivered_version,
        history=stored.history,
    )


def _record(stored: Product, result: SyncResult) -> Product:
    lease = stored.sync.lease
    if lease is None or lease.owner != result.owner:
        return stored
    newest = stored.sync.delivered_version
    if result.event is not None:
        newest = max(result.version, -1 if newest is None else newest)
    current = (stored.version, stored.sync.message_id) == (result.version, result.sync.message_id)
    written = replace(
        result.sync if current else stored.sync,
        lease=None,
        delivered_version=newest,
        history=(*stored.sync.history, result.attempt)[-HISTORY_LIMIT:],
    )
    if not current:
        return replace(stored, sync=written)
    events = (result.event,) if result.event else ()
    return replace(
        stored,
        sync=written,
        sync_completed_at=result.sync_completed_at,
        outbox=(*stored.outbox, *events)[-OUTBOX_LIMIT:],
    )


# ---- the stream ----


@dataclass(frozen=True, slots=True)
class FakeStreamMessage:
    """Implements `ports.StreamMessage`."""

    data: bytes
    subject: str
    sequence: int
    trace: str | None


class FakeStream(_Switchable):
    """Implements `ports.Publisher` and `ports.Consumer`; a pull never waits.

    `refused` holds the ids of events that it does not store.
    """

    error = StreamUnavailableError
    ACK_WAIT = timedelta(seconds=60)

    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        log: list[FakeStreamMessage] | None = None,
    ) -> None:
        super().__init__()
        self._clock = clock
        self.log: list[FakeStreamMessage] = [] if log is None else log
        self.refused: set[str] = set()
        self._ids: set[str] = set()
        self._settled: set[int] = set()
        self._due: dict[int, datetime] = {}

    def another_consumer(self) -> FakeStream:
        """The same stream, with a durable consumer of its own."""
        return FakeStream(self._clock, log=self.log)

    def publish(self, events: Sequence[Event]) -> list[Event]:
        self._reach("publish")
        stored = [event for event in events if event.id not in self.refused]
        with self._lock:
            for event in stored:
                if event.id not in self._ids:
                    self._ids.add(event.id)
                    self.add(event.type.subject, event.to_cloudevent().encode(), event.trace)
        if events and not stored:
            raise StreamUnavailableError("none was stored")
        return stored

    def add(self, subject: str, data: bytes, trace: str | None = None) -> None:
        """Store whatever a publisher sends."""
        with self._lock:
            self.log.append(FakeStreamMessage(data, subject, len(self.log) + 1, trace))

    def ping(self) -> None:
        self._reach("ping")

    def pull(self, limit: int, timeout: float) -> list[StreamMessage]:  # noqa: ARG002 - the port's
        self._reach("pull")
        now, bridged = self._clock(), {event_type.subject for event_type in BRIDGED}
        with self._lock:
            due = [
                message
                for message in self.log
                if message.subject in bridged
                and message.sequence not in self._settled
                and self._due.get(message.sequence, now) <= now
            ][:limit]
            for message in due:
                self._due[message.sequence] = now + self.ACK_WAIT
        return list(due)

    def ack(self, messages: Sequence[StreamMessage]) -> None:
        self._reach("ack")
        self._settled |= {message.sequence for message in messages}

    def nak(self, messages: Sequence[StreamMessage], delay: float) -> None:
        self._reach("nak")
        due = self._clock() + timedelta(seconds=delay)
        self._due |= {message.sequence: due for message in messages}

    def terminate(self, messages: Sequence[StreamMessage]) -> None:
        self._reach("terminate")
        self._settled |= {message.sequence for message in messages}

    def unsettled(self) -> list[int]:
        """The sequence numbers of what the consumer has neither acknowledged nor terminated."""
        return [item.sequence for item in self.log if item.sequence not in self._settled]


# ---- the queue ----


@dataclass
class FakeQueueMessage:
    """One message of the queue or the dead-letter queue; in flight while it has a receipt."""

    id: str
    body: str
    visible_at: datetime
    sent_at: datetime
    receives: int = 0
    received_at: datetime | None = None
    receipts: set[str] = field(default_factory=set)
    reason: str | None = None


class FakeQueue(_Switchable):
    """Implements `ports.Queue`; also receives and deletes, as the host of the handlers does.

    `refused` holds the ids of products whose sync_messages it does not accept.
    """

    error = QueueUnavailableError
    VISIBILITY = timedelta(seconds=60)
    SWEEP = timedelta(seconds=30)

    def __init__(self, clock: Callable[[], datetime], *, max_receive_count: int = 18) -> None:
        super().__init__()
        self._clock = clock
        self._max_receive_count = max_receive_count
        self._numbers = itertools.count(1)
        self.messages: list[FakeQueueMessage] = []
        self.dead: list[FakeQueueMessage] = []
        self.refused: set[str] = set()

    # ---- the port ----

    def enqueue(self, sync_messages: Sequence[SyncMessage], delay: int = 0) -> list[SyncMessage]:
        self._reach("enqueue")
        assert 0 <= delay <= 900, "SQS: DelaySeconds"
        accepted = [bell for bell in sync_messages if bell.product_id not in self.refused]
        if sync_messages and not accepted:
            raise QueueUnavailableError("none was accepted")
        with self._lock:
            for sync_message in accepted:
                self.send(sync_message.to_json(), delay)
        return accepted

    def change_visibility(self, messages: Mapping[str, int]) -> None:
        self._reach("change_visibility")
        now = self._clock()
        with self._lock:
            failed = [r for r, seconds in messages.items() if not self._defer(r, seconds, now)]
        if failed:
            raise QueueUnavailableError(f"not hidden: {failed}")

    def _defer(self, receipt: str, seconds: int, now: datetime) -> bool:
        message = _by_receipt(self.messages, receipt)
        if message is None or message.received_at is None or message.visible_at <= now:
            return False
        until = now + timedelta(seconds=seconds)
        if until > message.received_at + timedelta(seconds=SQS_MAX_VISIBILITY_SECONDS):
            return False
        message.visible_at = until
        return True

    def dead_letter(self, bodies: Sequence[tuple[str, str]]) -> list[int]:
        self._reach("dead_letter")
        with self._lock:
            for body, reason in bodies:
                self.dead.append(self._message(body, reason=reason))
        return list(range(len(bodies)))

    def receive_dead_letters(self, limit: int) -> list[ReceivedDeadLetter]:
        self._reach("dead_letters")
        with self._lock:
            found = self._take(self.dead, limit, self.SWEEP)
            return [_dead_letter(message, receipt) for message, receipt in found]

    def delete_dead_letters(self, receipts: Sequence[str]) -> None:
        self._reach("delete_dead_letters")
        with self._lock:
            self.dead = [item for item in self.dead if not item.receipts & set(receipts)]

    def release_dead_letters(self, receipts: Sequence[str]) -> None:
        self._reach("release_dead_letters")
        with self._lock:
            for message in self.dead:
                if message.receipts & set(receipts):
                    message.visible_at = self._clock()

    # ---- what AWS and the hosts do ----

    def send(self, body: str, delay: int = 0) -> str:
        """Put any body into the queue; the id of the message."""
        with self._lock:
            message = self._message(body, delay=delay)
            self.messages.append(message)
            return message.id

    def receive(self, limit: int = 10) -> list[ReceivedMessage]:
        """Receive what is visible; what was received too often goes to the dead letters."""
        self._reach("receive")
        with self._lock:
            now = self._clock()
            for message in list(self.messages):
                if message.visible_at <= now and message.receives >= self._max_receive_count:
                    self.messages.remove(message)
                    self.dead.append(message)
            return [
                ReceivedMessage(
                    message.id, receipt, message.body, message.receives, message.sent_at, now
                )
                for message, receipt in self._take(self.messages, limit, self.VISIBILITY)
            ]

    def receive_records(self, wait: int) -> list[dict[str, Any]]:  # noqa: ARG002 - never waits
        """Receive, as records of a Lambda event."""
        return [
            {
                "messageId": message.id,
                "receiptHandle": message.receipt,
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": str(message.receives),
                    "SentTimestamp": str(round(message.sent.timestamp() * 1000)),
                },
            }
            for message in self.receive()
        ]

    def delete(self, receipts: Sequence[str]) -> None:
        """Remove from the queue."""
        self._reach("delete")
        with self._lock:
            self.messages = [item for item in self.messages if not item.receipts & set(receipts)]

    def ping(self) -> None:
        """Return if the queue answers."""
        self._reach("ping")

    def _message(self, body: str, *, delay: int = 0, reason: str | None = None) -> FakeQueueMessage:
        visible = self._clock() + timedelta(seconds=delay)
        return FakeQueueMessage(
            f"message-{next(self._numbers)}", body, visible, self._clock(), reason=reason
        )

    def _take(
        self, messages: Sequence[FakeQueueMessage], limit: int, hidden: timedelta
    ) -> list[tuple[FakeQueueMessage, str]]:
        now = self._clock()
        taken = []
        for message in [item for item in messages if item.visible_at <= now][:limit]:
            receipt = f"{message.id}/receipt-{next(self._numbers)}"
            message.receives += 1
            message.received_at = now
            message.visible_at = now + hidden
            message.receipts.add(receipt)
            taken.append((message, receipt))
        return taken


def _by_receipt(messages: Sequence[FakeQueueMessage], receipt: str) -> FakeQueueMessage | None:
    return next((message for message in messages if receipt in message.receipts), None)


def _dead_letter(message: FakeQueueMessage, receipt: str) -> ReceivedDeadLetter:
    try:
        sync_message = parse_sync_message(message.body)
    except PoisonMessageError:
        return ReceivedDeadLetter(receipt, None, 0)
    return ReceivedDeadLetter(receipt, sync_message.product_id, sync_message.version)


# ---- the supply chain ----


@dataclass(frozen=True, slots=True)
class SupplyChainCall:
    """One call that the supply chain saw."""

    product_id: str
    version: int
    deleting: bool
    trace: str | None


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
        self.calls.append(SupplyChainCall(product.id, product.version, deleting, trace))
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


# ---- all of it ----


class Pipeline:
    """The use cases on the fakes, one clock for all, and the hosts' part between them.

    The clock moves only when a test moves it, so a test decides what is due.
    """

    LEASE = timedelta(seconds=70)

    def __init__(self, *, schedule: Schedule | None = None, concurrency: int = 10) -> None:
        self.clock = FakeClock()
        self.store = FakeStore()
        self.stream = FakeStream(self.clock)
        self.schedule = schedule or Schedule()
        self.policy = SyncPolicy(self.schedule, self.LEASE, GRACE, concurrency)
        self.queue = FakeQueue(self.clock, max_receive_count=self.schedule.attempts)
        self.supply_chain = FakeSupplyChain(self.clock)
        self.connect()

    def connect(self) -> None:
        """Make the use cases anew, around the fakes that are there now."""
        store, queue, clock = self.store, self.queue, self.clock
        self.outbox = Outbox(store, self.stream)
        self.catalog = Catalog(
            store, self.outbox, queue, clock=clock, grace=GRACE, new_id=new_product_id
        )
        self.bridge = Bridge(self.stream, queue)
        self.sync = self.a_worker()
        self.reconcile = Reconcile(store, queue, self.outbox, clock=clock, grace=GRACE)

    def a_worker(self) -> Sync:
        """Another sync function, as Lambda runs several; without jitter."""
        return Sync(
            self.store,
            self.queue,
            self.outbox,
            self.supply_chain,
            self.policy,
            clock=self.clock,
            jitter=lambda: 0.0,
        )

    def create(self, **changes: object) -> str:
        """Create a product through the catalog; its id."""
        body = {"name": "Anvil", "price": Decimal("12.50"), "quantity": 7, **changes}
        product_id: str = self.catalog.create(body, Origin())["id"]
        return product_id

    def update(self, product_id: str, **changes: object) -> None:
        """Make a new version."""
        self.catalog.merge(product_id, changes, Precondition(), Origin())

    def product(self, product_id: str) -> Product:
        """The product as it is stored; KeyError if it is gone."""
        return self.store.products[product_id]

    def bridge_once(self) -> Bridged:
        """Forward what is in the stream."""
        return self.bridge.forward_once(timeout=0)

    def sync_once(self) -> list[ReceivedMessage]:
        """Receive a batch, deliver, delete what is not kept, as the hosts do; what was received."""
        messages = self.queue.receive()
        kept = self.sync.handle(messages)
        self.queue.delete([message.receipt for message in messages if message.id not in kept])
        return messages

    def reconcile_once(self, seconds: float = 40) -> Reconciled:
        """Run reconcile, with so much time."""
        return self.reconcile.run(lambda: seconds)

    def pass_on(self) -> list[ReceivedMessage]:
        """Bridge and sync once each."""
        self.bridge_once()
        return self.sync_once()

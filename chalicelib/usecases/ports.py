"""The interfaces that the use cases need, as Protocols; the adapters implement them.

The contract suites (tests/contract) run on the real adapters and on the fakes of the unit tests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from chalicelib.domain.acts import Act
from chalicelib.domain.answers import Answer
from chalicelib.domain.audit import AuditState
from chalicelib.domain.control import Control
from chalicelib.domain.delivery import Claim, Outcome, SyncResult, Transition
from chalicelib.domain.errors import CatalogError
from chalicelib.domain.events import Event
from chalicelib.domain.messages import DeadLetter, SyncMessage
from chalicelib.domain.poison import PoisonLetter, PoisonSelection
from chalicelib.domain.product import Product
from chalicelib.domain.republish import RepublishState
from chalicelib.domain.restore import RestoreState
from chalicelib.domain.selection import ALL, Portion, Selection
from chalicelib.domain.sync_state import Position, SyncStatus
from chalicelib.domain.throughput import Minute


@dataclass(frozen=True, slots=True)
class Creation:
    """An idempotent creation: the key, a digest of the request, and the answer as JSON text.

    `batch_size`: of so many items; 0 for a creation on its own. None: an earlier release has not
    stored it.
    """

    key: str
    fingerprint: str
    answer: str
    batch_size: int | None = 0


BACKLOG_LIMIT = 10_000
"""Outboxes are counted up to this number, since MongoDB reads a document for each."""


class Order(StrEnum):
    """What a list is in the order of; then by id."""

    ID = "id"
    NAME = "name"
    UPDATED_AT = "updatedAt"
    BEHIND_SINCE = "behindSince"

    def of(self, position: Position) -> str | datetime | None:
        """Give the value by which a product stands at this position; None by id, which has none."""
        values: dict[Order, str | datetime | None] = {
            Order.NAME: position.name,
            Order.UPDATED_AT: position.updated_at,
            Order.BEHIND_SINCE: position.behind_since,
        }
        return values.get(self)


@dataclass(frozen=True, slots=True)
class ProductQuery:
    """Products after `after` (exclusive), at most `limit`.

    `after` needs the value of `order`. With BEHIND_SINCE only products that are not delivered are
    listed, and `statuses` must not contain DELIVERED. `name`: the first characters.
    `updated_since`: inclusive. `details`: with the optional fields, which may take 200 KB.
    `history`: with the attempts. Only with BEHIND_SINCE: `until`, inclusive, and `selection`.
    """

    limit: int
    after: Position | None = None
    statuses: frozenset[SyncStatus] = frozenset()
    sku: str | None = None
    name: str | None = None
    updated_since: datetime | None = None
    order: Order = Order.ID
    details: bool = True
    history: bool = False
    until: Position | None = None
    selection: Selection = ALL


@dataclass(frozen=True, slots=True)
class Window:
    """What a search has found, perhaps nothing; it goes on after `after`, None at the end."""

    products: Sequence[Product]
    after: Position | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Products per status, and since when the oldest of each is behind.

    `outbox_backlog`: products with an unpublished event, at most BACKLOG_LIMIT. `unreadable`:
    documents with a status that this version of the code does not know. Delivered ones are
    estimated; confirmed deletions are counted among them until they are dropped.
    """

    products: Mapping[SyncStatus, int]
    oldest: Mapping[SyncStatus, datetime]
    outbox_backlog: int
    unreadable: int = 0

    @property
    def total(self) -> int:
        """Count all products, and the documents that cannot be read."""
        return sum(self.products.values()) + self.unreadable

    def count(self, statuses: Collection[SyncStatus]) -> int:
        """Count the products with one of these statuses."""
        return sum(self.products.get(status, 0) for status in statuses)

    def age(self, statuses: Collection[SyncStatus], now: datetime) -> float | None:
        """Give the seconds since the oldest change of these; None if there is none."""
        since = min((self.oldest[it] for it in statuses if it in self.oldest), default=None)
        return (now - since).total_seconds() if since else None


@dataclass(frozen=True, slots=True)
class Found:
    """Products by id; `unreadable`: ids of documents that exist and cannot be read."""

    products: Mapping[str, Product]
    unreadable: frozenset[str] = frozenset()

    @property
    def ids(self) -> list[str]:
        """Give all of these ids, in their order."""
        return sorted({*self.products, *self.unreadable})


class PutBack(NamedTuple):
    """A product to write as a whole, and the revision to be replaced; None: there must be none."""

    product: Product
    expected_revision: int | None


class Store(Protocol):
    """The product store. Every method raises StoreUnavailableError when it cannot be reached.

    Methods that find several products skip documents that cannot be read.
    """

    def insert(
        self, products: Sequence[tuple[Product, Creation | None]]
    ) -> list[CatalogError | None]:
        """Insert each product; give per product None, or the error of a duplicate sku or key.

        The error of a sku names the product that has it, unless that has given it up meanwhile.
        """

    def created_under(self, key: str) -> Creation | None:
        """Find the creation that used this idempotency key."""

    def created_in_batch(self, keys: Sequence[str]) -> list[Creation]:
        """Find the creations that used any of these keys, which a batch may have used."""

    def get(
        self, product_id: str, *, majority: bool = False, outbox: bool = False
    ) -> Product | None:
        """Find one product, tombstones too, without its outbox. Raises UnreadableDocumentError.

        `majority`: what the majority has, which no failover rolls back; it may be an older version.
        `outbox`: with the newest OUTBOX_PAGE events of its outbox.
        """

    def get_many(self, product_ids: Collection[str], *, details: bool = True) -> Found:
        """Find products by id, tombstones included, without their outboxes and histories.

        `details` as in ProductQuery.
        """

    def save_change(self, product: Product, *, expected_version: int) -> bool:
        """Write a new version and its newest event, if the stored version is the expected one.

        Does not change lease, delivered version and history. Raises DuplicateSkuError, which
        names the other product as that of `insert` does.
        """

    def save_sync(
        self, product: Product, *, expected_revision: int, event: Event | None = None
    ) -> bool:
        """Write the state of the sync, if the stored revision is the expected one.

        `event`, if there is one, goes into the outbox with it. Does not change delivered version
        and history. Changes the lease only to remove it.
        """

    def find(self, query: ProductQuery) -> list[Product]:
        """List products; tombstones only in the order of BEHIND_SINCE."""

    def search(self, query: ProductQuery, reads: int) -> Window:
        """List products in the order of BEHIND_SINCE, as far as a bounded number of reads comes.

        `reads`: products of each status that are read at most, about, to find those selected.
        """

    def count(self, portion: Portion) -> int:
        """Count the products of a portion that are behind."""

    def walk(self, after: str | None, limit: int, *, majority: bool = False) -> Found:
        """Give the next products after an id, in the order of ids, tombstones included.

        Without their outboxes and histories. What cannot be read counts against the limit.
        `majority` as in `get`.
        """

    def summary(self, outbox_before: datetime) -> Summary:
        """Count products by status, and outboxes with an event older than `outbox_before`."""

    def remove_events(self, events: Collection[tuple[str, str]]) -> None:
        """Remove events, as (product id, event id), from their outboxes: the stream has them."""

    def unpublished(self, before: datetime, limit: int) -> list[Product]:
        """Products with an event in the outbox that is older than `before`, about oldest first.

        As the majority has them: an event that a failover may roll back must not be published.
        Each with its first OUTBOX_PAGE events: whole outboxes could exceed the memory.
        """

    def overdue(self, now: datetime, limit: int) -> list[Product]:
        """Products whose `sync.overdue_at` has passed, longest overdue first, without details."""

    def postpone(self, products: Mapping[str, tuple[datetime, datetime]]) -> int:
        """Change `overdue_at` to the second time, unless it has become later than the first.

        Products with the same second time may be compared with the latest of their first times.
        Gives the number of those changed.
        """

    def apply(self, transitions: Sequence[Transition]) -> set[str]:
        """Change the syncs of products whose revision is unchanged, and remove the events.

        Gives the ids of those changed. One that has changed again since may be missing.
        """

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        """Take leases, and remove the claims' events; give the ids of the claimed products."""

    def record(self, results: Sequence[SyncResult]) -> set[str]:
        """Write results of attempts, and release the leases; give the ids of those written.

        For a product that was changed or replayed during its call, only the lease, the history, the
        delivered version and the result's announcements are written, and its id is not in the
        answer.
        """

    def letters_sent(self, products: Collection[Product]) -> None:
        """Note that the dead letters of these products are sent, if their revision is unchanged."""

    def failed(self, limit: int) -> list[Product]:
        """Failed products whose dead letter is sent, oldest change first, without details."""

    def drop_tombstones(self, products: Collection[Product]) -> int:
        """Remove the confirmed deletions among these, if unchanged, and their events published.

        Gives their number.
        """

    def control(self) -> Control:
        """Read the state of the sync as a whole; a new one if there is none yet."""

    def save_control(self, control: Control, *, expected_revision: int) -> bool:
        """Write the state of the sync as a whole, if its stored revision is the expected one."""

    def add_activity(self, minutes: Sequence[Minute]) -> None:
        """Add counts to those of their minutes. After a crash or a failover some may be missing."""

    def activity(self, minutes: Collection[datetime]) -> list[Minute]:
        """Find the counts of these minutes, where there are any; in no order."""

    def forget_activity(self, before: datetime) -> None:
        """Remove the counts of earlier minutes."""

    def add_act(self, act: Act) -> None:
        """Keep an act; returns when no failover can lose it."""

    def acts(
        self, limit: int, *, before: str | None = None, product_id: str | None = None
    ) -> list[Act]:
        """Find acts, newest first. `before`: this id. `product_id`: about this product."""

    def quarantine(self, letters: Sequence[PoisonLetter]) -> None:
        """Keep poison letters; those that are kept already stay as they are.

        Returns when no failover can lose them.
        """

    def quarantined(
        self, selection: PoisonSelection, limit: int, *, after: str | None = None
    ) -> list[PoisonLetter]:
        """Find poison letters after this message id, in the order of these ids."""

    def count_quarantined(self, selection: PoisonSelection) -> int:
        """Count poison letters; approximate if all are selected."""

    def quarantine_bytes(self) -> int:
        """Say how large the quarantine is, about."""

    def discard(self, message_ids: Collection[str]) -> int:
        """Remove these poison letters for good; give the number of those that were there."""

    def audit(self) -> AuditState:
        """Read how far audits are; a new state if there is none, or it cannot be read."""

    def save_audit(self, state: AuditState, *, expected_revision: int) -> bool:
        """Write how far audits are, if the stored revision is the expected one."""

    def put_back(self, products: Sequence[PutBack]) -> dict[str, CatalogError]:
        """Write whole products over those that were read, or where there are none.

        Gives the error of each that is not written: DuplicateSkuError, or ConcurrentChangeError if
        there is another document by now. What is known of their creation stays.
        """

    def restore(self) -> RestoreState:
        """Read how far a restore is; a new state if there is none, or it cannot be read."""

    def save_restore(self, state: RestoreState, *, expected_revision: int) -> bool:
        """Write how far a restore is, if the stored revision is the expected one."""

    def republish(self) -> RepublishState:
        """Read how far a republish is; a new state if there is none, or it cannot be read."""

    def save_republish(self, state: RepublishState, *, expected_revision: int) -> bool:
        """Write how far a republish is, if the stored revision is the expected one."""

    def ping(self) -> None:
        """Return if the store answers."""


@dataclass(frozen=True, slots=True)
class StreamUsage:
    """The bytes that the stream holds, and its limit; None if it has none."""

    bytes: int
    limit: int | None


PULL_LIMIT = 200
"""Events that the bridge pulls at a time, at most."""


class Publisher(Protocol):
    """The event stream, as its producers see it."""

    def publish(self, events: Sequence[Event]) -> list[Event]:
        """Publish; give the events that the stream has stored. Returns within a few seconds.

        Raises StreamUnavailableError if the stream cannot be reached.
        """

    def ping(self) -> None:
        """Return if stream and consumer are as the catalog needs them.

        Else raise StreamNotMigratedError, which says what is wrong, or StreamUnavailableError.
        """

    def usage(self) -> StreamUsage:
        """Say how full the stream is. Raises StreamUnavailableError."""


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Messages in the order of the stream; `left`: how many follow them now."""

    messages: Sequence[StreamMessage]
    left: int


class StreamReader(Protocol):
    """The event stream, as a record of what was written."""

    def read(self, after: int, limit: int) -> StreamPage:
        """Give the first messages with a higher sequence number; the bridge gets them all the same.

        Fewer than `limit` if they are large; none only if there are none. Raises
        StreamUnavailableError.
        """


class StreamMessage(Protocol):
    """One message of the stream."""

    @property
    def data(self) -> bytes:
        """The payload as published."""

    @property
    def subject(self) -> str:
        """The subject it was published to."""

    @property
    def sequence(self) -> int:
        """Its sequence number in the stream."""

    @property
    def trace(self) -> str | None:
        """The trace header that it carries."""


class Consumer(Protocol):
    """The event stream, as the bridge sees it. All raise StreamUnavailableError."""

    def pull(self, limit: int, timeout: float) -> Sequence[StreamMessage]:
        """Give up to `limit` messages that are there; wait up to `timeout` seconds for the first.

        Others may be received ahead for the next pull; see `release`.
        """

    def release(self) -> None:
        """Give back what was received ahead: no pull follows soon."""

    def ack(self, messages: Sequence[StreamMessage]) -> None:
        """Acknowledge these."""

    def nak(self, messages: Sequence[StreamMessage], delay: float) -> None:
        """Deliver these again in `delay` seconds."""

    def terminate(self, messages: Sequence[StreamMessage]) -> None:
        """Never deliver these again."""


@dataclass(frozen=True, slots=True)
class ReceivedDeadLetter:
    """A message in the dead-letter queue.

    If the body is not a sync message, `message` is None, and `body` has it. `reason`: why it was
    sent; None if the queue has moved it.
    """

    id: str
    receipt: str
    message: SyncMessage | None
    reason: str | None = None
    body: str = ""


class Queue(Protocol):
    """The sync queue and its dead-letter queue. All raise QueueUnavailableError."""

    def enqueue(self, messages: Sequence[SyncMessage]) -> list[SyncMessage]:
        """Send; give the messages that were accepted. Bulk ones may have a queue of their own."""

    def change_visibility(self, messages: Mapping[str, int]) -> None:
        """Set the visibility timeout of each message: receipt handle → seconds from now."""

    def in_flight(self) -> int:
        """Count the messages in flight, also those that are deferred; approximate."""

    def dead_letter(self, letters: Sequence[DeadLetter]) -> list[int]:
        """Send to the dead-letter queue; give the positions of the letters that it accepted."""

    def receive_dead_letters(self, limit: int) -> list[ReceivedDeadLetter]:
        """Receive up to `limit` dead letters; invisible to others until deleted or released."""

    def count_dead_letters(self) -> int:
        """Count the dead letters, also those that are received; approximate."""

    def delete_dead_letters(self, receipts: Sequence[str]) -> None:
        """Remove from the dead-letter queue."""

    def release_dead_letters(self, receipts: Sequence[str]) -> None:
        """Make these visible again at once."""


class SupplyChain(Protocol):
    """The API that must end up with the newest version of every product."""

    def deliver(self, product: Product, trace: str | None) -> Outcome:
        """Make one attempt: upsert, or delete a tombstone.

        Never raises, and returns within its deadline: a failure is an outcome.
        """

    def ask(self, product: Product) -> Answer | None:
        """Ask which version it holds; None if it does not answer.

        Never raises, and returns within its deadline.
        """


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller's `sub`, and the scopes of the token."""

    principal: str
    scopes: frozenset[str]


class TokenVerifier(Protocol):
    """Verifies bearer tokens."""

    def verify(self, authorization: str) -> Caller:
        """Verify an Authorization header's value. Raises InvalidTokenError."""

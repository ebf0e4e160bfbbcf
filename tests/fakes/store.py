"""The store in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chalicelib.domain.acts import Act
from chalicelib.domain.audit import AuditState
from chalicelib.domain.control import Control
from chalicelib.domain.errors import (
    CatalogError,
    ConcurrentChangeError,
    DuplicateIdempotencyKeyError,
    DuplicateSkuError,
    StoreUnavailableError,
    UnreadableDocumentError,
)
from chalicelib.domain.product import OPTIONAL_FIELDS, OUTBOX_LIMIT, OUTBOX_PAGE, Product
from chalicelib.domain.republish import RepublishState
from chalicelib.domain.restore import RestoreState, without_sku
from chalicelib.domain.selection import ALL
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    HISTORY_LIMIT,
    Position,
    SyncState,
    SyncStatus,
)
from chalicelib.domain.throughput import Minute
from chalicelib.usecases.ports import (
    BACKLOG_LIMIT,
    Creation,
    Found,
    Order,
    ProductQuery,
    PutBack,
    Summary,
    Window,
)
from tests.fakes.switchable import Switchable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from chalicelib.domain.delivery import Claim, SyncResult, Transition
    from chalicelib.domain.events import Event
    from chalicelib.domain.poison import PoisonLetter, PoisonSelection
    from chalicelib.domain.selection import Portion


class FakeStore(Switchable):
    """Implements `ports.Store`.

    `unreadable` holds the ids of documents with a status that this version of the code does not
    know.
    """

    error = StoreUnavailableError

    def __init__(self) -> None:
        super().__init__()
        self.products: dict[str, Product] = {}
        self._creations: dict[str, Creation] = {}
        self.unreadable: set[str] = set()
        self.stored_control = Control()
        self.kept_acts: list[Act] = []
        self.minutes: dict[datetime, Minute] = {}
        self.poison: dict[str, PoisonLetter] = {}
        self.stored_audit = AuditState()
        self.stored_restore = RestoreState()
        self.stored_republish = RepublishState()

    def insert(
        self, products: Sequence[tuple[Product, Creation | None]]
    ) -> list[CatalogError | None]:
        self._reach("insert")
        with self._lock:
            return [self._insert(product, creation) for product, creation in products]

    def _insert(self, product: Product, creation: Creation | None) -> CatalogError | None:
        if holder := self._holder(product):
            return DuplicateSkuError(holder)
        if creation is not None:
            if any(made.key == creation.key for made in self._creations.values()):
                return DuplicateIdempotencyKeyError("a product was created under this key")
            self._creations[product.id] = creation
        self.products[product.id] = product
        return None

    def _holder(self, product: Product) -> str | None:
        """The other product that has this product's sku."""
        if product.fields.sku is None:
            return None
        found = (
            other.id
            for other in self.products.values()
            if other.fields.sku == product.fields.sku and other.id != product.id
        )
        return next(found, None)

    def created_under(self, key: str) -> Creation | None:
        self._reach("created_under")
        with self._lock:
            return next((made for made in self._creations.values() if made.key == key), None)

    def created_in_batch(self, keys: Sequence[str]) -> list[Creation]:
        self._reach("created_in_batch")
        with self._lock:
            return [made for made in self._creations.values() if made.key in keys]

    def without_batch_sizes(self) -> None:
        """Make all creations those of an earlier release."""
        self._creations = {
            name: replace(made, batch_size=None) for name, made in self._creations.items()
        }

    def get(
        self, product_id: str, *, majority: bool = False, outbox: bool = False
    ) -> Product | None:
        self._reach("get")
        product = (self.committed() if majority else self.products).get(product_id)
        if product is not None and product_id in self.unreadable:
            raise UnreadableDocumentError(f"product {product_id} cannot be read")
        kept = product.outbox[-OUTBOX_PAGE:] if product and outbox else ()
        return replace(product, outbox=kept) if product else None

    def committed(self) -> dict[str, Product]:
        """What no failover can take back: here, everything."""
        return self.products

    def get_many(self, product_ids: Collection[str], *, details: bool = True) -> Found:
        self._reach("get_many")
        with self._lock:
            found = [self.products[item] for item in sorted(product_ids) if item in self.products]
        readable = {
            item.id: _slim(item, details=details)
            for item in found
            if item.id not in self.unreadable
        }
        return Found(readable, frozenset(item.id for item in found) - readable.keys())

    def save_change(self, product: Product, *, expected_version: int) -> bool:
        self._reach("save_change")
        with self._lock:
            stored = self.products.get(product.id)
            if stored is None or stored.version != expected_version:
                return False
            if product.deleted_at:
                product = without_sku(product)
            if holder := self._holder(product):
                raise DuplicateSkuError(holder)
            self.products[product.id] = replace(
                product,
                created_at=stored.created_at,
                sync=_keep(stored.sync, product.sync),
                outbox=(*stored.outbox, product.outbox[-1])[-OUTBOX_LIMIT:],
                revision=stored.revision + 1,
            )
            return True

    def save_sync(
        self, product: Product, *, expected_revision: int, event: Event | None = None
    ) -> bool:
        self._reach("save_sync")
        with self._lock:
            stored = self.products.get(product.id)
            if stored is None or stored.revision != expected_revision:
                return False
            lease = stored.sync.lease if product.sync.lease else None
            self.products[product.id] = replace(
                stored,
                sync=replace(_keep(stored.sync, product.sync), lease=lease),
                sync_completed_at=product.sync_completed_at,
                outbox=(*stored.outbox, *([event] if event else []))[-OUTBOX_LIMIT:],
                revision=stored.revision + 1,
            )
            return True

    def find(self, query: ProductQuery) -> list[Product]:
        self._reach("find")

        def place(at: Position) -> tuple[Any, str]:
            return query.order.of(at) or "", at.id

        found = [item for item in self._readable() if _is_wanted(item, query)]
        if query.after is not None:
            after = place(query.after)
            found = [item for item in found if place(item.position) > after]
        if query.until is not None:
            until = place(query.until)
            found = [item for item in found if place(item.position) <= until]
        found.sort(key=lambda item: place(item.position))
        return [
            _slim(product, details=query.details, history=query.history)
            for product in found[: query.limit]
        ]

    def search(self, query: ProductQuery, reads: int) -> Window:
        self._reach("search")
        read = self.find(replace(query, limit=reads, selection=ALL))
        end = _place(read[-1]) if len(read) == reads else None
        until = end if query.selection.reads_documents else None
        found = self.find(replace(query, limit=query.limit + 1, until=until))
        page = found[: query.limit]
        return Window(page, _place(page[-1]) if len(found) > len(page) else until)

    def count(self, portion: Portion) -> int:
        self._reach("count")
        return sum(
            item.sync.status is portion.status
            and item.sync.behind_since is not None
            and portion.selection.matches(item.sync)
            for item in self._all()
        )

    def walk(self, after: str | None, limit: int, *, majority: bool = False) -> Found:  # noqa: ARG002 - all is written to all
        self._reach("walk")
        with self._lock:
            names = sorted(name for name in self.products if after is None or name > after)[:limit]
        return self.get_many(names)

    def summary(self, outbox_before: datetime) -> Summary:
        self._reach("summary")
        products = self._all()
        readable = [item for item in products if item.id not in self.unreadable]
        statuses = [item.sync.status for item in readable]
        oldest: dict[SyncStatus, datetime] = {}
        for item in sorted(readable, key=_age, reverse=True):
            if item.sync.behind_since:
                oldest[item.sync.status] = item.sync.behind_since
        return Summary(
            {status: statuses.count(status) for status in SyncStatus},
            oldest,
            min(
                BACKLOG_LIMIT,
                sum(any(event.time < outbox_before for event in item.outbox) for item in products),
            ),
            unreadable=len(self.unreadable & self.products.keys()),
        )

    def remove_events(self, events: Collection[tuple[str, str]]) -> None:
        self._reach("remove_events")
        for product_id, event_id in events:
            self._change(product_id, lambda product, gone=event_id: _without(product, gone))  # type: ignore[misc]  # bound per turn

    def unpublished(self, before: datetime, limit: int) -> list[Product]:
        self._reach("unpublished")

        def oldest(product: Product) -> datetime:
            return min(event.time for event in product.outbox)

        committed = self._readable(self.committed())
        found = [item for item in committed if item.outbox and oldest(item) < before]
        return [
            replace(item, outbox=item.outbox[:OUTBOX_PAGE])
            for item in sorted(found, key=oldest)[:limit]
        ]

    def overdue(self, now: datetime, limit: int) -> list[Product]:
        self._reach("overdue")

        def due(product: Product) -> datetime:
            return product.sync.overdue_at or datetime.max.replace(tzinfo=UTC)

        found = sorted((item for item in self._readable() if due(item) <= now), key=due)
        return [_slim(product, details=False) for product in found[:limit]]

    def postpone(self, products: Mapping[str, tuple[datetime, datetime]]) -> int:
        self._reach("postpone")
        with self._lock:
            return sum(self._postpone(name, *times) for name, times in products.items())

    def _postpone(self, product_id: str, seen: datetime, then: datetime) -> bool:
        stored = self.products.get(product_id)
        due = stored.sync.overdue_at if stored else None
        if stored is None or due is None or due > seen:
            return False
        self.products[product_id] = replace(stored, sync=replace(stored.sync, overdue_at=then))
        return True

    def apply(self, transitions: Sequence[Transition]) -> set[str]:
        self._reach("apply")
        with self._lock:
            return {item.after.id for item in transitions if self._apply(item)}

    def _apply(self, transition: Transition) -> bool:
        stored = self.products.get(transition.before.id)
        if stored is None or stored.revision != transition.before.revision:
            return False
        sync = _keep(stored.sync, transition.after.sync)
        changed = replace(stored, sync=sync, revision=stored.revision + 1)
        self.products[stored.id] = _without(changed, transition.event_id)
        return True

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        self._reach("claim")
        with self._lock:
            return {claim.product.id for claim in claims if self._claim(claim)}

    def _claim(self, claim: Claim) -> bool:
        stored = self.products.get(claim.product.id)
        if stored is None or stored.revision != claim.before.revision:
            return False
        sync = replace(_keep(stored.sync, claim.product.sync), lease=claim.product.sync.lease)
        claimed = replace(stored, sync=sync, revision=stored.revision + 1)
        self.products[stored.id] = _without(claimed, claim.event_id)
        return True

    def record(self, results: Sequence[SyncResult]) -> set[str]:
        self._reach("record")
        with self._lock:
            return {result.product.id for result in results if self._record(result)}

    def _record(self, result: SyncResult) -> bool:
        stored = self.products.get(result.product.id)
        if stored is None:
            return False
        lease, token = stored.sync.lease, result.claim.token
        current = stored.sync.claim == token
        if current or (lease is not None and lease.owner == token):
            self.products[stored.id] = _after_call(stored, result, current=current)
        return current

    def letters_sent(self, products: Collection[Product]) -> None:
        self._reach("letters_sent")
        with self._lock:
            for product in products:
                stored = self.products.get(product.id)
                if stored is not None and stored.revision == product.revision:
                    sync = replace(stored.sync, overdue_at=None, message_id=None)
                    self.products[product.id] = replace(
                        stored, sync=sync, revision=stored.revision + 1
                    )

    def failed(self, limit: int) -> list[Product]:
        self._reach("failed")
        found = [
            item
            for item in sorted(self._readable(), key=_age)
            if item.sync.status in FAILED_STATUSES and item.sync.overdue_at is None
        ]
        return [_slim(product, details=False) for product in found[:limit]]

    def drop_tombstones(self, products: Collection[Product]) -> int:
        self._reach("drop_tombstones")
        with self._lock:
            wanted = {product.id: product.revision for product in products}
            done = [
                product.id
                for product in self.products.values()
                if product.revision == wanted.get(product.id)
                and product.deleted_at is not None
                and product.sync.status is SyncStatus.DELIVERED
                and not product.outbox
            ]
            for product_id in done:
                del self.products[product_id]
                self._creations.pop(product_id, None)
            return len(done)

    def control(self) -> Control:
        self._reach("control")
        return self.stored_control

    def save_control(self, control: Control, *, expected_revision: int) -> bool:
        self._reach("save_control")
        with self._lock:
            if self.stored_control.revision != expected_revision:
                return False
            self.stored_control = control
            return True

    def add_activity(self, minutes: Sequence[Minute]) -> None:
        self._reach("add_activity")
        with self._lock:
            for minute in minutes:
                before = self.minutes.get(minute.at, Minute(minute.at))
                self.minutes[minute.at] = before.plus(minute)

    def activity(self, minutes: Collection[datetime]) -> list[Minute]:
        self._reach("activity")
        with self._lock:
            return [self.minutes[at] for at in minutes if at in self.minutes]

    def forget_activity(self, before: datetime) -> None:
        self._reach("forget_activity")
        with self._lock:
            self.minutes = {at: minute for at, minute in self.minutes.items() if at >= before}

    def add_act(self, act: Act) -> None:
        self._reach("add_act")
        with self._lock:
            self.kept_acts.append(act)

    def acts(
        self, limit: int, *, before: str | None = None, product_id: str | None = None
    ) -> list[Act]:
        self._reach("acts")
        with self._lock:
            newest = sorted(self.kept_acts, key=lambda act: act.id, reverse=True)
        found = [
            act
            for act in newest
            if (before is None or act.id < before)
            and (product_id is None or act.product_id == product_id)
        ]
        return found[:limit]

    def quarantine(self, letters: Sequence[PoisonLetter]) -> None:
        self._reach("quarantine")
        with self._lock:
            new = {letter.message_id: letter for letter in letters}
            self.poison = new | self.poison

    def quarantined(
        self, selection: PoisonSelection, limit: int, *, after: str | None = None
    ) -> list[PoisonLetter]:
        self._reach("quarantined")
        return [
            letter
            for letter in self._selected(selection)
            if after is None or letter.message_id > after
        ][:limit]

    def _selected(self, selection: PoisonSelection) -> list[PoisonLetter]:
        with self._lock:
            return [it for _, it in sorted(self.poison.items()) if selection.selects(it)]

    def count_quarantined(self, selection: PoisonSelection) -> int:
        self._reach("count_quarantined")
        return len(self._selected(selection))

    def quarantine_bytes(self) -> int:
        self._reach("quarantine_bytes")
        with self._lock:
            return sum(len(letter.body) for letter in self.poison.values())

    def discard(self, message_ids: Collection[str]) -> int:
        self._reach("discard")
        with self._lock:
            return sum(self.poison.pop(name, None) is not None for name in message_ids)

    def audit(self) -> AuditState:
        self._reach("audit")
        return self.stored_audit

    def save_audit(self, state: AuditState, *, expected_revision: int) -> bool:
        self._reach("save_audit")
        with self._lock:
            if self.stored_audit.revision != expected_revision:
                return False
            self.stored_audit = state
            return True

    def put_back(self, products: Sequence[PutBack]) -> dict[str, CatalogError]:
        self._reach("put_back")
        with self._lock:
            done = {product.id: self._put_back(product, seen) for product, seen in products}
        return {name: failure for name, failure in done.items() if failure is not None}

    def _put_back(self, product: Product, expected: int | None) -> CatalogError | None:
        stored = self.products.get(product.id)
        if (stored.revision if stored else None) != expected:
            return ConcurrentChangeError("the document is another one by now")
        written = without_sku(product) if product.deleted_at else product
        if holder := self._holder(written):
            return DuplicateSkuError(holder)
        self.products[product.id] = replace(written, keyed=bool(stored and stored.keyed))
        return None

    def restore(self) -> RestoreState:
        self._reach("restore")
        return self.stored_restore

    def save_restore(self, state: RestoreState, *, expected_revision: int) -> bool:
        self._reach("save_restore")
        with self._lock:
            if self.stored_restore.revision != expected_revision:
                return False
            self.stored_restore = state
            return True

    def republish(self) -> RepublishState:
        self._reach("republish")
        return self.stored_republish

    def save_republish(self, state: RepublishState, *, expected_revision: int) -> bool:
        self._reach("save_republish")
        with self._lock:
            if self.stored_republish.revision != expected_revision:
                return False
            self.stored_republish = state
            return True

    def ping(self) -> None:
        self._reach("ping")

    def _all(self) -> list[Product]:
        with self._lock:
            return list(self.products.values())

    def _readable(self, products: Mapping[str, Product] | None = None) -> list[Product]:
        with self._lock:
            found = self.products if products is None else products
            return [item for item in found.values() if item.id not in self.unreadable]

    def _change(self, product_id: str, change: Callable[[Product], Product]) -> None:
        with self._lock:
            if product_id in self.products:
                self.products[product_id] = change(self.products[product_id])


def _is_wanted(product: Product, query: ProductQuery) -> bool:
    undelivered = query.order is Order.BEHIND_SINCE
    listed = product.sync.behind_since if undelivered else product.deleted_at is None
    return (
        bool(listed)
        and (not query.statuses or product.sync.status in query.statuses)
        and (query.sku is None or product.fields.sku == query.sku)
        and (query.name is None or product.fields.name.startswith(query.name))
        and (query.updated_since is None or product.updated_at >= query.updated_since)
        and query.selection.matches(product.sync)
    )


def _place(product: Product) -> Position:
    return Position(product.id, product.sync.behind_since)


def _age(product: Product) -> tuple[datetime, str]:
    return product.sync.behind_since or datetime.max.replace(tzinfo=UTC), product.id


def _slim(product: Product, *, details: bool, history: bool = False) -> Product:
    fields = product.fields
    if not details:
        fields = fields.model_copy(update=dict.fromkeys(OPTIONAL_FIELDS))
    sync = product.sync if history else replace(product.sync, history=())
    return replace(product, fields=fields, outbox=(), sync=sync)


def _keep(stored: SyncState, fresh: SyncState) -> SyncState:
    """What a fresh budget never touches stays as it is stored."""
    return replace(
        fresh,
        lease=stored.lease,
        delivered_version=stored.delivered_version,
        history=stored.history,
    )


def _without(product: Product, event_id: str | None) -> Product:
    return replace(product, outbox=tuple(e for e in product.outbox if e.id != event_id))


def _after_call(stored: Product, result: SyncResult, *, current: bool) -> Product:
    newest = stored.sync.delivered_version
    if result.delivered:
        newest = max(result.product.version, -1 if newest is None else newest)
    attempts = (result.attempt,) if result.attempt else ()
    sync = replace(
        result.product.sync if current else stored.sync,
        lease=None,
        delivered_version=newest,
        history=(*stored.sync.history, *attempts)[-HISTORY_LIMIT:],
    )
    events = result.events if current else result.announcements
    completed = result.product.sync_completed_at if current else stored.sync_completed_at
    return replace(
        stored,
        sync=sync,
        sync_completed_at=completed,
        outbox=(*stored.outbox, *events)[-OUTBOX_LIMIT:],
        revision=stored.revision + 1,
    )

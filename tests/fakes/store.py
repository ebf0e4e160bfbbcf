"""The store in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chalicelib.domain.errors import (
    CatalogError,
    DuplicateIdempotencyKeyError,
    DuplicateSkuError,
    StoreUnavailableError,
)
from chalicelib.domain.events import Event
from chalicelib.domain.product import OUTBOX_LIMIT, OUTBOX_PAGE, Product
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    HISTORY_LIMIT,
    Lease,
    SyncState,
    SyncStatus,
)
from chalicelib.usecases.ports import Creation, ProductQuery, Summary
from tests.fakes.switchable import Switchable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from chalicelib.domain.delivery import Claim, SyncResult


class FakeStore(Switchable):
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
            failed = [
                item for item in self._all() if item.sync.status in FAILED_STATUSES & set(statuses)
            ]
            for product in failed:
                fresh = SyncState().restarted(now, now)
                fresh = replace(fresh, behind_since=product.sync.behind_since)
                self.products[product.id] = replace(product, sync=_keep(product.sync, fresh))
            return len(failed)

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

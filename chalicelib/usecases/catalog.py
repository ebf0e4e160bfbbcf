"""The use cases of API consumers: write and read products. Knows neither HTTP nor MongoDB."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from chalicelib import telemetry
from chalicelib.domain import exact_json
from chalicelib.domain.errors import (
    CatalogError,
    ConcurrentChangeError,
    FieldError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    PayloadTooLargeError,
    ProductNotFoundError,
    ReadOnlyError,
    VersionMismatchError,
)
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import SIZE_LIMIT, Product, ProductFields
from chalicelib.domain.sync_state import SyncState
from chalicelib.usecases.collisions import TRIES, sleep_a_little
from chalicelib.usecases.listing import next_cursor, page_query
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.ports import Creation, Store
from chalicelib.usecases.validation import validated

BATCH_LIMIT = 100
_NEW_KEY = "a new creation needs a new key"


class BatchRequest(BaseModel):
    """Up to 100 products; each is checked on its own."""

    model_config = ConfigDict(extra="forbid")

    items: list[
        Annotated[object, WithJsonSchema({"$ref": "#/components/schemas/ProductFields"})]
    ] = Field(min_length=1, max_length=BATCH_LIMIT)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a write comes from: caller, idempotency key and trace."""

    principal: str = ""
    idempotency_key: str | None = None
    trace: str | None = None

    def scoped_key(self, item: int | None = None) -> str | None:
        """Give the idempotency key as it is stored: two callers may choose the same one.

        `item`: of this item of a batch. In another form a repetition that reaches a process of
        another release would create a second product.
        """
        if self.idempotency_key is None:
            return None
        key = self.idempotency_key if item is None else f"{self.idempotency_key}/{item}"
        return hashlib.sha256(f"{self.principal}\n{key}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Precondition:
    """The versions that the caller accepts to change, as text; None accepts any."""

    versions: Collection[str] | None = None

    def check(self, product: Product) -> None:
        """Raise VersionMismatchError if the product is at none of the versions."""
        if self.versions is not None and str(product.version) not in self.versions:
            raise VersionMismatchError(
                f"the product is at version {product.version}: read it, and send its ETag"
            )


class Catalog:
    """What API consumers can do."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        *,
        clock: Callable[[], datetime],
        grace: timedelta,
        new_id: Callable[[], str],
        bulk_queue: bool = False,
        restoring: bool = False,
        pause: Callable[[int], None] = sleep_a_little,
    ) -> None:
        """`restoring`: every write raises ReadOnlyError, since the store is being made whole."""
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._grace = grace
        self._new_id = new_id
        # Without a queue of its own a batch is written as its products would be alone.
        self._bulk_queue = bulk_queue
        self._restoring = restoring
        self._pause = pause

    # ---- writing ----

    def _check_mode(self) -> None:
        if self._restoring:
            raise ReadOnlyError

    def create(self, body: object, origin: Origin) -> Json:
        """Create one product and give it as JSON.

        Raises InvalidRequestError, DuplicateSkuError, IdempotencyKeyReusedError, ReadOnlyError,
        StoreUnavailableError.
        """
        self._check_mode()
        (outcome,) = self._create([body], [origin.scoped_key()], origin)
        if isinstance(outcome, CatalogError):
            raise outcome
        return outcome

    def create_batch(self, body: object, origin: Origin) -> list[Json | CatalogError]:
        """Create up to 100 products; give per item, in order, the product or its error.

        Raises InvalidRequestError for a body that is no batch, IdempotencyKeyReusedError if the key
        was used for a batch of another size, ReadOnlyError, StoreUnavailableError.
        """
        self._check_mode()
        items = validated(BatchRequest, body).items
        self._check_size(len(items), origin)
        keys = [origin.scoped_key(index) for index in range(len(items))]
        return self._create(items, keys, origin, batch_size=len(items))

    def _check_size(self, size: int, origin: Origin) -> None:
        """Raise IdempotencyKeyReusedError if the key was used for a batch of another size."""
        keys = [origin.scoped_key(index) for index in range(BATCH_LIMIT)]
        known = [key for key in keys if key is not None]
        for earlier in self._store.created_in_batch(known) if known else ():
            if earlier.batch_size and earlier.batch_size != size:
                raise _reused(earlier)

    def _create(
        self,
        bodies: Sequence[object],
        keys: Sequence[str | None],
        origin: Origin,
        batch_size: int = 0,
    ) -> list[Json | CatalogError]:
        bulk = self._bulk_queue and batch_size > 0
        outcomes: list[Json | CatalogError] = []
        drafts: dict[int, tuple[Product, Creation | None]] = {}
        for index, (body, key) in enumerate(zip(bodies, keys, strict=True)):
            try:
                product = self._draft(validated(ProductFields, body), key, origin, bulk=bulk)
                drafts[index] = product, _creation(product, key, batch_size)
                outcomes.append(product.to_json())
            except InvalidRequestError as error:
                outcomes.append(error)
        failures = self._store.insert(list(drafts.values())) if drafts else []
        accepted = []
        for (index, (product, creation)), failure in zip(drafts.items(), failures, strict=True):
            if failure is None:
                accepted.append(product)
            else:
                outcomes[index] = self._repeated(creation, failure)
        self._accepted([event for product in accepted for event in product.outbox])
        return outcomes

    def _draft(
        self, fields: ProductFields, key: str | None, origin: Origin, *, bulk: bool
    ) -> Product:
        now = self._clock()
        sync = SyncState().restarted(now, now + self._grace, bulk=bulk, trace=origin.trace)
        product = Product(self._new_id(), fields, 0, now, now, sync, keyed=key is not None)
        return product.with_event(EventType.CREATED, now, origin.trace)

    def _repeated(self, creation: Creation | None, failure: CatalogError) -> Json | CatalogError:
        """Give the first answer again if this key has been used for the same creation."""
        earlier = self._store.created_under(creation.key) if creation else None
        if creation is None or earlier is None:
            return failure
        if earlier.fingerprint != creation.fingerprint:
            return IdempotencyKeyReusedError(f"this key was used with another body: {_NEW_KEY}")
        if earlier.batch_size not in {None, creation.batch_size}:
            # At the same time as this request, or a single creation with a key such as <key>/0.
            return _reused(earlier)
        answer: Json = exact_json.loads(earlier.answer)
        return answer

    def replace(
        self, product_id: str, body: object, condition: Precondition, origin: Origin
    ) -> Json:
        """Replace all writable fields. Raises as `create`, and as `change`."""
        self._check_mode()
        fields = validated(ProductFields, body)
        return self._change(product_id, lambda _: fields, condition, origin)

    def merge(
        self, product_id: str, patch: object, condition: Precondition, origin: Origin
    ) -> Json:
        """Apply an RFC 7396 merge patch to the writable fields.

        Raises as `replace`, and PayloadTooLargeError if the product would grow too large.
        """
        self._check_mode()
        if not isinstance(patch, dict):
            raise InvalidRequestError([FieldError("body", "must be a JSON object")])

        # A null removes a field. Of one that no product has, it is a mistake like any other value.
        unknown = {name: None for name in patch if name not in ProductFields.model_fields}

        def edit(fields: ProductFields) -> ProductFields:
            merged = validated(ProductFields, unknown | merge_patch(fields.to_json(), patch))
            if len(exact_json.dumps(merged.to_json()).encode()) > SIZE_LIMIT:
                raise PayloadTooLargeError(f"a product may have {SIZE_LIMIT} bytes at most")
            return merged

        return self._change(product_id, edit, condition, origin)

    def _change(
        self,
        product_id: str,
        edit: Callable[[ProductFields], ProductFields],
        condition: Precondition,
        origin: Origin,
    ) -> Json:
        def build(product: Product) -> Product | None:
            fields = edit(product.fields)
            if fields.fingerprint() == product.fields.fingerprint():
                return None
            return self._next_version(replace(product, fields=fields), EventType.UPDATED, origin)

        return self._write(product_id, build, condition).to_json()

    def delete(self, product_id: str, condition: Precondition, origin: Origin) -> None:
        """Make the product a tombstone, which is removed when the supply chain has confirmed.

        Raises ProductNotFoundError, VersionMismatchError, ReadOnlyError, StoreUnavailableError.
        """
        self._check_mode()

        def build(product: Product) -> Product:
            tombstone = replace(product, deleted_at=self._clock())
            return self._next_version(tombstone, EventType.DELETED, origin)

        self._write(product_id, build, condition)

    def _next_version(self, product: Product, event_type: EventType, origin: Origin) -> Product:
        now = self._clock()
        sync = product.sync.restarted(now, now + self._grace, trace=origin.trace)
        return product.with_version(product.version + 1, sync, event_type, now, origin.trace)

    def _write(
        self,
        product_id: str,
        build: Callable[[Product], Product | None],
        condition: Precondition,
    ) -> Product:
        """Read, build the next version, and write it if the version is unchanged; else repeat."""
        for attempt in range(TRIES):
            product = self._store.get(product_id)
            changed = None
            if product is not None and product.deleted_at is None:
                condition.check(product)
                changed = build(product)
            if changed is None or product is None:
                # Nothing is written, so no write concern has waited for the majority.
                if self._is_committed(product_id, product):
                    return _existing(product_id, product)
            elif self._store.save_change(changed, expected_version=product.version):
                self._accepted(changed.outbox)
                return changed
            self._pause(attempt)
        raise ConcurrentChangeError("other writers changed the product each time")

    def _accepted(self, events: Sequence[Event]) -> None:
        """Publish the events of what is stored, and log each write."""
        published = {event.id for event in self._outbox.publish(events)}
        for event in events:
            telemetry.log.info(
                "accepted",
                product_id=event.product_id,
                version=event.version,
                trace=event.log_fields["trace"],
                # Only what is not as usual; the outbox has logged the reason.
                published=None if event.id in published else False,
            )

    def _is_committed(self, product_id: str, seen: Product | None) -> bool:
        """Say whether the majority has what was read, so that no failover rolls it back.

        An answer "unchanged" is a promise too: the write that it relies on may be an earlier try of
        this consumer that was not answered.
        """
        held = self._store.get(product_id, majority=True)
        if held is None or seen is None:
            return held is seen
        # After a rollback, the same number may be of another consumer's write.
        return _written(held) == _written(seen)

    # ---- reading ----

    def get(self, product_id: str) -> Json:
        """Give one product. Raises ProductNotFoundError, StoreUnavailableError."""
        return _existing(product_id, self._store.get(product_id)).to_json()

    def list_products(self, parameters: object) -> Json:
        """Give one page: `{items, nextCursor}`. Raises InvalidRequestError."""
        query = page_query(parameters)
        found = self._store.find(query)
        page = found[: query.limit - 1]
        more = len(found) == query.limit
        return {
            "items": [product.to_json() for product in page],
            "nextCursor": next_cursor(page[-1].position, query.order) if more else None,
        }


def _written(product: Product) -> tuple[object, ...]:
    """Give what only a consumer's write changes."""
    return product.version, product.fields, product.updated_at, product.deleted_at


def _creation(product: Product, key: str | None, batch_size: int) -> Creation | None:
    if key is None:
        return None
    return Creation(key, product.fields.fingerprint(), product.outbox[-1].data, batch_size)


def _reused(earlier: Creation) -> IdempotencyKeyReusedError:
    used = f"a batch of {earlier.batch_size}" if earlier.batch_size else "a single product"
    return IdempotencyKeyReusedError(f"this key was used for {used}: {_NEW_KEY}")


def _existing(product_id: str, product: Product | None) -> Product:
    if product is None or product.deleted_at is not None:
        raise ProductNotFoundError(f"no product has the id {product_id}")
    return product


def merge_patch(target: Json, patch: Json) -> Json:
    """Apply a JSON merge patch (RFC 7396): null removes, objects merge, the rest replaces."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = merge_patch(old if isinstance(old, dict) else {}, value)
        else:
            merged[key] = value
    return merged

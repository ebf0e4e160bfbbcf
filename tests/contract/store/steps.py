"""What the tests of the store do with products: insert, change, claim and record them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chalicelib.domain.delivery import Claim, Outcome, SyncResult, conclude, judge
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import Attempt
from tests.fakes import GRACE, START, a_product

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


LATER = START + timedelta(hours=1)
LEASE = timedelta(seconds=70)
SCHEDULE = Schedule()


def insert(store: Store, *products: Product) -> None:
    assert store.insert([(product, None) for product in products]) == [None] * len(products)


def inserted(store: Store, **changes: object) -> Product:
    product = a_product(**changes)
    insert(store, product)
    return product


def stored(store: Store, product: Product) -> Product:
    found = store.get(product.id)
    assert found is not None
    return found


def changed(product: Product, **changes: object) -> Product:
    """The next version of a product, as the catalog would write it."""
    return a_product(
        id=product.id,
        version=product.version + 1,
        created_at=product.created_at,
        updated_at=LATER,
        sync=product.sync.restarted(LATER, LATER + GRACE),
        **{"fields": product.fields, **changes},
    )


def change(store: Store, product: Product, **changes: object) -> Product:
    following = changed(product, **changes)
    assert store.save_change(following, expected_version=product.version)
    return following


def a_claim(
    product: Product,
    owner: str = "worker",
    *,
    now: datetime = LATER,
    message_id: str = "message",
    fresh: bool = False,
) -> Claim:
    until = now + LEASE
    return Claim(product, owner, message_id, now, until, until + GRACE, fresh)


def claimed(store: Store, product: Product, owner: str = "worker") -> Claim:
    claim = a_claim(stored(store, product), owner)
    assert store.claim([claim]) == {product.id}
    return claim


def a_result(claim: Claim, status: int = 200, schedule: Schedule = SCHEDULE) -> SyncResult:
    """What is to be written after an attempt that was answered with this status."""
    deleting = claim.product.deleted_at is not None
    error = None if status == 200 else f"HTTP {status}"
    attempt = Attempt(claim.now, claim.product.version, status, 0.5, error)
    outcome = Outcome(attempt, judge(status, deleting=deleting, reject_statuses={422}))
    result, _ = conclude(
        claim, outcome, schedule, now=claim.now, jitter=0.0, grace=GRACE, trace=None
    )
    return result


def delivered(store: Store, product: Product) -> SyncResult:
    result = a_result(claimed(store, product))
    store.record([result])
    return result


def ids(products: list[Product]) -> list[str]:
    return [product.id for product in products]

"""What the tests of the store do with products: insert, change, claim and record them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from chalicelib.domain.control import Redrive
from chalicelib.domain.delivery import (
    Claim,
    Outcome,
    SyncResult,
    Times,
    Transition,
    Verdict,
    conclude,
    redrive,
)
from chalicelib.domain.delivery import claim as take
from chalicelib.domain.events import Event
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import Attempt
from tests.fakes import GRACE, START, a_product

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


LATER = START + timedelta(hours=1)
LATEST = LATER + timedelta(days=1)
LEASE = timedelta(seconds=70)
SCHEDULE = Schedule(3, 30, 20)
"""Waits of 10 s and 20 s: whole milliseconds, which is what BSON keeps."""
ONE_ATTEMPT = Schedule(1, 0)


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


def without_outbox(product: Product) -> Product:
    return replace(product, outbox=())


def events(store: Store, product: Product) -> tuple[Event, ...]:
    """The first OUTBOX_PAGE of the events that wait in a product's outbox."""
    found = store.unpublished(LATEST, 1000)
    return next((item.outbox for item in found if item.id == product.id), ())


def empty_outbox(store: Store, product: Product) -> list[Event]:
    """Take all events out of an outbox; what they were."""
    gone: list[Event] = []
    while waiting := events(store, product):
        store.remove_events([(product.id, event.id) for event in waiting])
        gone += waiting
    return gone


def changed(product: Product, **changes: object) -> Product:
    """The next version of a product, as the catalog would write it."""
    return a_product(
        id=product.id,
        version=product.version + 1,
        revision=product.revision + 1,
        created_at=product.created_at,
        updated_at=LATER,
        sync=product.sync.restarted(LATER, LATER + GRACE),
        **{"fields": product.fields, **changes},
    )


def change(store: Store, product: Product, **changes: object) -> Product:
    following = changed(product, **changes)
    assert store.save_change(following, expected_version=product.version)
    return following


def replayed(product: Product) -> Product:
    """A product with its next budget, as the catalog would write it."""
    sync = product.sync.restarted(LATER, LATER + GRACE, budget=product.sync.budget + 1)
    return replace(product, sync=sync, sync_completed_at=None, revision=product.revision + 1)


def replay(store: Store, product: Product) -> Product:
    again = replayed(stored(store, product))
    assert store.save_sync(again, expected_revision=again.revision - 1)
    return again


def a_claim(
    product: Product,
    worker: str = "worker",
    *,
    message_id: str = "message",
    budget: int | None = None,
    event_id: str | None = None,
) -> Claim:
    """The claim of a worker that has seen this product; `worker` is its token."""
    message = SyncMessage(product.id, *product.pair, event_id=event_id)
    until = LATER + LEASE
    times = Times(LATER, until, until + GRACE, START)
    wanted = product.sync.budget if budget is None else budget
    return take(product, message, message_id, wanted, worker, times)


def claimed(store: Store, product: Product, worker: str = "worker") -> Claim:
    claim = a_claim(stored(store, product), worker)
    assert store.claim([claim]) == {product.id}
    return claim


def a_result(
    claim: Claim, status: int = 200, schedule: Schedule = SCHEDULE, event: Event | None = None
) -> SyncResult:
    """What is to be written after an attempt that was answered with this status."""
    product = claim.product
    error = None if status == 200 else f"HTTP {status}"
    attempt = Attempt(LATER, product.version, status, 0.5, error)
    verdicts = {200: Verdict.DELIVERED, 422: Verdict.REJECTED}
    outcome = Outcome(attempt, verdicts.get(status, Verdict.FAILED))
    result = conclude(claim, outcome, schedule, now=LATER, jitter=0.0, grace=GRACE)
    return replace(result, events=() if event is None else (event,))


def recorded(store: Store, product: Product, status: int = 200) -> SyncResult:
    """Claim a product, and write the result of a call."""
    result = a_result(claimed(store, product), status)
    assert store.record([result]) == {product.id}
    return result


def history(result: SyncResult) -> tuple[Attempt, ...]:
    """What a result adds to the history."""
    return (result.attempt,) if result.attempt else ()


def a_redrive(product: Product) -> Transition:
    """The restart of a product for a redrive."""
    transition = redrive(product, Redrive((product.sync.status,), LATER, 1), LATER)
    assert transition is not None
    return transition


def redriven(store: Store, product: Product) -> bool:
    """Restart a product for a redrive."""
    return store.apply([a_redrive(product)]) == {product.id}


def ids(products: list[Product]) -> list[str]:
    return [product.id for product in products]

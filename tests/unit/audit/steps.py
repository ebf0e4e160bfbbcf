"""A catalog that is delivered, and a supply chain that is changed behind our back."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.domain.answers import Answer
from chalicelib.domain.audit import Difference, Run
from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.product import Product
from chalicelib.usecases.audit import AuditPolicy
from chalicelib.usecases.catalog import Precondition
from tests.fakes import Pipeline
from tests.support import Json
from tests.unit.catalog.steps import SOMEBODY

NONE = {kind.value: 0 for kind in Difference}
NO_ANSWER: list[Answer | None] = [None]


def a_catalog(count: int, *, sample: int = 0, breaker: BreakerPolicy | None = None) -> Pipeline:
    """So many products, all of which are delivered."""
    made = Pipeline(breaker=breaker)
    made.audit_policy = AuditPolicy(sample=sample)
    made.connect()
    for number in range(count):
        made.create(name=f"Lamp {number}")
    settle(made)
    return made


def settle(pipeline: Pipeline) -> None:
    """Deliver what waits; time passes only if calls are limited."""
    for _ in range(100):
        if not pipeline.bridge_once().forwarded and not pipeline.queue.messages:
            return
        if not pipeline.sync_once():
            pipeline.clock.advance(1)
    raise AssertionError("it is never delivered")


def ids(pipeline: Pipeline) -> list[str]:
    return sorted(pipeline.store.products)


def change_there(pipeline: Pipeline, product_id: str, difference: Difference) -> None:
    """Change what the supply chain holds; of a product that is deleted here, bring it back."""
    held = pipeline.supply_chain.held
    product = pipeline.product(product_id)
    fields = product.fields.model_copy(update={"name": "Changed behind our back"})
    changes: dict[Difference, Product] = {
        Difference.OLDER: replace(product, version=product.version - 1),
        Difference.NEWER: replace(product, version=product.version + 4),
        Difference.DIFFERENT: replace(product, fields=fields),
        Difference.UNDELETED: replace(product, deleted_at=None),
    }
    if difference is Difference.MISSING:
        del held[product_id]
    else:
        held[product_id] = changes[difference]


def delete(pipeline: Pipeline, product_id: str) -> None:
    """Delete a product, here and there; its key keeps the tombstone for a day."""
    product = pipeline.product(product_id)
    pipeline.store.products[product_id] = replace(product, keyed=True)
    pipeline.catalog.delete(product_id, Precondition(), SOMEBODY)
    settle(pipeline)


def audit(pipeline: Pipeline, body: Json | None = None, seconds: float = 40) -> Json:
    """Start a full audit, and run reconcile once; how far it is then."""
    pipeline.audits.start(body or {}, SOMEBODY)
    pipeline.reconcile_once(seconds)
    return pipeline.audits.show()


def run_of(pipeline: Pipeline) -> Run:
    """The full audit that runs."""
    run = pipeline.store.stored_audit.run
    assert run is not None
    return run

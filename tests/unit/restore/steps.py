"""A catalog that goes on after a backup, and a store that is restored to it."""

from __future__ import annotations

from copy import copy

from chalicelib.domain.product import Product
from chalicelib.usecases.catalog import Precondition
from tests.fakes import Pipeline
from tests.fakes.store import FakeStore
from tests.support import Json
from tests.unit.audit.steps import a_catalog, settle
from tests.unit.catalog.steps import SOMEBODY

MARGIN = 1_000_000

__all__ = ["MARGIN", "a_catalog", "settle"]


def backup(pipeline: Pipeline) -> FakeStore:
    """The store as it is now."""
    kept = copy(pipeline.store)
    kept.products = dict(pipeline.store.products)
    kept.kept_acts = list(pipeline.store.kept_acts)
    return kept


def put_back(pipeline: Pipeline, kept: FakeStore) -> None:
    """Restore the store, and start all roles read-only."""
    pipeline.store = backup_of(kept)
    switch(pipeline, restoring=True)


def backup_of(kept: FakeStore) -> FakeStore:
    again = copy(kept)
    again.products = dict(kept.products)
    return again


def switch(pipeline: Pipeline, *, restoring: bool) -> None:
    """Set CATALOG_MODE of all roles."""
    pipeline.restoring = restoring
    pipeline.connect()


def delete(pipeline: Pipeline, product_id: str) -> None:
    pipeline.catalog.delete(product_id, Precondition(), SOMEBODY)


def restore(pipeline: Pipeline, **body: object) -> Json:
    """Start a restore, and run reconcile once; how far it is then."""
    pipeline.restores.start(body, SOMEBODY)
    pipeline.reconcile_once()
    return pipeline.restores.show()


def finish(pipeline: Pipeline) -> Json:
    """Accept writes again, deliver, and let reconcile follow; how far the restore is then."""
    switch(pipeline, restoring=False)
    for _ in range(8):
        deliver(pipeline)
    return pipeline.restores.show()


def deliver(pipeline: Pipeline) -> None:
    """Let the grace pass, and have all that is due enqueued and delivered."""
    pipeline.clock.advance(400)
    pipeline.reconcile_once()
    settle(pipeline)


def restored_and_delivered(pipeline: Pipeline) -> None:
    """Restore the store to what it is, accept writes again, and deliver what was lifted."""
    put_back(pipeline, backup(pipeline))
    restore(pipeline)
    switch(pipeline, restoring=False)
    deliver(pipeline)


def held(pipeline: Pipeline) -> dict[str, tuple[int, str]]:
    """What the supply chain holds: version and name by id."""
    return {name: _shown(it) for name, it in pipeline.supply_chain.held.items()}


def wanted(pipeline: Pipeline) -> dict[str, tuple[int, str]]:
    """What the catalog says."""
    products = pipeline.store.products
    return {name: _shown(it) for name, it in products.items() if it.deleted_at is None}


def _shown(product: Product) -> tuple[int, str]:
    return product.version, product.fields.name

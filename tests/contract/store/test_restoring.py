"""A restored store: whole products are written over what was read, and how far it is is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.domain.errors import ConcurrentChangeError, DuplicateSkuError
from chalicelib.domain.events import EventType
from chalicelib.domain.product import ProductFields
from chalicelib.domain.restore import Clash, Loss, Phase, Restore, RestoreState, Stray
from chalicelib.domain.sync_state import SyncState
from chalicelib.usecases.ports import Creation, PutBack
from tests.contract.store.steps import (
    LATER,
    change,
    claimed,
    events,
    insert,
    inserted,
    recorded,
    stored,
    without_outbox,
)
from tests.fakes import GRACE, START, a_product, every_field, fields

if TYPE_CHECKING:
    from chalicelib.adapters.mongo.store import MongoStore
    from chalicelib.domain.product import Product
    from chalicelib.usecases.ports import Store


def put_back(product: Product, **changes: object) -> Product:
    """A later version of a product that was read, with an event, as a lift makes it."""
    sync = SyncState(behind_since=LATER, overdue_at=LATER + GRACE, bulk=True)
    later = replace(product, **{"revision": product.revision + 1, **changes})  # type: ignore[arg-type]
    return later.with_version(product.version + 9, sync, EventType.UPDATED, LATER, None)


def test_a_whole_product_is_written_over_the_one_that_was_read(store: Store) -> None:
    every = ProductFields.model_validate(every_field())
    old = stored(store, inserted(store, fields=every))
    new = put_back(old, fields=fields(name="Restored"))
    assert store.put_back([PutBack(new, old.revision)]) == {}
    assert stored(store, old) == without_outbox(new)
    assert events(store, old) == new.outbox


def test_nothing_of_its_older_sync_is_left(store: Store) -> None:
    product = inserted(store)
    recorded(store, product)
    claimed(store, change(store, stored(store, product)))
    old = stored(store, product)
    assert old.sync.history
    assert old.sync.lease
    new = put_back(old)
    assert store.put_back([PutBack(new, old.revision)]) == {}
    assert stored(store, old).sync == new.sync
    assert events(store, old) == new.outbox


def test_a_product_is_written_where_there_is_none(store: Store) -> None:
    product = a_product(revision=0)
    assert store.put_back([PutBack(product, None)]) == {}
    assert stored(store, product) == without_outbox(product)


def test_a_tombstone_has_no_sku(store: Store) -> None:
    old = stored(store, inserted(store, fields=fields(sku="A")))
    assert store.put_back([PutBack(put_back(old, deleted_at=LATER), old.revision)]) == {}
    assert stored(store, old).fields.sku is None
    assert stored(store, old).deleted_at == LATER
    insert(store, a_product(fields=fields(sku="A")))


@pytest.mark.parametrize("alone", [True, False])
def test_what_has_changed_or_come_meanwhile_is_left_alone(store: Store, alone: bool) -> None:
    old = stored(store, inserted(store))
    other = stored(store, inserted(store))
    gone = a_product()
    now = change(store, old)
    wanted = [PutBack(put_back(old), old.revision), PutBack(put_back(gone), 3)]
    wanted += [] if alone else [PutBack(put_back(other), other.revision), PutBack(old, None)]
    found = store.put_back(wanted)
    assert {name: type(it) for name, it in found.items()} == dict.fromkeys(
        (old.id, gone.id), ConcurrentChangeError
    )
    assert stored(store, old).version == now.version
    assert (stored(store, other).version > other.version) is not alone


def test_a_taken_sku_names_its_holder_and_the_others_are_written(store: Store) -> None:
    holder = stored(store, inserted(store, fields=fields(sku="A")))
    old, other = stored(store, inserted(store)), stored(store, inserted(store))
    new = a_product(fields=fields(sku="A"))
    found = store.put_back(
        [
            PutBack(put_back(old, fields=fields(sku="A")), old.revision),
            PutBack(new, None),
            PutBack(put_back(other), other.revision),
        ]
    )
    assert found.keys() == {old.id, new.id}
    assert all(isinstance(it, DuplicateSkuError) for it in found.values())
    assert {it.product_id for it in found.values() if isinstance(it, DuplicateSkuError)} == {
        holder.id
    }
    assert stored(store, other).version > other.version
    assert stored(store, old) == old


def test_a_product_keeps_its_idempotency_key(store: Store) -> None:
    product = a_product(keyed=True)
    creation = Creation("key", product.fields.fingerprint(), "{}")
    assert store.insert([(product, creation)]) == [None]
    old = stored(store, product)
    assert store.put_back([PutBack(put_back(old), old.revision)]) == {}
    assert store.created_under("key") == creation
    assert stored(store, product).keyed


def test_many_products_are_written_by_one_call(store: Store) -> None:
    products = [a_product() for _ in range(60)]
    insert(store, *products)
    read = [stored(store, it) for it in products]
    assert store.put_back([PutBack(put_back(it), it.revision) for it in read]) == {}
    found = store.get_many([it.id for it in products]).products.values()
    assert {it.version for it in found} == {9}


# ---- how far it is ----

WHOLE = Restore(
    START,
    "operator",
    ask=True,
    total=9,
    phase=Phase.LIFTING,
    position=7,
    left=3,
    first_event_at=START,
    events=4,
    unreadable_events=1,
    replayed=2,
    skus={"a.b": "A", "$c": "B"},
    after="id",
    lifted=5,
    unanswered=1,
    unreadable=("x",),
    unreadable_count=2,
    losses=(Loss("l", 5, 7),),
    lost=1,
    clashes=(Clash("c", "A", None),),
    clash_count=3,
    strays=(Stray("s", 3),),
    stray_count=4,
    lifted_at=LATER,
    audit_at=LATER,
    audits=1,
    finished_at=LATER,
    statement="all",
    proved=True,
    seen_at=LATER,
)


@pytest.mark.parametrize(
    "damage", [{"$set": {"run.phase": "x"}}, {"$set": {"run": True}}, {"$unset": {"run": ""}}]
)
def test_a_restore_that_cannot_be_read_is_replaced_by_the_next(
    mongo_store: MongoStore, damage: dict[str, Any]
) -> None:
    mongo_store.save_restore(RestoreState(WHOLE, 1), expected_revision=0)
    assert mongo_store._controls.update_one({"_id": "restore"}, damage).matched_count == 1
    assert mongo_store.restore() == RestoreState(revision=1)
    assert mongo_store.save_restore(RestoreState(WHOLE, 2), expected_revision=1)


def test_before_the_first_restore_there_is_none(store: Store) -> None:
    assert store.restore() == RestoreState()


@pytest.mark.parametrize("run", [None, WHOLE, Restore(START, "operator", ask=False, total=0)])
def test_how_far_a_restore_is_comes_back_as_it_was_written(
    store: Store, run: Restore | None
) -> None:
    state = RestoreState(run, 1)
    assert store.save_restore(state, expected_revision=0)
    assert store.restore() == state


def test_of_two_writers_one_writes(store: Store) -> None:
    assert store.save_restore(RestoreState(None, 1), expected_revision=0)
    assert not store.save_restore(RestoreState(WHOLE, 1), expected_revision=0)
    assert store.save_restore(RestoreState(WHOLE, 2), expected_revision=1)
    assert store.restore().run == WHOLE

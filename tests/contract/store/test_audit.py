"""How far audits are: one document, changed by one of many at a time; and the walk of an audit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.domain.audit import AuditState, Difference, Example, Run
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.sync_state import SyncState, SyncStatus
from tests.contract.store.steps import insert, stored, without_outbox
from tests.fakes import START, a_product, every_field, fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.usecases.ports import Store

LATER = START + timedelta(seconds=1)
RUN = Run(START, "somebody", repair=True, total=5000)
EXAMPLES = (
    Example(
        "a", Difference.DIFFERENT, 3, 3, ("name", "price"), repaired=True, at=START, ended=True
    ),
    Example("b", Difference.MISSING, 0, None, (), repaired=False, at=LATER),
)
FULL = replace(
    RUN,
    checked=120,
    behind=2,
    unanswered=3,
    differences={Difference.DIFFERENT: 1, Difference.MISSING: 1},
    repaired=1,
    position="b",
    silent=1,
    finished_at=LATER,
    examples=EXAMPLES,
    ended=7,
    stopped_by="another",
)
STATE = AuditState(
    run=RUN, last=FULL, rolling=replace(FULL, finished_at=None), stopped=FULL, revision=1
)


def test_at_first_there_is_no_audit(store: Store) -> None:
    assert store.audit() == AuditState()


def test_every_field_of_an_audit_is_read_as_it_was_written(store: Store) -> None:
    assert store.save_audit(STATE, expected_revision=0)
    assert store.audit() == STATE


def test_of_two_who_have_read_the_same_audit_one_succeeds(store: Store) -> None:
    assert store.save_audit(STATE, expected_revision=0)
    assert not store.save_audit(AuditState(revision=1), expected_revision=0)
    assert store.save_audit(AuditState(rolled=FULL, revision=2), expected_revision=1)
    assert not store.save_audit(STATE, expected_revision=1)
    assert store.audit() == AuditState(rolled=FULL, revision=2)


def test_the_audit_and_the_state_of_the_sync_are_two_documents(store: Store) -> None:
    control = replace(store.control(), revision=1)
    assert store.save_audit(STATE, expected_revision=0)
    assert store.save_control(control, expected_revision=0)
    assert (store.audit(), store.control()) == (STATE, control)


USES: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.audit(),
    "write": lambda store: store.save_audit(STATE, expected_revision=0),
    "walk": lambda store: store.walk(None, 1),
}


@pytest.mark.parametrize("use", USES)
def test_a_store_that_is_away_has_no_audit(store_away: Store, use: str) -> None:
    with pytest.raises(StoreUnavailableError):
        USES[use](store_away)


# ---- the document ----


def change_document(store: MongoStore, update: dict[str, Any]) -> None:
    assert store._controls.update_one({"_id": "audit"}, update).matched_count == 1


def test_fields_of_a_later_release_are_ignored(mongo_store: MongoStore) -> None:
    mongo_store.save_audit(STATE, expected_revision=0)
    places = ("", "run.", "last.examples.0.")
    change_document(mongo_store, {"$set": {f"{place}new": 1 for place in places}})

    assert mongo_store.audit() == STATE


def test_fields_that_an_earlier_release_has_not_are_new(mongo_store: MongoStore) -> None:
    mongo_store.save_audit(STATE, expected_revision=0)
    change_document(mongo_store, {"$unset": {"run.silent": "", "rolling": "", "rolled": ""}})

    assert mongo_store.audit() == replace(STATE, rolling=None)


@pytest.mark.parametrize(
    "damage",
    [
        {"$set": {"run.differences": {"lost": 1}}},
        {"$set": {"run": True}},
        {"$unset": {"last.examples": ""}},
        {"$set": {"last.examples.0": {"id": "a"}}},
    ],
)
def test_an_audit_that_cannot_be_read_is_replaced_by_the_next(
    mongo_store: MongoStore, damage: dict[str, Any]
) -> None:
    mongo_store.save_audit(STATE, expected_revision=0)
    change_document(mongo_store, damage)

    assert mongo_store.audit() == AuditState(revision=1)
    assert mongo_store.save_audit(AuditState(run=RUN, revision=2), expected_revision=1)
    assert mongo_store.audit().run == RUN


# ---- the walk ----


def test_a_walk_gives_every_product_in_the_order_of_ids(store: Store) -> None:
    done = SyncState(SyncStatus.DELIVERED)
    tombstone = {"deleted_at": START, "version": 1, "sync": done}
    products = [a_product(id=f"{n:024x}", **(tombstone if n == 1 else {})) for n in range(5)]
    insert(store, *reversed(products))

    pages = [store.walk(None, 2), store.walk(products[1].id, 2), store.walk(products[3].id, 2)]

    assert [list(page.products) for page in pages] == [
        [item.id for item in products[:2]],
        [item.id for item in products[2:4]],
        [products[4].id],
    ]
    assert store.walk(products[4].id, 2).products == {}


def test_a_walk_gives_all_fields_and_no_event(store: Store) -> None:
    product = a_product(fields=fields(**every_field()))
    insert(store, product)

    assert store.walk(None, 1).products == {product.id: without_outbox(product)}


def test_a_walk_names_what_cannot_be_read(mongo_store: MongoStore) -> None:
    products = [a_product(id=f"{n:024x}") for n in range(3)]
    insert(mongo_store, *products)
    mongo_store._products.update_one({"_id": products[1].id}, {"$set": {"sync.status": "lost"}})

    page = mongo_store.walk(None, 2)

    assert (list(page.products), page.unreadable) == ([products[0].id], frozenset({products[1].id}))


def test_the_repairs_of_a_product_are_kept(store: Store) -> None:
    product = a_product(sync=SyncState(SyncStatus.DELIVERED, repairs=1))
    insert(store, product)
    assert stored(store, product).sync.repairs == 1
    again = replace(product, sync=replace(product.sync, repairs=2, repair_started_at=LATER))
    assert store.save_sync(again, expected_revision=0)
    kept = stored(store, product).sync
    assert (kept.repairs, kept.repair_started_at) == (2, LATER)


def test_a_product_of_an_earlier_release_was_repaired_by_no_audit(mongo_store: MongoStore) -> None:
    product = a_product(sync=SyncState(SyncStatus.DELIVERED, repair_started_at=LATER))
    insert(mongo_store, product)
    mongo_store._products.update_one({"_id": product.id}, {"$unset": {"sync.repairStartedAt": ""}})
    assert stored(mongo_store, product).sync.repair_started_at is None

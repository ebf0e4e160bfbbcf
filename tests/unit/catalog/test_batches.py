"""Batches of creations."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.adapters.mongo.documents import new_product_id
from chalicelib.domain.errors import (
    CatalogError,
    DuplicateSkuError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
)
from chalicelib.usecases.catalog import Catalog
from chalicelib.usecases.ports import Creation
from tests.fakes import BODY, GRACE, Pipeline
from tests.unit.catalog.steps import SOMEBODY, faults, keyed

if TYPE_CHECKING:
    from collections.abc import Sequence


def outcome_types(outcomes: list[Any]) -> list[type]:
    return [type(outcome) if isinstance(outcome, CatalogError) else dict for outcome in outcomes]


def test_each_item_of_a_batch_has_its_own_result_in_order(pipeline: Pipeline) -> None:
    pipeline.create(sku="taken")
    items = [BODY, {**BODY, "price": 0}, {**BODY, "sku": "taken"}, "no object", BODY]

    outcomes = pipeline.catalog.create_batch({"items": items}, SOMEBODY)

    refused = InvalidRequestError
    assert outcome_types(outcomes) == [dict, refused, DuplicateSkuError, refused, dict]
    assert len(pipeline.store.products) == 3


def test_only_the_accepted_items_of_a_batch_are_announced(pipeline: Pipeline) -> None:
    pipeline.catalog.create_batch({"items": [BODY, {**BODY, "price": 0}]}, SOMEBODY)

    assert len(pipeline.stream.log) == 1


def test_a_batch_without_a_valid_item_is_still_answered_item_by_item(pipeline: Pipeline) -> None:
    outcomes = pipeline.catalog.create_batch({"items": [{}, {}]}, SOMEBODY)

    assert outcome_types(outcomes) == [InvalidRequestError] * 2


def test_a_repeated_batch_gives_the_first_answers(pipeline: Pipeline) -> None:
    items = [BODY, {**BODY, "sku": "A"}]
    first = pipeline.catalog.create_batch({"items": items}, keyed("key"))

    assert pipeline.catalog.create_batch({"items": items}, keyed("key")) == first
    assert len(pipeline.store.products) == 2


def test_a_repeated_batch_makes_what_was_not_made_before(pipeline: Pipeline) -> None:
    taken = pipeline.create(sku="A")
    items = [BODY, {**BODY, "sku": "A"}]
    first = pipeline.catalog.create_batch({"items": items}, keyed("key"))
    pipeline.update(taken, sku="B")

    again = pipeline.catalog.create_batch({"items": items}, keyed("key"))

    assert again[0] == first[0]
    assert outcome_types([*first, *again]) == [dict, DuplicateSkuError, dict, dict]


@pytest.mark.parametrize("size", [1, 3])
def test_a_key_cannot_be_used_for_a_batch_of_another_size(pipeline: Pipeline, size: int) -> None:
    # Its first item was refused: what was stored is not all that was sent.
    pipeline.catalog.create_batch({"items": [{}, BODY]}, keyed("key"))

    with pytest.raises(IdempotencyKeyReusedError, match="a batch of 2"):
        pipeline.catalog.create_batch({"items": [BODY] * size}, keyed("key"))

    assert len(pipeline.store.products) == 1


def test_a_key_of_one_creation_can_be_used_for_a_batch(pipeline: Pipeline) -> None:
    pipeline.catalog.create(BODY, keyed("key"))

    pipeline.catalog.create_batch({"items": [BODY]}, keyed("key"))

    assert len(pipeline.store.products) == 2


def test_a_batch_that_the_release_before_began_is_not_made_again(pipeline: Pipeline) -> None:
    items = [BODY, {**BODY, "quantity": 8}]
    first = pipeline.catalog.create_batch({"items": items}, keyed("key"))
    pipeline.store.without_batch_sizes()

    assert pipeline.catalog.create_batch({"items": items}, keyed("key")) == first
    assert len(pipeline.store.products) == 2


def test_the_keys_of_the_items_are_those_that_the_release_before_looks_for() -> None:
    # Both run beside each other during a roll-out, and a repetition may reach either.
    expected = hashlib.sha256(b"somebody\nkey/7").hexdigest()

    assert keyed("key").scoped_key(7) == expected


@pytest.mark.parametrize("first", ["batch", "creation"])
def test_a_key_with_the_form_of_an_item_s_gets_no_answer_of_a_batch(
    pipeline: Pipeline, first: str
) -> None:
    def batch() -> None:
        (outcome,) = pipeline.catalog.create_batch({"items": [BODY]}, keyed("key"))
        if isinstance(outcome, CatalogError):
            raise outcome

    def creation() -> None:
        pipeline.catalog.create(BODY, keyed("key/0"))

    uses = [batch, creation] if first == "batch" else [creation, batch]
    uses[0]()
    with pytest.raises(IdempotencyKeyReusedError):
        uses[1]()


def test_batches_of_other_sizes_at_the_same_time_share_no_answer(pipeline: Pipeline) -> None:
    store = pipeline.store
    other = Catalog(
        store, pipeline.outbox, clock=pipeline.clock, grace=GRACE, new_id=new_product_id
    )
    look = store.created_in_batch

    def look_before_the_other_is_written(keys: Sequence[str]) -> list[Creation]:
        found = look(keys)
        store.created_in_batch = look  # type: ignore[method-assign]  # for once
        other.create_batch({"items": [BODY]}, keyed("key"))
        return found

    store.created_in_batch = look_before_the_other_is_written  # type: ignore[method-assign]
    outcomes = pipeline.catalog.create_batch({"items": [BODY, BODY]}, keyed("key"))

    assert outcome_types(outcomes) == [IdempotencyKeyReusedError, dict]


@pytest.mark.parametrize("body", [None, [], {}, {"items": []}, {"items": [BODY] * 101}])
def test_a_batch_has_1_to_100_items(pipeline: Pipeline, body: object) -> None:
    assert faults(lambda: pipeline.catalog.create_batch(body, SOMEBODY))


def test_a_batch_of_100_items_is_taken(pipeline: Pipeline) -> None:
    assert len(pipeline.catalog.create_batch({"items": [BODY] * 100}, SOMEBODY)) == 100


# ---- bulk: what a batch writes need not be delivered before a single change ----


def a_batch(pipeline: Pipeline) -> str:
    """Create a product with a batch; its id."""
    (made,) = pipeline.catalog.create_batch({"items": [BODY]}, SOMEBODY)
    assert isinstance(made, dict)
    product_id: str = made["id"]
    return product_id


def test_only_what_a_batch_creates_is_bulk(pipeline: Pipeline) -> None:
    pipeline.create()
    product_id = a_batch(pipeline)

    pipeline.bridge_once()

    assert pipeline.queue.bulk == [product_id]


def test_without_a_bulk_queue_a_batch_is_not_bulk(pipeline: Pipeline) -> None:
    catalog = Catalog(
        pipeline.store,
        pipeline.outbox,
        clock=pipeline.clock,
        grace=GRACE,
        new_id=lambda: "new",
    )

    catalog.create_batch({"items": [BODY]}, SOMEBODY)

    assert not pipeline.product("new").sync.bulk
    assert pipeline.product("new").sync.overdue_at == pipeline.clock() + GRACE


def test_a_single_change_of_a_product_of_a_batch_is_not_bulk(pipeline: Pipeline) -> None:
    product_id = a_batch(pipeline)
    pipeline.bridge_once()
    pipeline.update(product_id, name="new")

    pipeline.bridge_once()

    assert len(pipeline.queue.messages) == 2
    assert pipeline.queue.bulk == [product_id]


def test_an_event_of_a_batch_that_is_relayed_later_is_bulk(pipeline: Pipeline) -> None:
    pipeline.stream.away = True
    product_id = a_batch(pipeline)
    pipeline.stream.away = False
    pipeline.clock.advance(GRACE.total_seconds() + 1)
    pipeline.queue.away = True  # Else reconcile enqueues the overdue product itself.
    pipeline.reconcile_once()
    pipeline.queue.away = False

    pipeline.bridge_once()

    assert pipeline.queue.bulk == [product_id]

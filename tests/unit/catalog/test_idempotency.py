"""Creations that are repeated under an idempotency key."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from chalicelib.domain.errors import DuplicateSkuError, IdempotencyKeyReusedError
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import KEY_LIFE
from chalicelib.usecases.catalog import Origin, Precondition
from tests.fakes import BODY, Pipeline
from tests.unit.catalog.steps import keyed


def test_a_repeated_creation_gives_the_first_answer_and_makes_nothing(pipeline: Pipeline) -> None:
    first = pipeline.catalog.create(BODY, keyed("key"))
    pipeline.update(first["id"], name="Other")

    assert pipeline.catalog.create(BODY, keyed("key")) == first
    assert len(pipeline.store.products) == 1


def test_a_repeated_creation_may_be_written_in_another_way(pipeline: Pipeline) -> None:
    first = pipeline.catalog.create(BODY, keyed("key"))

    again = pipeline.catalog.create({**BODY, "price": Decimal("12.5")}, keyed("key"))

    assert again == first


def test_a_key_cannot_be_used_for_another_body(pipeline: Pipeline) -> None:
    pipeline.catalog.create(BODY, keyed("key"))

    with pytest.raises(IdempotencyKeyReusedError):
        pipeline.catalog.create({**BODY, "quantity": 8}, keyed("key"))


def test_another_caller_may_use_the_same_key(pipeline: Pipeline) -> None:
    pipeline.catalog.create(BODY, keyed("key", "one"))
    pipeline.catalog.create({**BODY, "quantity": 8}, keyed("key", "two"))

    assert len(pipeline.store.products) == 2


def test_a_repeated_creation_with_a_sku_is_a_repetition_and_no_duplicate(
    pipeline: Pipeline,
) -> None:
    first = pipeline.catalog.create({**BODY, "sku": "A"}, keyed("key"))

    assert pipeline.catalog.create({**BODY, "sku": "A"}, keyed("key")) == first


def test_a_new_key_does_not_make_a_taken_sku_free(pipeline: Pipeline) -> None:
    pipeline.catalog.create({**BODY, "sku": "A"}, keyed("one"))

    with pytest.raises(DuplicateSkuError):
        pipeline.catalog.create({**BODY, "sku": "A"}, keyed("two"))


def test_the_repeated_answer_is_exact(pipeline: Pipeline) -> None:
    body = {**BODY, "price": Decimal("12.500"), "attributes": {"a": Decimal("0.10")}}
    pipeline.catalog.create(body, keyed("key"))

    again = pipeline.catalog.create(body, keyed("key"))

    assert (str(again["price"]), str(again["attributes"]["a"])) == ("12.500", "0.10")


# ---- a key outlives the deletion of its product ----


def deleted(pipeline: Pipeline, body: dict[str, object]) -> Json:
    """Create a product under a key, delete it, and have that confirmed."""
    first = pipeline.catalog.create(body, keyed("key"))
    pipeline.pass_on()
    pipeline.catalog.delete(first["id"], Precondition(), Origin())
    pipeline.pass_on()
    return first


@pytest.mark.parametrize("body", [BODY, {**BODY, "sku": "A"}])
def test_a_creation_that_is_repeated_after_the_deletion_makes_nothing(
    pipeline: Pipeline, body: dict[str, object]
) -> None:
    first = deleted(pipeline, body)
    pipeline.clock.advance((KEY_LIFE - timedelta(minutes=1)).total_seconds())
    pipeline.reconcile_once()

    assert pipeline.catalog.create(body, keyed("key")) == first
    assert pipeline.catalog.list_products({})["items"] == []


def test_a_key_ends_a_day_after_the_deletion_was_confirmed(pipeline: Pipeline) -> None:
    first = deleted(pipeline, BODY)
    pipeline.clock.advance(KEY_LIFE.total_seconds())
    pipeline.reconcile_once()

    assert pipeline.catalog.create(BODY, keyed("key"))["id"] != first["id"]


def test_without_a_key_a_confirmed_deletion_leaves_nothing(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.pass_on()
    pipeline.catalog.delete(product_id, Precondition(), Origin())
    pipeline.pass_on()
    # Its last event has been published by now.
    pipeline.pass_on()
    pipeline.reconcile_once()

    assert pipeline.store.products == {}

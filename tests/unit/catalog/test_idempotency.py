"""Creations that are repeated under an idempotency key."""

from __future__ import annotations

from decimal import Decimal

import pytest

from chalicelib.domain.errors import DuplicateSkuError, IdempotencyKeyReusedError
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

"""Products that are replaced, patched and deleted."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import DuplicateSkuError, ProductNotFoundError
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.catalog import Precondition, merge_patch
from tests.fakes import BODY, GRACE, START, Pipeline
from tests.unit.catalog.steps import SOMEBODY, faults

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_replacement_makes_the_next_version(pipeline: Pipeline) -> None:
    product_id = pipeline.create(sku="A", description="d")
    pipeline.clock.advance(5)

    answer = pipeline.catalog.replace(
        product_id, {**BODY, "name": "Other"}, Precondition(), SOMEBODY
    )

    assert (answer["version"], answer["name"]) == (1, "Other")
    assert "sku" not in answer
    assert (answer["createdAt"], answer["updatedAt"]) == (
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:05.000Z",
    )
    assert [message.subject for message in pipeline.stream.log][1:] == ["product.updated"]


def test_a_change_starts_a_fresh_budget_and_keeps_since_when_it_is_behind(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500]
    pipeline.pass_on()
    pipeline.clock.advance(5)

    pipeline.update(product_id, name="Other")

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.attempts, sync.next_attempt_at) == (SyncStatus.PENDING, 0, None)
    assert (sync.behind_since, sync.overdue_at) == (START, pipeline.clock() + GRACE)


def test_a_change_of_a_delivered_product_is_not_delivered_yet(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.pass_on()
    pipeline.clock.advance(5)

    pipeline.update(product_id, name="Other")

    product = pipeline.product(product_id)
    assert product.sync_completed_at is None
    assert (product.sync.behind_since, product.sync.delivered_version) == (pipeline.clock(), 0)


@pytest.mark.parametrize(
    "same",
    [{"price": Decimal("12.5")}, {"name": "Anvil"}, {}, {"sku": None}, {"price": Decimal("12.50")}],
)
def test_a_change_that_changes_nothing_makes_no_version_and_no_event(
    pipeline: Pipeline, same: dict[str, object]
) -> None:
    product_id = pipeline.create()
    before = pipeline.product(product_id)

    answer = pipeline.catalog.merge(product_id, same, Precondition(), SOMEBODY)

    assert answer["version"] == 0
    assert pipeline.product(product_id) == before
    assert len(pipeline.stream.log) == 1


def test_true_instead_of_1_is_a_change(pipeline: Pipeline) -> None:
    product_id = pipeline.create(attributes={"a": 1})

    answer = pipeline.catalog.merge(
        product_id, {"attributes": {"a": True}}, Precondition(), SOMEBODY
    )

    assert answer["version"] == 1
    assert pipeline.product(product_id).fields.attributes == {"a": True}


def test_a_change_must_be_valid_as_a_whole(pipeline: Pipeline) -> None:
    product_id = pipeline.create()

    named = faults(
        lambda: pipeline.catalog.merge(product_id, {"price": None}, Precondition(), SOMEBODY)
    )

    assert named == {"price": "Field required"}


@pytest.mark.parametrize("patch", [None, [], "text", 1])
def test_a_patch_must_be_an_object(pipeline: Pipeline, patch: object) -> None:
    product_id = pipeline.create()

    assert faults(lambda: pipeline.catalog.merge(product_id, patch, Precondition(), SOMEBODY))


def test_a_read_only_field_cannot_be_patched(pipeline: Pipeline) -> None:
    product_id = pipeline.create()

    named = faults(
        lambda: pipeline.catalog.merge(product_id, {"version": 9}, Precondition(), SOMEBODY)
    )

    assert named == {"version": "is read-only"}


def test_attributes_are_merged_one_by_one(pipeline: Pipeline) -> None:
    product_id = pipeline.create(attributes={"keep": 1, "drop": 2, "change": 3})

    patch = {"attributes": {"drop": None, "change": "x", "add": True}}
    answer = pipeline.catalog.merge(product_id, patch, Precondition(), SOMEBODY)

    assert answer["attributes"] == {"keep": 1, "change": "x", "add": True}


def test_a_change_to_a_taken_sku_is_refused(pipeline: Pipeline) -> None:
    pipeline.create(sku="A")
    product_id = pipeline.create()

    with pytest.raises(DuplicateSkuError):
        pipeline.update(product_id, sku="A")


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": "foo"}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_as_the_examples_of_rfc_7396(
    target: dict[str, object], patch: dict[str, object], result: dict[str, object]
) -> None:
    assert merge_patch(target, patch) == result


def test_a_deleted_product_becomes_a_tombstone_of_the_next_version(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.clock.advance(5)

    pipeline.catalog.delete(product_id, Precondition(), SOMEBODY)

    product = pipeline.product(product_id)
    assert (product.version, product.deleted_at) == (1, pipeline.clock())
    assert pipeline.stream.log[-1].subject == "product.deleted"


@pytest.mark.parametrize("use", ["get", "replace", "merge", "delete"])
def test_a_deleted_product_is_not_found(pipeline: Pipeline, use: str) -> None:
    product_id = pipeline.create()
    pipeline.catalog.delete(product_id, Precondition(), SOMEBODY)
    uses: dict[str, Callable[[], object]] = {
        "get": lambda: pipeline.catalog.get(product_id),
        "replace": lambda: pipeline.catalog.replace(product_id, BODY, Precondition(), SOMEBODY),
        "merge": lambda: pipeline.catalog.merge(product_id, {}, Precondition(), SOMEBODY),
        "delete": lambda: pipeline.catalog.delete(product_id, Precondition(), SOMEBODY),
    }

    with pytest.raises(ProductNotFoundError):
        uses[use]()


def test_the_sku_of_a_deleted_product_is_free_again(pipeline: Pipeline) -> None:
    pipeline.catalog.delete(pipeline.create(sku="A"), Precondition(), SOMEBODY)

    assert pipeline.create(sku="A")

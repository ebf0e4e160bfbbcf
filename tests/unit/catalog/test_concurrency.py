"""Changes beside those of other writers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import (
    ConcurrentChangeError,
    ProductNotFoundError,
    VersionMismatchError,
)
from chalicelib.domain.product import Product
from chalicelib.usecases.catalog import Precondition
from tests.fakes import BODY, START, Pipeline, fields
from tests.unit.catalog.steps import SOMEBODY

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between tries."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


def interrupt(pipeline: Pipeline, change: Callable[[Product], Product], times: int) -> list[int]:
    """Let somebody else change the product between a look at it and the write, so many times."""
    save_change = pipeline.store.save_change
    done: list[int] = []

    def late(product: Product, *, expected_version: int) -> bool:
        if len(done) < times:
            done.append(expected_version)
            pipeline.store.products[product.id] = change(pipeline.store.products[product.id])
        return save_change(product, expected_version=expected_version)

    pipeline.store.save_change = late  # type: ignore[method-assign]
    return done


def next_version(product: Product) -> Product:
    return replace(
        product, version=product.version + 1, fields=fields(name=f"other {product.version}")
    )


@pytest.mark.usefixtures("impatient")
def test_a_change_is_made_again_on_top_of_one_that_came_first(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    interrupt(pipeline, next_version, times=3)

    answer = pipeline.catalog.merge(product_id, {"quantity": 99}, Precondition(), SOMEBODY)

    assert (answer["version"], answer["quantity"], answer["name"]) == (4, 99, "other 2")


@pytest.mark.usefixtures("impatient")
def test_a_change_that_never_comes_first_is_given_up(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    interrupt(pipeline, next_version, times=10_000)

    with pytest.raises(ConcurrentChangeError):
        pipeline.update(product_id, quantity=99)


@pytest.mark.usefixtures("impatient")
def test_a_change_for_a_certain_version_is_refused_when_another_one_came_first(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    interrupt(pipeline, next_version, times=1)

    with pytest.raises(VersionMismatchError):
        pipeline.catalog.merge(product_id, {"quantity": 99}, Precondition({"0"}), SOMEBODY)


@pytest.mark.usefixtures("impatient")
def test_a_change_of_a_product_that_is_deleted_meanwhile_finds_none(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    interrupt(pipeline, lambda item: replace(item, version=1, deleted_at=START), times=1)

    with pytest.raises(ProductNotFoundError):
        pipeline.update(product_id, quantity=99)


@pytest.mark.parametrize("versions", [["0"], ["3", "0"]])
def test_a_change_is_made_at_the_version_that_the_caller_knows(
    pipeline: Pipeline, versions: list[str]
) -> None:
    product_id = pipeline.create()

    condition = Precondition(versions)
    answer = pipeline.catalog.merge(product_id, {"quantity": 1}, condition, SOMEBODY)

    assert answer["version"] == 1


@pytest.mark.parametrize("versions", [[], ["1"], ["00"], ["0 "], ["none"]])
def test_a_version_that_the_caller_does_not_know_is_not_touched(
    pipeline: Pipeline, versions: list[str]
) -> None:
    product_id = pipeline.create()
    condition = Precondition(versions)

    with pytest.raises(VersionMismatchError):
        pipeline.catalog.replace(product_id, {**BODY, "name": "x"}, condition, SOMEBODY)
    with pytest.raises(VersionMismatchError):
        pipeline.catalog.delete(product_id, condition, SOMEBODY)
    assert pipeline.product(product_id).version == 0


# ---- what a failover could take back ----


def roll_back_to(pipeline: Pipeline, products: dict[str, Product]) -> None:
    """Let the majority hold these, and nothing of what was written since."""
    pipeline.store.committed = lambda: products  # type: ignore[method-assign]


@pytest.mark.usefixtures("impatient")
def test_a_change_is_not_called_unchanged_by_a_write_that_may_be_rolled_back(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    held = dict(pipeline.store.products)
    pipeline.update(product_id, quantity=99)
    roll_back_to(pipeline, held)

    with pytest.raises(ConcurrentChangeError):
        pipeline.update(product_id, quantity=99)


@pytest.mark.parametrize("use", ["merge", "delete"])
@pytest.mark.usefixtures("impatient")
def test_a_deletion_that_may_be_rolled_back_is_no_reason_for_not_found(
    pipeline: Pipeline, use: str
) -> None:
    product_id = pipeline.create()
    held = dict(pipeline.store.products)
    pipeline.catalog.delete(product_id, Precondition(), SOMEBODY)
    roll_back_to(pipeline, held)
    uses: dict[str, Callable[[], object]] = {
        "merge": lambda: pipeline.update(product_id, quantity=99),
        "delete": lambda: pipeline.catalog.delete(product_id, Precondition(), SOMEBODY),
    }

    with pytest.raises(ConcurrentChangeError):
        uses[use]()


@pytest.mark.usefixtures("impatient")
def test_a_product_that_the_majority_still_holds_is_not_called_unknown(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    roll_back_to(pipeline, dict(pipeline.store.products))
    del pipeline.store.products[product_id]

    with pytest.raises(ConcurrentChangeError):
        pipeline.update(product_id, quantity=99)


@pytest.mark.usefixtures("impatient")
def test_a_change_is_not_called_unchanged_by_another_write_of_the_same_version(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    held = pipeline.product(product_id)
    pipeline.update(product_id, quantity=99)
    # Rolled back, between the two looks, and another consumer's write came first.
    other = held.fields.model_copy(update={"quantity": 5})
    roll_back_to(pipeline, {product_id: replace(pipeline.product(product_id), fields=other)})

    with pytest.raises(ConcurrentChangeError):
        pipeline.update(product_id, quantity=99)


@pytest.mark.usefixtures("impatient")
def test_unchanged_is_answered_once_the_majority_holds_it(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    answers = [{}, {}, pipeline.store.products]
    pipeline.store.committed = lambda: answers.pop(0)  # type: ignore[method-assign]

    pipeline.update(product_id, quantity=7)

    assert answers == []
    assert pipeline.product(product_id).version == 0

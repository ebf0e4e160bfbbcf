"""Products one by one and in pages."""

from __future__ import annotations

import pytest
from bson import ObjectId

from chalicelib.domain.errors import ProductNotFoundError
from tests.fakes import Pipeline
from tests.unit.catalog.steps import faults


def test_pages_follow_each_other_without_gaps_and_repetitions(pipeline: Pipeline) -> None:
    ids = [pipeline.create() for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = pipeline.catalog.list_products(query)
        seen += [item["id"] for item in page["items"]]
        pipeline.create()
        if (cursor := page["nextCursor"]) is None or len(seen) > 20:
            break

    assert seen[:7] == ids
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("number", [0, 3])
def test_the_last_page_has_no_cursor(pipeline: Pipeline, number: int) -> None:
    for _ in range(number):
        pipeline.create()

    page = pipeline.catalog.list_products({"limit": "3"})

    assert (len(page["items"]), page["nextCursor"]) == (number, None)


def test_a_list_can_be_filtered_by_status_and_sku(pipeline: Pipeline) -> None:
    product_id = pipeline.create(sku="A")
    pipeline.create(sku="B")

    def found(**query: str) -> list[str]:
        return [item["id"] for item in pipeline.catalog.list_products(query)["items"]]

    assert found(sku="A") == [product_id]
    assert found(sku="A", syncStatus="pending") == [product_id]
    assert found(sku="A", syncStatus="delivered") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"syncStatus": "lost"}, "syncStatus"),
        ({"page": "2"}, "page"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    pipeline: Pipeline, query: dict[str, str], field: str
) -> None:
    assert list(faults(lambda: pipeline.catalog.list_products(query))) == [field]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "????", "bm9uZQ", "é", "\x00", "A" * 1000, "65f0c1a2b3c4d5e6f7a8b9c0", "NjVmMGMx\n"],
)
def test_a_cursor_that_the_list_did_not_give_out_is_refused(
    pipeline: Pipeline, cursor: str
) -> None:
    named = faults(lambda: pipeline.catalog.list_products({"cursor": cursor}))

    assert named == {"cursor": "is not one that the list gave out"}


def test_an_unknown_product_is_not_found(pipeline: Pipeline) -> None:
    with pytest.raises(ProductNotFoundError):
        pipeline.catalog.get(str(ObjectId()))

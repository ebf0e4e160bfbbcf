"""Products one by one and in pages."""

from __future__ import annotations

import pytest
from bson import ObjectId

from chalicelib.domain.errors import ProductNotFoundError
from tests.fakes import Pipeline


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


def test_an_unknown_product_is_not_found(pipeline: Pipeline) -> None:
    with pytest.raises(ProductNotFoundError):
        pipeline.catalog.get(str(ObjectId()))

"""The list: its filters, the order that follows from them, and its cursors."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.listing import next_cursor, page_query
from chalicelib.usecases.ports import Order
from tests.fakes import START, Pipeline, a_failed_state, a_product, fields
from tests.unit.catalog.steps import faults

MINUTE = timedelta(minutes=1)


def names(pipeline: Pipeline, **query: object) -> list[str]:
    """The names on all pages of a list, two at a time."""
    found: list[str] = []
    cursor = None
    while True:
        page = pipeline.catalog.list_products(
            {"limit": "2", **query, **({"cursor": cursor} if cursor else {})}
        )
        found += [item["name"] for item in page["items"]]
        if (cursor := page["nextCursor"]) is None:
            return found


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_a_list_is_of_one_sku(pipeline: Pipeline) -> None:
    pipeline.create(name="A", sku="A")
    pipeline.create(name="B", sku="B")

    assert names(pipeline, sku="A") == ["A"]
    assert names(pipeline, sku="A", syncStatus=["pending"]) == ["A"]
    assert names(pipeline, sku="A", syncStatus=["delivered"]) == []


def test_a_list_of_several_statuses_begins_with_the_oldest_change(pipeline: Pipeline) -> None:
    for name in ("first", "second", "third"):
        pipeline.create(name=name)
        pipeline.clock.advance(60)
    pipeline.put(fields=fields(name="failed"), sync=a_failed_state(SyncStatus.REJECTED))

    assert names(pipeline, syncStatus=["pending", "rejected"]) == [
        "first",
        "failed",
        "second",
        "third",
    ]


def test_a_list_by_the_beginning_of_the_name_is_in_the_order_of_names(pipeline: Pipeline) -> None:
    for name in ("Lamp", "Table", "Lamb", "lamp", "Lamps", "Lamp"):
        pipeline.create(name=name)

    assert names(pipeline, name="Lam") == ["Lamb", "Lamp", "Lamp", "Lamps"]


def test_a_list_sorted_by_changes_ends_with_the_newest(pipeline: Pipeline) -> None:
    ids = []
    for name in ("first", "second", "third"):
        ids.append(pipeline.create(name=name))
        pipeline.clock.advance(60)
    pipeline.update(ids[0], quantity=9)

    assert names(pipeline, sort="updatedAt") == ["second", "third", "first"]
    assert names(pipeline, sort="id") == ["first", "second", "third"]


@pytest.mark.parametrize("since", ["2026-01-01T00:01:00Z", "2026-01-01T02:01:00+02:00"])
def test_a_list_of_what_was_changed_since_a_time_includes_it(
    pipeline: Pipeline, since: str
) -> None:
    for minutes in (0, 1, 2):
        pipeline.put(fields=fields(name=str(minutes)), updated_at=START + minutes * MINUTE)

    assert names(pipeline, updatedSince=since) == ["1", "2"]


def test_what_is_not_delivered_can_be_filtered_further(pipeline: Pipeline) -> None:
    for name in ("Lamp", "Table"):
        pipeline.create(name=name)
    pending = {"syncStatus": ["pending"]}

    assert names(pipeline, **pending, name="La") == ["Lamp"]
    assert names(pipeline, **pending, updatedSince="2999-01-01T00:00:00Z") == []


ORDERS: list[tuple[dict[str, object], Order]] = [
    ({}, Order.ID),
    ({"sort": "id"}, Order.ID),
    ({"sort": "updatedAt"}, Order.UPDATED_AT),
    ({"sku": "A", "sort": "updatedAt"}, Order.UPDATED_AT),
    ({"updatedSince": "2026-01-01T00:00:00Z"}, Order.UPDATED_AT),
    ({"updatedSince": "2026-01-01T00:00:00Z", "sort": "updatedAt"}, Order.UPDATED_AT),
    ({"name": "L"}, Order.NAME),
    ({"name": "L", "syncStatus": ["delivered"]}, Order.NAME),
    ({"syncStatus": ["delivered", "pending"], "sort": "updatedAt"}, Order.UPDATED_AT),
    ({"syncStatus": ["pending"]}, Order.BEHIND_SINCE),
    ({"syncStatus": ["pending"], "name": "L"}, Order.BEHIND_SINCE),
]


@pytest.mark.parametrize(("query", "order"), ORDERS)
def test_the_order_follows_from_the_filters(query: dict[str, object], order: Order) -> None:
    assert page_query(query).order is order


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        (
            {"name": "L", "sort": "id"},
            {"sort": "cannot be id: with name the list is in the order of name"},
        ),
        (
            {"syncStatus": ["pending"], "sort": "updatedAt"},
            {
                "sort": "cannot be updatedAt: with syncStatus the list is in the order of "
                "behindSince"
            },
        ),
        (
            {"updatedSince": "2026-01-01T00:00:00Z", "sort": "id"},
            {"sort": "cannot be id: with updatedSince the list is in the order of updatedAt"},
        ),
        (
            {"updatedSince": "2026-01-01T00:00:00Z", "name": "L"},
            {"updatedSince": "cannot be combined with name"},
        ),
    ],
)
def test_an_order_that_no_index_serves_is_refused(
    query: dict[str, object], fault: dict[str, str]
) -> None:
    assert faults(lambda: page_query(query)) == fault


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"syncStatus": ["pending", "lost"]}, "syncStatus"),
        ({"sort": "price"}, "sort"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"updatedSince": "yesterday"}, "updatedSince"),
        ({"updatedSince": "1767225600"}, "updatedSince"),
        ({"updatedSince": "2026-01-01T00:00:00"}, "updatedSince"),
        # No such time in UTC.
        ({"updatedSince": "0001-01-01T00:00:00+14:00"}, "updatedSince"),
        ({"updatedSince": "9999-12-31T23:59:59-14:00"}, "updatedSince"),
        # The index of the skus has no empty ones: all products would be read.
        ({"sku": ""}, "sku"),
        ({"page": "2"}, "page"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: dict[str, object], field: str) -> None:
    assert list(faults(lambda: page_query(query))) == [field]


@pytest.mark.parametrize(
    "cursor",
    [
        *(
            "",
            "x",
            "????",
            "bm9uZQ",
            "é",
            "\x00",
            "A" * 1000,
            "65f0c1a2b3c4d5e6f7a8b9c0",
            "NjVmMGMx\n",
        ),
    ],
)
def test_a_cursor_that_the_list_did_not_give_out_is_refused(
    pipeline: Pipeline, cursor: str
) -> None:
    named = faults(lambda: pipeline.catalog.list_products({"cursor": cursor}))

    assert named == {"cursor": "is not one that this list gave out: begin without it"}


@pytest.mark.parametrize(
    "text",
    [
        "updatedAt",
        "updatedAt soon",
        "updatedAt 2026-01-01",
        "updatedAt 0001-01-01T00:00:00+14:00",
        "price 1",
    ],
)
def test_a_cursor_that_was_changed_is_refused(text: str) -> None:
    cursor = encoded(f"{'0' * 24} {text}")

    assert list(faults(lambda: page_query({"cursor": cursor, "sort": "updatedAt"}))) == ["cursor"]


@pytest.mark.parametrize(("query", "order"), ORDERS)
def test_a_cursor_belongs_to_its_order(query: dict[str, object], order: Order) -> None:
    product = a_product(updated_at=START, fields=fields(name="Lamp"))

    for other in Order:
        given = {**query, "cursor": next_cursor(product.position, other)}
        if other is order:
            after = page_query(given).after
            assert after is not None
            assert after.id == product.id
        else:
            assert list(faults(lambda given=given: page_query(given))) == ["cursor"]  # type: ignore[misc]  # bound per turn


@pytest.mark.parametrize(
    ("query", "last"),
    [
        ({"name": "Lamp"}, a_product(fields=fields(name="Desk"))),
        ({"updatedSince": "2026-01-01T00:01:00Z"}, a_product(updated_at=START)),
    ],
)
def test_a_cursor_of_another_filter_leads_to_nothing_else(
    query: dict[str, object], last: Product
) -> None:
    cursor = next_cursor(last.position, page_query(query).order)

    assert list(faults(lambda: page_query({**query, "cursor": cursor}))) == ["cursor"]


def test_a_cursor_stands_beside_a_time_with_more_digits_than_are_stored() -> None:
    query = {"updatedSince": "2026-01-01T00:00:00.123456Z"}
    since = START.replace(microsecond=123_000)
    cursor = next_cursor(a_product(updated_at=since).position, Order.UPDATED_AT)

    asked = page_query({**query, "cursor": cursor})

    assert asked.updated_since == since
    assert asked.after is not None


@pytest.mark.parametrize("name", ["page", "id"])
def test_an_unknown_parameter_is_answered_with_those_that_there_are(name: str) -> None:
    named = faults(lambda: page_query({name: "2"}))

    assert named[name].startswith("is not a known parameter; there are limit, cursor, syncStatus")


def test_a_plus_that_became_a_blank_is_named() -> None:
    named = faults(lambda: page_query({"updatedSince": "2026-01-01T00:00:00 01:00"}))

    assert named["updatedSince"].endswith("in a query a + is written as %2B")


def test_a_time_without_a_zone_is_answered_with_an_example() -> None:
    named = faults(lambda: page_query({"updatedSince": "2026-01-01T00:00:00"}))

    assert named == {"updatedSince": "must be a time of RFC 3339, such as 2026-01-31T22:00:00Z"}

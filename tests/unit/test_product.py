"""Products: what may be written of them, and how they read."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.domain import exact_json
from chalicelib.domain.events import EventType
from chalicelib.domain.product import MAX_INT64, OUTBOX_LIMIT, ProductFields
from chalicelib.domain.sync_state import (
    Attempt,
    SyncState,
    SyncStatus,
)
from tests.fakes import START, a_product, fields

LATER = START + timedelta(hours=1)


def body(**changes: object) -> dict[str, Any]:
    return {"name": "Anvil", "price": 1, "quantity": 0, **changes}


def test_a_field_that_was_added_later_may_be_absent() -> None:
    # Products that were stored before have no such field: each would be unreadable, or would seem
    # to have another default.
    added = {
        name: field
        for name, field in ProductFields.model_fields.items()
        if name not in {"name", "price", "quantity"}
    }

    assert [name for name, field in added.items() if field.get_default() is not None] == []


# ---- what may be written ----


@pytest.mark.parametrize("price", [1, Decimal("0.0001"), Decimal("12.50"), Decimal("1E+3")])
def test_a_price_keeps_its_value(price: object) -> None:
    assert ProductFields.model_validate(body(price=price)).price == price


def test_a_price_in_scientific_notation_reads_as_a_plain_number() -> None:
    assert str(fields(price=Decimal("1E+3")).price) == "1000"


@pytest.mark.parametrize(
    "price",
    [
        *(0, -1, True, "12.50", None, [], 12.5),
        *map(Decimal, ["0.00001", "NaN", "Infinity", "1e40", "1e-9999999", "1e999999999"]),
    ],
)
def test_what_is_no_price_is_refused(price: object) -> None:
    with pytest.raises(ValidationError):
        ProductFields.model_validate(body(price=price))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"name": 1},
        {"name": "\ud800"},
        {"quantity": -1},
        {"quantity": 1.0},
        *({"quantity": Decimal(text)} for text in ["1.5", "1e-9999999", "1e19", "1e999999999"]),
        {"quantity": True},
        {"quantity": MAX_INT64 + 1},
        {"sku": ""},
        {"sku": "x" * 65},
        {"description": "x" * 20_001},
        {"attributes": {"": 1}},
        {"attributes": {"x" * 65: 1}},
        {"attributes": {"a": None}},
        {"attributes": {"a": {}}},
        {"attributes": {"a": []}},
        {"attributes": {"a": "x" * 1001}},
        {"attributes": {"a": MAX_INT64 + 1}},
        {"attributes": {"a": Decimal("NaN")}},
        *({"attributes": {"a": Decimal(text)}} for text in ["1e-21", "1e19", "-1e999999999"]),
        {"attributes": {"a": Decimal("1234567890123456.1234567890123456789")}},
        {"attributes": {"a": "\ud800"}},
        {"attributes": {str(index): 1 for index in range(101)}},
        {"unknown": 1},
        {"version": 1},
    ],
)
def test_what_breaks_a_rule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ProductFields.model_validate(body(**changes))


@pytest.mark.parametrize("blank", [" ", "\n", "\u3000", "\x00", "\x1f", "\x85", "\ufeff"])
def test_a_name_is_blank_to_the_server_and_to_the_document_alike(blank: str) -> None:
    pattern = ProductFields.model_json_schema()["properties"]["name"]["pattern"]
    # From its start, as some generated clients look for it.
    assert not re.match(pattern, blank * 2)
    assert re.match(pattern, f"{blank}x{blank}")
    with pytest.raises(ValidationError):
        ProductFields.model_validate(body(name=blank * 2))
    assert fields(name=f"{blank}x{blank}").name == f"{blank}x{blank}"


@pytest.mark.parametrize("text", ["3.0", "3e0", "0.3e1", "3.000000000000000000000000000000"])
def test_a_whole_quantity_may_have_a_point_or_an_exponent(text: str) -> None:
    assert str(fields(quantity=exact_json.loads(text)).quantity) == "3"


@pytest.mark.parametrize("text", ["1e16", "-1E+16", "1234567890123456.5", "9.2e18"])
def test_an_attribute_may_have_as_many_digits_with_a_point_as_without(text: str) -> None:
    kept = (fields(attributes={"a": exact_json.loads(text)}).attributes or {})["a"]
    assert kept == Decimal(text)


@pytest.mark.parametrize("name", ["name", "price", "quantity"])
def test_a_required_field_must_be_there(name: str) -> None:
    with pytest.raises(ValidationError):
        ProductFields.model_validate({k: v for k, v in body().items() if k != name})


@pytest.mark.parametrize("zero", ["0e-99999", "0.0e-99999", "-0e-99999", "0e99999"])
def test_a_short_zero_is_not_written_out_at_great_length(zero: str) -> None:
    kept = (fields(attributes={"a": exact_json.loads(zero)}).attributes or {})["a"]

    assert kept == 0
    assert len(f"{kept:f}") < 100


def test_only_the_fields_that_are_set_are_given() -> None:
    assert fields(sku="A").to_json() == {
        "name": "Anvil",
        "price": Decimal("12.50"),
        "quantity": 7,
        "sku": "A",
    }


# ---- fingerprints ----


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"price": Decimal("12.5")}, {"price": Decimal("12.50")}),
        ({"price": 1000}, {"price": Decimal("1E+3")}),
        ({"attributes": {"a": 1, "b": 2}}, {"attributes": {"b": 2, "a": 1}}),
        ({"attributes": {"a": 1}}, {"attributes": {"a": Decimal("1.0")}}),
        ({"sku": None}, {}),
    ],
)
def test_bodies_that_mean_the_same_have_the_same_fingerprint(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert fields(**one).fingerprint() == fields(**other).fingerprint()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"attributes": {"a": True}}, {"attributes": {"a": 1}}),
        ({"attributes": {"a": False}}, {"attributes": {"a": 0}}),
        ({"attributes": {"a": "1"}}, {"attributes": {"a": 1}}),
        ({"attributes": {}}, {"attributes": None}),
        ({"attributes": {"a": 10}}, {"attributes": {"a": 1}}),
        ({"price": 100}, {"price": 1}),
        ({"price": Decimal("0.1")}, {"price": Decimal("0.01")}),
        ({"description": ""}, {}),
        ({"name": "a"}, {"name": "A"}),
    ],
)
def test_bodies_that_mean_something_else_have_another_fingerprint(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert fields(**one).fingerprint() != fields(**other).fingerprint()


# ---- products ----


def test_an_outbox_drops_its_oldest_events() -> None:
    product = a_product(outbox=())
    for index in range(OUTBOX_LIMIT + 5):
        product = product.with_event(EventType.UPDATED, START + timedelta(seconds=index), None)

    assert len(product.outbox) == OUTBOX_LIMIT
    assert product.outbox[0].time == START + timedelta(seconds=5)


def test_a_product_reads_as_the_contract_says() -> None:
    product = a_product(fields=fields(sku="A", attributes={"heavy": True}))

    assert product.to_json() == {
        "id": product.id,
        "name": "Anvil",
        "price": Decimal("12.50"),
        "quantity": 7,
        "sku": "A",
        "attributes": {"heavy": True},
        "version": 0,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "syncCompletedAt": None,
        "syncStatus": "pending",
    }


def test_a_tombstone_tells_when_it_was_deleted() -> None:
    assert a_product(deleted_at=LATER).to_json()["deletedAt"] == "2026-01-01T01:00:00.000Z"


def test_a_product_compares_by_its_version_then_its_budget() -> None:
    pairs = [a_product(version=v, sync=SyncState(budget=b)).pair for v, b in ((0, 9), (1, 0))]
    assert pairs == sorted(pairs)


@pytest.mark.parametrize(("budget", "key"), [(0, "p1:3"), (1, "p1:3:1"), (12, "p1:3:12")])
def test_all_calls_within_one_budget_have_one_key_and_those_of_the_next_another(
    budget: int, key: str
) -> None:
    assert a_product(id="p1", version=3, sync=SyncState(budget=budget)).idempotency_key == key


def test_operators_see_the_state_of_the_sync_with_each_attempt() -> None:
    sync = SyncState(
        SyncStatus.RETRYING,
        budget=2,
        attempts=1,
        delivered_version=1,
        behind_since=START,
        first_attempt_at=START,
        next_attempt_at=LATER,
        last_error="HTTP 503: busy",
        history=(Attempt(START, 3, 503, 0.25, "HTTP 503: busy"),),
    )
    assert a_product(id="p1", version=3, sync=sync).sync_to_json() == {
        "id": "p1",
        "name": "Anvil",
        "version": 3,
        "deleted": False,
        "status": "retrying",
        "budget": 2,
        "attempts": 1,
        "deliveredVersion": 1,
        "behindSince": "2026-01-01T00:00:00.000Z",
        "firstAttemptAt": "2026-01-01T00:00:00.000Z",
        "nextAttemptAt": "2026-01-01T01:00:00.000Z",
        "syncCompletedAt": None,
        "failedAt": None,
        "lastError": "HTTP 503: busy",
        "lastErrorKind": "http-503",
        "traceId": None,
        "history": [
            {
                "time": "2026-01-01T00:00:00.000Z",
                "version": 3,
                "statusCode": 503,
                "durationSeconds": 0.25,
                "error": "HTTP 503: busy",
            }
        ],
    }

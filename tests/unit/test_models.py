"""Products, events and exact JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from chalicelib.domain import exact_json
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import MAX_INT64, OUTBOX_LIMIT, ProductFields
from chalicelib.domain.sync_state import (
    Attempt,
    Lease,
    SyncState,
    SyncStatus,
)
from chalicelib.domain.times import now_utc, rfc3339
from tests.fakes import START, a_product, fields

LATER = START + timedelta(hours=1)


def body(**changes: object) -> dict[str, Any]:
    return {"name": "Anvil", "price": 1, "quantity": 0, **changes}


# ---- exact JSON ----


@pytest.mark.parametrize("text", ["12.50", "0.0001", "1.10", "123456789012345678.123456789"])
def test_a_fraction_is_read_and_written_digit_by_digit(text: str) -> None:
    assert exact_json.dumps(exact_json.loads(text)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_any_decimal_survives_the_way_through_json(value: Decimal) -> None:
    assert exact_json.loads(exact_json.dumps([value])) == [value]


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "[Infinity]", "[-Infinity]", "01", "{'a':1}", "[" * 100_000, b"\xff\xfe\x00"],
)
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exact_json.loads(text)


@pytest.mark.parametrize("text", ["1e999999999999999999999", "1" * 5000])
def test_a_number_out_of_any_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exact_json.loads(text)


def test_text_is_written_as_it_is() -> None:
    assert exact_json.dumps({"a": "naïve 🚀"}) == '{"a":"naïve 🚀"}'


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
        {"attributes": {"a": Decimal("1e-21")}},
        {"attributes": {"a": "\ud800"}},
        {"attributes": {str(index): 1 for index in range(101)}},
        {"unknown": 1},
        {"version": 1},
    ],
)
def test_what_breaks_a_rule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ProductFields.model_validate(body(**changes))


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


# ---- events ----


def test_an_event_is_a_cloudevent_with_the_product_as_its_data() -> None:
    product = a_product(fields=fields(price=Decimal("12.500")))
    event = json.loads(product.outbox[0].to_cloudevent(), parse_float=Decimal)

    assert event == {
        "specversion": "1.0",
        "id": f"{product.id}:0:product:created",
        "source": "/products",
        "type": "product:created",
        "subject": product.id,
        "time": "2026-01-01T00:00:00.000Z",
        "datacontenttype": "application/json",
        "data": product.to_json(),
    }


def test_the_data_of_an_event_stay_as_they_were_written() -> None:
    event = Event(EventType.UPDATED, "id", 1, START, '{"price":12.5000}')

    assert event.to_cloudevent().endswith(',"data":{"price":12.5000}}')


@pytest.mark.parametrize(
    ("event_type", "subject"),
    [
        (EventType.CREATED, "product.created"),
        (EventType.UPDATED, "product.updated"),
        (EventType.DELETED, "product.deleted"),
        (EventType.SYNC_COMPLETE, "product.sync-complete"),
    ],
)
def test_the_subject_of_an_event_is_its_type_with_a_dot(
    event_type: EventType, subject: str
) -> None:
    assert event_type.subject == subject


def test_an_outbox_drops_its_oldest_events() -> None:
    product = a_product(outbox=())
    for index in range(OUTBOX_LIMIT + 5):
        product = product.with_event(EventType.UPDATED, START + timedelta(seconds=index), None)

    assert len(product.outbox) == OUTBOX_LIMIT
    assert product.outbox[0].time == START + timedelta(seconds=5)


# ---- the rest ----


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


def test_a_sync_message_without_a_trace_does_not_mention_one() -> None:
    assert json.loads(SyncMessage("id", 3).to_json()) == {"productId": "id", "version": 3}
    assert json.loads(SyncMessage("id", 3, "t").to_json())["trace"] == "t"


def test_an_attempt_reads_as_operators_see_it() -> None:
    assert Attempt(START, 3, 500, 0.12345, "HTTP 500").to_json() == {
        "time": "2026-01-01T00:00:00.000Z",
        "version": 3,
        "statusCode": 500,
        "durationSeconds": 0.123,
        "error": "HTTP 500",
    }


def test_a_restart_forgets_the_budget_and_keeps_the_rest() -> None:
    lease, attempt = Lease("worker", LATER, 1), Attempt(START, 0, 200, 0.1)
    before = SyncState(
        SyncStatus.EXHAUSTED,
        attempts=18,
        delivered_version=0,
        first_attempt_at=START,
        next_attempt_at=START,
        behind_since=START,
        lease=lease,
        message_id="message",
        last_error="HTTP 500",
        history=(attempt,),
    )

    assert before.restarted(LATER, LATER) == SyncState(
        delivered_version=0,
        behind_since=START,
        overdue_at=LATER,
        restarted_at=LATER,
        lease=lease,
        history=(attempt,),
    )


def test_the_time_is_in_utc_and_whole_milliseconds() -> None:
    now = now_utc()

    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=5)


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=1)))

    assert rfc3339(moment) == "2026-01-01T00:00:00.000Z"

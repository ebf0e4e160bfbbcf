"""Products that are created."""

from __future__ import annotations

from decimal import Decimal

import pytest

from chalicelib.domain.errors import DuplicateSkuError, StoreUnavailableError
from chalicelib.domain.sync_state import SyncState
from chalicelib.usecases.catalog import Origin
from tests.fakes import BODY, GRACE, START, Pipeline
from tests.unit.catalog.steps import SOMEBODY, faults


def test_a_created_product_is_stored_and_answered(pipeline: Pipeline) -> None:
    answer = pipeline.catalog.create({**BODY, "sku": "A"}, SOMEBODY)

    product = pipeline.product(answer["id"])
    assert answer == product.to_json()
    assert (answer["version"], answer["syncStatus"], answer["sku"]) == (0, "pending", "A")
    assert product.sync == SyncState(behind_since=START, overdue_at=START + GRACE)


def test_a_created_product_is_announced_and_its_event_stays_until_a_message_proves_it(
    pipeline: Pipeline,
) -> None:
    answer = pipeline.catalog.create(BODY, Origin(trace="Root=1-2-3"))

    (message,) = pipeline.stream.log
    assert (message.subject, message.trace) == ("product.created", "Root=1-2-3")
    assert len(pipeline.product(answer["id"]).outbox) == 1
    pipeline.pass_on()
    assert pipeline.product(answer["id"]).outbox == ()


def test_a_write_is_accepted_while_the_stream_is_away_and_its_event_waits(
    pipeline: Pipeline,
) -> None:
    pipeline.stream.away = True

    answer = pipeline.catalog.create(BODY, SOMEBODY)

    (event,) = pipeline.product(answer["id"]).outbox
    assert event.id == f"{answer['id']}:0:product:created"


def test_a_write_is_refused_while_the_store_is_away_and_nothing_is_announced(
    pipeline: Pipeline,
) -> None:
    pipeline.store.away = True

    with pytest.raises(StoreUnavailableError):
        pipeline.catalog.create(BODY, SOMEBODY)
    assert pipeline.stream.log == []


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"name": ""}, "name", "String should have at least 1 character"),
        ({"name": None}, "name", "Input should be a valid string"),
        ({"price": "1"}, "price", "must be a number"),
        ({"price": True}, "price", "must be a number"),
        ({"price": 0}, "price", "Input should be greater than 0"),
        (
            {"price": Decimal("0.00001")},
            "price",
            "Decimal input should have no more than 4 decimal places",
        ),
        ({"quantity": -1}, "quantity", "Input should be greater than or equal to 0"),
        ({"quantity": 1.5}, "quantity", "Input should be a valid integer"),
        ({"sku": ""}, "sku", "String should have at least 1 character"),
        ({"description": 1}, "description", "Input should be a valid string"),
        ({"attributes": []}, "attributes", "Input should be a valid dictionary"),
        (
            {"attributes": {"color": []}},
            "attributes.color",
            "must be text, a number within 64 bits, or true/false",
        ),
        ({"attributes": {"": 1}}, "attributes.", "String should have at least 1 character"),
        ({"colour": "red"}, "colour", "is not a known field"),
        ({"version": 3}, "version", "is read-only"),
        ({"id": "mine"}, "id", "is read-only"),
        ({"syncStatus": "delivered"}, "syncStatus", "is read-only"),
    ],
)
def test_a_field_at_fault_is_named_with_what_is_wrong(
    pipeline: Pipeline, changes: dict[str, object], field: str, message: str
) -> None:
    assert faults(lambda: pipeline.catalog.create({**BODY, **changes}, SOMEBODY)) == {
        field: message
    }


def test_every_field_at_fault_is_named(pipeline: Pipeline) -> None:
    named = faults(lambda: pipeline.catalog.create({"price": 0}, SOMEBODY))

    assert named == {
        "name": "Field required",
        "price": "Input should be greater than 0",
        "quantity": "Field required",
    }


@pytest.mark.parametrize("body", [None, [], "text", 1, True])
def test_a_body_that_is_no_object_is_refused(pipeline: Pipeline, body: object) -> None:
    assert faults(lambda: pipeline.catalog.create(body, SOMEBODY)) == {
        "body": "must be a JSON object"
    }


def test_a_field_whose_name_cannot_be_written_is_refused_with_one_that_can(
    pipeline: Pipeline,
) -> None:
    (field,) = faults(lambda: pipeline.catalog.create({**BODY, "\ud800": 1}, SOMEBODY))

    assert field.encode()


def test_a_taken_sku_is_refused(pipeline: Pipeline) -> None:
    pipeline.create(sku="A")

    with pytest.raises(DuplicateSkuError):
        pipeline.catalog.create({**BODY, "sku": "A"}, SOMEBODY)

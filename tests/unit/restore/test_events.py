"""What an event of the stream says about its product."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.domain import exact_json
from chalicelib.domain.errors import PoisonMessageError
from chalicelib.domain.events import EventType
from chalicelib.domain.product import FIELD_TYPES, ProductFields
from chalicelib.domain.restore import Loss, given_out_twice, newest, product_of, told_at
from chalicelib.domain.sync_state import SyncState
from chalicelib.domain.times import PRECISION
from tests.fakes import START, a_product, every_field


def told(kind: EventType = EventType.UPDATED, **changes: object) -> bytes:
    product = a_product(**changes).with_event(kind, START, None)
    return product.outbox[-1].to_cloudevent().encode()


def test_an_event_has_the_whole_product_at_its_version() -> None:
    fields = ProductFields.model_validate(every_field())
    product = a_product(version=4, fields=fields)
    found = product_of(told(id=product.id, version=4, fields=fields))
    assert found == replace(product, sync=SyncState(), outbox=(), revision=0)
    assert found is not None
    assert all(isinstance(getattr(found.fields, name), kind) for name, kind in FIELD_TYPES.items())


def test_an_event_of_a_deletion_has_a_tombstone() -> None:
    found = product_of(told(EventType.DELETED, deleted_at=START))
    assert found is not None
    assert found.deleted_at == START


def test_a_whole_price_is_a_decimal_too() -> None:
    found = product_of(told().replace(b'"price":12.50', b'"price":12'))
    assert found is not None
    assert found.to_json()["price"] == 12
    assert str(type(found.fields.price)) == "<class 'decimal.Decimal'>"


@pytest.mark.parametrize("kind", EventType)
def test_an_event_of_each_type_has_the_whole_product(kind: EventType) -> None:
    product = a_product(version=3)
    found = product_of(told(kind, id=product.id, version=3, fields=product.fields))
    assert found == replace(product, sync=SyncState(), outbox=(), revision=0)


def test_an_event_of_another_type_tells_nothing() -> None:
    assert product_of(told().replace(b"product:updated", b"order:updated")) is None


@pytest.mark.parametrize("data", [b"poison", b"[]", b"{}", b'{"time":1}', b'{"time":"soon"}'])
def test_an_event_without_a_time_does_not_say_when_it_was(data: bytes) -> None:
    assert told_at(data) is None


def test_a_field_of_a_later_release_is_left_out() -> None:
    event = exact_json.loads(told())
    event["data"]["colour"] = "red"
    found = product_of(exact_json.dumps(event).encode())
    assert found is not None
    assert "colour" not in found.to_json()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"[]",
        told().replace(b'"name":"Anvil",', b""),
        told().replace(b'"price":12.50', b'"price":"12.50"'),
        told().replace(b'"createdAt":"2026', b'"createdAt":"yesterday 2026'),
        told(version=2**52 + 1),
    ],
)
def test_what_tells_a_change_and_cannot_be_read_is_poison(data: bytes) -> None:
    with pytest.raises(PoisonMessageError):
        product_of(data)


def test_two_changes_of_one_version_are_told_apart_by_their_times() -> None:
    product = a_product(version=3, updated_at=START)
    other = replace(product, updated_at=START + PRECISION)
    stored = {product.id: product}
    lost = [Loss(product.id, 3, 3)]
    assert given_out_twice([product, other], {}) == lost
    assert given_out_twice([other, replace(other, version=4)], stored) == lost
    # What is stored has milliseconds.
    same = replace(product, updated_at=START + PRECISION / 2)
    assert given_out_twice([same, same], stored) == []


def test_of_several_events_the_highest_version_wins_in_any_order() -> None:
    first = a_product()
    later = replace(first, version=2)
    assert newest([first, later]) == newest([later, first]) == {first.id: later}

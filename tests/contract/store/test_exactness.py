"""What is stored comes back digit by digit, with its type and its order."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.product import MAX_INT64
from tests.contract.store.steps import inserted, stored
from tests.fakes import fields

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store


ODD_KEYS = ["a.b", "$x", "$set", "_id", " ", ".", "\x00", "naïve 名 🚀", "\u202e"]


@pytest.mark.parametrize(
    "text", ["0.0001", "12.50", "1000", "9" * 30 + ".9999", "123456789012345678.1"]
)
def test_a_price_is_kept_digit_by_digit(store: Store, text: str) -> None:
    product = inserted(store, fields=fields(price=Decimal(text)))

    assert str(stored(store, product).fields.price) == text


@pytest.mark.parametrize(
    "value",
    [True, False, 0, 1, -MAX_INT64, MAX_INT64, "", "x" * 1000, "\x00", "12.50", "naïve 🚀"],
)
def test_an_attribute_keeps_its_value_and_type(store: Store, value: object) -> None:
    product = inserted(store, fields=fields(attributes={"a": value}))

    kept = (stored(store, product).fields.attributes or {})["a"]
    assert kept == value
    assert isinstance(kept, bool) is isinstance(value, bool)


@pytest.mark.parametrize("text", ["1." + "1" * 20, "-" + "9" * 14 + "." + "9" * 20, "1.0"])
def test_a_fraction_among_the_attributes_is_kept_digit_by_digit(store: Store, text: str) -> None:
    product = inserted(store, fields=fields(attributes={"a": Decimal(text)}))

    assert str((stored(store, product).fields.attributes or {})["a"]) == text


def test_odd_attribute_keys_are_kept_in_their_order(store: Store) -> None:
    attributes = {key: index for index, key in enumerate(ODD_KEYS)}
    product = inserted(store, fields=fields(attributes=attributes))

    assert list((stored(store, product).fields.attributes or {}).items()) == list(
        attributes.items()
    )


@pytest.mark.parametrize("attributes", [None, {}])
def test_no_attributes_are_something_else_than_empty_ones(
    store: Store, attributes: dict[str, object] | None
) -> None:
    product = inserted(store, fields=fields(attributes=attributes))

    assert stored(store, product).fields.attributes == attributes


def test_the_largest_quantity_is_kept(store: Store) -> None:
    product = inserted(store, fields=fields(quantity=MAX_INT64))

    assert stored(store, product).fields.quantity == MAX_INT64

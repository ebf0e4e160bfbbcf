"""The sample file of the project."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import simplejson

from tests.unit.catalogctl.importing.files import SAMPLE


def sample() -> list[dict[str, Any]]:
    return [
        simplejson.loads(text, use_decimal=True)
        for text in SAMPLE.read_text(encoding="utf-8").splitlines()
    ]


def test_the_sample_has_300_products() -> None:
    assert len(sample()) == 300


def test_the_sample_has_only_writable_fields() -> None:
    required, optional = {"name", "price", "quantity"}, {"sku", "description", "attributes"}
    for product in sample():
        assert required <= set(product) <= required | optional


def test_the_sample_has_names_of_1_to_200_characters() -> None:
    assert all(1 <= len(product["name"]) <= 200 for product in sample())


def test_the_sample_has_positive_prices_with_at_most_4_places() -> None:
    for product in sample():
        assert isinstance(product["price"], Decimal)
        assert product["price"] > 0
        assert product["price"] == product["price"].quantize(Decimal("0.0001"))


def test_the_sample_has_quantities_that_are_whole_and_not_negative() -> None:
    assert all(
        type(product["quantity"]) is int and product["quantity"] >= 0 for product in sample()
    )


def test_the_sample_has_no_sku_twice() -> None:
    skus = [product["sku"] for product in sample() if "sku" in product]
    assert len(skus) == len(set(skus))


def test_the_sample_has_valid_check_digits_in_its_internal_eans() -> None:
    eans = [p["sku"] for p in sample() if "sku" in p and not p["sku"].startswith("SKU-")]
    assert eans
    for ean in eans:
        assert len(ean) == 13
        assert ean[0] == "2"
        weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(ean))
        assert weighted % 10 == 0


def test_the_sample_has_flat_attributes() -> None:
    for product in sample():
        values = product.get("attributes", {}).values()
        assert all(isinstance(value, str | int | Decimal | bool) for value in values)

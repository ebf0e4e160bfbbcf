"""Each field of the model comes back as it was stored: also one that the model gets later."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.product import FIELD_TYPES, OPTIONAL_FIELDS
from chalicelib.usecases.ports import ProductQuery
from tests.contract.store.steps import change, inserted, stored
from tests.fakes import every_field, every_field_changed, fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.domain.product import Product
    from chalicelib.usecases.ports import Store

READS: dict[str, Callable[[Store, Product], Product]] = {
    "get": stored,
    "get many": lambda store, product: store.get_many([product.id]).products[product.id],
    "find": lambda store, _: store.find(ProductQuery(9))[0],
}
NAMES = list(FIELD_TYPES)


@pytest.mark.parametrize("read", READS)
def test_every_field_comes_back_as_it_was_inserted(store: Store, read: str) -> None:
    product = inserted(store, fields=fields(**every_field()))

    assert READS[read](store, product).fields == fields(**every_field())


def test_every_field_can_be_changed(store: Store) -> None:
    product = inserted(store, fields=fields(**every_field()))

    change(store, product, fields=fields(**every_field_changed()))

    assert stored(store, product).fields == fields(**every_field_changed())


@pytest.mark.parametrize("name", sorted(OPTIONAL_FIELDS))
def test_an_optional_field_can_be_removed(store: Store, name: str) -> None:
    product = inserted(store, fields=fields(**every_field()))
    rest = {key: value for key, value in every_field().items() if key != name}

    change(store, product, fields=fields(**rest))

    assert stored(store, product).fields == fields(**rest)


@pytest.mark.parametrize("name", NAMES)
def test_a_field_keeps_its_type(store: Store, name: str) -> None:
    product = inserted(store, fields=fields(**every_field()))

    assert type(getattr(stored(store, product).fields, name)) is FIELD_TYPES[name]


def test_a_deleted_product_keeps_every_field_but_its_sku(store: Store) -> None:
    product = inserted(store, fields=fields(**every_field()))

    gone = change(store, product, deleted_at=product.updated_at)

    bare = {**every_field(), "sku": None}
    assert replace(stored(store, gone), outbox=()).fields == fields(**bare)

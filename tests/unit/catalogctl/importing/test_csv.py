"""Products as rows of a CSV file."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from catalogctl.importing import FileError, Refusal, _value, import_file
from chalicelib.domain.product import FIELD_TYPES
from tests.fakes import every_field
from tests.unit.catalogctl.importing.catalog import Catalog
from tests.unit.catalogctl.importing.files import TOKEN, products_of, read

if TYPE_CHECKING:
    from collections.abc import Callable


def test_csv_columns_become_fields(write: Callable[..., Path]) -> None:
    path = write(
        "name,price,quantity,sku,description,attributes.colour,attributes.weightGrams\n"
        "Lamp,1.50,3,S1,Bright,red,250\n"
    )
    assert products_of(path) == [
        {
            "name": "Lamp",
            "price": Decimal("1.50"),
            "quantity": 3,
            "sku": "S1",
            "description": "Bright",
            "attributes": {"colour": "red", "weightGrams": "250"},
        }
    ]


def test_an_empty_cell_is_an_absent_field(write: Callable[..., Path]) -> None:
    path = write("name,price,quantity,sku,attributes.colour\nLamp,1,2,,\n")
    assert products_of(path) == [{"name": "Lamp", "price": 1, "quantity": 2}]


def test_a_quantity_of_a_csv_is_sent_as_an_integer(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    import_file(write("name,price,quantity\nLamp,1.50,3\n", "some.csv"), catalog.url, TOKEN)
    assert catalog.requests[0].text.endswith('"price":1.50,"quantity":3}]}')


def test_a_byte_order_mark_is_not_part_of_the_first_column(write: Callable[..., Path]) -> None:
    path = write("\ufeffname,price\nLamp,1\n")
    assert products_of(path) == [{"name": "Lamp", "price": 1}]


def test_a_cell_may_have_newlines_commas_and_quotes(write: Callable[..., Path]) -> None:
    path = write('name,description\nLamp,"one\r\ntwo, ""three"""\n')
    assert products_of(path)[0]["description"] == 'one\r\ntwo, "three"'


def test_line_numbers_are_right_after_newlines_in_cells_and_blank_lines(
    write: Callable[..., Path],
) -> None:
    path = write('name,description\n\nA,"1\n2\n3"\n\nB,x\n"C","y"z\nD,w\n')
    assert [record.line for record in read(path)] == [3, 7, 8, 9]
    assert isinstance(read(path)[2], Refusal)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Lamp,1", "not CSV: 2 cells, but the header has 3"),
        ("Lamp,1,2,3", "not CSV: 4 cells, but the header has 3"),
        ("Lamp,cheap,2", "price: 'cheap' is not a plain number"),
        ('Lamp,"1,50",2', "price: '1,50' is not a plain number"),
        ("Lamp,NaN,2", "price: 'NaN' is not a plain number"),
        ("Lamp,1,2.5", "quantity: '2.5' is not a plain number"),
        ('"Lamp,1,2', "not CSV: unexpected end of data"),
    ],
)
def test_a_row_that_is_no_product_is_refused(
    write: Callable[..., Path], row: str, reason: str
) -> None:
    assert read(write(f"name,price,quantity\n{row}\n")) == [Refusal(2, reason)]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("name;price;quantity", "separated by semicolons; use commas"),
        ("name,cost", "unknown column 'cost'"),
        ("name,attributes.", "unknown column 'attributes.'"),
        ("name,name", "column 'name' occurs twice"),
    ],
)
def test_a_wrong_header_is_an_error_of_the_file(
    write: Callable[..., Path], header: str, reason: str
) -> None:
    with pytest.raises(FileError, match=reason):
        read(write(f"{header}\n"))


def test_every_field_of_a_product_is_a_column(write: Callable[..., Path]) -> None:
    cells = {
        f"{name}.{key}" if key else name: str(value)
        for name, given in every_field().items()
        for key, value in (given.items() if isinstance(given, dict) else [("", given)])
    }

    text = io.StringIO()
    csv.writer(text).writerows([cells.keys(), cells.values()])

    (product,) = products_of(write(text.getvalue()))

    assert product.keys() == FIELD_TYPES.keys()


def test_a_truth_value_of_a_csv_is_true_or_false() -> None:
    assert (_value(bool, "true"), _value(bool, " FALSE ")) == (True, False)

    with pytest.raises(ValueError, match="is not true or false"):
        _value(bool, "yes")

"""Files of products: their lines, and what the importer reads in them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import simplejson

from catalogctl.importing import Record, Refusal, read_records

SAMPLE = Path(__file__).parents[4] / "embedded" / "products.ndjson"
TOKEN = "a-token"


def line(number: int, **more: object) -> str:
    product = {"name": f"Lamp {number}", "price": Decimal("1.10"), "quantity": 1, **more}
    return simplejson.dumps(product, use_decimal=True)


def lines(count: int) -> str:
    return "".join(f"{line(number)}\n" for number in range(count))


def read(path: Path, fmt: str = "csv") -> list[Record | Refusal]:
    return list(read_records(path, fmt))


def products_of(path: Path) -> list[dict[str, Any]]:
    return [record.product for record in read(path) if isinstance(record, Record)]

"""Products that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from catalogctl.importing import Refusal, import_file
from tests.unit.catalogctl.importing.catalog import Catalog
from tests.unit.catalogctl.importing.files import TOKEN, line

if TYPE_CHECKING:
    from collections.abc import Callable


def refusals_of(path: Path, api: str) -> list[Refusal]:
    found: list[Refusal] = []
    report = import_file(path, api, TOKEN, on_refusal=found.append)
    assert report.refused == len(found)
    return found


def test_a_refused_product_is_reported_with_line_and_field(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    (refusal,) = refusals_of(write(f'{line(1)}\n\n{{"name":""}}\n{line(2)}'), catalog.url)
    reason = "422 name: must have 1 to 200 characters"
    assert refusal == Refusal(3, reason)


def test_a_sku_that_exists_counts_as_already_there(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    import_file(write(line(1, sku="S1")), catalog.url, TOKEN)
    report = import_file(write(line(2, sku="S1")), catalog.url, TOKEN)
    assert (report.loaded, report.already_there, report.refused) == (0, 1, 0)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"name": ', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"price": NaN}', "not JSON"),
        (b'{"name": "\xff"}', "not UTF-8"),
        (b'{"name": "\\ud800"}', "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_is_no_product_does_not_stop_the_others(
    catalog: Catalog, write: Callable[..., Path], bad: bytes, reason: str
) -> None:
    (refusal,) = refusals_of(
        write(line(1).encode() + b"\n" + bad + b"\n" + line(2).encode()), catalog.url
    )
    assert refusal.line == 2
    assert refusal.reason.startswith(reason)
    assert len(catalog.products()) == 2

"""Files that are loaded."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from catalogctl.importing import batches, import_file
from tests.unit.catalogctl.importing.catalog import Catalog
from tests.unit.catalogctl.importing.files import SAMPLE, TOKEN, line, lines, read

if TYPE_CHECKING:
    from collections.abc import Callable


def test_every_product_of_the_sample_is_loaded(catalog: Catalog) -> None:
    report = import_file(SAMPLE, catalog.url, TOKEN)
    assert (report.loaded, report.already_there, report.refused) == (300, 0, 0)
    assert len(catalog.products()) == 300


def test_running_again_creates_nothing_twice(catalog: Catalog) -> None:
    import_file(SAMPLE, catalog.url, TOKEN)
    report = import_file(SAMPLE, catalog.url, TOKEN)
    assert report.loaded == 300
    assert len(catalog.products()) == 300


def test_an_interrupted_run_is_resumed_by_running_again(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    path = write(lines(250))
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:100]))
    import_file(path, catalog.url, TOKEN)
    path.write_bytes(whole)
    import_file(path, catalog.url, TOKEN)
    assert len(catalog.products()) == 250


def test_the_same_hundred_lines_twice_are_two_hundred_products(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    import_file(write(lines(100) * 2), catalog.url, TOKEN)
    assert len(catalog.products()) == 200


def test_correcting_a_bad_line_leaves_the_keys_of_other_batches(
    write: Callable[..., Path],
) -> None:
    bad = [batch.key for batch in batches(read(write("{\n" + lines(250)), "ndjson"))]
    good = [batch.key for batch in batches(read(write(f"{line(999)}\n{lines(250)}"), "ndjson"))]
    assert bad[0] != good[0]
    assert bad[1:] == good[1:]


def test_a_price_arrives_as_it_is_written(catalog: Catalog, write: Callable[..., Path]) -> None:
    import_file(write('{"name":"A","price":1234.50,"quantity":1}'), catalog.url, TOKEN)
    assert '"price":1234.50' in catalog.requests[0].text


def test_the_token_is_sent_as_bearer(catalog: Catalog, write: Callable[..., Path]) -> None:
    import_file(write(lines(1)), catalog.url, f"{TOKEN}\n")
    assert catalog.requests[0].authorization == f"Bearer {TOKEN}"


def test_a_request_has_at_most_100_products(catalog: Catalog, write: Callable[..., Path]) -> None:
    import_file(write(lines(201)), catalog.url, TOKEN)
    assert sorted(len(request.items) for request in catalog.requests) == [1, 100, 100]


def test_a_request_has_at_most_180_kb(catalog: Catalog, write: Callable[..., Path]) -> None:
    big = "".join(line(number, description="ä" * 20_000) + "\n" for number in range(10))
    assert import_file(write(big), catalog.url, TOKEN).loaded == 10
    assert max(request.size for request in catalog.requests) <= 180_000


def test_a_product_too_large_for_any_request_is_refused(write: Callable[..., Path]) -> None:
    path = write(line(1, description="x" * 180_000))
    (batch,) = batches(read(path, "ndjson"))
    assert "too large" in batch.refusals[0].reason


def test_the_products_of_one_worker_arrive_in_the_order_of_the_file(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    import_file(write(lines(250)), catalog.url, TOKEN, workers=1)
    assert [item["name"] for item in catalog.products()] == [f"Lamp {n}" for n in range(250)]


def test_made_up_prices_come_from_the_line_number(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    path = write('\n{"name":"A"}\n{"name":"B","price":7,"quantity":8}\n')
    import_file(path, catalog.url, TOKEN, made_up_prices=True)
    made = [(item["price"], item["quantity"]) for item in catalog.products()]
    assert made == [(Decimal("0.03"), 2), (7, 8)]


def test_an_empty_file_loads_nothing(catalog: Catalog, write: Callable[..., Path]) -> None:
    assert import_file(write(""), catalog.url, TOKEN).loaded == 0
    assert catalog.requests == []


def test_progress_never_goes_back_and_ends_with_all_of_it(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    shares: list[float] = []
    import_file(
        *(write(lines(300)), catalog.url, TOKEN),
        on_progress=lambda share, _: shares.append(share),
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1

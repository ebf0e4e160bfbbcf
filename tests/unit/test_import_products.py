"""The importer against a small catalog over real HTTP, and the sample file it ships with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import simplejson

from tools import import_products
from tools.import_products import (
    FileError,
    ImportStoppedError,
    Record,
    Refusal,
    batches,
    import_file,
    read_records,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SAMPLE = Path(__file__).parents[2] / "embedded" / "products.ndjson"
TOKEN = "a-token"


@dataclass
class Seen:
    """One request as the catalog saw it."""

    key: str
    authorization: str
    size: int
    items: list[dict[str, Any]]
    text: str


@dataclass
class Catalog:
    """Answers `failures` first, one per request, then creates; the same key repeats its answer."""

    url: str = ""
    failures: list[tuple[int, dict[str, str], object]] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, status: int, body: object = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.failures.append((status, named, body))

    def answer(self, seen: Seen) -> tuple[int, dict[str, str], object]:
        with self.lock:
            self.requests.append(seen)
            if self.failures:
                return self.failures.pop(0)
            results = [self._create(f"{seen.key}/{n}", item) for n, item in enumerate(seen.items)]
            return 207, {}, {"items": results}

    def _create(self, key: str, item: dict[str, Any]) -> dict[str, Any]:
        skus = {held["sku"] for held in self.created.values() if "sku" in held}
        if key not in self.created and item.get("sku") in skus:
            return {"status": 409, "error": {"status": 409, "detail": "the sku exists"}}
        if not item.get("name"):
            errors = [{"field": "name", "message": "must have 1 to 200 characters"}]
            return {"status": 422, "error": {"detail": "breaks a rule", "errors": errors}}
        self.created[key] = item
        return {"status": 201, "product": item}

    def products(self) -> list[dict[str, Any]]:
        return list(self.created.values())


def handler_of(catalog: Catalog) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            items = simplejson.loads(text, use_decimal=True)["items"]
            key, auth = self.headers["Idempotency-Key"], self.headers["Authorization"]
            found = self.path == "/api/products/batch"
            seen = Seen(key, auth, len(text.encode()), items, text)
            status, headers, body = catalog.answer(seen) if found else (404, {}, None)
            data = simplejson.dumps(body, use_decimal=True).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    catalog = Catalog()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(catalog)) as server:
        server.daemon_threads = True
        catalog.url = f"http://127.0.0.1:{server.server_port}/api"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield catalog
        server.shutdown()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wait less, and find no stack or setting of the developer's."""
    monkeypatch.setattr(import_products, "_FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CATALOG_API", raising=False)
    monkeypatch.delenv("CATALOG_TOKEN", raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(content: str | bytes, name: str = "some.ndjson") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def line(number: int, **more: object) -> str:
    product = {"name": f"Lamp {number}", "price": Decimal("1.10"), "quantity": 1, **more}
    return simplejson.dumps(product, use_decimal=True)


def lines(count: int) -> str:
    return "".join(f"{line(number)}\n" for number in range(count))


def read(path: Path, fmt: str = "csv") -> list[Record | Refusal]:
    return list(read_records(path, fmt))


def products_of(path: Path) -> list[dict[str, Any]]:
    return [record.product for record in read(path) if isinstance(record, Record)]


# ---------------------------------------------------------------- loading


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


# ---------------------------------------------------------------- refusals


def refusals_of(path: Path, api: str) -> list[Refusal]:
    found: list[Refusal] = []
    report = import_file(path, api, TOKEN, on_refusal=found.append)
    assert report.refused == len(found)
    return found


def test_a_refused_product_is_reported_with_line_and_field(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    (refusal,) = refusals_of(write(f'{line(1)}\n\n{{"name":""}}\n{line(2)}'), catalog.url)
    reason = "422 breaks a rule (name: must have 1 to 200 characters)"
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


# ---------------------------------------------------------------- failures of the API


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 409])
def test_a_passing_failure_is_tried_again_under_the_same_key(
    catalog: Catalog, write: Callable[..., Path], status: int
) -> None:
    catalog.fail(status)
    assert import_file(write(lines(1)), catalog.url, TOKEN).loaded == 1
    assert catalog.requests[0].key == catalog.requests[1].key


def test_a_passing_failure_of_one_item_is_tried_again(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    catalog.fail(207, {"items": [{"status": 503, "error": {"detail": "away"}}]})
    assert import_file(write(lines(1)), catalog.url, TOKEN).loaded == 1


def test_retry_after_in_seconds_is_honoured(catalog: Catalog, write: Callable[..., Path]) -> None:
    catalog.fail(503, Retry_After="1")
    assert import_file(write(lines(1)), catalog.url, TOKEN).seconds >= 1


def test_retry_after_as_a_date_is_honoured(catalog: Catalog, write: Callable[..., Path]) -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    catalog.fail(503, Retry_After=format_datetime(later, usegmt=True))
    with pytest.raises(ImportStoppedError, match="answered 503"):
        import_file(write(lines(1)), catalog.url, TOKEN, patience=60)


def test_a_retry_after_that_is_neither_is_ignored(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    catalog.fail(503, Retry_After="soon")
    assert import_file(write(lines(1)), catalog.url, TOKEN).loaded == 1


def test_patience_ends_with_a_word_on_how_to_resume(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    catalog.failures = [(503, {}, {"detail": "the store is away"})] * 1000
    with pytest.raises(ImportStoppedError, match=r"the store is away.*Running it again resumes"):
        import_file(write(lines(1)), catalog.url, TOKEN, patience=0.2)
    assert len(catalog.requests) > 1


def test_an_api_that_cannot_be_reached_is_tried_until_patience_ends(
    write: Callable[..., Path],
) -> None:
    with pytest.raises(ImportStoppedError, match="Running it again resumes"):
        import_file(write(lines(1)), "http://127.0.0.1:1/api", TOKEN, patience=0.2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_stops_at_once(
    catalog: Catalog, write: Callable[..., Path], status: int
) -> None:
    catalog.fail(status)
    with pytest.raises(ImportStoppedError, match="the token is not valid or lacks the scope"):
        import_file(write(lines(1)), catalog.url, TOKEN)
    assert len(catalog.requests) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {}),
        (301, None),
        (404, None),
        (207, None),
        (207, {"items": []}),
        (207, {"items": [{}]}),
    ],
)
def test_an_answer_that_no_catalog_gives_stops_at_once(
    catalog: Catalog, write: Callable[..., Path], status: int, body: object
) -> None:
    catalog.fail(status, body)
    with pytest.raises(ImportStoppedError, match=f"answered {status}"):
        import_file(write(lines(1)), catalog.url, TOKEN)
    assert len(catalog.requests) == 1


def test_a_redirect_is_not_followed(catalog: Catalog, write: Callable[..., Path]) -> None:
    catalog.fail(307, Location="/api/products/batch")
    with pytest.raises(ImportStoppedError, match="answered 307"):
        import_file(write(lines(1)), catalog.url, TOKEN)


def test_a_url_that_is_none_stops_at_once(write: Callable[..., Path]) -> None:
    with pytest.raises(ImportStoppedError, match="No scheme supplied"):
        import_file(write(lines(1)), "catalog.example/api", TOKEN)


def test_a_stop_reports_what_was_settled_before(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    path = write(lines(100) + '{"name": "last"}\n')
    original = catalog.answer

    def answer(seen: Seen) -> tuple[int, dict[str, str], object]:
        return (401, {}, None) if seen.items[0]["name"] == "last" else original(seen)

    catalog.answer = answer  # type: ignore[method-assign]
    with pytest.raises(ImportStoppedError) as stopped:
        import_file(path, catalog.url, TOKEN, workers=1)
    assert stopped.value.report.loaded == 100


# ---------------------------------------------------------------- CSV


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


# ---------------------------------------------------------------- the command


def test_the_command_ends_with_0_and_a_summary_when_all_is_loaded(
    catalog: Catalog, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(write(lines(3))), "--api", catalog.url, "--token", TOKEN]
    assert import_products.main(arguments) == 0
    assert capsys.readouterr().out.startswith("loaded 3, already there 0, refused 0, ")


def test_the_command_ends_with_1_and_names_file_and_line_of_a_refusal(
    catalog: Catalog, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(f"{line(1)}\nnonsense\n")
    assert import_products.main([str(path), "--api", catalog.url, "--token", TOKEN]) == 1
    assert f"{path}:2: not JSON" in capsys.readouterr().err


def test_the_command_ends_with_2_when_the_api_cannot_be_used(
    catalog: Catalog, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    catalog.fail(403)
    assert import_products.main([str(write(lines(1))), "--api", catalog.url, "--token", "x"]) == 2
    assert "stopped: " in capsys.readouterr().err


def test_the_command_ends_with_2_when_there_is_no_such_file(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert import_products.main(["none.csv", "--api", catalog.url, "--token", TOKEN]) == 2
    assert "none.csv: No such file" in capsys.readouterr().err


def test_the_command_takes_api_and_token_from_the_environment(
    catalog: Catalog, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_API", catalog.url)
    monkeypatch.setenv("CATALOG_TOKEN", "from-the-environment")
    assert import_products.main([str(write(lines(1)))]) == 0
    assert catalog.requests[0].authorization == "Bearer from-the-environment"


def test_the_command_takes_api_and_token_from_the_embedded_stack(
    catalog: Catalog, write: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / ".run").mkdir()
    stack = {"api": catalog.url, "token": "from-the-stack"}
    (tmp_path / ".run" / "stack.json").write_text(simplejson.dumps(stack))
    assert import_products.main([str(write(lines(1)))]) == 0
    assert catalog.requests[0].authorization == "Bearer from-the-stack"


def test_the_command_without_an_api_is_a_usage_error(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        import_products.main([str(write(lines(1)))])
    assert "give --api and --token" in capsys.readouterr().err


def test_progress_is_a_line_every_tenth_when_stderr_is_no_terminal(
    catalog: Catalog, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(write(lines(3000))), "--api", catalog.url, "--token", TOKEN]
    import_products.main(arguments)
    shown = [text.split(" %")[0].strip() for text in capsys.readouterr().err.splitlines()]
    assert shown == [str(tenth) for tenth in range(10, 101, 10)]


def test_progress_is_a_bar_on_a_terminal(
    catalog: Catalog,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    import_products.main([str(write(lines(3))), "--api", catalog.url, "--token", TOKEN])
    last = capsys.readouterr().err.split("\r")[-1]
    assert f"[{'#' * 30}] 100%  loaded 3, " in last


# ---------------------------------------------------------------- the sample file


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

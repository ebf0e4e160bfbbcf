"""`catalogctl export`: every product once, exact, and after a crash the rest."""

from __future__ import annotations

import base64
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import simplejson

from catalogctl import exporting
from tests.http import reply
from tests.unit.catalogctl.documents import PRODUCT, page

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.catalogctl.conftest import Api, Run


def product(number: int, **fields: object) -> Json:
    return {**PRODUCT, "id": f"{number:024x}", **fields}


def line(number: int, **fields: object) -> str:
    text = simplejson.dumps(
        product(number, **fields), use_decimal=True, separators=(",", ":"), ensure_ascii=False
    )
    return f"{text}\n"


def cursor(number: int) -> str:
    """What the API gives out after this product."""
    return base64.urlsafe_b64encode(f"{number:024x}".encode()).decode().rstrip("=")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "products.ndjson"


def test_every_page_is_printed_a_product_per_line(api: Api, run: Run) -> None:
    api.answer(page(product(1), product(2), after="abc"), page(product(3)))
    ended = run("export")
    assert ended.stdout == line(1) + line(2) + line(3)
    assert api.asked() == [
        "GET /api/products?limit=100",
        "GET /api/products?limit=100&cursor=abc",
    ]


def test_a_new_file_gets_all_of_it(api: Api, run: Run, path: Path) -> None:
    api.answer(page(product(1), product(2)))
    ended = run("export", str(path))
    assert ended.stdout.replace("\n", "") == f"{path}: 2 products"
    assert path.read_text() == line(1) + line(2)


def test_prices_and_texts_are_exact(api: Api, run: Run, path: Path) -> None:
    exact: Json = {"price": Decimal("123456789012345678901234567890.1200"), "name": "Lämpchen"}
    api.answer(page(product(1, **exact)))
    run("export", str(path))
    assert path.read_text() == line(1, **exact)


def test_a_file_is_gone_on_with_after_its_last_line(api: Api, run: Run, path: Path) -> None:
    path.write_text(line(1) + line(2))
    api.answer(page(product(3)))
    ended = run("export", str(path), "--json")
    assert api.query()["cursor"] == [cursor(2)]
    assert path.read_text() == line(1) + line(2) + line(3)
    told = simplejson.loads(ended.stdout)
    assert told == {"file": str(path), "exported": 1, "after": f"{2:024x}"}


@pytest.mark.parametrize("torn", [line(2)[:-1], '{"id', ""])
def test_a_line_that_a_crash_has_torn_is_written_again(
    api: Api, run: Run, path: Path, torn: str
) -> None:
    path.write_text(line(1) + torn)
    api.answer(page(product(2)))
    assert run("export", str(path)).exit_code == 0
    assert api.query()["cursor"] == [cursor(1)]
    assert path.read_text() == line(1) + line(2)


@pytest.mark.parametrize("torn", [line(1)[:-1], '{"i', ""])
def test_a_file_without_a_whole_line_begins_anew(api: Api, run: Run, path: Path, torn: str) -> None:
    path.write_text(torn)
    api.answer(page(product(1)))
    assert run("export", str(path)).exit_code == 0
    assert "cursor" not in api.query()
    assert path.read_text() == line(1)


def test_a_line_longer_than_what_is_read_at_once_is_found(
    api: Api, run: Run, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_BLOCK", 7)
    path.write_text(line(1) + line(2) + '{"id":"torn')
    api.answer(page())
    assert run("export", str(path)).exit_code == 0
    assert api.query()["cursor"] == [cursor(2)]
    assert path.read_text() == line(1) + line(2)


@pytest.mark.parametrize(
    "content", ["a note", "a note\n", '{"id":"x"}\n', '{"id":1}\n', '{"id":"x\n', "[]\n"]
)
def test_a_file_that_is_no_export_is_left_alone(
    api: Api, run: Run, path: Path, content: str
) -> None:
    path.write_text(content)
    ended = run("export", str(path))
    assert ended.exit_code == 2
    assert "is no export of products: name another file" in ended.stderr
    assert path.read_text() == content
    assert api.asked() == []


def test_what_has_come_before_a_failure_is_in_the_file(api: Api, run: Run, path: Path) -> None:
    api.answer(page(product(1), after="abc"))
    api.server.answers += [reply(500)]
    assert run("export", str(path)).exit_code == 4
    assert path.read_text() == line(1)


def test_a_folder_is_no_file(api: Api, run: Run, tmp_path: Path) -> None:
    ended = run("export", str(tmp_path))
    assert ended.exit_code == 2
    assert "is a folder: name a file" in ended.stderr
    assert api.asked() == []


def test_a_file_that_cannot_be_written_is_named(api: Api, run: Run, tmp_path: Path) -> None:
    ended = run("export", str(tmp_path / "none/products.ndjson"))
    assert ended.exit_code == 1
    assert "No such file or directory. Running it again goes on." in ended.stderr
    assert api.asked() == []

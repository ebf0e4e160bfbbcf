"""Every way in which the API can fail has an exit code and a remedy, and no traceback."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.http import hang_up, refused_port, reply
from tests.unit.catalogctl.conftest import ID

if TYPE_CHECKING:
    from tests.unit.catalogctl.conftest import Api, Run

PROBLEM = {"type": "urn:x", "title": "No such product", "status": 404, "detail": "there is no x"}


@pytest.mark.parametrize(
    ("status", "document", "code", "text"),
    [
        (401, PROBLEM, 3, "set CATALOG_TOKEN, or run make up again"),
        (403, PROBLEM, 3, "the token lacks a scope"),
        (404, PROBLEM, 3, "answered 404: there is no x\n"),
        (404, {}, 3, "is CATALOG_API the address of a catalog, with /api at its end?"),
        (429, PROBLEM, 3, "too many requests: wait, then try again"),
        (500, {"title": "Something went wrong here"}, 4, "Something went wrong here: try again"),
        (503, None, 4, "answered 503: try again later"),
        (200, [], 4, "is CATALOG_API the address of a catalog"),
        (307, None, 4, "answered 307, which is not JSON of a catalog"),
    ],
)
def test_an_answer_that_is_not_the_wanted_one_ends_with_its_code(
    api: Api, run: Run, status: int, document: object, code: int, text: str
) -> None:
    api.answer(*[document] * 4, status=status)
    ended = run("why", ID)
    assert ended.exit_code == code
    assert text in ended.stderr
    assert ended.stdout == ""


def test_the_fields_at_fault_are_named(api: Api, run: Run) -> None:
    errors = [{"field": "status", "message": "must be one of: exhausted"}, None]
    api.answer({**PROBLEM, "detail": "breaks a rule", "errors": errors}, status=422)
    ended = run("redrive", "--dry-run")
    assert ended.exit_code == 3
    assert "breaks a rule\n  status: must be one of: exhausted\n" in ended.stderr


def test_an_api_that_is_not_there_ends_with_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_API", f"http://127.0.0.1:{refused_port()}/api")
    monkeypatch.setenv("CATALOG_TOKEN", "x")
    ended = run("status")
    assert ended.exit_code == 4
    assert "cannot be reached: " in ended.stderr
    assert "onnection refused" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "object at 0x" not in ended.stderr


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("catalog.example/api", "CATALOG_API must begin with http:// or https://"),
        ("ftp://catalog.example/api", "CATALOG_API: "),
        ("http://:1:2/api", "CATALOG_API: "),
    ],
)
def test_an_address_that_is_none_is_a_setting_to_correct(run: Run, address: str, text: str) -> None:
    ended = run("--api", address, "--token", "x", "status")
    assert ended.exit_code == 2
    assert text in ended.stderr


def test_a_question_is_asked_again_after_a_passing_failure(api: Api, run: Run) -> None:
    api.server.answers += [reply(503), hang_up]
    api.answer({"items": [], "nextCursor": None})
    assert run("acts").exit_code == 0
    assert len(api.asked()) == 3


def test_an_act_is_not_repeated(api: Api, run: Run) -> None:
    api.server.answers += [reply(503), reply(200, "{}")]
    assert run("replay", ID).exit_code == 4
    assert len(api.asked()) == 1


def test_an_id_is_no_path(api: Api, run: Run) -> None:
    run("why", "../../health?x")
    assert api.asked() == ["GET /api/products/..%2F..%2Fhealth%3Fx/sync/timeline"]


def test_pages_are_joined_up_to_the_limit(api: Api, run: Run) -> None:
    act = {"id": "a", "at": None, "who": "x", "what": "replay", "why": None, "productId": None}
    api.answer(
        {"items": [{**act, "details": {}}] * 100, "nextCursor": "next"},
        {"items": [{**act, "details": {}}] * 20, "nextCursor": "more"},
    )
    ended = run("acts", "--limit", "120")
    assert api.asked() == [
        "GET /api/sync/acts?limit=100",
        "GET /api/sync/acts?cursor=next&limit=20",
    ]
    assert "the first 120; --limit shows more" in ended.stderr


def test_a_number_stays_exact(api: Api, run: Run) -> None:
    price = Decimal("12345678901234567890.1230")
    api.answer({"id": ID, "price": price})
    assert f'"price":{price}' in run("why", ID, "--json").stdout

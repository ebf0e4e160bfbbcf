"""A restore by the command line: started, waited for, and compared with the supply chain's ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from catalogctl import main
from tests.unit.catalogctl.conftest import ID

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Json
    from tests.unit.catalogctl.conftest import Api, Run

NONE: Json = {
    "state": "none",
    "mode": "restore",
    "held": None,
    "startedAt": None,
    "startedBy": None,
    "asks": True,
    "firstEventAt": None,
    "events": 0,
    "eventsLeft": None,
    "unreadableEvents": 0,
    "replayed": 0,
    "lifted": 0,
    "total": 0,
    "unanswered": 0,
    "lost": 0,
    "losses": [],
    "skuCount": 0,
    "skus": [],
    "strayCount": 0,
    "strays": [],
    "unreadableCount": 0,
    "unreadable": [],
    "liftedAt": None,
    "finishedAt": None,
    "statement": None,
    "proved": False,
}
BEGUN: Json = {
    **NONE,
    "state": "replaying",
    "startedAt": "2026-11-29T11:58:00.000Z",
    "startedBy": "alice",
    "total": 5000,
}
REPLAYING: Json = {**BEGUN, "events": 500, "eventsLeft": 8620}
LIFTING: Json = {
    **REPLAYING,
    "state": "lifting",
    "lifted": 120,
    "firstEventAt": "2026-11-15T12:00:00.000Z",
}
READY = "every product is ready to be delivered: set CATALOG_MODE=normal"
LIFTED: Json = {**LIFTING, "state": "lifted", "lifted": 5000, "held": READY}
AUDITING: Json = {**LIFTED, "state": "auditing", "mode": "normal", "held": None}
AWAY: Json = {"type": "x", "title": "Try again later", "status": 503, "detail": "away"}
STATEMENT = "at 2026-11-29T12:03:00.000Z the supply chain held the newest version of all 5,000"
DONE: Json = {**AUDITING, "state": "done", "statement": STATEMENT, "proved": True}


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits there."""
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "LOOK_SECONDS", 0)


def test_a_restore_is_started_with_its_reason(api: Api, run: Run) -> None:
    api.answer(BEGUN, status=202)
    ended = run("restore", "--start", "--reason", "restored to noon", "--no-ask")
    assert ended.exit_code == 0
    assert api.asked() == ["POST /api/sync/restore"]
    assert api.sent() == {"reason": "restored to noon", "ask": False}
    assert "replaying: 0 events read, ? messages left" in words(ended.stdout)


def test_before_the_first_restore_it_says_how_to_start_one(api: Api, run: Run) -> None:
    api.answer(NONE)
    assert "catalogctl restore --start" in run("restore").stdout
    assert api.asked() == ["GET /api/sync/restore"]


def test_while_it_is_read_only_waiting_ends_when_writes_may_be_accepted(api: Api, run: Run) -> None:
    api.answer(BEGUN, REPLAYING, LIFTING, LIFTED)
    ended = run("restore", "--start", "--wait")
    assert ended.exit_code == 0
    assert len(api.asked()) == 4
    assert READY in words(ended.stdout)


def test_waiting_goes_on_while_the_api_is_away_for_a_moment(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib3.util.Retry.sleep", lambda *_: None)
    api.answer(REPLAYING)
    api.answer(*[AWAY] * 4, status=503)
    api.answer(LIFTED)
    assert run("restore", "--wait").exit_code == 0


def test_waiting_ends_with_4_if_the_api_stays_away(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib3.util.Retry.sleep", lambda *_: None)
    monkeypatch.setattr(main, "PATIENCE_SECONDS", -1)
    api.answer(REPLAYING)
    api.answer(*[AWAY] * 4, status=503)
    assert run("restore", "--wait").exit_code == 4


def test_after_that_waiting_ends_with_the_proof(api: Api, run: Run) -> None:
    api.answer({**LIFTED, "mode": "normal"}, AUDITING, DONE)
    ended = run("restore", "--wait")
    assert ended.exit_code == 0
    assert STATEMENT in words(ended.stdout)


def test_without_a_proof_waiting_ends_with_1(api: Api, run: Run) -> None:
    api.answer({**DONE, "proved": False})
    assert run("restore", "--wait").exit_code == 1


def test_an_earlier_restore_is_not_taken_for_one_that_was_not_started(api: Api, run: Run) -> None:
    api.answer({**DONE, "mode": "restore", "held": "this restore is an earlier one"})
    ended = run("restore", "--wait")
    assert (ended.exit_code, "an earlier one" in ended.stderr) == (1, True)


def test_waiting_for_a_restore_that_nobody_goes_on_with_ends_with_1(api: Api, run: Run) -> None:
    held = "this restore is not at its end, and writes go on"
    api.answer({**LIFTING, "mode": "normal", "held": held})
    ended = run("restore", "--wait")
    assert (ended.exit_code, held in ended.stderr) == (1, True)


@pytest.mark.usefixtures("terminal")
def test_waiting_at_a_terminal_shows_the_progress(api: Api, run: Run) -> None:
    api.answer(REPLAYING, LIFTING, LIFTED)
    assert run("restore", "--wait").stderr == (
        "replaying: 500 events read, 8,620 messages left\nlifted 120 of 5,000 products\n"
    )


def test_what_an_operator_must_decide_is_listed(api: Api, run: Run) -> None:
    found: Json = {
        "lost": 1,
        "losses": [{"id": ID, "restored": 5, "held": 7}],
        "skuCount": 1,
        "skus": [{"id": "b", "sku": "LAMP-1", "holder": None}],
        "strayCount": 1,
        "strays": [{"id": "c", "version": 3}],
        "unreadableCount": 1,
        "unreadable": ["d"],
    }
    api.answer({**LIFTED, **found})
    shown = words(run("restore").stdout)
    for text in (f"{ID} 5 7", "b LAMP-1 -", "ONLY A DEAD LETTER VERSION c 3", "UNREADABLE d"):
        assert text in shown
    assert "the first" not in shown


@pytest.mark.parametrize(
    ("count", "items", "row"),
    [
        ("lost", {"losses": [{"id": "a", "restored": 5, "held": 7}]}, "a 5 7"),
        ("skuCount", {"skus": [{"id": "b", "sku": "LAMP-1", "holder": None}]}, "b LAMP-1 -"),
        ("strayCount", {"strays": [{"id": "c", "version": 3}]}, "c 3"),
        ("unreadableCount", {"unreadable": ["d"]}, "d"),
    ],
)
def test_a_list_that_is_cut_says_how_many_there_are(
    api: Api, run: Run, count: str, items: Json, row: str
) -> None:
    api.answer({**LIFTED, **items, count: 2345})
    assert f"{row} the first 1 of 2,345; reconcile has logged all" in words(run("restore").stdout)


@pytest.mark.parametrize("option", [["--no-ask"], ["--reason", "x"]])
def test_options_of_a_start_belong_to_start(run: Run, option: list[str]) -> None:
    assert run("restore", *option).exit_code == 2


def test_a_refusal_says_what_to_set(api: Api, run: Run) -> None:
    api.answer({"title": "The catalog is not read-only", "detail": "first set X"}, status=409)
    ended = run("restore", "--start")
    assert (ended.exit_code, "first set X" in ended.stderr) == (3, True)


# ---- the ids of the supply chain ----


def test_products_that_only_the_supply_chain_has_are_listed(
    api: Api, run: Run, tmp_path: Path
) -> None:
    here, deleted, only = "a" * 24, "b" * 24, "c" * 24
    file = tmp_path / "ids.txt"
    file.write_text(f"{here}\n\n  {deleted}\n{only}\n")
    api.answer(LIFTED, {"items": [{"id": here}], "nextCursor": None})
    api.answer({"id": deleted, "deleted": True})
    api.answer({"title": "No such product"}, status=404)

    ended = run("restore", "--supply-chain-ids", str(file), "--json")

    assert f'"onlySupplyChain":["{only}"]' in ended.stdout
    assert ended.exit_code == 0
    assert len(api.asked()) == 4


def test_without_such_a_product_it_says_so(api: Api, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("")
    api.answer(LIFTED, {"items": [], "nextCursor": None})
    assert "only there 0 products" in words(run("restore", "--supply-chain-ids", str(file)).stdout)


def test_a_catalog_that_fails_is_not_taken_for_an_empty_one(
    api: Api, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("a" * 24)
    api.answer(LIFTED, {"items": [], "nextCursor": None})
    api.answer(*[{"title": "Try again later"}] * 4, status=503)
    assert run("restore", "--supply-chain-ids", str(file)).exit_code == 4


@pytest.mark.parametrize("text", ["not an id!", "a,b"])
def test_a_line_that_is_no_id_is_named(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "ids.txt"
    file.write_text(f"{'a' * 24}\n{text}\n")
    ended = run("restore", "--supply-chain-ids", str(file))
    assert (ended.exit_code, "line 2: not the id" in ended.stderr) == (2, True)


def test_a_file_that_is_not_there_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    assert run("restore", "--supply-chain-ids", str(tmp_path / "none")).exit_code == 2

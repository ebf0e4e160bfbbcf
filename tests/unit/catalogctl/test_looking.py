"""The commands that only look: what they ask, and what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import simplejson

from tests.unit.catalogctl.conftest import ID
from tests.unit.catalogctl.documents import (
    ACT,
    CONVERGED,
    DONE,
    LETTER,
    NO_AUDIT,
    POISON,
    PRODUCT,
    RUNNING,
    STATE,
    STATEMENT,
    TIMELINE,
    TROUBLED,
    page,
)

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.catalogctl.conftest import Api, Run

# Each command, and the answers that it needs.
COMMANDS: dict[tuple[str, ...], list[Json]] = {
    ("status",): [TROUBLED],
    ("behind",): [page(STATE)],
    ("show", ID): [STATE, PRODUCT],
    ("why", ID): [TIMELINE],
    ("dead-letters",): [page(LETTER, count=1, poison=[POISON])],
    ("acts",): [page(ACT)],
    ("audit",): [DONE],
    ("replay", ID): [STATE],
    ("redrive", "--dry-run"): [{"count": 3, "dryRun": True}],
    ("pause",): [TROUBLED["control"]],
    ("resume",): [CONVERGED["control"]],
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_json_is_the_answer_of_the_api(api: Api, run: Run, command: tuple[str, ...]) -> None:
    answers = COMMANDS[command]
    api.answer(*answers)
    told = simplejson.loads(run(*command, "--json").stdout, use_decimal=True)
    assert told == (
        answers[0] if len(answers) == 1 else {"sync": answers[0], "product": answers[1]}
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_what_is_shown_fits_80_columns_without_colour(
    api: Api, run: Run, command: tuple[str, ...]
) -> None:
    api.answer(*COMMANDS[command])
    ended = run(*command)
    assert ended.exit_code == 0, ended.output
    assert ended.stdout
    assert "\x1b" not in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


def shown(api: Api, run: Run, *command: str, answers: list[Json]) -> str:
    """What a command prints, with every blank as a single one."""
    api.answer(*answers)
    return " ".join(run(*command).stdout.split())


# ---- status ----


def test_status_of_a_catalog_in_trouble(api: Api, run: Run) -> None:
    text = shown(api, run, "status", answers=[TROUBLED])
    for part in (
        "pending 3, retrying 4, delivered 1,290, exhausted 2, rejected 1",
        "waiting 7, the oldest since 11:56:59 (3 min ago)",
        "stuck 3, the oldest since 11-28 12:00 (1 d ago)",
        "converged not known",
        "per minute 120.5 delivered (at most 59 in the last hour), 3.0 failed",
        "last hour ▁▁▁",
        "failures http-503 12, timeout 3",
        "breaker open since 11:55:00 (5 min ago): HTTP 503",
        "pause since 11:50:00 (10 min ago), until 14:00:00 (in 2 h): their release",
        "redrive 300 of 1,200",
        "events 5 not yet published",
        "documents 1 that cannot be read",
    ):
        assert part in text
    assert STATEMENT in text


def test_status_of_a_catalog_that_has_converged(api: Api, run: Run) -> None:
    text = shown(api, run, "status", answers=[CONVERGED])
    for part in ("waiting nothing", "stuck nothing", "converged yes", "breaker closed pause none"):
        assert part in text


def test_status_says_when_all_will_be_delivered(api: Api, run: Run) -> None:
    converging = {**CONVERGED, "estimatedSecondsToConverge": 340}
    text = shown(api, run, "status", answers=[converging])
    assert "converged at about 12:05:40 (in 5 min)" in text


def test_status_shows_the_limit_of_the_ramp(api: Api, run: Run) -> None:
    breaker = {**CONVERGED["breaker"], "callsPerSecond": 40}
    text = shown(api, run, "status", answers=[{**CONVERGED, "breaker": breaker}])
    assert "breaker closed, at most 40 calls per second" in text


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (CONVERGED, 0),
        (TROUBLED, 1),
        ({**CONVERGED, "products": {"delivered": 1, "pending": 1}}, 1),
        ({**CONVERGED, "outboxBacklog": 1}, 1),
        ({**CONVERGED, "control": {**CONVERGED["control"], "paused": True}}, 1),
    ],
)
def test_status_with_check_ends_with_1_unless_all_is_delivered(
    api: Api, run: Run, document: Json, code: int
) -> None:
    api.answer(document)
    assert run("status", "--check", "--json").exit_code == code


# ---- behind ----


def test_behind_asks_with_its_filters(api: Api, run: Run) -> None:
    api.answer(page())
    ended = run(
        *("behind", "--status", "retrying", "--status", "exhausted", "--since", "2h"),
        *("--error", "http-503", "--text", "price & co", "--limit", "7"),
    )
    assert ended.stdout == "nothing is behind\n"
    assert api.query() == {
        "status": ["retrying", "exhausted"],
        "behindSince": ["2026-11-29T10:00:00.000Z"],
        "errorKind": ["http-503"],
        "q": ["price & co"],
        "limit": ["7"],
    }


def test_behind_shows_since_when_why_and_what_next(api: Api, run: Run) -> None:
    text = shown(api, run, "behind", answers=[page(STATE)])
    assert f"{ID} retrying 11:59:00 12:03:00 http-503" in text
    assert "Desk lamp 1 try 1 min ago in 3 min HTTP 503" in text


def test_what_would_move_the_cursor_is_made_harmless(api: Api, run: Run) -> None:
    api.answer(page({**STATE, "name": "a\x1b[2J[red]b[/red]"}))
    assert "a\ufffd[2J[red]b[/red]" in run("behind").stdout


def test_a_status_that_is_none_is_wrong_usage(run: Run) -> None:
    ended = run("behind", "--status", "delivered")
    assert ended.exit_code == 2
    assert "'delivered' is not one of 'pending'" in ended.stderr


def test_a_time_that_is_none_is_wrong_usage_with_the_forms(run: Run) -> None:
    ended = run("behind", "--since", "soon")
    assert ended.exit_code == 2
    assert "RFC 3339" in ended.stderr


# ---- one product ----


def test_show_has_the_exact_price_the_state_and_each_attempt(api: Api, run: Run) -> None:
    text = shown(api, run, "show", ID, answers=[STATE, PRODUCT])
    assert api.asked() == [f"GET /api/products/{ID}/sync", f"GET /api/products/{ID}"]
    for part in (
        "price 19.90",
        "delivered version 2, 11-28 12:00 (1 d ago)",
        "next attempt 12:03:00 (in 3 min)",
        "held paused: their release",
        "11:59:30 (30 s ago) 3 503 0.007 s HTTP 503",
    ):
        assert part in text


def test_a_deleted_product_is_shown_by_its_state(api: Api, run: Run) -> None:
    deleted = {**STATE, "deleted": True, "deliveredVersion": None, "history": []}
    text = shown(api, run, "show", ID, answers=[deleted])
    assert api.asked() == [f"GET /api/products/{ID}/sync"]
    assert "version 3, deleted" in text
    assert "delivered never" in text


def test_why_tells_in_order_of_time_what_happened_and_what_comes(api: Api, run: Run) -> None:
    text = shown(api, run, "why", ID, answers=[TIMELINE])
    assert api.asked() == [f"GET /api/products/{ID}/sync/timeline"]
    assert f"{ID} Desk lamp retrying waits for its next attempt in 4 min: HTTP 503 held: " in text
    assert "held: paused: their release trace: 000" in text
    assert text.endswith(
        "11:59:00 (1 min ago) write version 3 was written "
        "11:59:30 (30 s ago) attempt attempt 1 of 18 failed: HTTP 503 "
        "next tried again when the pause ends"
    )


# ---- lists ----


def test_dead_letters_are_shown_with_their_reason(api: Api, run: Run) -> None:
    letters = page(LETTER, count=1, poison=[POISON])
    text = shown(api, run, "dead-letters", answers=[letters])
    assert f"{ID} rejected 10:00:00 sent http-422" in text
    assert "Desk lamp 1 try 2 h ago HTTP 422" in text
    assert "messages that are none of ours: SEEN MESSAGE REASON, BODY 11:00:00 m-1" in text


def test_acts_are_shown_with_who_when_and_why(api: Api, run: Run) -> None:
    text = shown(api, run, "acts", answers=[page(ACT)])
    assert "11:00:00 alice redrive they are back" in text
    assert "1 h ago status retrying, count 1200" in text


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("dead-letters", "no product is stuck\n"),
        ("acts", "nobody has done anything yet\n"),
    ],
)
def test_an_empty_list_says_so(api: Api, run: Run, command: str, text: str) -> None:
    api.answer(page(poison=[]))
    assert run(command).stdout == text


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (NO_AUDIT, "there was none: catalogctl audit --start"),
        (RUNNING, "running, 120 of 5,000 products, since 11:58:00 (2 min ago)"),
        (DONE, "5,000 of 5,000 products, differences: different 1, 11:59:00 (1 min ago)"),
    ],
)
def test_the_last_audit_is_shown(api: Api, run: Run, document: Json, text: str) -> None:
    assert text in shown(api, run, "audit", answers=[document])
    assert api.asked() == ["GET /api/sync/audit"]


# ---- colour ----


@pytest.mark.parametrize(("forbidden", "coloured"), [(None, True), ("1", False)])
def test_colour_is_for_terminals_unless_it_is_forbidden(
    api: Api,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    forbidden: str | None,
    coloured: bool,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    if forbidden:
        monkeypatch.setenv("NO_COLOR", forbidden)
    api.answer(TROUBLED)
    assert ("\x1b[1;31m" in run("status").stdout) is coloured

"""The commands that change something: what they send, when they ask, how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from catalogctl import main
from tests.http import reply
from tests.unit.catalogctl.conftest import ID
from tests.unit.catalogctl.documents import (
    CONVERGED,
    DIFFERENT,
    DONE,
    PROVEN,
    RUNNING,
    STATE,
    STATEMENT,
    STOPPED,
    TROUBLED,
)

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.catalogctl.conftest import Api, Run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits there and can be asked."""
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)


# ---- replay ----


def test_a_replay_carries_its_reason(api: Api, run: Run) -> None:
    api.answer(STATE, status=202)
    ended = run("replay", ID, "--reason", "they corrected it")
    assert ended.stdout == f"it is tried again; how that goes: catalogctl why {ID}\n"
    assert api.asked() == [f"POST /api/products/{ID}/sync"]
    assert api.sent() == {"reason": "they corrected it"}


def test_a_replay_of_a_product_that_is_not_there_ends_with_3(api: Api, run: Run) -> None:
    api.answer({"title": "No such product", "detail": "there is none"}, status=404)
    assert run("replay", ID).exit_code == 3


# ---- redrive ----


def test_a_dry_run_only_counts(api: Api, run: Run) -> None:
    api.answer({"count": 1, "dryRun": True}, status=202)
    ended = run("redrive", "--dry-run", "--status", "exhausted", "--since", "11:00")
    assert ended.stdout == "1 product would be redriven\n"
    (sent,) = [seen.json() for seen in api.server.seen]
    assert sent == {"status": "exhausted", "since": "2026-11-29T11:00:00.000Z", "dryRun": True}


@pytest.mark.usefixtures("terminal")
def test_a_redrive_says_how_many_and_asks_first(api: Api, run: Run) -> None:
    api.answer({"count": 1200, "dryRun": True}, {"count": 1200, "dryRun": False}, status=202)
    ended = run(
        *("redrive", "--until", "1h", "--error", "http-503", "--reason", "back"), typed="y\n"
    )
    assert ended.exit_code == 0
    assert "redrive 1,200 products? [y/N]" in ended.stderr
    assert ended.stdout.endswith("catalogctl status shows how far it is\n")
    filters = {"until": "2026-11-29T11:00:00.000Z", "errorKind": "http-503"}
    assert api.sent(0) == {**filters, "dryRun": True}
    assert api.sent(1) == {**filters, "reason": "back"}


@pytest.mark.usefixtures("terminal")
def test_a_redrive_that_is_not_confirmed_changes_nothing(api: Api, run: Run) -> None:
    api.answer({"count": 3, "dryRun": True}, status=202)
    ended = run("redrive", typed="n\n")
    assert ended.exit_code == 1
    assert ended.stderr.endswith("error: nothing was done\n")
    assert len(api.asked()) == 1


def test_a_redrive_of_nothing_does_not_ask(api: Api, run: Run) -> None:
    api.answer({"count": 0, "dryRun": True}, status=202)
    ended = run("redrive")
    assert (ended.exit_code, ended.stdout) == (0, "0 products would be redriven\n")


def test_where_nobody_can_be_asked_a_redrive_needs_yes(api: Api, run: Run) -> None:
    api.answer({"count": 3, "dryRun": True}, status=202)
    ended = run("redrive")
    assert ended.exit_code == 2
    assert "give --yes, or --dry-run" in ended.stderr
    assert len(api.asked()) == 1


def test_yes_asks_nobody(api: Api, run: Run) -> None:
    api.answer({"count": 3, "dryRun": False}, status=202)
    assert run("redrive", "--yes").exit_code == 0
    assert api.sent() == {}


# ---- pause and resume ----


def test_a_pause_carries_reason_and_end(api: Api, run: Run) -> None:
    api.answer(TROUBLED["control"])
    ended = run("pause", "--reason", "their release", "--until", "2h")
    assert "until 14:00:00 (in 2 h): their release" in " ".join(ended.stdout.split())
    assert api.asked() == ["PUT /api/sync/control"]
    assert api.sent() == {
        "paused": True,
        "reason": "their release",
        "until": "2026-11-29T14:00:00.000Z",
    }


def test_resume_ends_the_pause(api: Api, run: Run) -> None:
    api.answer(CONVERGED["control"])
    assert run("resume").stdout == "pause  none\n"
    assert api.sent() == {"paused": False}


# ---- audit ----


def test_an_audit_is_started_with_its_reason(api: Api, run: Run) -> None:
    api.answer(RUNNING, status=202)
    ended = run("audit", "--start", "--reason", "restored from a backup", "--no-repair")
    assert ended.exit_code == 0
    assert api.asked() == ["POST /api/sync/audit"]
    assert api.sent() == {"reason": "restored from a backup", "repair": False}


def test_an_audit_repairs_if_it_is_asked_to_whatever_the_setting_is(api: Api, run: Run) -> None:
    api.answer(RUNNING, status=202)
    run("audit", "--start", "--repair")
    assert api.sent() == {"repair": True}


def test_an_audit_that_waits_says_why(api: Api, run: Run) -> None:
    api.answer({**RUNNING, "held": "paused: their release"})
    assert "paused: their release" in run("audit").stdout


def test_resume_can_have_a_reason(api: Api, run: Run) -> None:
    api.answer(CONVERGED["control"])
    run("resume", "--reason", "their release is over")
    assert api.sent() == {"paused": False, "reason": "their release is over"}


def test_waiting_for_an_audit_ends_with_the_proof(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "LOOK_SECONDS", 0)
    api.answer(RUNNING, RUNNING, PROVEN)
    ended = run("audit", "--start", "--wait")
    assert ended.exit_code == 0
    assert STATEMENT in " ".join(ended.stdout.split())
    assert api.sent(0) == {}
    assert api.asked()[1:] == ["GET /api/sync/audit"] * 2


@pytest.mark.usefixtures("terminal")
def test_waiting_at_a_terminal_shows_the_progress(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "LOOK_SECONDS", 0)
    api.answer(RUNNING, PROVEN)
    assert run("audit", "--wait").stderr == "checked 120 of 5,000\n"


def test_waiting_for_an_audit_that_found_a_difference_ends_with_1(api: Api, run: Run) -> None:
    api.answer(DIFFERENT)
    ended = run("audit", "--wait")
    assert ended.exit_code == 1
    assert f"{ID} different 3 - price" in " ".join(ended.stdout.split())
    assert "does not hold the newest version of every product" in ended.stderr


def test_an_audit_that_repairs_nothing_says_so(api: Api, run: Run) -> None:
    api.answer({**DONE, "repair": False})
    assert "repaired not wanted" in " ".join(run("audit").stdout.split())


def test_an_audit_is_stopped(api: Api, run: Run) -> None:
    api.answer(STOPPED)
    ended = run("audit", "--stop")
    assert ended.exit_code == 0
    assert api.asked() == ["DELETE /api/sync/audit"]
    assert "stopped by bob" in ended.stdout


def test_waiting_for_an_audit_that_is_stopped_ends_with_1(api: Api, run: Run) -> None:
    api.answer(STOPPED)
    assert run("audit", "--wait").exit_code == 1


@pytest.mark.parametrize("option", ["--start", "--wait"])
def test_an_audit_is_stopped_and_nothing_else(run: Run, option: str) -> None:
    assert run("audit", "--stop", option).exit_code == 2


@pytest.mark.parametrize("option", [["--no-repair"], ["--repair"], ["--reason", "x"]])
def test_options_of_an_audit_to_start_belong_to_start(run: Run, option: list[str]) -> None:
    ended = run("audit", *option)
    assert ended.exit_code == 2
    assert "belong to --start" in ended.stderr


@pytest.mark.parametrize("command", [["pause"], ["resume"], ["audit", "--start"], ["redrive"]])
def test_an_act_that_the_token_does_not_allow_ends_with_3(
    api: Api, run: Run, command: list[str]
) -> None:
    problem: Json = {"title": "Forbidden", "detail": "the token lacks the scope sync:admin"}
    api.answer(problem, status=403)
    ended = run(*command)
    assert ended.exit_code == 3
    assert "lacks the scope sync:admin\nthe token lacks a scope: catalogctl token" in ended.stderr


def test_an_interruption_ends_with_130(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("catalogctl.main.time.sleep", interrupted)
    api.answer(RUNNING)
    assert run("audit", "--wait").exit_code == 130


def test_an_empty_answer_is_no_catalog(api: Api, run: Run) -> None:
    api.server.answers.append(reply(204))
    assert run("resume").exit_code == 4

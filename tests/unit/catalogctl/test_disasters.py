"""Publishing the catalog again, and discarding poison: what they send, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from catalogctl import main
from tests.unit.catalogctl.documents import POISON

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.catalogctl.conftest import Api, Run

RUNNING: Json = {
    "state": "running",
    "checked": 2600,
    "total": 5000,
    "published": 2588,
    "refused": 0,
    "unreadable": 0,
    "maxRate": 500.0,
    "startedAt": "2026-11-29T11:58:00.000Z",
    "finishedAt": None,
    "startedBy": "alice",
    "stoppedBy": None,
    "held": None,
}
DONE: Json = {**RUNNING, "state": "done", "checked": 5000, "finishedAt": "2026-11-29T11:59:00.000Z"}
UNTIL = "2026-11-29T12:00:00.000Z"


def counted(count: int) -> Json:
    return {"count": count, "left": count, "dryRun": True, "until": UNTIL}


def discarded(count: int, left: int = 0) -> Json:
    return {"count": count, "left": left, "dryRun": False, "until": UNTIL}


def page(*names: str, after: str | None = None) -> Json:
    return {"items": [{**POISON, "messageId": name} for name in names], "nextCursor": after}


# ---- republish ----


def test_a_republish_is_started_with_its_rate_and_reason(api: Api, run: Run) -> None:
    api.answer(RUNNING, status=202)
    ended = run("republish", "--start", "--rate", "50", "--reason", "the new search")
    assert ended.exit_code == 0
    assert api.asked() == ["POST /api/sync/republish"]
    assert api.sent() == {"reason": "the new search", "maxRate": 50.0}
    assert "running, 2,600 of 5,000 products" in ended.stdout


def test_waiting_for_a_republish_ends_with_0_if_all_is_published(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "LOOK_SECONDS", 0)
    api.answer(RUNNING, RUNNING, DONE)
    ended = run("republish", "--start", "--wait")
    assert ended.exit_code == 0
    assert api.asked()[1:] == ["GET /api/sync/republish"] * 2


@pytest.mark.parametrize("change", [{"refused": 2}, {"unreadable": 1}, {"stoppedBy": "bob"}])
def test_waiting_for_one_that_is_not_whole_ends_with_1(api: Api, run: Run, change: Json) -> None:
    api.answer({**DONE, **change})
    ended = run("republish", "--wait")
    assert ended.exit_code == 1
    assert "does not have an event of every product" in ended.stderr
    assert str(next(iter(change.values()))) in ended.stdout


def test_a_republish_that_waits_says_why(api: Api, run: Run) -> None:
    api.answer({**RUNNING, "held": "the stream does not answer"})
    assert "the stream does not answer" in run("republish").stdout


def test_before_the_first_one_it_says_how_to_start(api: Api, run: Run) -> None:
    api.answer({**RUNNING, "state": "none", "startedAt": None, "startedBy": None, "maxRate": None})
    assert run("republish").stdout == "there was none: catalogctl republish --start\n"


def test_a_republish_is_stopped(api: Api, run: Run) -> None:
    api.answer({**DONE, "stoppedBy": "bob"})
    ended = run("republish", "--stop")
    assert (ended.exit_code, api.asked()) == (0, ["DELETE /api/sync/republish"])


@pytest.mark.parametrize(
    "options",
    [["--rate", "5"], ["--reason", "x"], ["--stop", "--start"], ["--stop", "--wait"]],
)
def test_options_that_do_not_belong_together_are_refused(run: Run, options: list[str]) -> None:
    assert run("republish", *options).exit_code == 2


# ---- discard ----


def test_a_dry_run_only_counts(api: Api, run: Run, tmp_path: Path) -> None:
    api.answer(counted(1200), status=202)
    ended = run("discard", "--poison", "--reason", "JSON", "--since", "1h", "--dry-run")
    assert ended.stdout == "1,200 messages would be discarded\n"
    assert api.sent() == {"reason": "JSON", "since": "2026-11-29T11:00:00.000Z", "dryRun": True}
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long commands have waited before they discard."""
    waits: list[float] = []
    monkeypatch.setattr("catalogctl.discarding.time.sleep", waits.append)
    monkeypatch.setattr("catalogctl.discarding.SETTLED_SECONDS", 100.0)
    return waits


def test_messages_are_written_to_a_file_before_they_are_discarded(
    api: Api, run: Run, tmp_path: Path, waits: list[float]
) -> None:
    first, second = page("a", "b", after="b"), page("c")
    api.answer(counted(3), first, second, counted(3), discarded(2, left=1), discarded(1))

    ended = run("discard", "--poison", "--yes", "--why", "a wrong producer")

    file = tmp_path / "poison-20261129T120000000Z.ndjson"
    assert ended.stdout == f"3 messages discarded; {file.name} has them\n"
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert written == [*first["items"], *second["items"]]
    assert api.query(1)["until"] == [UNTIL]
    assert api.sent() == {"until": UNTIL, "why": "a wrong producer"}
    assert len(api.asked()) == 6
    # One that is stored late, or by a clock that is behind, is seen by the second count.
    assert 0 < waits[0] < 100


def test_if_the_file_lacks_some_nothing_is_discarded(api: Api, run: Run, tmp_path: Path) -> None:
    api.answer(counted(2), page("a", "b"), counted(3))
    ended = run("discard", "--poison", "--yes", "--export", "out.ndjson")
    assert ended.exit_code == 1
    assert "2 messages were exported, and 3 are selected now" in ended.stderr
    assert (tmp_path / "out.ndjson").exists()


def test_a_file_that_exists_is_left_as_it_is(api: Api, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out.ndjson").write_text("mine")
    api.answer(counted(1))
    ended = run("discard", "--poison", "--yes", "--export", "out.ndjson")
    assert ended.exit_code == 2
    assert (tmp_path / "out.ndjson").read_text() == "mine"
    assert len(api.asked()) == 1


def test_a_file_that_cannot_be_written_is_an_error(api: Api, run: Run) -> None:
    api.answer(counted(1))
    ended = run("discard", "--poison", "--yes", "--export", "no/such/folder")
    assert (ended.exit_code, len(api.asked())) == (1, 1)
    assert "Nothing was discarded" in ended.stderr


def test_where_nobody_can_be_asked_nothing_is_discarded(api: Api, run: Run) -> None:
    api.answer(counted(1))
    assert run("discard", "--poison").exit_code == 2
    assert len(api.asked()) == 1


def test_only_poison_can_be_discarded(run: Run) -> None:
    ended = run("discard", "--yes")
    assert ended.exit_code == 2
    assert "--poison" in ended.stderr


def test_nothing_to_discard_is_no_error(api: Api, run: Run, tmp_path: Path) -> None:
    api.answer(counted(0))
    ended = run("discard", "--poison", "--yes", "--json")
    assert json.loads(ended.stdout)["count"] == 0
    assert list(tmp_path.iterdir()) == []

"""The HTTP contract: pausing and resuming the sync, and where its state is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.breaker import Breaker, BreakerState
from chalicelib.domain.control import Control, Redrive
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.http.contract import ADMIN, READ, WRITE
from tests.fakes import START
from tests.http import WsgiClient, problem_of
from tests.unit.api_support import create, failed_product, stored

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.conftest import World

NOT_PAUSED = {"paused": False, "reason": None, "until": None, "since": None}
LATER = "2026-01-01T02:00:00.000Z"


def pause(world: World, **more: object) -> Json:
    """Pause, and give the answer."""
    answer = world.client.put("/sync/control", {"paused": True, **more})
    assert answer.status == 200, answer
    state: Json = answer.json()
    return state


def open_breaker(world: World, **changes: object) -> None:
    """Let the supply chain be down since the beginning."""
    breaker = Breaker(BreakerState.OPEN, START, "HTTP 503", **changes)  # type: ignore[arg-type]  # any field
    world.controls.change(lambda stored: (None, replace(stored, breaker=breaker)))


# ---- pause and resume ----


def test_a_pause_is_told_back_with_its_beginning(world: World) -> None:
    assert pause(world, reason="their release", until=LATER) == {
        "paused": True,
        "reason": "their release",
        "until": LATER,
        "since": "2026-01-01T00:00:00.000Z",
    }


def test_a_pause_needs_neither_reason_nor_end(world: World) -> None:
    assert pause(world) == {**NOT_PAUSED, "paused": True, "since": "2026-01-01T00:00:00.000Z"}


def test_the_end_of_a_pause_may_have_any_time_zone(world: World) -> None:
    assert pause(world, until="2026-01-01T03:00:00+01:00")["until"] == LATER


def test_a_pause_can_be_changed_and_keeps_its_beginning(world: World) -> None:
    pause(world, reason="their release")
    world.clock.advance(60)
    changed = pause(world, reason="longer than planned", until=LATER)
    assert (changed["since"], changed["reason"], changed["until"]) == (
        "2026-01-01T00:00:00.000Z",
        "longer than planned",
        LATER,
    )


@pytest.mark.parametrize("more", [{}, {"reason": "done"}, {"until": None}])
def test_a_resume_ends_the_pause(world: World, more: Json) -> None:
    pause(world, reason="their release")
    answer = world.client.put("/sync/control", {"paused": False, **more})
    assert (answer.status, answer.json()) == (200, NOT_PAUSED)
    assert world.client.get("/sync").json()["control"] == NOT_PAUSED


def test_a_resume_without_a_pause_changes_nothing(world: World) -> None:
    answer = world.client.put("/sync/control", {"paused": False})
    assert (answer.status, answer.json()) == (200, NOT_PAUSED)
    assert world.store.control() == Control()


def test_a_pause_ends_by_itself(world: World) -> None:
    pause(world, until=LATER)
    world.clock.advance(2 * 3600)
    assert world.client.get("/sync").json()["control"] == NOT_PAUSED


def test_nothing_is_sent_while_the_sync_is_paused_and_all_of_it_after(world: World) -> None:
    product = create(world)
    pause(world)
    world.clock.advance(1)
    world.pass_on()
    assert world.supply_chain.calls == []
    world.client.put("/sync/control", {"paused": False})
    world.reconcile_once()
    world.sync_once()
    assert world.supply_chain.versions(product["id"]) == [0]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "paused"),
        ({"paused": None}, "paused"),
        ({"paused": "true"}, "paused"),
        ({"paused": 1}, "paused"),
        ({"paused": True, "pause": True}, "pause"),
        ({"paused": True, "since": LATER}, "since"),
        ({"paused": True, "reason": "x" * 501}, "reason"),
        ({"paused": True, "reason": 5}, "reason"),
        ({"paused": True, "reason": "\ud800"}, "reason"),
        # Now, which is not the future.
        ({"paused": True, "until": "2026-01-01T00:00:00Z"}, "until"),
        ({"paused": True, "until": "0001-01-01T00:00:00+01:00"}, "until"),
        ({"paused": True, "until": "2026-01-01T02:00:00"}, "until"),
        ({"paused": True, "until": "2026-01-01"}, "until"),
        ({"paused": True, "until": "tomorrow"}, "until"),
        ({"paused": True, "until": 1_767_232_800}, "until"),
        ({"paused": True, "until": "2026-02-01T00:00:01Z"}, "until"),
        # It has no time in UTC.
        ({"paused": True, "until": "9999-12-31T23:59:59-01:00"}, "until"),
        ({"paused": False, "until": LATER}, "until"),
        ([], "body"),
        (None, "body"),
    ],
)
def test_what_is_neither_a_pause_nor_a_resume_is_refused_by_its_field(
    world: World, body: object, field: str
) -> None:
    answer = world.client.put("/sync/control", body if body is not None else "null")
    assert (answer.status, answer.fields) == (422, [field])
    assert world.store.control() == Control()


def test_a_time_as_a_number_is_told_what_a_time_looks_like(world: World) -> None:
    answer = world.client.put("/sync/control", {"paused": True, "until": 1_767_232_800})
    (error,) = problem_of(answer)["errors"]
    assert error["message"] == "must be a time of RFC 3339, such as 2026-01-31T22:00:00Z"


@pytest.mark.parametrize("body", ["{", "", "paused"])
def test_a_body_that_is_no_json_is_malformed(world: World, body: str) -> None:
    assert world.client.put("/sync/control", body).status == 400


@pytest.mark.parametrize("scopes", [(), (READ,), (WRITE,), (READ, WRITE)])
def test_only_operators_may_pause(world: World, scopes: tuple[str, ...]) -> None:
    answer = world.client_with(*scopes).put("/sync/control", {"paused": True})
    assert answer.status == 403
    assert world.store.control() == Control()


def test_nobody_pauses_without_a_token(world: World) -> None:
    answer = WsgiClient(world.gateway).put("/sync/control", {"paused": True})
    assert answer.status == 401
    assert world.store.control() == Control()


def test_operators_need_no_other_scope(world: World) -> None:
    assert world.client_with(ADMIN).put("/sync/control", {"paused": True}).status == 200


# ---- where the state is shown ----


def test_the_summary_shows_a_pause(world: World) -> None:
    told = pause(world, reason="their release", until=LATER)
    assert world.client.get("/sync").json()["control"] == told


def test_the_summary_shows_since_when_and_why_the_breaker_is_open(world: World) -> None:
    open_breaker(world)
    assert world.client.get("/sync").json()["breaker"] == {
        "state": "open",
        "since": "2026-01-01T00:00:00.000Z",
        "reason": "HTTP 503",
        "callsPerSecond": None,
    }


def test_the_summary_shows_how_many_calls_are_allowed_after_an_outage(world: World) -> None:
    open_breaker(world, successes=2)
    world.supply_chain.answers[create(world)["id"]] = [201]
    world.pass_on()
    state = world.client.get("/sync").json()
    assert (state["breaker"]["state"], state["breaker"]["reason"]) == ("closed", None)
    assert state["breaker"]["callsPerSecond"] == Decimal(20)
    assert state["catchingUp"] is True


def test_the_summary_shows_a_redrive_that_is_under_way(world: World) -> None:
    redrive = Redrive((SyncStatus.EXHAUSTED,), START, 1000, 400)
    world.controls.change(lambda stored: (None, replace(stored, redrive=redrive)))
    assert world.client.get("/sync").json()["redrive"] == {
        "startedAt": "2026-01-01T00:00:00.000Z",
        "count": 1000,
        "done": 400,
    }


def test_a_product_that_waits_says_that_the_sync_is_paused_and_why(world: World) -> None:
    product = create(world)
    pause(world, reason="their release")
    state = world.client.get(f"/products/{product['id']}/sync").json()
    assert (state["status"], state["held"]) == ("pending", "paused: their release")


def test_a_pause_without_a_reason_is_just_a_pause(world: World) -> None:
    product = create(world)
    pause(world)
    assert world.client.get(f"/products/{product['id']}/sync").json()["held"] == "paused"


def test_a_product_that_is_retried_says_since_when_and_why_the_breaker_is_open(
    world: World,
) -> None:
    product = stored(world)
    world.supply_chain.answers[product.id] = [500]
    world.queue.send(SyncMessage(product.id, 0).to_json())
    world.sync_once()
    open_breaker(world)
    state = world.client.get(f"/products/{product.id}/sync").json()
    assert (state["status"], state["held"]) == (
        "retrying",
        "the breaker is open since 2026-01-01T00:00:00.000Z: HTTP 503",
    )


def test_a_replay_says_that_it_will_wait(world: World) -> None:
    product = failed_product(world, SyncStatus.EXHAUSTED)
    pause(world, reason="their release")
    state = world.client.post(f"/products/{product.id}/sync").json()
    assert (state["status"], state["held"]) == ("pending", "paused: their release")


@pytest.mark.parametrize("status", [SyncStatus.EXHAUSTED, SyncStatus.REJECTED])
def test_a_product_that_has_failed_waits_for_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, status: SyncStatus
) -> None:
    product = failed_product(world, status)
    pause(world)
    # The state of the sync need not be read for it.
    monkeypatch.setattr(world.store, "control", lambda: pytest.fail("is read"))
    assert world.client.get(f"/products/{product.id}/sync").json()["held"] is None


def test_what_waits_is_held_by_nothing_while_all_is_well(world: World) -> None:
    product = create(world)
    assert world.client.get(f"/products/{product['id']}/sync").json()["held"] is None


# ---- what is logged and counted ----


def logged(capsys: pytest.CaptureFixture[str]) -> list[Json]:
    """The lines since the last look, without their times."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = ("level", "message", "reason", "breaker_opened")
    return [{name: line[name] for name in names if name in line} for line in lines]


def test_a_pause_and_its_end_are_logged_with_the_reason(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    pause(world, reason="their release")
    world.client.put("/sync/control", {"paused": False})
    assert logged(capsys) == [
        {"level": "WARNING", "message": "sync is paused", "reason": "their release"},
        {"level": "WARNING", "message": "sync is resumed"},
    ]


def test_an_outage_is_logged_and_counted_once_and_no_probe_of_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    open_breaker(world)
    half = Breaker(BreakerState.HALF_OPEN, START, "HTTP 503")
    world.controls.change(lambda stored: (None, replace(stored, breaker=half)))
    open_breaker(world)
    world.controls.change(lambda stored: (None, replace(stored, breaker=Breaker())))
    assert logged(capsys) == [
        {"level": "WARNING", "message": "the breaker has opened", "reason": "HTTP 503"},
        {"breaker_opened": 1},
        {"level": "INFO", "message": "the breaker has closed"},
    ]

"""The audit over HTTP: start it, see how far it is, what it has found and what it has proved."""

from __future__ import annotations

import pytest

from chalicelib.domain.audit import Page
from chalicelib.http.contract import READ
from tests.unit.api_support import create
from tests.unit.audit.steps import settle
from tests.unit.conftest import World
from tests.unit.test_openapi import check_all


def test_before_the_first_audit_there_is_none(world: World) -> None:
    answer = world.client.get("/sync/audit").json()
    assert (answer["state"], answer["startedAt"], answer["statement"]) == ("none", None, None)
    assert world.client.get("/sync").json()["audit"] is None


def test_an_audit_is_started_and_finds_what_was_changed_behind_our_back(world: World) -> None:
    product = create(world)
    settle(world)
    del world.supply_chain.held[product["id"]]
    answer = world.client.post("/sync/audit", {"reason": "stock-taking"})
    assert (answer.status, answer.json()["state"], answer.json()["startedBy"]) == (
        202,
        "running",
        "tester",
    )
    world.reconcile_once()
    done = world.client.get("/sync/audit").json()
    assert (done["state"], done["checked"], done["differences"]["missing"]) == ("done", 1, 1)
    assert done["examples"][0] == {
        "id": product["id"],
        "difference": "missing",
        "version": 0,
        "held": None,
        "fields": [],
        "repaired": True,
        "at": "2026-01-01T00:00:01.000Z",
    }
    assert world.client.get("/sync").json()["audit"] == done
    check_all(world.client)


def test_a_request_without_a_body_starts_one_too(world: World) -> None:
    assert world.client.post("/sync/audit").status == 202


def test_the_rolling_audit_is_shown_and_fits_its_schema(world: World) -> None:
    world.auditor.sample(world.controls.read(), lambda: 60.0)
    assert world.client.get("/sync/audit").json()["rolling"] is None
    world.store.stored_audit = world.audits.add(
        world.audits.rolling(), Page(None, is_last=True), rolling=True
    )
    answer = world.client.get("/sync/audit")
    assert answer.json()["rolling"]["startedBy"] == "reconcile"
    check_all(world.client)


@pytest.mark.parametrize(
    ("body", "field"),
    [({"repair": "no"}, "repair"), ({"reason": "x" * 501}, "reason"), ({"full": True}, "full")],
)
def test_a_request_that_breaks_a_rule_is_refused(world: World, body: object, field: str) -> None:
    answer = world.client.post("/sync/audit", body)
    assert (answer.status, answer.fields) == (422, [field])


def test_a_reader_may_see_an_audit_and_not_start_one(world: World) -> None:
    reader = world.client_with(READ)
    assert reader.get("/sync/audit").status == 200
    assert reader.post("/sync/audit").status == 403


def test_an_audit_is_stopped(world: World) -> None:
    world.client.post("/sync/audit")
    answer = world.client.delete("/sync/audit")
    assert (answer.status, answer.json()["state"], answer.json()["stoppedBy"]) == (
        200,
        "done",
        "tester",
    )
    assert world.client.get("/sync/audit").json() == answer.json()
    check_all(world.client)

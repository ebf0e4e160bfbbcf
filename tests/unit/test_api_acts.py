"""The HTTP contract: acts of operators have a caller and a reason, and are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.sync_state import SyncStatus
from chalicelib.http.contract import ADMIN, READ, WRITE
from tests.http import WsgiClient
from tests.unit.api_support import failed_product
from tests.unit.conftest import a_token

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.conftest import World

WHY = {"reason": "they have mended it"}


def acts(world: World, query: str = "") -> list[Json]:
    answer = world.client.get(f"/sync/acts{query}")
    assert answer.status == 200, answer
    items: list[Json] = answer.json()["items"]
    return items


def test_an_act_has_the_caller_and_the_reason_of_its_request(world: World) -> None:
    product = failed_product(world, SyncStatus.EXHAUSTED)
    world.client.post(f"/products/{product.id}/sync", WHY)
    world.client.post("/sync/redrive", {"status": "exhausted", **WHY})
    world.client.put("/sync/control", {"paused": True, **WHY})
    world.client.put("/sync/control", {"paused": False, **WHY})

    listed = acts(world)
    assert [act["what"] for act in listed] == ["resume", "pause", "redrive", "replay"]
    assert {(act["who"], act["why"]) for act in listed} == {("tester", WHY["reason"])}
    assert [act["productId"] for act in listed] == [None, None, None, product.id]
    assert listed[2]["details"] == {"status": "exhausted", "count": 0}


def test_a_replay_needs_no_reason(world: World) -> None:
    product = failed_product(world, SyncStatus.EXHAUSTED)
    assert world.client.post(f"/products/{product.id}/sync").status == 202
    (act,) = acts(world)
    assert act["why"] is None


def test_a_redrive_may_have_its_reason_in_the_query(world: World) -> None:
    world.client.post("/sync/redrive?reason=mended")
    (act,) = acts(world)
    assert act["why"] == "mended"


def test_an_act_without_a_subject_is_of_somebody_unknown(world: World) -> None:
    client = WsgiClient(world.gateway, a_token(ADMIN, sub=""))
    assert client.put("/sync/control", {"paused": False}).status == 200
    (act,) = acts(world)
    assert act["who"] == "unknown"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "x" * 501}, "reason"),
        ({"reason": 5}, "reason"),
        ({"why": "mended"}, "why"),
        ([], "body"),
    ],
)
def test_a_replay_with_another_body_is_refused(world: World, body: object, field: str) -> None:
    product = failed_product(world, SyncStatus.EXHAUSTED)
    answer = world.client.post(f"/products/{product.id}/sync", body)
    assert (answer.status, answer.fields) == (422, [field])
    assert world.store.products[product.id].sync.status is SyncStatus.EXHAUSTED


def test_a_replay_whose_body_is_no_json_is_malformed(world: World) -> None:
    product = failed_product(world, SyncStatus.EXHAUSTED)
    assert world.client.post(f"/products/{product.id}/sync", "{").status == 400


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/products/{product_id}/sync", None),
        ("POST", "/sync/redrive", None),
        ("PUT", "/sync/control", {"paused": True}),
    ],
)
def test_an_act_that_cannot_be_kept_is_answered_503(
    world: World, method: str, path: str, body: object
) -> None:
    product = failed_product(world, SyncStatus.EXHAUSTED)
    world.store.broken = {"add_act"}
    answer = world.client.request(method, path.replace("{product_id}", product.id), body)
    assert answer.status == 503
    assert world.store.products[product.id].sync.status is SyncStatus.EXHAUSTED
    assert not world.store.stored_control.is_paused(world.clock())


def test_acts_are_listed_page_by_page(world: World) -> None:
    for _ in range(3):
        world.client.put("/sync/control", {"paused": False})
    first = world.client.get("/sync/acts?limit=2").json()
    rest = world.client.get(f"/sync/acts?limit=2&cursor={first['nextCursor']}").json()
    assert (len(first["items"]), len(rest["items"]), rest["nextCursor"]) == (2, 1, None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("who=jane", "who"),
        ("limit=1&limit=2", "limit"),
    ],
)
def test_a_list_of_acts_that_cannot_be_given_is_refused(
    world: World, query: str, field: str
) -> None:
    answer = world.client.get(f"/sync/acts?{query}")
    assert (answer.status, answer.fields) == (422, [field])


@pytest.mark.parametrize(("scope", "status"), [(READ, 200), (ADMIN, 200), (WRITE, 403)])
def test_who_may_see_the_sync_may_see_its_acts(world: World, scope: str, status: int) -> None:
    assert world.client_with(scope).get("/sync/acts").status == status

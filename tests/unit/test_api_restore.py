"""The restore over HTTP: what is refused meanwhile, how it is started and shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.domain.restore import Clash, Loss, Stray
from chalicelib.http.contract import READ
from tests.unit.api_support import ANVIL, only_restore, stored
from tests.unit.conftest import World
from tests.unit.restore.steps import MARGIN
from tests.unit.test_openapi import check_all


@pytest.fixture
def read_only(world: World) -> World:
    """The app with CATALOG_MODE=restore."""
    only_restore(world)
    return world


def test_a_write_is_refused_with_a_time_to_come_again(read_only: World) -> None:
    answer = read_only.client.post("/products", ANVIL)
    assert (answer.status, answer.json()["type"].rpartition(":")[2]) == (503, "read-only")
    assert answer.headers["Retry-After"] == "60"
    for method, path in (
        ("PUT", "/products/a"),
        ("PATCH", "/products/a"),
        ("DELETE", "/products/a"),
    ):
        body = None if method == "DELETE" else ANVIL
        assert read_only.client.request(method, path, body).status == 503
    assert read_only.client.post("/products/batch", {"items": [ANVIL]}).status == 503
    check_all(read_only.client)


def test_what_operators_do_is_accepted(read_only: World) -> None:
    assert read_only.client.put("/sync/control", {"paused": True}).status == 200
    assert read_only.client.get("/products").status == 200


def test_a_restore_is_started_and_shown(read_only: World) -> None:
    world, product = read_only, stored(read_only)

    begun = world.client.post("/sync/restore", {"reason": "restored to noon"})

    assert (begun.status, begun.json()["state"], begun.json()["startedBy"]) == (
        202,
        "replaying",
        "tester",
    )
    world.reconcile_once()
    done = world.client.get("/sync/restore").json()
    assert (done["state"], done["mode"], done["lifted"]) == ("lifted", "restore", 1)
    assert world.client.get(f"/products/{product.id}").json()["version"] == MARGIN
    assert world.client.get("/sync/acts").json()["items"][0]["what"] == "restore"
    check_all(world.client)


def test_all_that_it_may_find_fits_its_schema(read_only: World) -> None:
    read_only.client.post("/sync/restore")
    stored = read_only.store.stored_restore
    assert stored.run is not None
    found = replace(
        stored.run,
        losses=(Loss("a", 5, 7),),
        lost=1,
        clashes=(Clash("b", "SKU", None),),
        clash_count=1,
        strays=(Stray("c", 3),),
        stray_count=1,
        unreadable=("d",),
        unreadable_count=1,
        left=3,
    )
    read_only.store.stored_restore = replace(stored, run=found)
    answer = read_only.client.get("/sync/restore").json()
    assert answer["losses"] == [{"id": "a", "restored": 5, "held": 7}]
    assert answer["skus"] == [{"id": "b", "sku": "SKU", "holder": None}]
    check_all(read_only.client)


def test_while_writes_are_accepted_it_is_refused_and_says_what_to_do(world: World) -> None:
    answer = world.client.post("/sync/restore")
    assert (answer.status, answer.json()["type"].rpartition(":")[2]) == (409, "not-restoring")
    assert "CATALOG_MODE=restore" in answer.json()["detail"]
    assert world.client.get("/sync/restore").json()["state"] == "none"
    check_all(world.client)


@pytest.mark.parametrize(
    ("body", "field"), [({"ask": "no"}, "ask"), ({"reason": "x" * 501}, "reason"), ({"a": 1}, "a")]
)
def test_a_request_that_breaks_a_rule_is_refused(
    read_only: World, body: object, field: str
) -> None:
    answer = read_only.client.post("/sync/restore", body)
    assert (answer.status, answer.fields) == (422, [field])


def test_a_reader_may_see_it_and_not_start_it(read_only: World) -> None:
    reader = read_only.client_with(READ)
    assert reader.get("/sync/restore").status == 200
    assert reader.post("/sync/restore").status == 403

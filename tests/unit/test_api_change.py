"""The HTTP contract: changing and deleting products, and creating many at once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from chalicelib.domain.errors import DuplicateSkuError
from chalicelib.http.problems import problem_body
from tests.http import Answer, problem_of
from tests.support import Json
from tests.unit.api_support import (
    ANVIL,
    UNKNOWN,
    create,
)
from tests.unit.conftest import World

# ---- change ----


def test_a_put_replaces_all_fields(world: World) -> None:
    product = create(world, sku="S", description="d")
    world.clock.advance(1)
    answer = world.client.put(f"/products/{product['id']}", {**ANVIL, "price": 1})
    assert (answer.status, answer.headers["ETag"]) == (200, '"1"')
    changed = answer.json()
    assert {"sku", "description"}.isdisjoint(changed)
    assert (changed["version"], changed["price"], changed["createdAt"], changed["updatedAt"]) == (
        1,
        1,
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:01.000Z",
    )


def test_a_put_needs_all_required_fields(world: World) -> None:
    answer = world.client.put(f"/products/{create(world)['id']}", {"name": "x"})
    assert (answer.status, answer.fields) == (422, ["price", "quantity"])


def test_a_patch_changes_what_it_names_and_removes_what_is_null(world: World) -> None:
    product = create(world, sku="S", attributes={"a": 1, "b": 2, "c": 3})
    patch = {"quantity": 8, "sku": None, "attributes": {"a": 9, "b": None, "d": "x"}}
    answer = world.client.patch(f"/products/{product['id']}", patch)
    assert (answer.status, answer.headers["ETag"]) == (200, '"1"')
    changed = answer.json()
    assert "sku" not in changed
    assert (changed["name"], changed["price"], changed["quantity"]) == (
        "Anvil",
        Decimal("12.50"),
        8,
    )
    assert changed["attributes"] == {"a": 9, "c": 3, "d": "x"}


def test_a_patch_cannot_remove_a_required_field(world: World) -> None:
    answer = world.client.patch(f"/products/{create(world)['id']}", {"name": None})
    assert (answer.status, answer.fields) == (422, ["name"])


@pytest.mark.parametrize("name", ["descripton", "version", ""])
def test_a_patch_removes_nothing_that_no_product_has(world: World, name: str) -> None:
    answer = world.client.patch(f"/products/{create(world)['id']}", {name: None, "price": 0})
    assert (answer.status, answer.fields) == (422, ["price", name or "body"])


@pytest.mark.parametrize("body", [ANVIL, {**ANVIL, "price": Decimal("12.5")}, {}])
def test_a_change_of_nothing_is_no_new_version(world: World, body: Json) -> None:
    path = f"/products/{create(world)['id']}"
    events = len(world.stream.log)
    answer = world.client.put(path, body) if body else world.client.patch(path, body)
    assert (answer.status, answer.headers["ETag"]) == (200, '"0"')
    assert len(world.stream.log) == events


def test_a_deleted_product_is_gone(world: World) -> None:
    path = f"/products/{create(world)['id']}"
    answer = world.client.delete(path)
    assert (answer.status, answer.text) == (204, "")
    assert "Content-Type" not in answer.headers
    for again in (
        world.client.get(path),
        world.client.put(path, ANVIL),
        world.client.patch(path, {}),
        world.client.delete(path),
    ):
        assert again.status == 404


@pytest.mark.parametrize("tag", ['"1"', "*", '"0", "1"', '"9" ,"1"'])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_change_of_the_expected_version_is_made(world: World, method: str, tag: str) -> None:
    path = at_version_1(world)
    answer = conditional(world, method, path, tag)
    assert answer.status == (204 if method == "DELETE" else 200)


def test_a_refused_change_says_how_to_go_on(world: World) -> None:
    answer = conditional(world, "PUT", at_version_1(world), '"0"')
    told = "the product is at version 1: read it, and send its ETag"
    assert problem_of(answer)["detail"] == told


@pytest.mark.parametrize(
    "tag",
    ['"0"', '"2"', 'W/"1"', '"x"', '"-1"', '""', '"01"', '"1.0"', '"\u0661"', f'"{"9" * 5000}"'],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_change_of_another_version_is_not_made(world: World, method: str, tag: str) -> None:
    path = at_version_1(world)
    answer = conditional(world, method, path, tag.encode().decode("latin-1"))
    assert answer.status == 412
    assert problem_of(answer)["type"].endswith(":version-mismatch")
    assert world.client.get(path).json()["version"] == 1


def at_version_1(world: World) -> str:
    """The path of a product that was changed once."""
    path = f"/products/{create(world)['id']}"
    world.client.patch(path, {"quantity": 1})
    return path


def conditional(world: World, method: str, path: str, tag: str) -> Answer:
    """Change, under a condition."""
    body = None if method == "DELETE" else {**ANVIL, "quantity": 99}
    return world.client.request(method, path, body, {"If-Match": tag})


def test_a_sku_that_is_taken_is_a_conflict(world: World) -> None:
    holder = create(world, sku="S")["id"]
    path = f"/products/{create(world)['id']}"
    for answer in (
        world.client.post("/products", {**ANVIL, "sku": "S"}),
        world.client.put(path, {**ANVIL, "sku": "S"}),
        world.client.patch(path, {"sku": "S"}),
    ):
        problem = problem_of(answer)
        assert (answer.status, problem["title"]) == (409, "The sku is taken")
        assert problem["productId"] == holder
        assert holder in problem["detail"]


def test_an_item_of_a_batch_names_the_product_that_has_its_sku(world: World) -> None:
    holder = create(world, sku="S")["id"]
    items = [{**ANVIL, "sku": sku} for sku in ("S", "T", "T")]
    answer = world.client.post("/products/batch", {"items": items})
    refused, made, same = answer.json()["items"]
    assert refused["error"]["productId"] == holder
    assert same["error"]["productId"] == made["product"]["id"]


def test_nobody_is_named_who_has_given_the_sku_up_meanwhile() -> None:
    problem = problem_body(DuplicateSkuError(None))
    assert "productId" not in problem
    assert problem["detail"] == "another product had this sku when this was to be written"


def test_the_sku_of_a_deleted_product_is_free_again(world: World) -> None:
    world.client.delete(f"/products/{create(world, sku='S')['id']}")
    create(world, sku="S")


def test_writers_who_always_lose_are_told_to_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/products/{create(world)['id']}"
    monkeypatch.setattr(world.store, "save_change", lambda *_, **__: False)
    monkeypatch.setattr("chalicelib.usecases.collisions.time.sleep", lambda _: None)
    answer = world.client.patch(path, {"quantity": 1})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("PUT", "", ANVIL),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("GET", "/sync", None),
        ("POST", "/sync", None),
    ],
)
@pytest.mark.parametrize(
    "product_id", [UNKNOWN, "x", "..", "%00", "%F0%9F%92%A9", "$where", "x" * 999]
)
def test_an_unknown_product_is_not_found(
    world: World, method: str, suffix: str, body: object, product_id: str
) -> None:
    answer = world.client.request(method, f"/products/{product_id}{suffix}", body)
    assert answer.status == 404
    assert problem_of(answer)["type"].endswith(":no-such-product")


# ---- batch ----


def test_a_batch_answers_each_item_in_its_place(world: World) -> None:
    create(world, sku="taken")
    items: list[object] = [
        {**ANVIL, "name": "first"},
        {**ANVIL, "price": 0},
        {**ANVIL, "sku": "taken"},
        "no product",
        {**ANVIL, "name": "last"},
    ]
    answer = world.client.post("/products/batch", {"items": items})
    results = answer.json()["items"]
    assert answer.status == 207
    assert [result["status"] for result in results] == [201, 422, 409, 422, 201]
    assert [results[n]["product"]["name"] for n in (0, 4)] == ["first", "last"]
    assert results[1]["error"]["errors"][0]["field"] == "price"
    assert results[2]["error"]["title"] == "The sku is taken"


def test_of_two_items_with_one_sku_the_first_gets_it(world: World) -> None:
    items = [{**ANVIL, "sku": "S"}, {**ANVIL, "sku": "S"}]
    results = world.client.post("/products/batch", {"items": items}).json()["items"]
    assert [result["status"] for result in results] == [201, 409]


def test_a_repeated_batch_repeats_its_answer(world: World) -> None:
    body = {"items": [{**ANVIL, "name": "a"}, {"price": 0}, {**ANVIL, "name": "b"}]}
    first, again = (
        world.client.post("/products/batch", body, Idempotency_Key="k") for _ in range(2)
    )
    assert first == again
    assert len(world.store.products) == 2


def test_a_batch_takes_100_products(world: World) -> None:
    answer = world.client.post("/products/batch", {"items": [ANVIL] * 100})
    assert {result["status"] for result in answer.json()["items"]} == {201}
    assert len(world.store.products) == 100


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [ANVIL] * 101}, "items"),
        ({"items": ANVIL}, "items"),
        ({}, "items"),
        ({"items": [ANVIL], "more": 1}, "more"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_whole(world: World, body: Json, field: str) -> None:
    answer = world.client.post("/products/batch", body)
    assert (answer.status, answer.fields) == (422, [field])
    assert world.store.products == {}

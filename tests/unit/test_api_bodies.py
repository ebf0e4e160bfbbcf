"""The HTTP contract: bodies that are no JSON, no product, too large or nested too deep."""

from __future__ import annotations

import pytest

from chalicelib.domain.product import SIZE_LIMIT
from chalicelib.http import contract
from tests.http import problem_of, to_bytes
from tests.unit.api_support import (
    ANVIL,
    create,
)
from tests.unit.conftest import World


@pytest.mark.parametrize("body", ["[]", "5", '"text"', "null", "true"])
def test_a_body_that_is_no_object_is_invalid(world: World, body: str) -> None:
    path = f"/products/{create(world)['id']}"
    for answer in (
        world.client.post("/products", body),
        world.client.put(path, body),
        world.client.patch(path, body),
        world.client.post("/products/batch", body),
        world.client.post("/sync/redrive", body),
    ):
        assert (answer.status, answer.fields) == (422, ["body"])


MALFORMED: list[str | bytes] = [
    "",
    " ",
    "{",
    "{'name': 1}",
    '{"name":"x","price":NaN,"quantity":1}',
    '{"name":"x","price":Infinity,"quantity":1}',
    '{"name":"x","price":-Infinity,"quantity":1}',
    '{"name":"x","price":1,"quantity":' + "9" * 5000 + "}",
    b'{"name":"\xff\xfe","price":1,"quantity":1}',
    "[" * 100_000,
    '{"a":' * 30_000,
    '{"name":"x","price":01,"quantity":1}',
    '{"name":"x"} x',
]


def test_a_missing_body_is_named(world: World) -> None:
    answer = world.client.request("POST", "/products", "")
    assert problem_of(answer)["detail"] == "the body is empty; JSON is required"


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_body_that_is_no_json_is_malformed(world: World, body: str | bytes, method: str) -> None:
    path = "/products" if method == "POST" else f"/products/{create(world)['id']}"
    answer = world.client.request(method, path, body)
    assert answer.status == 400, answer
    assert "errors" not in problem_of(answer)


@pytest.mark.parametrize(
    "body",
    [
        '{"name":"\\ud800","price":1,"quantity":1}',
        '{"\\ud800":"x","name":"x","price":1,"quantity":1}',
        '{"name":"x","price":1,"quantity":1,"attributes":{"\\udfff":1}}',
        '{"name":"x","price":1,"quantity":1,"attributes":{"a":"\\udfff"}}',
        '{"name":"x","price":1e400,"quantity":1}',
        '{"name":"x","price":1e999999999999999999,"quantity":1}',
        '{"name":"x","price":1e-400,"quantity":1}',
        '{"name":"x","price":-0.0,"quantity":1}',
        '{"name":"x","price":1,"quantity":1e-3}',
        b'{"name":"\xed\xa0\x80","price":1,"quantity":1}',
    ],
)
def test_json_that_no_product_can_hold_is_refused(world: World, body: str | bytes) -> None:
    answer = world.client.post("/products", body)
    assert answer.status in {400, 422}, answer
    assert world.store.products == {}


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_no_depth_of_nesting_is_an_error_of_ours(world: World, method: str) -> None:
    path = "/products" if method == "POST" else f"/products/{create(world)['id']}"
    statuses = {
        world.client.request(method, path, '{"a":' * depth + "1" + "}" * depth).status
        for depth in range(600, 1000)
    }
    assert statuses <= {400, 422}


def test_a_body_of_200_kb_is_taken_and_one_more_byte_is_not(world: World) -> None:
    body = to_bytes(ANVIL)
    full = body + b" " * (200 * 1024 - len(body))
    assert world.client.post("/products", full).status == 201
    over = world.client.post("/products", full + b" ")
    assert (over.status, problem_of(over)["status"]) == (413, 413)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_large_body_is_refused_on_a_change_too(world: World, method: str) -> None:
    path = f"/products/{create(world)['id']}"
    assert world.client.request(method, path, b" " * (200 * 1024 + 1)).status == 413


WITH_A_BODY = [
    (operation.method, operation.path) for operation in contract.OPERATIONS if operation.body
]


@pytest.mark.parametrize(("method", "path"), WITH_A_BODY)
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize(("depth", "status"), [(99, 422), (101, 400), (945, 400), (100_000, 400)])
def test_no_operation_is_broken_by_depth(
    world: World, method: str, path: str, start: str, end: str, depth: int, status: int
) -> None:
    path = path.replace("{product_id}", create(world)["id"])
    body = (start * depth + "1" + end * depth)[:SIZE_LIMIT]
    assert world.client.request(method, path, body).status == status


def test_a_body_nested_too_deep_is_told_so(world: World) -> None:
    answer = world.client.post("/products", "[" * 101 + "]" * 101)
    assert problem_of(answer)["detail"].endswith("nested deeper than 100 levels")


@pytest.mark.parametrize("key", ["attributes", "name"])
def test_a_patch_merges_what_is_nested_up_to_the_limit(world: World, key: str) -> None:
    path = f"/products/{create(world)['id']}"
    body = f'{{"{key}":' + '{"a":' * 99 + "null" + "}" * 100
    assert world.client.patch(path, body).status == 422

"""The HTTP contract: creating products, one by one and under idempotency keys."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from chalicelib.http.contract import WRITE
from tests.fakes import fields
from tests.http import Answer, WsgiClient, problem_of
from tests.unit.api_support import (
    ANVIL,
    create,
    stored,
)
from tests.unit.conftest import World, a_token

# ---- create ----


def test_a_created_product_is_answered_whole(world: World) -> None:
    answer = world.client.post("/products", ANVIL)
    product = answer.json()
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Location"] == f"/api/products/{product['id']}"
    assert answer.headers["ETag"] == '"0"'
    moment = "2026-01-01T00:00:00.000Z"
    made = {"id": product["id"], "version": 0, "createdAt": moment, "updatedAt": moment}
    assert product == {**ANVIL, **made, "syncStatus": "pending", "syncCompletedAt": None}


def test_the_location_of_a_created_product_leads_to_it(world: World) -> None:
    answer = world.client.post("/products", ANVIL)
    path = answer.headers["Location"].removeprefix("/api")
    assert world.client.get(path).json() == answer.json()


def test_all_optional_fields_come_back(world: World) -> None:
    more = {
        "sku": "A-1",
        "description": "heavy",
        "attributes": {"color": "red", "kg": Decimal("50.25"), "n": 3, "new": True},
    }
    product = create(world, **more)
    assert more.items() <= product.items()
    assert product == world.client.get(f"/products/{product['id']}").json()


@pytest.mark.parametrize(
    "price",
    ["12.50", "0.0001", "3", "9007199254740993.0001", "123456789012345678901234567890.1234"],
)
@pytest.mark.parametrize("way", ["create", "put", "patch", "batch", "list", "get"])
def test_a_price_comes_back_digit_by_digit(world: World, price: str, way: str) -> None:
    body = f'{{"name":"x","price":{price},"quantity":1}}'
    path = f"/products/{create(world)['id']}"
    asked: dict[str, Callable[[], Answer]] = {
        "create": lambda: world.client.post("/products", body),
        "put": lambda: world.client.put(path, body),
        "patch": lambda: world.client.patch(path, f'{{"price":{price}}}'),
        "batch": lambda: world.client.post("/products/batch", f'{{"items":[{body}]}}'),
        "list": lambda: world.client.put(path, body) and world.client.get("/products"),
        "get": lambda: world.client.put(path, body) and world.client.get(path),
    }
    assert f'"price":{price},' in asked[way]().text


def test_an_exponent_is_written_out(world: World) -> None:
    answer = world.client.post("/products", '{"name":"x","price":1.25E+3,"quantity":1}')
    assert '"price":1250,' in answer.text


@pytest.mark.parametrize("name", ["Füße 日本語 🛠️", "a\u0000b", "\u202e", 'quote " \\ / \n', " x "])
def test_any_text_comes_back_as_it_was(world: World, name: str) -> None:
    product = create(world, name=name, description=name, attributes={name: name})
    again = world.client.get(f"/products/{product['id']}").json()
    assert (again["name"], again["description"]) == (name, name)
    assert again["attributes"] == {name: name}


@pytest.mark.parametrize("name", [" ", "\t\r\n", "\u3000\u00a0"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_name_of_blanks_is_refused(world: World, method: str, name: str) -> None:
    path = "/products" if method == "POST" else f"/products/{create(world)['id']}"
    answer = world.client.request(method, path, {**ANVIL, "name": name})
    assert (answer.status, answer.fields) == (422, ["name"])
    assert answer.json()["errors"][0]["message"] == "must not be blank"


def test_a_product_whose_name_was_blank_before_the_rule_is_read_and_can_be_mended(
    world: World,
) -> None:
    named = fields().model_copy(update={"name": " "})
    path = f"/products/{stored(world, fields=named).id}"
    assert world.client.get(path).json()["name"] == " "
    assert world.client.get("/products").json()["items"][0]["name"] == " "
    assert world.client.patch(path, {"quantity": 1}).fields == ["name"]
    assert world.client.patch(path, {"name": "Anvil"}).status == 200


def test_the_type_of_the_body_does_not_matter(world: World) -> None:
    for kind in ("text/plain", "application/octet-stream", "image/png", ""):
        answer = world.client.post("/products", ANVIL, Content_Type=kind)
        assert answer.status == 201, kind


def test_the_last_of_a_duplicate_key_counts(world: World) -> None:
    answer = world.client.post("/products", '{"name":"a","name":"b","price":1,"quantity":1}')
    assert answer.json()["name"] == "b"


INVALID: list[tuple[str, object]] = [
    ("name", ""),
    ("name", "x" * 201),
    ("name", None),
    ("name", 5),
    ("name", ["x"]),
    ("price", 0),
    ("price", -1),
    ("price", Decimal("0.00001")),
    ("price", "12.50"),
    ("price", True),
    ("price", None),
    ("price", 10**40),
    ("quantity", -1),
    ("quantity", Decimal("1.5")),
    ("quantity", "7"),
    ("quantity", True),
    ("quantity", 2**63),
    ("sku", ""),
    ("sku", "x" * 65),
    ("sku", 5),
    ("description", "x" * 20_001),
    ("attributes", []),
    ("attributes", {str(n): n for n in range(101)}),
    ("attributes.", {"": 1}),
    ("attributes.a", {"a": None}),
    ("attributes.a", {"a": {"b": 1}}),
    ("attributes.a", {"a": [1]}),
    ("attributes.a", {"a": "x" * 1001}),
    ("attributes.a", {"a": 2**63}),
    ("attributes.a.b", {"a.b": None}),
    ("id", "mine"),
    ("version", 5),
    ("createdAt", "2026-01-01T00:00:00.000Z"),
    ("syncStatus", "delivered"),
    ("deletedAt", None),
    ("colour", "red"),
]


@pytest.mark.parametrize(("field", "value"), INVALID)
def test_a_field_at_fault_is_named(world: World, field: str, value: object) -> None:
    body = {**ANVIL, field.partition(".")[0]: value}
    answer = world.client.post("/products", body)
    problem = problem_of(answer)
    assert answer.status == 422
    assert answer.fields == [field]
    assert problem["errors"][0]["message"] in problem["detail"]
    assert world.store.products == {}


@pytest.mark.parametrize("method", ["put", "patch"])
@pytest.mark.parametrize(("field", "value"), [("price", 0), ("name", ""), ("id", "x"), ("x", 1)])
def test_a_change_is_checked_as_a_creation_is(
    world: World, method: str, field: str, value: object
) -> None:
    path = f"/products/{create(world)['id']}"
    answer: Answer = getattr(world.client, method)(path, {**ANVIL, field: value})
    assert (answer.status, answer.fields) == (422, [field])
    assert world.client.get(path).json()["version"] == 0


def test_every_field_at_fault_is_named(world: World) -> None:
    answer = world.client.post("/products", {"price": 0, "size": 1})
    assert sorted(answer.fields) == ["name", "price", "quantity", "size"]


def test_a_message_is_written_for_people(world: World) -> None:
    answer = world.client.post("/products", {**ANVIL, "id": "x", "attributes": {"a": "x" * 1001}})
    messages = " ".join(error["message"] for error in answer.json()["errors"])
    assert "is read-only" in messages
    assert "pydantic" not in messages
    assert "Value error" not in messages


# ---- idempotency ----


def test_a_repeated_creation_repeats_its_answer(world: World) -> None:
    first = world.client.post("/products", ANVIL, Idempotency_Key="k")
    world.client.patch(f"/products/{first.json()['id']}", {"price": 99})
    again = world.client.post("/products", {**ANVIL, "price": Decimal("12.5")}, Idempotency_Key="k")
    assert (again.status, again.text) == (201, first.text)
    assert again.headers == first.headers
    assert len(world.store.products) == 1


def test_a_repeated_creation_with_a_sku_repeats_its_answer(world: World) -> None:
    answers = [
        world.client.post("/products", {**ANVIL, "sku": "S"}, Idempotency_Key="k") for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_a_key_for_another_body_is_refused(world: World) -> None:
    world.client.post("/products", ANVIL, Idempotency_Key="k")
    answer = world.client.post("/products", {**ANVIL, "quantity": 8}, Idempotency_Key="k")
    assert answer.status == 422
    assert problem_of(answer)["type"].endswith(":key-reused")
    assert problem_of(answer)["detail"].endswith("a new creation needs a new key")


def test_two_callers_may_choose_the_same_key(world: World) -> None:
    other = WsgiClient(world.gateway, a_token(WRITE, sub="other"))
    for client in (world.client, other):
        assert client.post("/products", ANVIL, Idempotency_Key="k").status == 201
    assert len(world.store.products) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, " ", " x", "x ", "x\ty", "\x7f", "caf\xe9"])
def test_a_key_must_have_1_to_255_printable_characters(world: World, key: str) -> None:
    answer = world.client.post("/products", ANVIL, Idempotency_Key=key)
    assert (answer.status, answer.fields) == (422, ["Idempotency-Key"])


def test_without_a_key_each_creation_is_its_own(world: World) -> None:
    assert create(world)["id"] != create(world)["id"]

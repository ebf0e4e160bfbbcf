"""The HTTP contract: every route and every status, through the gateway, over ports in memory."""

from __future__ import annotations

import base64
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import simplejson

import app as api
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.http import openapi
from chalicelib.http.openapi import ADMIN, READ, WRITE
from tests.fakes import START, a_product, fields
from tests.http import Answer, WsgiClient, problem_of, to_bytes
from tests.unit.conftest import a_token

if TYPE_CHECKING:
    import io
    from collections.abc import Callable

    from chalicelib.domain.product import Product
    from tests.support import Json
    from tests.unit.conftest import World

ANVIL = {"name": "Anvil", "price": Decimal("12.50"), "quantity": 7}
UNKNOWN = "0123456789abcdef01234567"


def create(world: World, **changes: object) -> Json:
    """Create a product and give it as answered."""
    answer = world.client.post("/products", {**ANVIL, **changes})
    assert answer.status == 201, answer
    product: Json = answer.json()
    return product


def stored(world: World, **changes: Any) -> Product:  # noqa: ANN401 - any attribute of Product
    """Put a product into the store as it is."""
    product = a_product(**changes)
    world.store.products[product.id] = product
    return product


def stuck(world: World, status: SyncStatus, **changes: Any) -> Product:  # noqa: ANN401 - as above
    """A product that waits for an operator."""
    return stored(world, sync=SyncState(status=status, attempts=18, behind_since=START), **changes)


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


@pytest.mark.parametrize("name", ["Füße 日本語 🛠️", "a\u0000b", "\u202e", 'quote " \\ / \n', " "])
def test_any_text_comes_back_as_it_was(world: World, name: str) -> None:
    product = create(world, name=name, description=name, attributes={name: name})
    again = world.client.get(f"/products/{product['id']}").json()
    assert (again["name"], again["description"]) == (name, name)
    assert again["attributes"] == {name: name}


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
    ("quantity", Decimal("1.0")),
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
        '{"name":"x","price":1,"quantity":1e3}',
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


def test_two_callers_may_choose_the_same_key(world: World) -> None:
    other = WsgiClient(world.gateway, a_token(WRITE, sub="other"))
    for client in (world.client, other):
        assert client.post("/products", ANVIL, Idempotency_Key="k").status == 201
    assert len(world.store.products) == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_must_have_1_to_255_characters(world: World, key: str) -> None:
    answer = world.client.post("/products", ANVIL, Idempotency_Key=key)
    assert (answer.status, answer.fields) == (422, ["Idempotency-Key"])


def test_without_a_key_each_creation_is_its_own(world: World) -> None:
    assert create(world)["id"] != create(world)["id"]


# ---- read ----


def test_a_product_is_answered_with_its_entity_tag(world: World) -> None:
    product = create(world)
    answer = world.client.get(f"/products/{product['id']}")
    assert (answer.status, answer.headers["ETag"]) == (200, '"0"')


@pytest.mark.parametrize("tag", ['"0"', 'W/"0"', '"5", "0"', '"5",W/"0" , "7"', "*", " * "])
def test_a_known_version_is_not_sent_again(world: World, tag: str) -> None:
    answer = world.client.get(f"/products/{create(world)['id']}", If_None_Match=tag)
    assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", '"0"')


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', '"00"', '"0 "', '""', '"x"', '"*"', ""])
def test_another_version_is_sent(world: World, tag: str) -> None:
    answer = world.client.get(f"/products/{create(world)['id']}", If_None_Match=tag)
    assert answer.status == 200


@pytest.mark.parametrize("name", ["If-None-Match", "If-Match"])
@pytest.mark.parametrize("tag", ["0", '"0', "0,1", '"0" "1"', 'w/"0"', "W/0", "* , *", "\xff"])
def test_a_malformed_entity_tag_is_named(world: World, name: str, tag: str) -> None:
    path = f"/products/{create(world)['id']}"
    method, body = ("GET", None) if name == "If-None-Match" else ("PUT", ANVIL)
    answer = world.client.request(method, path, body, {name: tag})
    assert (answer.status, [field.lower() for field in answer.fields]) == (422, [name.lower()])


# ---- list ----


def test_an_empty_catalog_is_an_empty_page(world: World) -> None:
    answer = world.client.get("/products")
    assert (answer.status, answer.json()) == (200, {"items": [], "nextCursor": None})


def test_a_list_gives_products_as_they_are_answered_one_by_one(world: World) -> None:
    product = create(world, sku="S", attributes={"a": 1})
    assert world.client.get("/products").json()["items"] == [product]


def test_pages_follow_each_other_until_the_last(world: World) -> None:
    made = sorted(create(world)["id"] for _ in range(7))
    assert pages(world, limit=3) == [made[:3], made[3:6], made[6:]]


def test_a_full_last_page_is_the_last(world: World) -> None:
    made = sorted(create(world)["id"] for _ in range(4))
    assert pages(world, limit=2) == [made[:2], made[2:]]


def pages(world: World, limit: int) -> list[list[str]]:
    """The ids of all pages."""
    found, cursor = [], ""
    while True:
        page = world.client.get(f"/products?limit={limit}{cursor}").json()
        found.append([item["id"] for item in page["items"]])
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


def test_an_insert_between_two_pages_neither_repeats_nor_drops_a_product(world: World) -> None:
    made = [create(world)["id"] for _ in range(6)]
    first = world.client.get("/products?limit=3").json()
    for product_id in ("0" * 24, "f" * 24):
        stored(world, id=product_id)
    rest = world.client.get(f"/products?limit=100&cursor={first['nextCursor']}").json()
    ids = [item["id"] for item in [*first["items"], *rest["items"]]]
    assert ids == [*sorted(made), "f" * 24]


def test_a_page_has_20_products_unless_asked_otherwise(world: World) -> None:
    for _ in range(21):
        create(world)
    assert len(world.client.get("/products").json()["items"]) == 20


def test_a_list_by_sku_finds_the_one(world: World) -> None:
    create(world)
    product = create(world, sku="Ä & Ö")
    found = world.client.get(f"/products?sku={quote('Ä & Ö')}").json()
    assert [item["id"] for item in found["items"]] == [product["id"]]


def test_a_list_by_status_finds_only_those(world: World) -> None:
    create(world)
    product = stuck(world, SyncStatus.EXHAUSTED)
    found = world.client.get("/products?syncStatus=exhausted").json()
    assert [item["id"] for item in found["items"]] == [product.id]


def test_deleted_products_are_not_listed(world: World) -> None:
    world.client.delete(f"/products/{create(world)['id']}")
    assert world.client.get("/products").json()["items"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        (f"limit={'9' * 5000}", "limit"),
        ("cursor=", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("cursor=JHttb25nb30", "cursor"),
        ("syncStatus=", "syncStatus"),
        ("syncStatus=Pending", "syncStatus"),
        ("page=2", "page"),
        ("sync_status=pending", "sync_status"),
    ],
)
def test_a_wrong_query_parameter_is_named(world: World, query: str, field: str) -> None:
    answer = world.client.get(f"/products?{query}")
    assert (answer.status, answer.fields) == (422, [field])


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
    create(world, sku="S")
    path = f"/products/{create(world)['id']}"
    for answer in (
        world.client.post("/products", {**ANVIL, "sku": "S"}),
        world.client.put(path, {**ANVIL, "sku": "S"}),
        world.client.patch(path, {"sku": "S"}),
    ):
        assert (answer.status, problem_of(answer)["title"]) == (409, "The sku is taken")


def test_the_sku_of_a_deleted_product_is_free_again(world: World) -> None:
    world.client.delete(f"/products/{create(world, sku='S')['id']}")
    create(world, sku="S")


def test_writers_who_always_lose_are_told_to_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/products/{create(world)['id']}"
    monkeypatch.setattr(world.store, "save_change", lambda *_, **__: False)
    monkeypatch.setattr("chalicelib.usecases.catalog.time.sleep", lambda _: None)
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


# ---- sync ----


def test_the_state_of_a_sync_is_told(world: World) -> None:
    product = create(world)
    answer = world.client.get(f"/products/{product['id']}/sync")
    assert answer.status == 200
    assert answer.json() == {
        "id": product["id"],
        "version": 0,
        "deleted": False,
        "status": "pending",
        "attempts": 0,
        "deliveredVersion": None,
        "behindSince": "2026-01-01T00:00:00.000Z",
        "firstAttemptAt": None,
        "nextAttemptAt": None,
        "syncCompletedAt": None,
        "lastError": None,
        "history": [],
    }


def test_each_attempt_is_told(world: World) -> None:
    product = failed_once(world)
    state = world.client.get(f"/products/{product.id}/sync").json()
    assert (state["status"], state["attempts"]) == ("retrying", 1)
    (attempt,) = state["history"]
    assert attempt["statusCode"] == 503
    assert attempt["error"] == "HTTP 503"
    assert attempt["durationSeconds"] == Decimal("0.25")
    assert attempt["version"] == 0


def failed_once(world: World) -> Product:
    """A product whose first delivery has failed."""
    product = stored(world)
    world.supply_chain.answers[product.id] = [503]
    message_id = world.queue.send(f'{{"productId": "{product.id}", "version": 0}}')
    world.parts.sync.handle(world.queue.receive())
    assert world.store.products[product.id].sync.message_id == message_id
    return product


def test_the_sync_of_a_deleted_product_is_told_until_it_is_confirmed(world: World) -> None:
    product = create(world)
    world.client.delete(f"/products/{product['id']}")
    state = world.client.get(f"/products/{product['id']}/sync").json()
    assert (state["deleted"], state["version"]) == (True, 1)


def test_a_replay_gives_a_fresh_budget_and_rings_at_once(world: World) -> None:
    product = stuck(world, SyncStatus.EXHAUSTED)
    answer = world.client.post(f"/products/{product.id}/sync")
    assert (answer.status, answer.json()["status"], answer.json()["attempts"]) == (
        202,
        "pending",
        0,
    )
    (message,) = world.queue.messages
    assert simplejson.loads(message.body) == {"productId": product.id, "version": 0}


def test_a_replay_is_taken_while_the_queue_is_away(world: World) -> None:
    product = stuck(world, SyncStatus.EXHAUSTED)
    world.queue.away = True
    assert world.client.post(f"/products/{product.id}/sync").status == 202
    overdue = world.store.products[product.id].sync.overdue_at
    assert overdue is not None
    assert overdue <= world.clock()


def test_the_summary_counts_and_tells_how_old_the_oldest_change_is(world: World) -> None:
    world.stream.away = True
    create(world)
    stuck(world, SyncStatus.REJECTED, outbox=())
    world.clock.advance(90.5)
    answer = world.client.get("/sync")
    assert (answer.status, answer.json()) == (
        200,
        {
            "products": {
                "pending": 1,
                "retrying": 0,
                "delivered": 0,
                "exhausted": 0,
                "rejected": 1,
            },
            "oldestUndeliveredSeconds": Decimal("90.5"),
            "outboxBacklog": 1,
        },
    )


def test_the_summary_of_an_empty_catalog_has_no_oldest_change(world: World) -> None:
    assert world.client.get("/sync").json()["oldestUndeliveredSeconds"] is None


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (None, 3),
        ({}, 3),
        ({"status": None}, 3),
        ({"status": "exhausted"}, 2),
        ({"status": "rejected"}, 1),
    ],
)
def test_a_redrive_replays_what_is_stuck(world: World, body: object, count: int) -> None:
    stuck(world, SyncStatus.EXHAUSTED)
    stuck(world, SyncStatus.EXHAUSTED)
    stuck(world, SyncStatus.REJECTED)
    create(world)
    answer = world.client.post("/sync/redrive", body)
    assert (answer.status, answer.json()) == (202, {"count": count})
    assert len(world.queue.messages) == count


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "pending"}, "status"),
        ({"status": "delivered"}, "status"),
        ({"status": "lost"}, "status"),
        ({"sku": "S"}, "sku"),
    ],
)
def test_a_redrive_of_anything_else_is_refused(world: World, body: Json, field: str) -> None:
    answer = world.client.post("/sync/redrive", body)
    assert (answer.status, answer.fields) == (422, [field])


def test_a_redrive_can_be_filtered_by_query_too(world: World) -> None:
    stuck(world, SyncStatus.EXHAUSTED)
    stuck(world, SyncStatus.REJECTED)
    answer = world.client.post("/sync/redrive?status=rejected")
    assert (answer.status, answer.json()) == (202, {"count": 1})


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/sync/redrive?status=pending", None, "status"),
        ("/sync/redrive?state=rejected", None, "state"),
        ("/sync/redrive?status=rejected", {"status": "exhausted"}, "status"),
    ],
)
def test_a_redrive_whose_query_cannot_be_followed_is_refused(
    world: World, path: str, body: object, field: str
) -> None:
    answer = world.client.post(path, body)
    assert (answer.status, answer.fields) == (422, [field])


def test_a_redrive_with_a_body_that_is_no_json_is_malformed(world: World) -> None:
    assert world.client.post("/sync/redrive", "{").status == 400


# ---- the service itself ----


def test_health_needs_nothing(world: World) -> None:
    world.store.away = world.stream.away = world.queue.away = True
    answer = WsgiClient(world.gateway).get("/health")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


def test_ready_names_every_dependency(world: World) -> None:
    answer = WsgiClient(world.gateway).get("/ready")
    assert (answer.status, answer.json()) == (
        200,
        {"status": "ok", "dependencies": {"mongodb": "ok", "nats": "ok", "sqs": "ok"}},
    )


def test_it_is_not_ready_without_the_store(world: World) -> None:
    world.store.away = True
    answer = world.client.get("/ready")
    assert (answer.status, answer.json()["status"]) == (503, "away")
    assert answer.json()["dependencies"]["mongodb"] == "unreachable"


@pytest.mark.parametrize("name", ["nats", "sqs"])
def test_it_is_ready_without_the_stream_or_the_queue(world: World, name: str) -> None:
    (world.stream if name == "nats" else world.queue).away = True
    answer = world.client.get("/ready")
    assert (answer.status, answer.json()["dependencies"][name]) == (200, "unreachable")


def test_ready_does_not_wait_for_a_dependency_that_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.bootstrap.READY_SECONDS", 0.1)
    release = threading.Event()
    monkeypatch.setattr(world.queue, "ping", lambda: release.wait(10))
    try:
        answer = world.client.get("/ready")
    finally:
        release.set()
    assert (answer.status, answer.json()["dependencies"]["sqs"]) == (200, "no answer")


def test_a_dependency_that_hangs_is_asked_once_however_many_ask_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.bootstrap.READY_SECONDS", 0.1)
    release, asked = threading.Event(), []

    def hang() -> None:
        asked.append("sqs")
        release.wait(10)

    monkeypatch.setattr(world.queue, "ping", hang)
    try:
        answers = [world.client.get("/ready").json()["dependencies"] for _ in range(5)]
    finally:
        release.set()
    assert answers == [{"mongodb": "ok", "nats": "ok", "sqs": "no answer"}] * 5
    assert len(asked) == 1


# ---- parts that are away ----


STORE_REQUESTS = [
    ("POST", "/products", ANVIL),
    ("GET", "/products", None),
    ("POST", "/products/batch", {"items": [ANVIL]}),
    ("GET", f"/products/{UNKNOWN}", None),
    ("PUT", f"/products/{UNKNOWN}", ANVIL),
    ("PATCH", f"/products/{UNKNOWN}", {}),
    ("DELETE", f"/products/{UNKNOWN}", None),
    ("GET", f"/products/{UNKNOWN}/sync", None),
    ("POST", f"/products/{UNKNOWN}/sync", None),
    ("GET", "/sync", None),
    ("POST", "/sync/redrive", None),
]


@pytest.mark.parametrize(("method", "path", "body"), STORE_REQUESTS)
def test_without_the_store_the_answer_is_to_come_back(
    world: World, method: str, path: str, body: object
) -> None:
    world.store.away = True
    answer = world.client.request(method, path, body)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert problem_of(answer)["detail"] == "Try again later"


def test_writes_are_taken_while_the_stream_and_the_queue_are_away(world: World) -> None:
    world.stream.away = world.queue.away = True
    product = create(world)
    path = f"/products/{product['id']}"
    statuses = [
        world.client.put(path, {**ANVIL, "quantity": 1}).status,
        world.client.patch(path, {"quantity": 2}).status,
        world.client.post("/products/batch", {"items": [ANVIL]}).status,
        world.client.delete(path).status,
    ]
    assert statuses == [200, 200, 207, 204]
    assert len(world.store.products[product["id"]].outbox) == 4


def test_a_write_is_answered_though_its_event_stays_in_the_outbox(world: World) -> None:
    world.store.broken.add("remove_events")
    assert world.client.post("/products", ANVIL).status == 201


@pytest.mark.parametrize(("method", "path", "body"), STORE_REQUESTS)
def test_an_error_of_ours_tells_nothing_of_the_inside(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    log_stream: io.StringIO,
    method: str,
    path: str,
    body: object,
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise KeyError("mongodb://user:hunter2@host")

    for name in ("create", "list_products", "create_batch", "get", "replace", "merge", "delete"):
        monkeypatch.setattr(world.parts.catalog, name, explode)
    for name in ("sync_state", "replay", "summary", "redrive"):
        monkeypatch.setattr(world.parts.catalog, name, explode)
    answer = world.client.request(method, path, body)
    assert answer.status == 500
    assert problem_of(answer) == {
        "type": "urn:product-catalog:problem:internal",
        "title": "Something went wrong here",
        "status": 500,
        "detail": "Something went wrong here",
    }
    assert "hunter2" in log_stream.getvalue()


# ---- who may do what ----


REQUESTS = [
    (operation.method, operation.path.replace("{product_id}", UNKNOWN), operation.scopes)
    for operation in openapi.OPERATIONS
]
SCOPES_OF_THE_DESIGN = {
    ("POST", "/products"): {WRITE},
    ("GET", "/products"): {READ},
    ("POST", "/products/batch"): {WRITE},
    ("GET", "/products/{product_id}"): {READ},
    ("PUT", "/products/{product_id}"): {WRITE},
    ("PATCH", "/products/{product_id}"): {WRITE},
    ("DELETE", "/products/{product_id}"): {WRITE},
    ("GET", "/products/{product_id}/sync"): {READ, ADMIN},
    ("POST", "/products/{product_id}/sync"): {ADMIN},
    ("GET", "/sync"): {ADMIN},
    ("POST", "/sync/redrive"): {ADMIN},
    ("GET", "/health"): set(),
    ("GET", "/ready"): set(),
    ("GET", "/openapi.json"): set(),
    ("GET", "/docs"): set(),
}


def test_the_operations_and_their_scopes_are_those_of_the_design() -> None:
    made = {(item.method, item.path): set(item.scopes) for item in openapi.OPERATIONS}
    assert made == SCOPES_OF_THE_DESIGN


@pytest.mark.parametrize(("method", "path", "scopes"), REQUESTS)
@pytest.mark.parametrize("held", [READ, WRITE, ADMIN])
def test_a_scope_opens_its_operations_and_no_others(
    world: World, method: str, path: str, scopes: frozenset[str], held: str
) -> None:
    answer = world.client_with(held).request(method, path)
    if scopes and held not in scopes:
        assert (answer.status, problem_of(answer)["status"]) == (403, 403)
    else:
        assert answer.status not in {401, 403}


@pytest.mark.parametrize(("method", "path", "scopes"), REQUESTS)
def test_without_a_token_only_the_open_operations_answer(
    world: World, method: str, path: str, scopes: frozenset[str]
) -> None:
    answer = WsgiClient(world.gateway).request(method, path)
    if scopes:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert problem_of(answer)["title"] == "Unauthorized"
    else:
        assert answer.status == 200


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\xff"])
def test_a_token_that_proves_nothing_is_unauthorized(world: World, token: str) -> None:
    answer = WsgiClient(world.gateway).get("/products", Authorization=f"Bearer {token}")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_token_without_scopes_is_forbidden(world: World) -> None:
    assert world.client_with().get("/products").status == 403


def test_a_provider_of_keys_that_is_away_is_no_unauthorized(world: World) -> None:
    def away(_: str) -> None:
        raise ConnectionError("the provider of http://keys.example")

    vars(world.parts)["tokens"] = type("Away", (), {"verify": staticmethod(away)})()
    answer = world.client.get("/products")
    assert answer.status == 500
    assert "keys.example" not in answer.text


@pytest.mark.parametrize("held", [READ, WRITE, ADMIN, ""])
def test_the_policy_allows_exactly_what_the_scopes_allow(world: World, held: str) -> None:
    arn = "arn:aws:execute-api:eu-central-1:123456789012:abc/api"
    event = {
        "type": "TOKEN",
        "authorizationToken": f"Bearer {world.client_with(held).token}",
        "methodArn": f"{arn}/GET/products",
    }
    answer = api.authorize(event, None)
    assert answer["principalId"] == "tester"
    (statement,) = answer["policyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "execute-api:Invoke")
    # A star of a policy stands for any characters, slashes included.
    allowed = [
        re.compile(re.escape(resource).replace(r"\*", ".*")) for resource in statement["Resource"]
    ]
    for method, path, scopes in REQUESTS:
        asked = f"{arn}/{method}{path}"
        may = any(pattern.fullmatch(asked) for pattern in allowed)
        assert may == (not scopes or held in scopes), asked


def test_the_authorizer_refuses_with_the_text_that_api_gateway_looks_for(world: World) -> None:
    del world
    event = {
        "type": "TOKEN",
        "authorizationToken": "Bearer x",
        "methodArn": "arn:aws:execute-api:eu-central-1:123456789012:abc/api/GET/products",
    }
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        api.authorize(event, None)


# ---- the trace ----


@pytest.mark.parametrize("given", ["Root=1-67891233-abcdef012345678912345678", None])
def test_the_trace_of_a_write_goes_along_with_its_event(world: World, given: str | None) -> None:
    headers = {"X-Amzn-Trace-Id": given} if given else {}
    world.client.request("POST", "/products", ANVIL, headers)
    (event,) = world.stream.log
    assert event.trace is not None
    assert event.trace == given if given else event.trace.startswith("Root=1-")


# ---- pages of another origin ----


@pytest.mark.parametrize("path", ["/products", "/products/unknown", "/health"])
def test_pages_of_the_given_origin_may_read_every_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("CORS_ORIGIN", "https://shop.example")
    answer = world.client.get(path)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]


def test_without_a_given_origin_no_other_page_may_read_answers(world: World) -> None:
    assert "Access-Control-Allow-Origin" not in world.client.get("/products").headers


# ---- API Gateway and the container host give the same answers ----


def lambda_event(client: WsgiClient, method: str, path: str, body: object) -> Json:
    """The event that API Gateway sends for a request (REST API, proxy integration)."""
    raw, _, query = path.partition("?")
    resource, parameters = resource_of(method, raw)
    values: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        values.setdefault(name, []).append(value)
    headers = {"Authorization": f"Bearer {client.token}", "X-Amzn-Trace-Id": "Root=1-0-0"}
    return {
        "resource": resource,
        "path": raw,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: each[-1] for name, each in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "pathParameters": parameters,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method,
            "path": f"/api{raw}",
            "stage": "api",
            "identity": {"sourceIp": "192.0.2.1"},
            "authorizer": {"principalId": "tester", "integrationLatency": 5},
        },
        "body": None if body is None else to_bytes(body).decode(),
        "isBase64Encoded": False,
    }


def resource_of(method: str, path: str) -> tuple[str, dict[str, str] | None]:
    """The route of a path, the literal ones first, and its parameters."""
    for operation in sorted(openapi.OPERATIONS, key=lambda item: "{" in item.path):
        found = re.fullmatch(operation.path.replace("{product_id}", "(?P<product_id>[^/]+)"), path)
        if operation.method == method and found:
            return operation.path, found.groupdict() or None
    raise AssertionError(f"no route for {method} {path}")


A, B = "a" * 24, "b" * 24
PARITY: list[tuple[str, str, object]] = [
    ("GET", f"/products/{A}", None),
    ("GET", f"/products/{UNKNOWN}", None),
    ("GET", "/products", None),
    ("GET", "/products?limit=1", None),
    ("GET", "/products?limit=1&limit=2", None),
    ("GET", "/products?limit=0", None),
    ("GET", "/products?sku=", None),
    ("PUT", f"/products/{A}", ANVIL),
    ("PUT", f"/products/{A}", "{"),
    ("PATCH", f"/products/{A}", {"price": Decimal("0.10"), "name": "日本"}),
    ("DELETE", f"/products/{A}", None),
    ("POST", "/products", {"name": ""}),
    ("POST", "/products", ""),
    ("POST", "/products/batch", {"items": [{"price": 0}]}),
    ("GET", f"/products/{B}/sync", None),
    ("POST", f"/products/{B}/sync", None),
    ("GET", "/sync", None),
    ("POST", "/sync/redrive", None),
    ("POST", "/sync/redrive", {"status": "exhausted"}),
    ("GET", "/health", None),
    ("GET", "/ready", None),
    ("GET", "/openapi.json", None),
    ("GET", "/docs", None),
]


@pytest.mark.parametrize(("method", "path", "body"), PARITY)
def test_both_hosts_give_the_same_answer(
    world: World, method: str, path: str, body: object
) -> None:
    def products() -> None:
        stored(world, id=A, fields=fields(sku="A", attributes={"a": Decimal("1.10")}))
        stuck(world, SyncStatus.EXHAUSTED, id=B)

    products()
    host = world.client.request(method, path, body)
    products()
    cloud = api.app(lambda_event(world.client, method, path, body), None)
    assert cloud["statusCode"] == host.status
    assert (cloud["body"] or "") == host.text
    ours = {name: text for name, text in host.headers.items() if name != "Content-Length"}
    theirs = {**cloud["headers"]}
    if host.status == 204:
        theirs.pop("Content-Type", None)
    assert theirs == ours


def test_the_cases_of_the_comparison_cover_every_operation() -> None:
    seen = {(method, resource_of(method, path.split("?")[0])[0]) for method, path, _ in PARITY}
    assert seen == SCOPES_OF_THE_DESIGN.keys()


def test_a_body_in_base64_is_understood(world: World) -> None:
    event = lambda_event(world.client, "POST", "/products", None)
    body = base64.b64encode(to_bytes(ANVIL)).decode()
    answer = api.app({**event, "body": body, "isBase64Encoded": True}, None)
    assert answer["statusCode"] == 201


# ---- threads ----


def test_parallel_requests_do_not_see_each_others_headers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/products/{create(world)['id']}"
    look_up, meeting = world.store.get, threading.Barrier(2)

    def meet(product_id: str) -> Product | None:
        # Both requests have begun before either one reads its headers.
        meeting.wait(10)
        return look_up(product_id)

    monkeypatch.setattr(world.store, "get", meet)
    clients = [world.client_with(READ) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        known = pool.submit(clients[0].get, path, If_None_Match="*")
        unknown = pool.submit(clients[1].get, path)
    assert (known.result().status, unknown.result().status) == (304, 200)

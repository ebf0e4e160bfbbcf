"""The document's requests: its examples work as they are, its rules are those of the server."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import pytest
import simplejson
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from pydantic import AwareDatetime, BaseModel, Field

from chalicelib.domain.product import ProductFields
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.http import contract, openapi
from tests.unit.api_support import ANVIL, create, only_restore

if TYPE_CHECKING:
    from tests.http import Answer
    from tests.support import Json
    from tests.unit.conftest import World

DOCUMENT: Json = simplejson.loads(openapi.document())
SCHEMAS: Json = DOCUMENT["components"]["schemas"]
EXAMPLES = [
    (method.upper(), path, name, kind)
    for path, item in DOCUMENT["paths"].items()
    for method, described in item.items()
    for kind, content in described.get("requestBody", {}).get("content", {}).items()
    for name in content["examples"]
]


def validator(schema: Json) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def parameter(path: str, method: str, name: str) -> Json:
    """A parameter of an operation as the document describes it."""
    described = DOCUMENT["paths"][path][method.lower()]["parameters"]
    found: Json = next(each for each in described if each["name"] == name)
    return found


# ---- examples ----


def test_every_body_has_examples() -> None:
    bodies = {(o.method, o.path) for o in contract.OPERATIONS if o.body}
    assert {(method, path) for method, path, _, _ in EXAMPLES} == bodies


@pytest.mark.parametrize(("method", "path", "name", "kind"), EXAMPLES)
def test_an_example_works_when_it_is_sent_as_it_is_and_again(
    world: World, method: str, path: str, name: str, kind: str
) -> None:
    content = DOCUMENT["paths"][path][method.lower()]["requestBody"]["content"][kind]
    body = content["examples"][name]["value"]
    # A reader sends it today, and a restore where there is one to be made.
    world.clock.now = datetime.now(UTC)
    if path == "/sync/restore":
        only_restore(world)
    validator(content["schema"]).validate(body)
    for _ in range(2):
        target = path
        if "{product_id}" in path:
            target = path.replace("{product_id}", create(world)["id"])
        answer = world.client.request(method, target, body, {"Content-Type": kind})
        assert 200 <= answer.status < 300, answer
        assert all(item["status"] < 300 for item in answer.json().get("items", []))


@pytest.mark.parametrize("name", ["ProductFields", "ProductPatch", "Product"])
def test_a_page_fills_in_values_that_are_accepted(name: str) -> None:
    # Swagger UI takes a number's maximum where there is no example, and rounds it.
    for described in SCHEMAS[name]["properties"].values():
        if "maximum" in described or "exclusiveMaximum" in described:
            assert described["examples"]


# ---- parameters ----


@pytest.mark.parametrize("query", [False, True])
def test_every_parameter_is_described_where_pages_show_it(*, query: bool) -> None:
    for item in DOCUMENT["paths"].values():
        for described in item.values():
            for each in described["parameters"]:
                assert "description" not in each["schema"], each
                if (each["in"] == "query") == query:
                    assert each.get("description"), each


KEYS = ["k", "x" * 255, "order 5/3", "~"]
NO_KEYS = ["", " ", "x ", " x", "x" * 256, "caf\xe9", "a\tb"]


@pytest.mark.parametrize("key", KEYS + NO_KEYS)
def test_the_pattern_of_a_key_agrees_with_the_server(world: World, key: str) -> None:
    schema = parameter("/products", "POST", "Idempotency-Key")["schema"]
    answer = world.client.post("/products", ANVIL, Idempotency_Key=key)
    assert validator(schema).is_valid(key) == (answer.status == 201) == (key in KEYS)


TAGS = ['"0"', '"0","1"', '"0" , W/"1"', 'W/"0"', "*", " * ", "", '"a b"', '"0",', '""']
NO_TAGS = ["0", '"0', "0,1", '"0" "1"', 'w/"0"', "W/0", "* , *", "\xff", '"0",,"1"', ", ", '*,"0"']


@pytest.mark.parametrize("tag", TAGS + NO_TAGS)
@pytest.mark.parametrize(("method", "name"), [("GET", "If-None-Match"), ("PUT", "If-Match")])
def test_the_pattern_of_entity_tags_agrees_with_the_server(
    world: World, method: str, name: str, tag: str
) -> None:
    schema = parameter("/products/{product_id}", method, name)["schema"]
    body = ANVIL if method == "PUT" else None
    answer = world.client.request(method, f"/products/{create(world)['id']}", body, {name: tag})
    assert validator(schema).is_valid(tag) == (answer.status != 422) == (tag in TAGS)


@pytest.mark.parametrize("limit", [0, 1, 20, 100, 101])
def test_the_bounds_of_a_page_agree_with_the_server(world: World, limit: int) -> None:
    schema = parameter("/products", "GET", "limit")["schema"]
    accepted = world.client.get(f"/products?limit={limit}").status == 200
    assert validator(schema).is_valid(limit) == accepted


def test_the_pattern_of_a_cursor_takes_what_the_list_gives_out(world: World) -> None:
    create(world)
    create(world)
    cursor = world.client.get("/products?limit=1").json()["nextCursor"]
    assert validator(parameter("/products", "GET", "cursor")["schema"]).is_valid(cursor)


@pytest.mark.parametrize("cursor", ["", "a b", "a=", "+", "%C3%A9"])
def test_what_the_pattern_of_a_cursor_refuses_the_server_refuses_too(
    world: World, cursor: str
) -> None:
    schema = parameter("/products", "GET", "cursor")["schema"]
    assert not validator(schema).is_valid(cursor)
    assert world.client.get(f"/products?cursor={cursor}").fields == ["cursor"]


class Filter(BaseModel):
    """A query of every kind."""

    since: AwareDatetime | None = Field(default=None, alias="updatedSince", description="From.")
    status: list[SyncStatus] | None = Field(default=None, alias="syncStatus")
    tags: Annotated[list[str], Field(max_length=3)] = []
    mixed: int | str | None = None
    sort: str = Field(default="id", examples=["updatedAt"])


def test_lists_aliases_and_defaults_of_a_query_are_described() -> None:
    operation = contract.Operation("listThings", "GET", "/things", "", query=Filter)
    described = {each["name"]: each for each in openapi.parameters(operation)}
    reference = {"$ref": "#/components/schemas/SyncStatus"}
    often = {"style": "form", "explode": True}
    place = {"in": "query", "required": False}
    for each in described.values():
        assert each["schema"].pop("title")
    assert described == {
        "updatedSince": {
            "name": "updatedSince",
            **place,
            "description": "From.",
            "schema": {"type": "string", "format": "date-time"},
        },
        "syncStatus": {
            "name": "syncStatus",
            **place,
            **often,
            "schema": {"type": "array", "items": reference},
        },
        "tags": {
            "name": "tags",
            **place,
            **often,
            "schema": {
                "type": "array",
                "items": {"type": "string"},
                "maxItems": 3,
                "default": [],
            },
        },
        "mixed": {
            "name": "mixed",
            **place,
            "schema": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        },
        "sort": {"name": "sort", **place, "schema": {"type": "string", "default": "id"}},
    }


# ---- the patch ----


def test_a_patch_has_the_fields_of_a_product_and_needs_none() -> None:
    patch = SCHEMAS["ProductPatch"]
    assert patch["properties"].keys() == ProductFields.model_json_schema()["properties"].keys()
    assert "required" not in patch
    assert patch["additionalProperties"] is False


PATCHES: list[Json] = [
    {},
    {"name": "x"},
    {"name": None},
    {"name": " "},
    {"price": None},
    {"price": Decimal("0.5")},
    {"price": 0},
    {"quantity": None},
    {"quantity": -1},
    {"sku": None},
    {"sku": ""},
    {"description": None},
    {"attributes": None},
    {"attributes": {"a": None}},
    {"attributes": {"a": 1, "b": None}},
    {"attributes": {"a": []}},
    {"attributes": {f"a{n}": None for n in range(101)}},
    {"id": "x"},
    {"version": None},
    {"more": None},
]


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_the_schema_of_a_patch_agrees_with_the_server(world: World, patch: Json) -> None:
    answer = world.client.patch(f"/products/{create(world)['id']}", patch)
    assert validator(SCHEMAS["ProductPatch"]).is_valid(plain(patch)) == accepted(answer)


def accepted(answer: Answer) -> bool:
    assert answer.status in {200, 422}, answer
    return answer.status == 200


def plain(patch: Json) -> object:
    """As a client with binary fractions has it."""
    return simplejson.loads(simplejson.dumps(patch))


# ---- what follows from the model ----


class Wider(ProductFields):
    """The model, with a field more."""

    category: str = Field(max_length=20, examples=["lamps"])


def test_the_example_of_a_body_follows_from_the_model() -> None:
    example = contract.example_of(ProductFields)
    assert contract.example_of(Wider) == {**example, "category": "lamps"}


@pytest.mark.parametrize("schema", ["Product", "ProductPatch", "ProductFields"])
def test_no_schema_lists_fields_of_its_own(schema: str) -> None:
    writable = ProductFields.model_json_schema()["properties"].keys()
    assert writable <= SCHEMAS[schema]["properties"].keys()


@pytest.mark.parametrize(
    "name", [name for name in contract.Product.model_fields if re.search("At$", name)]
)
def test_every_time_of_a_product_is_described_as_one(name: str) -> None:
    assert "date-time" in str(SCHEMAS["Product"]["properties"][name])

"""The HTTP contract: no query parameter is dropped silently."""

from __future__ import annotations

from typing import Annotated

import pytest
from chalice.app import Request
from pydantic import BaseModel, ConfigDict, Field

import app as api
from chalicelib.domain.errors import InvalidRequestError
from chalicelib.http import contract, requests
from chalicelib.http.contract import ADMIN, READ, WRITE
from tests.unit.api_support import ANVIL, UNKNOWN, lambda_event, passed_on
from tests.unit.conftest import World

OPERATIONS = [(operation.method, operation.path) for operation in contract.OPERATIONS]


class Filter(BaseModel):
    """The query of an operation that takes lists."""

    model_config = ConfigDict(extra="forbid")

    limit: int = 1
    state: list[str] | None = Field(default=None, alias="theState")
    tags: Annotated[list[str], Field(max_length=3)] = []


def asked(query: str) -> Request:
    """A request with this query."""
    return Request(lambda_event("GET", f"/products?{query}"))


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_unknown_parameter_is_named_by_every_operation(
    world: World, method: str, path: str
) -> None:
    path = path.replace("{product_id}", UNKNOWN)
    answer = world.client.request(method, f"{path}?surprise=1", None if method == "GET" else {})
    assert (answer.status, answer.fields) == (422, ["surprise"])


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.usefixtures("world")
def test_the_lambda_refuses_it_too(method: str, path: str) -> None:
    path = path.replace("{product_id}", UNKNOWN)
    body: object = None if method == "GET" else {}
    authorizer = passed_on(READ, WRITE, ADMIN)
    answer = api.app(lambda_event(method, f"{path}?surprise=1", body, authorizer=authorizer), None)
    assert answer["statusCode"] == 422


def test_all_unknown_parameters_are_named(world: World) -> None:
    answer = world.client.post("/products?a=1&b=&c", ANVIL)
    assert (answer.status, answer.fields) == (422, ["a", "b", "c"])
    assert world.store.products == {}


def test_a_caller_without_a_token_is_told_of_the_token_first(world: World) -> None:
    world.client.token = None
    assert world.client.get("/products?limit=1&limit=2").status == 401


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=1&limit=1", "limit=&limit=2"])
def test_a_repeated_parameter_is_named(world: World, query: str) -> None:
    answer = world.client.get(f"/products?{query}")
    assert (answer.status, answer.fields) == (422, ["limit"])
    assert answer.json()["errors"][0]["message"] == "may be given once only"


def test_a_repeated_parameter_of_a_redrive_is_named(world: World) -> None:
    answer = world.client.post("/sync/redrive?status=rejected&status=exhausted")
    assert (answer.status, answer.fields) == (422, ["status"])


def test_a_parameter_that_is_a_list_is_read_as_one_however_often_it_is_given() -> None:
    query = requests.query(asked("theState=a&theState=b&tags=c&limit=5"), Filter)
    assert query == {"theState": ["a", "b"], "tags": ["c"], "limit": "5"}


def test_only_what_is_no_list_must_not_be_repeated() -> None:
    with pytest.raises(InvalidRequestError) as raised:
        requests.query(asked("tags=a&tags=b&limit=1&limit=2"), Filter)
    assert [error.field for error in raised.value.errors] == ["limit"]

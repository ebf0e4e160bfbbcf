"""The document: valid, complete, true to what is answered; the page needs nothing from outside."""

from __future__ import annotations

import re
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
import simplejson
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from openapi_spec_validator import OpenAPIV31SpecValidator

import app as api
from chalicelib.domain.messages import DeadLetter, SyncMessage
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.http import contract, openapi
from chalicelib.http.contract import ADMIN, READ, WRITE
from chalicelib.http.problems import PROBLEMS
from embedded.services import ROOT
from tests.fakes import a_failed_state, a_product
from tests.http import Answer, WsgiClient

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.conftest import World

DOCUMENT: Json = simplejson.loads(openapi.document())
ANVIL = {"name": "Anvil", "price": Decimal("12.50"), "quantity": 7}
OPERATIONS = [
    (method.upper(), path, described)
    for path, item in DOCUMENT["paths"].items()
    for method, described in item.items()
]


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_is_in_the_document_and_the_other_way_round() -> None:
    routes = {(method, path) for path, methods in api.app.routes.items() for method in methods}
    assert {(method, path) for method, path, _ in OPERATIONS} == routes


def test_an_operation_needs_a_token_exactly_where_its_route_has_the_authorizer() -> None:
    for method, path, described in OPERATIONS:
        guarded = api.app.routes[path][method].authorizer is not None
        assert ("security" in described) == guarded, (method, path)
        assert {"401", "403"} <= described["responses"].keys() if guarded else True


def test_every_scope_is_named_where_it_is_needed() -> None:
    for operation in contract.OPERATIONS:
        described = DOCUMENT["paths"][operation.path][operation.method.lower()]
        named = {
            scope for scope in (READ, WRITE, ADMIN) if scope in described.get("description", "")
        }
        assert named == operation.scopes


def test_every_operation_has_a_name_of_its_own_that_a_client_can_use() -> None:
    ids = [described["operationId"] for _, _, described in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z]+([A-Z][a-z]+)+", name) for name in ids)


def test_every_operation_is_in_a_group_that_is_described() -> None:
    groups = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert all(groups.values())
    assert {tag for _, _, described in OPERATIONS for tag in described["tags"]} == groups.keys()


def test_every_parameter_of_a_path_is_described() -> None:
    for _, path, described in OPERATIONS:
        named = [item["name"] for item in described["parameters"] if item["in"] == "path"]
        assert named == re.findall(r"{(\w+)}", path)


def test_the_document_is_served_as_it_is(world: World) -> None:
    answer = WsgiClient(world.gateway).get("/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.text == openapi.document()


# ---- is it true? ----


def check(method: str, template: str, answer: Answer) -> None:
    """See that status, headers and type of problem are described, and that the body fits."""
    responses = DOCUMENT["paths"][template][method.lower()]["responses"]
    assert str(answer.status) in responses, f"{method} {template}: {answer.status} is not described"
    described = responses[str(answer.status)]
    undescribed = answer.headers.keys() - {"Content-Type", "Content-Length"}
    if answer.status < 400:
        assert undescribed == described.get("headers", {}).keys()
    assert undescribed <= described.get("headers", {}).keys()
    for name in undescribed:
        schema = DOCUMENT["components"]["headers"][name]["schema"]
        value = answer.headers[name]
        plain = int(value) if schema["type"] == "integer" else value
        Draft202012Validator(schema).validate(plain)
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    if "content" not in described:
        return
    assert kind in described["content"]
    if kind == "text/html":
        return
    content = described["content"][kind]
    plain = simplejson.loads(answer.text)
    fits(content["schema"], plain)
    if template != "/asyncapi.json":  # its examples are events, which it describes itself
        times_are_described(plain)
    if kind == "application/problem+json":
        slug = plain["type"].rpartition(":")[2]
        assert slug in content["examples"], f"{method} {template}: {slug} has no example"


def fits(schema: Json, value: object) -> None:
    """See that a value fits a schema of the document, times too."""
    Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    ).validate(value)


def properties_named(name: str) -> list[Json]:
    """The properties of this name, of all schemas."""
    schemas = DOCUMENT["components"]["schemas"].values()
    return [each["properties"][name] for each in schemas if name in each.get("properties", {})]


def times_are_described(value: object) -> None:
    """See that whatever looks like a time is described as one."""
    if isinstance(value, list):
        for item in value:
            times_are_described(item)
    if isinstance(value, dict):
        for name, item in value.items():
            times_are_described(item)
            if isinstance(item, str) and re.match(r"\d{4}-\d\d-\d\dT", item):
                (schema, *more) = properties_named(name)
                assert all("date-time" in str(each) for each in [schema, *more]), name


def check_all(client: WsgiClient) -> None:
    """Check everything that was asked and answered."""
    for method, path, answer in client.answers:
        raw = re.sub(r"/products/(?!batch)[^/]+", "/products/{product_id}", path.partition("?")[0])
        check(method, raw, answer)


def test_answers_of_success_fit_their_schemas(world: World) -> None:
    client = world.client
    full = {**ANVIL, "sku": "S", "description": "d", "attributes": {"a": 1, "b": True, "c": "x"}}
    path = f"/products/{client.post('/products', full).json()['id']}"
    client.post("/products/batch", {"items": [ANVIL, {"price": 0}]})
    client.get("/products?limit=2")
    client.get(path)
    client.get(path, If_None_Match="*")
    client.put(path, ANVIL)
    client.patch(path, {"quantity": 1})
    client.get(f"{path}/sync")
    client.post(f"{path}/sync")
    client.get("/sync")
    world.queue.dead_letter([DeadLetter("no message", {"reason": "not JSON"})])
    failed = a_product(sync=a_failed_state(SyncStatus.EXHAUSTED))
    world.store.products[failed.id] = failed
    world.reconcile_once()
    client.get("/sync/products?limit=1")
    client.get("/sync/dead-letters")
    client.get("/sync/dead-letters/poison")
    client.post("/sync/dead-letters/discard")
    client.get("/sync/republish")
    client.post("/sync/republish")
    client.delete("/sync/republish")
    client.get("/sync/audit")
    client.post("/sync/audit")
    client.delete("/sync/audit")
    client.get("/sync/restore")
    client.post("/sync/redrive")
    client.put("/sync/control", {"paused": True, "until": "2026-01-02T00:00:00Z"})
    client.get("/sync")
    client.get(f"{path}/sync")
    client.put("/sync/control", {"paused": False})
    client.get("/sync/acts")
    client.delete(path)
    client.get("/health")
    client.get("/ready")
    client.get("/openapi.json")
    client.get("/asyncapi.json")
    client.get("/docs")
    client.get("/console")
    assert {answer.status for _, _, answer in client.answers} == {200, 201, 202, 204, 207, 304}
    check_all(client)


def test_a_history_fits_its_schema(world: World) -> None:
    product = a_product()
    world.store.products[product.id] = product
    world.supply_chain.answers[product.id] = [None]
    world.queue.send(SyncMessage(product.id, 0).to_json())
    world.parts.sync.handle(world.queue.receive())
    answer = world.client.get(f"/products/{product.id}/sync")
    assert answer.json()["history"][0]["statusCode"] is None
    check_all(world.client)


def test_problems_fit_their_schema(world: World) -> None:
    client = world.client
    client.post("/products", "{")
    client.post("/products", {"price": 0})
    client.post("/products", b" " * 300_000)
    client.post("/products", {**ANVIL, "sku": "S"})
    client.post("/products", {**ANVIL, "sku": "S"})
    client.get("/products?limit=0")
    client.get("/products/0")
    path = f"/products/{client.post('/products', ANVIL).json()['id']}"
    client.put(path, ANVIL, If_Match='"9"')
    client.post("/sync/redrive", {"status": "pending"})
    client.put("/sync/control", {"paused": "yes"})
    client.put("/sync/control", "{")
    client.post("/sync/restore")
    for scopes in ((READ,), (WRITE,), ()):
        other = world.client_with(*scopes)
        other.post("/sync/redrive")
        client.answers += other.answers
    client.answers.append(("GET", "/products", WsgiClient(world.gateway).get("/products")))
    world.store.away = True
    client.get("/products")
    client.get("/ready")
    statuses = {answer.status for _, _, answer in client.answers if answer.status >= 400}
    assert statuses == {400, 401, 403, 404, 409, 412, 413, 422, 503}
    check_all(client)


@pytest.mark.parametrize(
    ("method", "header"), [("GET", "If_None_Match"), ("PUT", "If_Match"), ("DELETE", "If_Match")]
)
def test_the_answer_to_a_malformed_entity_tag_is_described(
    world: World, method: str, header: str
) -> None:
    path = f"/products/{world.client.post('/products', ANVIL).json()['id']}"
    body = ANVIL if method == "PUT" else None
    world.client.request(method, path, body, {header.replace("_", "-"): "rubbish"})
    check_all(world.client)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/products"),
        ("post", "/products/batch"),
        ("post", "/sync/redrive"),
        ("put", "/sync/control"),
        ("post", "/products/{product_id}/sync"),
        ("post", "/sync/audit"),
        ("post", "/sync/restore"),
    ],
)
def test_every_way_to_read_a_body_is_described(method: str, path: str) -> None:
    assert {"400", "413", "422"} <= DOCUMENT["paths"][path][method]["responses"].keys()


def test_each_example_fits_its_schema() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    examples = [(name, each) for name, it in schemas.items() for each in it.get("examples", [])]
    assert {"SyncControl", "ActPage"} <= {name for name, _ in examples}
    for name, example in examples:
        fits(schemas[name], example)
    for example in DOCUMENT["components"]["examples"].values():
        fits(schemas["Problem"], example["value"])


def test_every_row_of_the_table_of_problems_has_an_example() -> None:
    slugs = {problem.slug for problem in PROBLEMS.values()}
    examples = DOCUMENT["components"]["examples"]
    assert examples.keys() == slugs
    for problem in PROBLEMS.values():
        answered = examples[problem.slug]["value"]
        assert (answered["status"], answered["title"]) == (problem.status, problem.title)


def test_every_row_of_the_table_of_problems_is_an_answer_of_an_operation() -> None:
    answered = {
        (int(status), slug)
        for _, _, described in OPERATIONS
        for status, response in described["responses"].items()
        for slug in response.get("content", {})
        .get("application/problem+json", {})
        .get("examples", {})
    }
    # What is refused before an operation is found.
    others = {404: "no-such-route", 405: "method-not-allowed", 414: "uri-too-long"}
    others |= {417: "unknown-expectation", 431: "headers-too-large", 501: "unknown-coding"}
    rows = {(problem.status, problem.slug) for problem in PROBLEMS.values()}
    assert answered == rows - others.items()


@pytest.mark.parametrize("name", ["ETag", "Location", "Retry-After"])
def test_a_client_can_rely_on_a_header(name: str) -> None:
    # Without "required" a described header may be missing.
    assert DOCUMENT["components"]["headers"][name]["required"]


def test_the_headers_of_a_problem_are_those_of_its_row() -> None:
    for _, _, described in OPERATIONS:
        for problem in PROBLEMS.values():
            response = described["responses"].get(str(problem.status), {})
            content = response.get("content", {}).get("application/problem+json", {})
            if problem.slug in content.get("examples", {}):
                assert problem.headers.keys() <= response.get("headers", {}).keys()


@pytest.mark.parametrize("price", ["19.99", "0.0001", "0.07", "1.1", "4.35", "1234567.8901"])
def test_a_validator_with_binary_fractions_accepts_a_good_price(price: str) -> None:
    schema = DOCUMENT["components"]["schemas"]["ProductFields"]
    product = {"name": "x", "price": float(price), "quantity": 1}
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(product)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"name": " "},
        {"name": "\t\n"},
        {"price": 0},
        {"price": "1"},
        {"price": 10**30},
        {"quantity": -1},
        {"quantity": 1.5},
        {"sku": ""},
        {"attributes": {"a": {}}},
        {"attributes": {"": 1}},
        {"id": "x"},
        {"more": 1},
    ],
)
def test_what_the_api_refuses_the_schema_refuses_too(world: World, change: Json) -> None:
    schema = DOCUMENT["components"]["schemas"]["ProductFields"]
    product = {"name": "x", "price": 1, "quantity": 1, **change}
    validator = Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    assert world.client.post("/products", product).status == 422
    assert not validator.is_valid(product)


def test_the_gateway_answers_the_problems_of_the_table() -> None:
    terraform = (ROOT / "terraform/modules/catalog/api.tf").read_text()
    answers = re.findall(r'status = "(\d+)", slug = "([a-z-]+)", title = "([^"]+)"', terraform)
    rows = {problem.slug: problem for problem in PROBLEMS.values()}
    assert len(answers) > 8
    for status, slug, title in answers:
        assert slug in rows or slug in {"throttled", "timeout"}
        if slug in rows:
            assert (int(status), title) == (rows[slug].status, rows[slug].title)


# ---- the page ----


class Loads(HTMLParser):
    """What a browser would fetch for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[tuple[str, str]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            names = {"src", "href", "srcset", "data", "action", "poster", "background"}
            if name in names and not (value or "").startswith(("data:", "#")):
                self.fetched.append((tag, value or ""))


def test_the_page_is_one_file_that_fetches_nothing(world: World) -> None:
    answer = WsgiClient(world.gateway).get("/docs")
    page = Loads()
    page.feed(answer.text)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.fetched == []
    assert {"script", "style"} <= set(page.tags)
    assert {"link", "iframe", "img", "object", "embed", "base"}.isdisjoint(page.tags)


def test_the_styles_of_the_page_fetch_nothing() -> None:
    styles = "".join(re.findall(r"<style>(.*?)</style>", openapi.docs_page(), re.DOTALL))
    urls = re.findall(r"url\(\s*['\"]?([^)'\"]*)", styles)
    assert styles
    assert "@import" not in styles
    assert [url for url in urls if not url.startswith(("data:", "#"))] == []


def test_the_page_holds_the_document() -> None:
    page = openapi.docs_page()
    inside = page[page.index("spec: ") + len("spec: ") :]
    document, _ = simplejson.JSONDecoder().raw_decode(inside)
    assert document == DOCUMENT


def test_the_page_has_as_many_scripts_as_it_closes() -> None:
    # "</" within the document would end its script early.
    page = Loads()
    page.feed(openapi.docs_page())
    assert page.tags.count("script") == openapi.docs_page().count("</script>") == 2

"""API Gateway for the container host: what it answers itself, and what reaches the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import simplejson
from chalice.app import Response

from chalicelib.http import wsgi
from chalicelib.http.routing import CatalogApi
from chalicelib.http.wsgi import REQUEST_LIMIT, Gateway
from embedded.services import ROOT
from tests.http import Answer, WsgiClient, problem_of

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from tests.unit.conftest import World

JSON: dict[str, str | list[str]] = {"Content-Type": "application/json"}
ANVIL = {"name": "Anvil", "price": 1, "quantity": 1}


def an_app() -> CatalogApi:
    """An app that tells what it was asked."""
    made = CatalogApi("echo", configure_logs=False)

    @made.route("/echo", methods=["GET", "POST"], content_types=[])
    def echo() -> Response:
        request: Any = made.current_request
        query = request.query_params
        told = {
            "query": {name: query.getlist(name) for name in query or ()},
            "headers": dict(request.headers),
            "body": request.raw_body.decode("latin-1"),
        }
        return Response(simplejson.dumps(told), JSON, 200)

    @made.route("/answer/{status}")
    def answer(status: str) -> Response:
        return Response("", {"X-Fact": "1", **JSON}, int(status))

    return made


@pytest.fixture
def client() -> WsgiClient:
    return WsgiClient(cast("WSGIApplication", Gateway(an_app())))


def echoed(answer: Answer) -> Any:  # noqa: ANN401 - JSON has no narrower type
    assert answer.status == 200, answer
    return answer.json()


# ---- what reaches the app ----


def test_the_body_reaches_the_app_byte_by_byte(client: WsgiClient) -> None:
    content = bytes(range(256))
    assert echoed(client.post("/echo", content))["body"] == content.decode("latin-1")


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", "text/plain"])
def test_a_body_of_any_type_reaches_the_app(client: WsgiClient, kind: str) -> None:
    content = echoed(client.post("/echo", b"\x00\xff", Content_Type=kind))
    assert content["body"] == "\x00\xff"
    assert content["headers"]["content-type"] == kind


def test_headers_reach_the_app(client: WsgiClient) -> None:
    headers = echoed(client.get("/echo", If_None_Match='"1"', X_Any="caf\xe9"))["headers"]
    assert (headers["if-none-match"], headers["x-any"]) == ('"1"', "caf\xe9")


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", {}),
        ("a=1&b=2", {"a": ["1"], "b": ["2"]}),
        ("a=1&a=2", {"a": ["1", "2"]}),
        ("a=", {"a": [""]}),
        ("a=%C3%A9+%2B%26%3F%23", {"a": ["é +&?#"]}),
    ],
)
def test_the_query_reaches_the_app_decoded(
    client: WsgiClient, query: str, values: dict[str, list[str]]
) -> None:
    assert echoed(client.get(f"/echo?{query}"))["query"] == values


@pytest.mark.parametrize("suffix", ["%3Fx", "%23x", ";x", "%3Bx", "%00", "%20", "%0A", "%C3%A9"])
def test_a_product_is_found_under_its_own_id_only(world: World, suffix: str) -> None:
    product_id = world.client.post("/products", ANVIL).json()["id"]
    assert world.client.get(f"/products/{product_id}").status == 200
    assert world.client.get(f"/products/{product_id}{suffix}").status == 404


# ---- what the gateway answers itself ----


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/", "", "/apix/echo", "/echo", "/api/none", "/api/echo/more", "/API/echo"],
)
def test_an_unknown_path_is_not_found(client: WsgiClient, path: str) -> None:
    client.base = ""
    answer = client.get(path)
    assert answer.status == 404
    assert problem_of(answer)["type"] == "urn:product-catalog:problem:no-such-route"


@pytest.mark.parametrize("path", ["//echo", "//x/echo", "/echo//"])
def test_a_path_with_empty_parts_is_no_route(client: WsgiClient, path: str) -> None:
    assert client.get(path).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE"])
def test_a_method_that_a_path_does_not_have_is_told_those_that_it_has(
    client: WsgiClient, method: str
) -> None:
    answer = client.request(method, "/echo")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    problem = problem_of(answer)
    assert problem["type"] == "urn:product-catalog:problem:method-not-allowed"
    assert method in problem["detail"]


def test_a_path_without_a_get_has_no_head_either(world: World) -> None:
    answer = world.client.request("HEAD", "/products/batch")
    assert (answer.status, answer.headers["Allow"], answer.text) == (405, "OPTIONS, POST", "")


def test_a_method_is_refused_without_a_token_too(world: World) -> None:
    assert WsgiClient(world.gateway).request("PUT", "/products").status == 405


@pytest.mark.parametrize(
    ("path", "status"), [("", 200), ("/sync", 200), ("0", 404), ("?x=1", 422), ("/docs", 200)]
)
def test_head_is_answered_as_get_without_the_body(world: World, path: str, status: int) -> None:
    product = f"/products/{world.client.post('/products', ANVIL).json()['id']}"
    path = path if path == "/docs" else product + path
    got, asked = world.client.get(path), world.client.request("HEAD", path)
    assert (asked.status, asked.headers, asked.text) == (status, got.headers, "")
    assert int(asked.headers["Content-Length"]) == len(got.text.encode()) > 0


def test_head_asks_for_the_token_and_reads_the_conditions(world: World) -> None:
    path = f"/products/{world.client.post('/products', ANVIL).json()['id']}"
    assert WsgiClient(world.gateway).request("HEAD", path).status == 401
    answer = world.client.request("HEAD", path, headers={"If-None-Match": '"0"'})
    assert (answer.status, answer.headers["ETag"]) == (304, '"0"')


def test_options_tells_the_methods_of_a_path(world: World) -> None:
    answer = WsgiClient(world.gateway).request("OPTIONS", "/products/1")
    allow = "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
    assert (answer.status, answer.text, answer.headers) == (204, "", {"Allow": allow})


def test_options_of_an_unknown_path_is_not_found(client: WsgiClient) -> None:
    assert client.request("OPTIONS", "/none").status == 404


def test_pages_of_the_given_origin_may_send_what_the_api_reads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORS_ORIGIN", "https://shop.example")
    headers = world.client.request("OPTIONS", "/products").headers
    assert headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, POST"
    terraform = (ROOT / "terraform/modules/catalog/api.tf").read_text()
    assert f'= "{headers["Access-Control-Allow-Headers"]}$' in terraform
    assert f'"Access-Control-Max-Age"       = "{headers["Access-Control-Max-Age"]}"' in terraform


@pytest.mark.parametrize(("method", "path"), [("PUT", "/products"), ("GET", "/none")])
def test_pages_of_the_given_origin_may_read_what_the_gateway_refuses(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setenv("CORS_ORIGIN", "https://shop.example")
    answer = world.client.request(method, path)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_slash_at_the_end_is_no_matter_of_scopes(world: World, method: str) -> None:
    body = ANVIL if method == "POST" else None
    answer = world.client.request(method, "/products/", body)
    assert answer.status != 403, answer


def test_an_unknown_path_tells_nothing_about_tokens(world: World) -> None:
    assert WsgiClient(world.gateway).get("/secret").status == 404


def test_a_request_above_the_limit_of_api_gateway_is_refused(client: WsgiClient) -> None:
    assert client.post("/echo", b" " * REQUEST_LIMIT).status == 200
    answer = client.post("/echo", b" " * (REQUEST_LIMIT + 1))
    assert (answer.status, problem_of(answer)["status"]) == (413, 413)


def test_no_more_is_read_than_the_limit(
    client: WsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi, "REQUEST_LIMIT", 10)
    asked: list[int] = []

    class Input:
        def read(self, size: int) -> bytes:
            asked.append(size)
            return b" " * size

    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/api/echo", "wsgi.input": Input()}
    statuses: list[str] = []
    application = cast("Any", client.application)
    list(application(environ, lambda status, _: statuses.append(status)))
    assert (statuses[0][:3], asked) == ("413", [11])


def test_an_error_of_the_verifier_is_logged_and_not_told(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr("app.container", fail)
    answer = world.client.get("/products")
    assert answer.status == 500
    assert problem_of(answer)["title"] == "Something went wrong here"
    assert "hunter2" not in answer.text
    assert "hunter2" in capsys.readouterr().out


# ---- answers ----


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_does_not_describe_one(client: WsgiClient, status: int) -> None:
    answer = client.get(f"/answer/{status}")
    assert (answer.status, answer.text, answer.headers) == (status, "", {"X-Fact": "1"})


def test_the_length_is_that_of_the_bytes(world: World) -> None:
    answer = world.client.post("/products", {**ANVIL, "name": "日本"})
    assert int(answer.headers["Content-Length"]) == len(answer.text.encode()) > len(answer.text)


def test_an_empty_answer_has_a_length_of_nothing(client: WsgiClient) -> None:
    assert client.get("/answer/200").headers["Content-Length"] == "0"

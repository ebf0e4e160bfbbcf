"""Through the gateway: every route, who may call it, how often, from which pages."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
import requests
from chalice.local import LambdaEventConverter, RouteMatcher

from app import app
from embedded.services import local_session
from tests.aws.conftest import ORIGIN, THROTTLE, DeployedStack
from tests.support import Api, Json, eventually

UNKNOWN = "000000000000000000000000"
# With an empty object as its body, or what else would change nothing.
ANSWERS = {
    ("GET", "/health"): 200,
    ("GET", "/ready"): 200,
    ("GET", "/openapi.json"): 200,
    ("GET", "/asyncapi.json"): 200,
    ("GET", "/docs"): 200,
    ("GET", "/console"): 200,
    ("GET", "/products"): 200,
    ("POST", "/products"): 422,
    ("POST", "/products/batch"): 422,
    ("GET", "/products/{product_id}"): 404,
    ("PUT", "/products/{product_id}"): 422,
    ("PATCH", "/products/{product_id}"): 404,
    ("DELETE", "/products/{product_id}"): 404,
    ("GET", "/products/{product_id}/sync"): 404,
    ("GET", "/products/{product_id}/sync/timeline"): 404,
    ("POST", "/products/{product_id}/sync"): 404,
    ("GET", "/sync"): 200,
    ("GET", "/sync/products"): 200,
    ("GET", "/sync/dead-letters"): 200,
    ("POST", "/sync/redrive"): 422,
    ("PUT", "/sync/control"): 422,
    ("GET", "/sync/acts"): 200,
    ("POST", "/sync/audit"): 422,
    ("GET", "/sync/audit"): 200,
    ("DELETE", "/sync/audit"): 200,
    ("POST", "/sync/restore"): 422,
    ("GET", "/sync/restore"): 200,
    ("POST", "/sync/republish"): 422,
    ("GET", "/sync/republish"): 200,
    ("DELETE", "/sync/republish"): 200,
    ("GET", "/sync/dead-letters/poison"): 200,
    ("POST", "/sync/dead-letters/discard"): 422,
}
REFUSE_A_BODY = {
    "/sync/redrive",
    "/sync/audit",
    "/sync/republish",
    "/sync/restore",
    "/sync/dead-letters/discard",
}
"""They would do something, if they were asked without one."""
OPEN = {"/health", "/ready", "/openapi.json", "/asyncapi.json", "/docs", "/console"}
NO_ROUTE = "urn:product-catalog:problem:no-such-route"


def problem(answer: requests.Response) -> str:
    assert answer.headers["Content-Type"].startswith("application/problem+json"), answer.text
    return str(answer.json()["type"]).removeprefix("urn:product-catalog:problem:")


def call(api: Api, method: str, path: str) -> requests.Response:
    body = {"status": "unheard of"} if path in REFUSE_A_BODY else {}
    path = path.replace("{product_id}", UNKNOWN)
    return api.request(method, path, body if method in ("POST", "PUT", "PATCH") else None)


def test_aws_up_prints_the_url_and_a_token_that_are_in_stack_json(aws: DeployedStack) -> None:
    rows = dict(line.split(maxsplit=1) for line in aws.printed.splitlines() if " " in line)
    assert (rows["API"], rows["token"]) == (aws.info["api"], aws.info["token"])


def routes() -> set[tuple[str, str]]:
    return {(method, path) for path, methods in app.routes.items() for method in methods}


def test_every_route_of_the_app_has_an_expectation_here() -> None:
    assert routes() == set(ANSWERS)


@pytest.mark.parametrize(("method", "path"), sorted(ANSWERS))
def test_every_route_of_the_app_answers_through_the_gateway(
    aws: DeployedStack, method: str, path: str
) -> None:
    answer = call(aws.api, method, path)
    assert answer.status_code == ANSWERS[method, path], answer.text
    # (The document of the API has an example of each problem.)
    assert path in OPEN or NO_ROUTE not in answer.text


@pytest.mark.parametrize(
    ("method", "path"), sorted(route for route in ANSWERS if route[1] not in OPEN)
)
def test_a_route_that_asks_for_a_token_refuses_a_wrong_one(
    aws: DeployedStack, method: str, path: str
) -> None:
    answer = call(Api(aws.info["api"], "not-a-token"), method, path)
    assert answer.status_code == 401, answer.text
    assert problem(answer) == "unauthorized"


def test_without_a_token_nobody_gets_in(aws: DeployedStack) -> None:
    with local_session() as session:
        answer = session.get(f"{aws.info['api']}/products", timeout=30)
    assert (answer.status_code, problem(answer)) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("with_token", "status"), [(False, 401), (True, 200)])
def test_invoked_past_the_gateway_the_function_itself_asks_for_a_token(
    aws: DeployedStack,
    with_token: bool,
    status: int,
) -> None:
    headers = {"Authorization": f"Bearer {aws.info['token']}"} if with_token else {}
    converter = LambdaEventConverter(RouteMatcher(list(app.routes)))
    event = converter.create_lambda_event("GET", "/products", headers)
    assert "authorizer" not in event["requestContext"]
    name = aws.info["functions"]["api"]["name"]
    answer = aws.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    assert json.loads(answer["Payload"].read())["statusCode"] == status


@pytest.mark.parametrize(
    ("scope", "method", "path", "status"),
    [
        ("products:read", "GET", "/products", 200),
        ("products:read", "POST", "/products", 403),
        ("products:read", "DELETE", "/products/{product_id}", 403),
        ("products:read", "POST", "/sync/redrive", 403),
        ("products:write", "POST", "/products", 422),
        ("products:write", "POST", "/sync/redrive", 403),
        ("products:write", "PUT", "/sync/control", 403),
        ("sync:admin", "POST", "/sync/redrive", 422),
        ("sync:admin", "PUT", "/sync/control", 422),
        ("sync:admin", "POST", "/products", 403),
        ("", "GET", "/products", 403),
    ],
)
def test_a_token_opens_what_its_scopes_name_and_no_more(
    aws: DeployedStack, scope: str, method: str, path: str, status: int
) -> None:
    claims = {"sub": "tester", "scope": scope, "exp": int(time.time()) + 600}
    token = jwt.encode(claims, aws.aws.secret(), algorithm="HS256")
    answer = call(Api(aws.info["api"], token), method, path)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert problem(answer) == "forbidden"


@pytest.mark.needs("gateway response templates")
def test_an_unknown_route_is_not_found(aws: DeployedStack) -> None:
    answer = aws.api.get("/no/such/route")
    assert (answer.status_code, problem(answer)) == (404, "no-such-route")


def test_a_method_that_a_path_does_not_have_is_told_those_that_it_has(aws: DeployedStack) -> None:
    answer = aws.api.request("DELETE", "/products")
    assert (answer.status_code, problem(answer)) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(("token", "status"), [(None, 200), ("not-a-token", 401)])
def test_head_is_answered_as_get_without_the_body(
    aws: DeployedStack, token: str | None, status: int
) -> None:
    api = aws.api if token is None else Api(aws.info["api"], token)
    answer = api.request("HEAD", "/products")
    assert (answer.status_code, answer.content) == (status, b"")


def test_a_body_above_the_limit_is_refused_as_too_large(aws: DeployedStack) -> None:
    answer = aws.api.post("/products", {"name": "Lamp", "description": "x" * 210_000})
    assert (answer.status_code, problem(answer)) == (413, "too-large")


@pytest.mark.parametrize("path", ["/products", "/sync/redrive"])
def test_a_page_of_the_given_origin_may_ask_and_read(aws: DeployedStack, path: str) -> None:
    with local_session() as session:
        asked = session.options(f"{aws.info['api']}{path}", headers={"Origin": ORIGIN}, timeout=30)
    assert asked.status_code == 204, asked.text
    assert asked.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Idempotency-Key" in asked.headers["Access-Control-Allow-Headers"]
    answer = call(aws.api, "POST", path)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.needs("throttling")
def test_a_caller_above_the_throttle_is_told_to_come_later(aws: DeployedStack) -> None:
    def ask() -> requests.Response:
        with local_session() as session:
            return session.get(f"{aws.info['api']}/docs", timeout=30)

    with ThreadPoolExecutor(8) as pool:
        # Far more at a time than the burst holds.
        answers = list(pool.map(lambda _: ask(), range(5 * THROTTLE["burst"])))
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert problem(refused) == "throttled"
    assert refused.headers["Retry-After"] == "1"
    eventually(lambda: ask().status_code == 200, 10, "callers are let in again")


def method_settings(aws: DeployedStack) -> Json:
    rest_api = aws.info["api"].split("/execute-api/")[1].split("/")[0]
    stage = aws.client("apigateway").get_stage(restApiId=rest_api, stageName="api")
    return {path.lstrip("/"): found for path, found in stage["methodSettings"].items()}


def limits(settings: Json) -> tuple[float, int]:
    return settings["throttlingRateLimit"], settings["throttlingBurstLimit"]


def test_the_stage_throttles_all_its_methods(aws: DeployedStack) -> None:
    assert limits(method_settings(aws)["*/*"]) == (THROTTLE["rate"], THROTTLE["burst"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_asks_whether_it_is_ready_has_a_throttle_of_its_own(
    aws: DeployedStack, method: str
) -> None:
    assert limits(method_settings(aws)[f"ready/{method}"]) == (5, 10)

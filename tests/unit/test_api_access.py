"""Who may do what: tokens, scopes, and what an authorizer passes on."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any, cast

import jwt
import pytest

import app as api
from chalicelib.bootstrap import Container
from chalicelib.http import authorizer, contract
from chalicelib.http.contract import ADMIN, READ, WRITE
from chalicelib.settings import read_settings
from chalicelib.usecases.ports import Caller, TokenVerifier
from tests.http import Answer, WsgiClient, problem_of
from tests.unit.api_support import (
    ANVIL,
    REQUESTS,
    SCOPES_OF_THE_DESIGN,
    lambda_event,
    passed_on,
)
from tests.unit.conftest import ENVIRONMENT, World, a_token

# ---- who may do what ----


def test_the_operations_and_their_scopes_are_those_of_the_design() -> None:
    made = {(item.method, item.path): set(item.scopes) for item in contract.OPERATIONS}
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


def test_a_refusal_names_the_scopes_that_would_do(world: World) -> None:
    answer = world.client_with(WRITE).get("/products/x/sync")
    assert problem_of(answer)["detail"] == "the token lacks the scope products:read or sync:admin"


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


def test_the_authorizer_refuses_with_the_text_that_api_gateway_looks_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    del world
    event = {
        "type": "TOKEN",
        "authorizationToken": "Bearer x",
        "methodArn": "arn:aws:execute-api:eu-central-1:123456789012:abc/api/GET/products",
    }
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        api.authorize(event, None)

    # An alarm watches this counter, and nobody is woken by a bad token.
    assert "authorizer_failed" not in capsys.readouterr().out


def test_an_authorizer_that_cannot_judge_a_token_says_so_and_counts_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def away(_: str) -> Caller:
        raise jwt.PyJWKClientConnectionError("no keys from the provider")

    tokens = cast("TokenVerifier", SimpleNamespace(verify=away))
    with pytest.raises(jwt.PyJWKClientConnectionError, match="no keys"):
        authorizer.policy(tokens, "Bearer x")

    assert '"authorizer_failed":1' in capsys.readouterr().out


def test_the_authorizer_passes_on_who_asks_and_what_for(world: World) -> None:
    del world
    event = {
        "type": "TOKEN",
        "authorizationToken": f"Bearer {a_token(ADMIN, READ, sub='shop')}",
        "methodArn": "arn:aws:execute-api:eu-central-1:123456789012:abc/api/GET/products",
    }
    answer = api.authorize(event, None)
    context = {**answer["context"], "principalId": answer["principalId"]}
    assert context.items() <= passed_on(READ, ADMIN, sub="shop").items()
    assert api.app(lambda_event("GET", "/sync", authorizer=context), None)["statusCode"] == 200


@pytest.fixture
def strict(world: World) -> World:
    """The app, with tokens of one issuer for one audience."""
    names = {"CATALOG_JWT_ISSUER": "https://idp", "CATALOG_JWT_AUDIENCE": "catalog"}
    vars(world.parts)["tokens"] = Container(read_settings({**ENVIRONMENT, **names})).tokens
    return world


def asked_of_the_authorizer(token: str) -> object:
    arn = "arn:aws:execute-api:eu-central-1:123456789012:abc/api/GET/products"
    event = {"type": "TOKEN", "authorizationToken": f"Bearer {token}", "methodArn": arn}
    return api.authorize(event, None)


@pytest.mark.usefixtures("strict")
def test_a_token_for_us_is_good_for_the_authorizer_and_for_the_app() -> None:
    token = a_token(READ, iss="https://idp", aud="catalog")
    assert asked_of_the_authorizer(token)
    assert invoked("GET", "/products", token=token).status == 200


@pytest.mark.parametrize(
    ("issuer", "audience", "reason"),
    [("https://idp", "another", "Audience"), ("https://another", "catalog", "issuer")],
)
@pytest.mark.usefixtures("strict")
def test_a_token_for_another_application_is_refused_by_both_and_only_the_log_says_why(
    issuer: str, audience: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    token = a_token(READ, iss=issuer, aud=audience)
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        asked_of_the_authorizer(token)
    answer = invoked("GET", "/products", token=token)

    problem = problem_of(answer)
    assert (answer.status, problem["detail"]) == (401, authorizer.UNAUTHORIZED)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    refusals = [line["reason"] for line in lines if line["message"] == "token refused"]
    assert [reason in told for told in refusals] == [True, True]


# ---- the app by itself, whoever invokes it ----


def invoked(*args: Any, **options: Any) -> Answer:  # noqa: ANN401 - those of lambda_event
    """Invoke the app with an event."""
    answer = api.app(lambda_event(*args, **options), None)
    return Answer(answer["statusCode"], answer["headers"], answer["body"])


EVERYTHING = f"{READ} {WRITE} {ADMIN}"
NOT_OURS: list[object] = [
    None,
    {},
    [],
    "tester",
    {"principalId": "tester", "integrationLatency": 5},
    {"scope": EVERYTHING},
    {"sub": "tester"},
    {"scope": [READ, WRITE, ADMIN], "sub": "tester"},
    {"scope": None, "sub": "tester"},
    {"scope": EVERYTHING, "sub": None},
    {"claims": {"scope": EVERYTHING, "sub": "tester"}},
    {"jwt": {"claims": {"sub": "tester"}, "scopes": [READ, WRITE, ADMIN]}},
    {"lambda": {"scope": EVERYTHING, "sub": "tester"}},
]
"""Contexts of other authorizers, and forged ones."""


@pytest.mark.parametrize(("method", "path", "scopes"), REQUESTS)
@pytest.mark.parametrize("context", NOT_OURS, ids=range(len(NOT_OURS)))
def test_without_a_token_no_context_but_ours_opens_an_operation(
    world: World, context: object, method: str, path: str, scopes: frozenset[str]
) -> None:
    del world
    answer = invoked(method, path, authorizer=context)
    if scopes:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert problem_of(answer)["type"].endswith(":unauthorized")
    else:
        assert answer.status == 200


@pytest.mark.parametrize(("method", "path", "scopes"), REQUESTS)
@pytest.mark.parametrize("held", [READ, WRITE, ADMIN, ""])
@pytest.mark.parametrize("context", [None, {"scope": EVERYTHING}])
def test_without_a_context_of_ours_the_token_decides(
    world: World, context: object, held: str, method: str, path: str, scopes: frozenset[str]
) -> None:
    del world
    answer = invoked(method, path, token=a_token(held), authorizer=context)
    if scopes and held not in scopes:
        assert (answer.status, problem_of(answer)["title"]) == (403, "Forbidden")
    else:
        assert answer.status not in {401, 403}


@pytest.mark.parametrize(("method", "path", "scopes"), REQUESTS)
@pytest.mark.parametrize("held", [READ, WRITE, ADMIN, ""])
def test_with_a_context_of_ours_its_scopes_decide(
    world: World, held: str, method: str, path: str, scopes: frozenset[str]
) -> None:
    # API Gateway keeps the authorizer's answer for a while, for all operations.
    del world
    answer = invoked(method, path, authorizer=passed_on(held))
    if scopes and held not in scopes:
        assert (answer.status, problem_of(answer)["title"]) == (403, "Forbidden")
    else:
        assert answer.status not in {401, 403}


@pytest.mark.parametrize("token", ["x", "a.b.c", "\xff"])
def test_a_token_that_proves_nothing_does_not_open_the_app(world: World, token: str) -> None:
    del world
    assert invoked("GET", "/products", token=token).status == 401


class Counting:
    """A verifier that counts."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self.count = 0
        self._verifier = verifier

    def verify(self, authorization: str) -> Caller:
        self.count += 1
        return self._verifier.verify(authorization)


@pytest.fixture
def verifier(world: World) -> Counting:
    counting = Counting(world.parts.tokens)
    vars(world.parts)["tokens"] = counting
    return counting


def test_the_container_host_verifies_a_token_once(world: World, verifier: Counting) -> None:
    assert world.client.post("/products", ANVIL).status == 201
    assert verifier.count == 1


def test_behind_the_authorizer_a_token_is_not_verified_again(verifier: Counting) -> None:
    context = passed_on(READ)
    assert invoked("GET", "/products", token=a_token(), authorizer=context).status == 200
    assert verifier.count == 0


def test_an_open_operation_does_not_look_at_the_token(world: World, verifier: Counting) -> None:
    assert world.client.get("/health").status == 200
    assert verifier.count == 0


# ---- whose idempotency key it is ----


@pytest.mark.parametrize("path", ["/products", "/products/batch"])
def test_a_token_without_an_owner_cannot_use_an_idempotency_key(world: World, path: str) -> None:
    body = ANVIL if path == "/products" else {"items": [ANVIL]}
    direct = invoked("POST", path, body, token=a_token(WRITE, sub=""), Idempotency_Key="k")
    behind = invoked("POST", path, body, authorizer=passed_on(WRITE, sub=""), Idempotency_Key="k")
    for answer in (direct, behind):
        assert (answer.status, answer.fields) == (422, ["Idempotency-Key"])
        assert "sub claim" in problem_of(answer)["detail"]
    assert world.store.products == {}


def test_a_token_without_an_owner_can_create_without_a_key(world: World) -> None:
    client = WsgiClient(world.gateway, a_token(WRITE, sub=""))
    assert client.post("/products", ANVIL).status == 201


def test_a_key_is_the_same_behind_the_authorizer_and_without_it(world: World) -> None:
    answers = [
        invoked("POST", "/products", ANVIL, token=a_token(WRITE, sub="shop"), Idempotency_Key="k"),
        invoked(
            "POST",
            "/products",
            ANVIL,
            authorizer=passed_on(WRITE, sub="shop"),
            Idempotency_Key="k",
        ),
    ]
    assert answers[0] == answers[1]
    assert len(world.store.products) == 1


def test_an_owner_called_anonymous_is_an_owner(world: World) -> None:
    client = WsgiClient(world.gateway, a_token(WRITE, sub="anonymous"))
    assert client.post("/products", ANVIL, Idempotency_Key="k").status == 201

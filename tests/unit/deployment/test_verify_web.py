"""Requests of the smoke test, against a server whose every answer is written here."""

from __future__ import annotations

import pytest

from tests.http import ScriptedServer, refused_port, reply
from tools.verify_deployment import web
from tools.verify_deployment.steps import FailedError
from tools.verify_deployment.web import Web

PROBLEM = '{"type": "urn:product-catalog:problem:unavailable", "title": "t", "detail": "MongoDB"}'
AS_PROBLEM = {"Content_Type": "application/problem+json"}


def at(server: ScriptedServer) -> Web:
    return Web(f"{server.url}/api/", "a-token")


def test_it_sends_the_token_or_none(server: ScriptedServer) -> None:
    api = at(server)
    api.ask("POST", "/products", {"name": "it"})
    api.with_token(None).ask("GET", "/products")
    with_token, without = server.seen
    assert with_token.path == "/api/products"
    assert with_token.headers["Authorization"] == "Bearer a-token"
    assert with_token.json() == {"name": "it"}
    assert "Authorization" not in without.headers


def test_another_status_than_expected_is_told_with_what_was_answered(
    server: ScriptedServer,
) -> None:
    server.answers.append(reply(503, PROBLEM, **AS_PROBLEM))
    with pytest.raises(FailedError, match=r"GET /x answered 503: MongoDB \(expected 200\)"):
        at(server).expect(200, "GET", "/x")


def test_a_refusal_must_have_the_catalogs_form(server: ScriptedServer) -> None:
    server.answers += [reply(401, PROBLEM, **AS_PROBLEM), reply(401, PROBLEM)]
    assert at(server).refused(401, "GET", "/x") == "unavailable"
    with pytest.raises(FailedError, match="answered 401, but as none: no problem details"):
        at(server).refused(401, "GET", "/x")


def test_a_page_that_is_no_json_is_told_as_such(server: ScriptedServer) -> None:
    server.answers.append(reply(200, "<html>"))
    with pytest.raises(FailedError, match="answered 200: <html>: that is no JSON object"):
        _ = at(server).expect(200, "GET", "/x").json


def test_a_throttled_request_is_sent_again(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "RETRIES", web.RETRIES.new(backoff_factor=0))
    server.answers += [reply(429), reply(201, "{}")]
    assert at(server).ask("POST", "/x", {}).status == 201


def test_where_nobody_answers_the_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "RETRIES", web.RETRIES.new(backoff_factor=0))
    address = f"http://127.0.0.1:{refused_port()}/api"
    with pytest.raises(FailedError, match=f"GET {address}/x is not answered"):
        Web(address, None).ask("GET", "/x")

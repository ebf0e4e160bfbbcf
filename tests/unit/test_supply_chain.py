"""The HTTP client of the supply chain: what it puts on the wire."""

from __future__ import annotations

from decimal import Decimal

import pytest
from standardwebhooks.webhooks import Webhook

from chalicelib.domain.delivery import Verdict
from chalicelib.domain.times import now_utc
from chalicelib.domain.trace import to_traceparent
from tests.fakes import START, a_product, fields
from tests.http import ScriptedServer, refused_port, reply
from tests.unit.chains import (
    NEXT_SIGNING_SECRET,
    SIGNING_SECRET,
    TRACE,
    a_chain,
    delivered,
    outcome_of,
)

# ---- the request ----


def test_an_upsert_is_a_post_of_the_whole_product(server: ScriptedServer) -> None:
    product = a_product(
        version=3, fields=fields(sku="S-1", description="Für Ämter", attributes={"a": True})
    )
    delivered(server, product)
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/supply-chain")
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.json() == {
        "id": product.id,
        "name": "Anvil",
        "price": Decimal("12.50"),
        "quantity": 7,
        "sku": "S-1",
        "description": "Für Ämter",
        "attributes": {"a": True},
        "version": 3,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
    }


@pytest.mark.parametrize(
    "price", ["12.50", "0.1", "9007199254740993.0001", "1234567890123456789012345678.9", "3"]
)
def test_a_price_is_on_the_wire_digit_by_digit(server: ScriptedServer, price: str) -> None:
    delivered(server, a_product(fields=fields(price=Decimal(price))))
    assert f'"price":{price},'.encode() in server.seen[0].body


def test_the_idempotency_key_names_product_and_version(server: ScriptedServer) -> None:
    product = a_product(version=7)
    delivered(server, product)
    assert server.seen[0].headers["Idempotency-Key"] == f"{product.id}:7"


def test_the_trace_goes_along(server: ScriptedServer) -> None:
    delivered(server, a_product(), TRACE)
    assert server.seen[0].headers["X-Amzn-Trace-Id"] == TRACE
    assert server.seen[0].headers["traceparent"] == to_traceparent(TRACE)


def test_without_a_trace_there_is_no_trace_header(server: ScriptedServer) -> None:
    delivered(server, a_product(), None)
    assert not {"X-Amzn-Trace-Id", "traceparent"} & set(server.seen[0].headers)


def test_a_trace_that_w3c_does_not_know_goes_along_as_it_is_only(server: ScriptedServer) -> None:
    delivered(server, a_product(), "Root=1-2-3")
    assert server.seen[0].headers["X-Amzn-Trace-Id"] == "Root=1-2-3"
    assert "traceparent" not in server.seen[0].headers


def test_a_slash_at_the_end_of_the_url_does_no_harm(server: ScriptedServer) -> None:
    a_chain(f"{server.url}/v1/").deliver(a_product(), None)
    assert server.seen[0].path == "/v1/supply-chain"


def test_a_tombstone_is_a_delete_without_a_body(server: ScriptedServer) -> None:
    product = a_product(version=4, deleted_at=START)
    server.answers.append(reply(204))
    delivered(server, product, TRACE)
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("DELETE", f"/supply-chain/{product.id}", b"")
    assert seen.headers["Idempotency-Key"] == f"{product.id}:4"
    assert seen.headers["X-Amzn-Trace-Id"] == TRACE


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_deletion_that_succeeds_is_delivered_without_a_question(
    server: ScriptedServer, status: int
) -> None:
    outcome = outcome_of(server, reply(status), product=a_product(version=1, deleted_at=START))
    assert outcome.verdict is Verdict.DELIVERED
    assert outcome.attempt.status == status
    assert [seen.method for seen in server.seen] == ["DELETE"]


@pytest.mark.parametrize("status", [400, 409, 500, 503])
def test_a_deletion_that_is_refused_has_failed(server: ScriptedServer, status: int) -> None:
    outcome = outcome_of(server, reply(status), product=a_product(version=1, deleted_at=START))
    assert outcome.verdict is Verdict.FAILED
    assert [seen.method for seen in server.seen] == ["DELETE"]


def test_the_attempt_says_when_what_and_how_long(server: ScriptedServer) -> None:
    outcome = delivered(server, a_product(version=2))
    attempt = outcome.attempt
    assert (attempt.time, attempt.version, attempt.status, attempt.error) == (START, 2, 200, None)
    assert 0 < attempt.duration < 5


# ---- the signature ----


@pytest.mark.parametrize("deleted", [False, True])
def test_the_signature_verifies_as_a_standard_webhook(
    server: ScriptedServer, *, deleted: bool
) -> None:
    # The library refuses old timestamps, so here the clock is the real one.
    chain = a_chain(server.url, secrets=[SIGNING_SECRET], clock=now_utc)
    chain.deliver(a_product(version=5, deleted_at=START if deleted else None), None)
    (seen,) = server.seen
    headers = {name.lower(): value for name, value in seen.headers.items()}
    Webhook(SIGNING_SECRET).verify(seen.body, headers, json_parse=False)
    assert headers["webhook-id"] == seen.headers["Idempotency-Key"]


def test_each_question_is_signed_under_an_id_of_its_own(server: ScriptedServer) -> None:
    server.answers += [reply(404)] * 3
    product = a_product(version=5, deleted_at=START)
    a_chain(server.url, secrets=[SIGNING_SECRET], clock=now_utc).deliver(product, None)
    assert [seen.method for seen in server.seen] == ["DELETE", "GET", "GET"]
    assert len({seen.headers["webhook-id"] for seen in server.seen}) == 3
    for asked in server.seen[1:]:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        Webhook(SIGNING_SECRET).verify(b"", headers, json_parse=False)


@pytest.mark.parametrize("known", [SIGNING_SECRET, NEXT_SIGNING_SECRET])
def test_in_a_rotation_a_receiver_needs_only_one_of_the_two_secrets(
    server: ScriptedServer, known: str
) -> None:
    secrets = [NEXT_SIGNING_SECRET, SIGNING_SECRET]
    a_chain(server.url, secrets=secrets, clock=now_utc).deliver(a_product(), None)
    (seen,) = server.seen
    headers = {name.lower(): value for name, value in seen.headers.items()}
    Webhook(known).verify(seen.body, headers, json_parse=False)
    signatures = headers["webhook-signature"].split(" ")
    assert [signature.partition(",")[0] for signature in signatures] == ["v1", "v1"]


def test_without_a_secret_nothing_is_signed(server: ScriptedServer) -> None:
    delivered(server, a_product())
    assert not [name for name in server.seen[0].headers if name.lower().startswith("webhook")]


def test_user_and_password_of_the_url_go_along(server: ScriptedServer) -> None:
    url = server.url.replace("://", "://ann:p%40ss@")
    server.answers += [reply(409), reply(200, '{"version": 0}')]

    assert a_chain(url).deliver(a_product(), None).verdict is Verdict.DELIVERED
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Basic YW5uOnBAc3M="] * 2


# ---- what does not go along ----


def test_cookies_are_not_carried_from_call_to_call(server: ScriptedServer) -> None:
    chain = a_chain(server.url)
    server.answers.append(reply(200, "{}", Set_Cookie="session=1; Path=/"))
    for _ in range(2):
        chain.deliver(a_product(), None)
    assert "Cookie" not in server.seen[1].headers


def test_proxies_of_the_environment_are_not_used(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{refused_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    delivered(server, a_product())


@pytest.mark.parametrize(
    "trace", ["a\r\nX-Evil: 1", "a\nb", "\u20ac", "\ud800", "a\x00b", " leading", "x" * 100_000]
)
def test_a_trace_that_breaks_headers_does_not_break_the_call(
    server: ScriptedServer, trace: str
) -> None:
    outcome = a_chain(server.url).deliver(a_product(), trace)
    assert outcome.verdict in set(Verdict)
    assert not [seen for seen in server.seen if "X-Evil" in seen.headers]


@pytest.mark.parametrize("trace", ["a\r\nX-Evil: 1", "\u20ac", "\ud800"])
def test_a_trace_that_no_header_can_carry_does_not_stop_the_delivery(
    server: ScriptedServer, trace: str
) -> None:
    assert a_chain(server.url).deliver(a_product(), trace).verdict is Verdict.DELIVERED

"""The HTTP client of the supply chain: answers that count only if a GET confirms them."""

from __future__ import annotations

import gzip
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.delivery import Outcome, Verdict
from embedded import fake_supply_chain
from tests.fakes import START, a_product, fields
from tests.http import ScriptedServer, refused_port, reply
from tests.unit.chains import SIGNING_SECRET, TIMEOUT, a_chain, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http import Behaviour


@contextmanager
def supply_chain(
    **settings: object,
) -> Iterator[tuple[fake_supply_chain.SupplyChain, str]]:
    """Serve the embedded supply chain; give it and its URL."""
    chain = fake_supply_chain.SupplyChain(fake_supply_chain.Settings().changed_by(settings))
    with fake_supply_chain.Server("127.0.0.1", 0, chain) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield chain, http.url
        finally:
            http.shutdown()
            thread.join()


# ---- conflicts ----


def conflict(server: ScriptedServer, *answers: Behaviour, version: int = 5) -> Outcome:
    """Deliver to a server that says 409 and then answers the question after it like this."""
    return outcome_of(server, reply(409, "stale"), *answers, product=a_product(version=version))


@pytest.mark.parametrize("held", [5, 6, 2**40])
def test_a_conflict_is_a_delivery_if_our_version_or_a_newer_one_is_held(
    server: ScriptedServer, held: int
) -> None:
    outcome = conflict(server, reply(200, f'{{"version": {held}}}'))
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.DELIVERED, 409)
    product_id = server.seen[0].json()["id"]
    assert [(seen.method, seen.path) for seen in server.seen] == [
        ("POST", "/supply-chain"),
        ("GET", f"/supply-chain/{product_id}"),
    ]


@pytest.mark.parametrize(
    ("answer", "doubt"),
    [
        (reply(200, '{"version": 4}'), "the supply chain holds version 4"),
        (reply(200, "<html>"), "the supply chain holds the product, without a version"),
        (reply(200, b"\xff\xfe"), "the supply chain holds the product, without a version"),
        (reply(200, "[" * 50_000), "the supply chain holds the product, without a version"),
        (reply(404, '{"version": 9}'), "a GET of the product is answered HTTP 404"),
    ],
)
def test_a_conflict_is_a_failure_if_no_such_version_is_held(
    server: ScriptedServer, answer: bytes, doubt: str
) -> None:
    outcome = conflict(server, answer)
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, 409)
    assert outcome.attempt.error == f"HTTP 409, but {doubt}: stale"


def test_a_conflict_is_a_failure_if_the_question_gets_no_answer(server: ScriptedServer) -> None:
    outcome = conflict(server, lambda it: it.sendall(b"HTTP/1.1 200 OK\r\n"))
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, 409)
    why = "the connection was closed in the middle of the answer"
    assert outcome.attempt.error == f"HTTP 409, but the GET of the product failed: {why}"


def test_an_answer_in_chunks_is_read_to_its_end(server: ScriptedServer) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    outcome = conflict(server, head + b'a\r\n{"version"\r\n3\r\n: 5\r\n1\r\n}\r\n0\r\n\r\n')
    assert outcome.verdict is Verdict.DELIVERED


def test_a_compressed_answer_is_understood(server: ScriptedServer) -> None:
    packed = gzip.compress(b'{"version": 5}')
    outcome = conflict(server, reply(200, packed, Content_Encoding="gzip"))
    assert outcome.verdict is Verdict.DELIVERED


def test_the_largest_product_is_understood_when_it_is_held() -> None:
    # The embedded supply chain answers with six characters for each of these.
    attributes = {f"{number}": "ü" * 1_000 for number in range(100)}
    newest = a_product(version=2, fields=fields(attributes=attributes))
    with supply_chain(failureRate=0) as (_, url):
        chain = a_chain(url)
        outcomes = [chain.deliver(step, None) for step in (newest, replace(newest, version=1))]
    assert [outcome.attempt.status for outcome in outcomes] == [201, 409]
    assert [outcome.verdict for outcome in outcomes] == [Verdict.DELIVERED] * 2


# ---- deletions of what is said to be absent ----


def deleted(server: ScriptedServer, status: int, *answers: Behaviour) -> Outcome:
    """Delete version 5 where the DELETE and then the questions are answered like this."""
    product = a_product(version=5, deleted_at=START)
    return outcome_of(server, reply(status, "none"), *answers, product=product)


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("confirmed", [404, 410])
def test_a_deletion_of_what_is_absent_is_delivered_if_two_questions_confirm_it(
    server: ScriptedServer, status: int, confirmed: int
) -> None:
    outcome = deleted(server, status, reply(confirmed), reply(404))
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.DELIVERED, status)
    assert outcome.attempt.error is None
    product_id = server.seen[0].path.rpartition("/")[2]
    assert [(seen.method, seen.path) for seen in server.seen] == [
        (method, f"/supply-chain/{product_id}") for method in ("DELETE", "GET", "GET")
    ]


@pytest.mark.parametrize("first", [[], [reply(404)]])
@pytest.mark.parametrize(
    ("answer", "doubt"),
    [
        (reply(200, '{"version": 4}'), "the supply chain holds version 4"),
        (reply(200, '{"deleted": true}'), "the supply chain holds the product, without a version"),
        (reply(503), "a GET of the product is answered HTTP 503"),
        (reply(204), "a GET of the product is answered HTTP 204"),
    ],
)
def test_a_deletion_of_what_is_said_to_be_absent_is_a_failure_if_a_question_denies_it(
    server: ScriptedServer, first: list[bytes], answer: bytes, doubt: str
) -> None:
    outcome = deleted(server, 404, *first, answer)
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, 404)
    assert outcome.attempt.error == f"HTTP 404, but {doubt}: none"


def test_a_question_asks_caches_on_the_way_for_a_fresh_answer(server: ScriptedServer) -> None:
    deleted(server, 404, reply(404), reply(404))
    assert [seen.headers.get("Cache-Control") for seen in server.seen] == [
        None,
        "no-cache",
        "no-cache",
    ]


def test_no_deletion_is_believed_that_the_supply_chain_denies_at_random() -> None:
    with supply_chain(failureRate=0, seed=1) as (held, url):
        chain, products = a_chain(url), [a_product() for _ in range(200)]
        for product in products:
            chain.deliver(product, None)
        held.configure({"failureRate": 0.04, "kinds": ["http_404"]})
        outcomes = [
            chain.deliver(replace(product, version=1, deleted_at=START), None)
            for product in products
        ]
        left = {product["id"] for product in held.products()}
    believed = {
        product.id
        for product, outcome in zip(products, outcomes, strict=True)
        if outcome.verdict is Verdict.DELIVERED
    }
    assert left
    assert not left & believed


# ---- time ----


def test_the_questions_have_one_time_out_together(server: ScriptedServer) -> None:
    def slow_absence(connection: object) -> None:
        time.sleep(TIMEOUT * 0.7)
        connection.sendall(reply(404))  # type: ignore[attr-defined]  # a socket

    server.answers.extend([reply(404), slow_absence, slow_absence])
    chain = a_chain(server.url, timeout=TIMEOUT)
    outcome = chain.deliver(a_product(version=1, deleted_at=START), None)
    assert outcome.verdict is Verdict.FAILED
    told = f"HTTP 404, but the GET of the product failed: no answer within {TIMEOUT:g} s"
    assert outcome.attempt.error == told
    assert outcome.attempt.duration < TIMEOUT * 1.3


def test_an_attempt_with_questions_lasts_two_time_outs_at_most(server: ScriptedServer) -> None:
    def late_absence(connection: object) -> None:
        time.sleep(TIMEOUT * 0.8)
        connection.sendall(reply(404))  # type: ignore[attr-defined]  # a socket

    server.answers.extend([late_absence, server.trickle(b"HTTP/1.1 404 No\r\nX-Slow: ", b"x")])
    chain = a_chain(server.url, timeout=TIMEOUT)
    outcome = chain.deliver(a_product(version=1, deleted_at=START), None)
    assert outcome.verdict is Verdict.FAILED
    assert TIMEOUT * 1.7 < outcome.attempt.duration < TIMEOUT * 2.3
    server.wait_until_left(5)


# ---- against the embedded supply chain ----


def test_the_embedded_supply_chain_and_the_client_agree() -> None:
    newest = a_product(version=2)
    steps = [
        newest,
        replace(newest, version=1),  # late: 409, and version 2 is held
        replace(newest, version=3, deleted_at=START),
        replace(newest, version=3, deleted_at=START),  # again: 404
    ]
    with supply_chain(failureRate=0) as (_, url):
        chain = a_chain(url)
        outcomes = [chain.deliver(step, None) for step in steps]
    assert [outcome.verdict for outcome in outcomes] == [Verdict.DELIVERED] * 4
    assert [outcome.attempt.status for outcome in outcomes] == [201, 409, 204, 404]


# ---- the questions of an audit ----


def test_an_audit_asks_for_a_product_by_its_id(server: ScriptedServer) -> None:
    product = a_product(version=3)
    server.answers.append(reply(200, '{"version": 3}'))
    answer = a_chain(server.url).ask(product)
    assert answer is not None
    assert (answer.status, answer.json()) == (200, {"version": 3})
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("GET", f"/supply-chain/{product.id}")
    assert seen.headers["Cache-Control"] == "no-cache"
    assert "webhook-id" not in seen.headers


def test_a_question_is_signed_each_time_under_another_id(server: ScriptedServer) -> None:
    product = a_product()
    server.answers.extend([reply(404), reply(404)])
    chain = a_chain(server.url, secrets=[SIGNING_SECRET])
    for _ in range(2):
        chain.ask(product)
    names = [seen.headers["webhook-id"] for seen in server.seen]
    assert all(name.startswith(f"{product.id}:0:") for name in names)
    assert len(set(names)) == 2


@pytest.mark.parametrize("status", [404, 410, 302, 429, 500, 503])
def test_an_answer_is_given_as_it_is(server: ScriptedServer, status: int) -> None:
    server.answers.append(reply(status))
    answer = a_chain(server.url).ask(a_product())
    assert answer is not None
    assert answer.status == status


@pytest.mark.parametrize("broken", [b"\x16\x03\x00 no HTTP", b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_what_is_no_answer_is_none(server: ScriptedServer, broken: bytes) -> None:
    server.default = broken
    assert a_chain(server.url).ask(a_product()) is None


def test_nobody_there_is_no_answer() -> None:
    assert a_chain(f"http://127.0.0.1:{refused_port()}").ask(a_product()) is None


def test_a_url_that_is_none_is_no_answer() -> None:
    assert a_chain("http://[nowhere").ask(a_product()) is None


def test_a_question_has_a_deadline(server: ScriptedServer) -> None:
    server.default = server.trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x")
    begun = time.monotonic()
    assert a_chain(server.url, timeout=TIMEOUT).ask(a_product()) is None
    assert time.monotonic() - begun < TIMEOUT + 1.5


def test_a_question_is_not_waited_for_as_long_as_a_call(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.adapters.supply_chain.LONGEST_QUESTION", TIMEOUT)
    server.default = server.silent
    begun = time.monotonic()
    assert a_chain(server.url, timeout=60).ask(a_product()) is None
    assert time.monotonic() - begun < TIMEOUT + 1.5

"""The HTTP client of the supply chain against real sockets: the wire, failures, and deadlines."""

from __future__ import annotations

import datetime as dt
import gzip
import ipaddress
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks.webhooks import Webhook

from chalicelib.adapters.supply_chain import ERROR_LIMIT, HttpSupplyChain, parse_retry_after
from chalicelib.domain.delivery import Outcome, Verdict
from chalicelib.domain.times import now_utc
from embedded import fake_supply_chain
from tests.fakes import START, FakeClock, a_product, fields
from tests.http import ScriptedServer, hang_up, refused_port, reply, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from chalicelib.domain.product import Product
    from tests.http import Behaviour

TIMEOUT = 0.5
TRACE = "Root=1-67891233-abcdef012345678912345678"
SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LATER = START + dt.timedelta(days=1)


def a_chain(
    url: str,
    *,
    timeout: float = 5.0,
    reject: Collection[int] = (413, 422),
    secret: str | None = None,
    clock: Callable[[], dt.datetime] | None = None,
) -> HttpSupplyChain:
    return HttpSupplyChain(
        url,
        timeout=timeout,
        reject_statuses=reject,
        signing_secret=secret,
        clock=clock or FakeClock(),
        connections=8,
    )


def delivered(server: ScriptedServer, product: Product, trace: str | None = None) -> Outcome:
    """Deliver and see that it worked."""
    outcome = a_chain(server.url).deliver(product, trace)
    assert outcome.verdict is Verdict.DELIVERED, outcome
    return outcome


def outcome_of(
    server: ScriptedServer, *answers: Behaviour, product: Product | None = None
) -> Outcome:
    """Deliver to a server that answers like this."""
    server.answers.extend(answers)
    return a_chain(server.url, timeout=3).deliver(product or a_product(), None)


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


def test_without_a_trace_there_is_no_trace_header(server: ScriptedServer) -> None:
    delivered(server, a_product(), None)
    assert "X-Amzn-Trace-Id" not in server.seen[0].headers


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


@pytest.mark.parametrize("status", [200, 202, 204, 404, 410])
def test_a_deletion_is_delivered_when_the_product_is_gone(
    server: ScriptedServer, status: int
) -> None:
    outcome = outcome_of(server, reply(status), product=a_product(version=1, deleted_at=START))
    assert outcome.verdict is Verdict.DELIVERED
    assert outcome.attempt.status == status


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
    chain = a_chain(server.url, secret=SIGNING_SECRET, clock=now_utc)
    chain.deliver(a_product(version=5, deleted_at=START if deleted else None), None)
    (seen,) = server.seen
    headers = {name.lower(): value for name, value in seen.headers.items()}
    Webhook(SIGNING_SECRET).verify(seen.body, headers, json_parse=False)
    assert headers["webhook-id"] == seen.headers["Idempotency-Key"]


def test_without_a_secret_nothing_is_signed(server: ScriptedServer) -> None:
    delivered(server, a_product())
    assert not [name for name in server.seen[0].headers if name.lower().startswith("webhook")]


# ---- answers ----


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_means_delivered(server: ScriptedServer, status: int) -> None:
    outcome = outcome_of(server, reply(status))
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.DELIVERED, status)


@pytest.mark.parametrize("status", [400, 401, 404, 408, 410, 429, 500, 502, 503, 504, 599])
def test_any_other_status_is_a_failure_with_its_text(server: ScriptedServer, status: int) -> None:
    outcome = outcome_of(server, reply(status, " not\ttoday "))
    assert outcome.verdict is Verdict.FAILED
    assert outcome.attempt.status == status
    assert outcome.attempt.error == f"HTTP {status}: not\ttoday"


@pytest.mark.parametrize("status", [413, 422])
def test_a_reject_status_is_a_rejection_with_its_text(server: ScriptedServer, status: int) -> None:
    outcome = outcome_of(server, reply(status, "no such unit"))
    assert outcome.verdict is Verdict.REJECTED
    assert outcome.attempt.error == f"HTTP {status}: no such unit"


def test_which_statuses_reject_is_a_setting(server: ScriptedServer) -> None:
    server.answers.extend([reply(400), reply(422)])
    chain = a_chain(server.url, reject={400})
    verdicts = [chain.deliver(a_product(), None).verdict for _ in range(2)]
    assert verdicts == [Verdict.REJECTED, Verdict.FAILED]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(server: ScriptedServer, status: int) -> None:
    outcome = outcome_of(server, reply(status, Location=f"{server.url}/elsewhere"))
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, status)
    assert [seen.path for seen in server.seen] == ["/supply-chain"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", START + dt.timedelta(seconds=120)),
        (" 0 ", START),
        (format_datetime(LATER, usegmt=True), LATER),
        ("99999999999", START + dt.timedelta(seconds=10**7)),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("Thu, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(
    server: ScriptedServer, value: str, expected: dt.datetime | None
) -> None:
    outcome = outcome_of(server, reply(429, Retry_After=value))
    assert (outcome.verdict, outcome.retry_after) == (Verdict.FAILED, expected)


def test_without_retry_after_there_is_no_wish(server: ScriptedServer) -> None:
    assert outcome_of(server, reply(503)).retry_after is None


@pytest.mark.parametrize(
    "value",
    [
        "\u00b2",  # a digit to str.isdigit, and none to int()
        "9" * 5000,
        "Mon, 20 Nov 1995 19:12:08 +99999999999999",
        f"Mon, 20 Nov 1995 {'9' * 30}:12:08 GMT",
    ],
)
def test_a_mad_retry_after_does_not_undo_a_delivery(server: ScriptedServer, value: str) -> None:
    outcome = outcome_of(server, reply(200, "{}", Retry_After=value))
    assert outcome.verdict is Verdict.DELIVERED


@pytest.mark.parametrize("value", ["0" * 20_000 + "x", " " * 20_000 + "x", "9" * 20_000 + "x"])
def test_a_long_retry_after_is_read_at_once(value: str) -> None:
    # All threads stand still while a pattern looks for its match.
    started = time.monotonic()
    assert parse_retry_after(value, START) is None
    assert time.monotonic() - started < 1


def test_a_retry_after_date_without_a_zone_is_utc() -> None:
    assert parse_retry_after("Fri, 02 Jan 2026 00:00:00", START) == LATER


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
    "answer",
    [
        reply(200, '{"version": 4}'),
        reply(200, '{"version": "5"}'),
        reply(200, '{"version": 5.0}'),
        reply(200, '{"version": null}'),
        reply(200, "{}"),
        reply(200, "[5]"),
        reply(200, "<html>"),
        reply(200, b"\xff\xfe"),
        reply(200, "[" * 50_000),
        reply(200),
        reply(404, '{"version": 9}'),
        reply(500, '{"version": 9}'),
    ],
)
def test_a_conflict_is_a_failure_if_no_such_version_is_held(
    server: ScriptedServer, answer: bytes
) -> None:
    outcome = conflict(server, answer)
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, 409)
    assert outcome.attempt.error == "HTTP 409: stale"


def test_true_is_not_version_1(server: ScriptedServer) -> None:
    outcome = conflict(server, reply(200, '{"version": true}'), version=1)
    assert outcome.verdict is Verdict.FAILED


def test_a_conflict_is_a_failure_if_the_question_gets_no_answer(server: ScriptedServer) -> None:
    outcome = conflict(server, reset)
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, 409)


def test_an_answer_in_chunks_is_read_to_its_end(server: ScriptedServer) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    outcome = conflict(server, head + b'a\r\n{"version"\r\n3\r\n: 5\r\n1\r\n}\r\n0\r\n\r\n')
    assert outcome.verdict is Verdict.DELIVERED


def test_a_compressed_answer_is_understood(server: ScriptedServer) -> None:
    packed = gzip.compress(b'{"version": 5}')
    outcome = conflict(server, reply(200, packed, Content_Encoding="gzip"))
    assert outcome.verdict is Verdict.DELIVERED


def test_the_embedded_supply_chain_and_the_client_agree() -> None:
    holding = fake_supply_chain.SupplyChain(fake_supply_chain.Settings(failure_rate=0))
    with fake_supply_chain.Server("127.0.0.1", 0, holding) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        chain, newest = a_chain(http.url), a_product(version=2)
        steps = [
            newest,
            replace(newest, version=1),  # late: 409, and version 2 is held
            replace(newest, version=3, deleted_at=START),
            replace(newest, version=3, deleted_at=START),  # again: 404
        ]
        outcomes = [chain.deliver(step, None) for step in steps]
        http.shutdown()
        thread.join()
    assert [outcome.verdict for outcome in outcomes] == [Verdict.DELIVERED] * 4
    assert [outcome.attempt.status for outcome in outcomes] == [201, 409, 204, 404]


# ---- no answer ----


GARBAGE = b"\x16\x03\x00 this is no HTTP\x00\xff\r\n\r\n"


def send_garbage(connection: socket.socket) -> None:
    connection.sendall(GARBAGE)


def cut_short(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")


@pytest.mark.parametrize("behaviour", [reset, hang_up, send_garbage])
def test_a_broken_connection_is_a_failure_without_a_status(
    server: ScriptedServer, behaviour: Behaviour
) -> None:
    outcome = outcome_of(server, behaviour)
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, None)
    assert (outcome.attempt.error or "").startswith("no usable answer: ")


def test_nothing_is_sent_a_second_time_by_itself(server: ScriptedServer) -> None:
    outcome_of(server, reset)
    assert len(server.seen) == 1


def test_an_answer_that_breaks_off_is_a_failure(server: ScriptedServer) -> None:
    assert outcome_of(server, cut_short).verdict is Verdict.FAILED


def test_a_refused_connection_is_a_failure_without_a_status() -> None:
    outcome = a_chain(f"http://127.0.0.1:{refused_port()}").deliver(a_product(), None)
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, None)
    assert "refused" in (outcome.attempt.error or "")


def test_a_name_that_no_one_knows_is_a_failure() -> None:
    outcome = a_chain("http://nowhere.invalid").deliver(a_product(), None)
    assert outcome.verdict is Verdict.FAILED


@pytest.mark.parametrize("url", ["http://[::1", "http://", "http://a:b:c", "http://\u00e4" * 9])
def test_a_url_that_is_none_is_a_failure(url: str) -> None:
    assert a_chain(url, timeout=1).deliver(a_product(), None).verdict is Verdict.FAILED


# ---- deadlines ----


def timed_out(chain: HttpSupplyChain) -> Outcome:
    """Deliver, and see that it ended in time and for want of it.

    In a thread, so that a call without end fails the test and no more.
    """
    outcomes: list[Outcome] = []
    call = threading.Thread(
        target=lambda: outcomes.append(chain.deliver(a_product(), None)), daemon=True
    )
    call.start()
    call.join(TIMEOUT + 1.5)
    assert outcomes, "the call outlives its deadline"
    assert outcomes[0].verdict is Verdict.FAILED
    assert (outcomes[0].attempt.error or "").startswith("no answer in time: "), outcomes
    return outcomes[0]


def test_a_server_that_is_silent_is_left_at_the_deadline(server: ScriptedServer) -> None:
    server.answers.append(server.silent)
    outcome = timed_out(a_chain(server.url, timeout=TIMEOUT))
    assert outcome.attempt.duration >= TIMEOUT * 0.9
    server.wait_until_left(5)


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Slow: x\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n", b"x"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=[
        "header",
        "headers",
        "body",
        "until close",
        "close",
        "1.0",
        "chunk size",
        "chunk",
        "error",
        "continue",
    ],
)
def test_a_server_that_trickles_is_cut_off_at_the_deadline(
    server: ScriptedServer, head: bytes, drop: bytes
) -> None:
    server.answers.append(server.trickle(head, drop))
    timed_out(a_chain(server.url, timeout=TIMEOUT))
    server.wait_until_left(5)


def test_a_question_after_a_conflict_has_a_deadline_too(server: ScriptedServer) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    server.answers.extend([reply(409), server.trickle(head, b" ")])
    timed_out(a_chain(server.url, timeout=TIMEOUT))
    server.wait_until_left(5)


def test_a_server_that_does_not_accept_is_given_up_at_the_deadline() -> None:
    with full_backlog() as port:
        timed_out(a_chain(f"http://127.0.0.1:{port}", timeout=TIMEOUT))


class full_backlog:  # noqa: N801 - reads as a block
    """A port of 127.0.0.1 where a connection is neither accepted nor refused."""

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._waiting: list[socket.socket] = []
        address = self._listener.getsockname()
        port: int = address[1]
        for _ in range(8):
            waiting = socket.socket()
            waiting.settimeout(0.1)
            self._waiting.append(waiting)
            try:
                waiting.connect(address)
            except TimeoutError:
                return port
        raise AssertionError("the backlog does not fill up")

    def __exit__(self, *_: object) -> None:
        for sock in (*self._waiting, self._listener):
            sock.close()


def test_a_host_with_several_addresses_has_one_deadline_for_all(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    server.answers.append(server.trickle(head, b"x"))
    with full_backlog() as port:

        def two_addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
            stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*stream, ("127.0.0.1", each)) for each in (port, server.port)]

        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        # The first address takes all the time there is; the second one would trickle for ever.
        timed_out(a_chain("http://two.example", timeout=TIMEOUT))


def test_a_connection_that_comes_up_too_late_is_not_used(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.socket.connect

    def connect_late(sock: socket.socket, address: tuple[str, int]) -> None:
        # As on a host that is too busy to go on at once.
        connect(sock, address)
        time.sleep(TIMEOUT * 1.4)

    monkeypatch.setattr(socket.socket, "connect", connect_late)
    server.default = server.trickle(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")
    timed_out(a_chain(server.url, timeout=TIMEOUT))
    # By then, another worker may have the lease.
    assert server.seen == []


def test_a_tls_server_that_trickles_is_cut_off_too(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ScriptedServer(context) as tls:
        chain = a_chain(tls.url, timeout=TIMEOUT)
        chain._session.verify = str(certificate)
        assert chain.deliver(a_product(), None).verdict is Verdict.DELIVERED
        tls.answers.append(tls.trickle(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"))
        timed_out(chain)
        tls.wait_until_left(5)


def test_a_tls_server_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    with ScriptedServer(context) as tls:
        outcome = a_chain(tls.url).deliver(a_product(), None)
        assert outcome.verdict is Verdict.FAILED
        assert tls.seen == []


def self_signed(folder: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = now_utc()
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(host, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "tls.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


# ---- connections ----


def test_a_connection_is_used_again(server: ScriptedServer) -> None:
    chain = a_chain(server.url)
    server.answers.extend([reply(201, '{"id": 1}'), reply(204), reply(500, "no"), reply(200, "{}")])
    for _ in range(4):
        chain.deliver(a_product(), None)
    assert [seen.connection for seen in server.seen] == [0, 0, 0, 0]


def test_a_connection_is_used_again_after_an_answer_in_chunks(server: ScriptedServer) -> None:
    chain = a_chain(server.url)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.answers.append(head + b"2\r\n{}\r\n0\r\n\r\n")
    for _ in range(2):
        chain.deliver(a_product(), None)
    assert [seen.connection for seen in server.seen] == [0, 0]


def test_a_connection_that_was_cut_off_is_not_used_again(server: ScriptedServer) -> None:
    chain = a_chain(server.url, timeout=TIMEOUT)
    server.answers.append(server.silent)
    timed_out(chain)
    assert chain.deliver(a_product(), None).verdict is Verdict.DELIVERED
    assert [seen.connection for seen in server.seen] == [0, 1]


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(server: ScriptedServer) -> None:
    chain = a_chain(server.url)

    def answer_and_close(connection: socket.socket) -> None:
        connection.sendall(reply(200, "{}"))

    server.answers.append(answer_and_close)
    verdicts = [chain.deliver(a_product(), None).verdict for _ in range(2)]
    assert verdicts == [Verdict.DELIVERED, Verdict.DELIVERED]


def test_the_deadline_of_a_call_does_not_reach_the_next_one_on_its_connection(
    server: ScriptedServer,
) -> None:
    chain = a_chain(server.url, timeout=TIMEOUT)

    def slow(connection: socket.socket) -> None:
        # Longer than what is left of the first call's time, shorter than its own.
        time.sleep(TIMEOUT * 0.7)
        connection.sendall(reply(200, "{}"))

    chain.deliver(a_product(), None)
    time.sleep(TIMEOUT * 0.5)
    server.answers.append(slow)
    assert chain.deliver(a_product(), None).verdict is Verdict.DELIVERED
    assert server.connections == 1


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


def test_parallel_calls_do_not_cut_each_other_off(server: ScriptedServer) -> None:
    def slow(connection: socket.socket) -> None:
        time.sleep(TIMEOUT * 0.6)
        connection.sendall(reply(200, "{}", Connection="close"))

    # The slow ones are under way when the silent ones are cut off.
    server.answers.extend([server.silent, slow, slow, slow] * 6)
    chain = a_chain(server.url, timeout=TIMEOUT)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: chain.deliver(a_product(), None), range(24)))
    errors = [outcome.attempt.error for outcome in outcomes if outcome.attempt.error]
    assert len(errors) == 6
    assert all(error.startswith("no answer in time: ") for error in errors), errors


# ---- odd input ----


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


def test_an_answer_that_is_not_utf8_is_told_as_far_as_it_goes(server: ScriptedServer) -> None:
    outcome = outcome_of(server, reply(500, b"caf\xe9 \xff"))
    assert outcome.attempt.error == "HTTP 500: caf\ufffd \ufffd"


def test_a_huge_answer_is_neither_read_nor_told_in_full(server: ScriptedServer) -> None:
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 500 No\r\n\r\n")
        try:
            while sent < 200_000_000:
                connection.sendall(b"x" * 65_536)
                sent += 65_536
        except OSError:
            server.left.set()

    outcome = outcome_of(server, endless)
    server.wait_until_left(5)
    assert outcome.attempt.status == 500
    assert len(outcome.attempt.error or "") <= ERROR_LIMIT + len("HTTP 500: ")
    # The rest is what the buffers of the two ends hold.
    assert sent < 50_000_000


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: lots\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 \xff\xfe\r\nX-Caf\xe9: \xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 9\r\nContent-Type: a/b; charset=\xff\r\n\r\n123456789",
        b"\r\n\r\n\r\n",
    ],
)
def test_no_answer_makes_it_raise(server: ScriptedServer, answer: bytes) -> None:
    def send_and_close(connection: socket.socket) -> None:
        connection.sendall(answer)

    assert outcome_of(server, send_and_close).verdict in set(Verdict)

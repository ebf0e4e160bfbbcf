"""The HTTP client of the supply chain: what it makes of answers, and of none."""

from __future__ import annotations

import datetime as dt
import errno
import socket
import time
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from chalicelib.adapters.supply_chain import ANSWER_LIMIT, parse_retry_after
from chalicelib.domain.answers import ERROR_LIMIT
from chalicelib.domain.delivery import Verdict
from tests.fakes import START, a_product
from tests.http import ScriptedServer, hang_up, refused_port, reply, reset
from tests.unit.chains import a_chain, outcome_of

if TYPE_CHECKING:
    from tests.http import Behaviour

LATER = START + dt.timedelta(days=1)


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


# ---- no answer ----


GARBAGE = b"\x16\x03\x00 this is no HTTP\x00\xff\r\n\r\n"


def send_bytes(answer: bytes) -> Behaviour:
    return lambda connection: connection.sendall(answer)


BROKEN_OFF = "the connection was closed in the middle of the answer"
NO_HTTP = "the answer is no valid HTTP"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (reset, "the connection was reset"),
        (hang_up, "the connection was closed before an answer came"),
        (send_bytes(GARBAGE), NO_HTTP),
        (send_bytes(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n"), NO_HTTP),
        (
            send_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            NO_HTTP,
        ),
        (send_bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), NO_HTTP),
        (
            send_bytes(reply(200, b"abc", Content_Encoding="gzip")),
            "the answer cannot be unpacked as its Content-Encoding says",
        ),
    ],
)
def test_a_broken_connection_is_a_failure_without_a_status(
    server: ScriptedServer, behaviour: Behaviour, reason: str
) -> None:
    outcome = outcome_of(server, behaviour)
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, None)
    assert outcome.attempt.error == reason


def test_nothing_is_sent_a_second_time_on_a_new_connection(server: ScriptedServer) -> None:
    outcome_of(server, reset)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nServer: x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ],
)
def test_a_success_that_breaks_off_is_a_failure(server: ScriptedServer, answer: bytes) -> None:
    outcome = outcome_of(server, lambda connection: connection.sendall(answer))
    assert (outcome.verdict, outcome.attempt.error) == (Verdict.FAILED, BROKEN_OFF)


def test_a_success_whose_body_ends_with_the_connection_is_a_delivery(
    server: ScriptedServer,
) -> None:
    outcome = outcome_of(server, lambda it: it.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}"))
    assert outcome.verdict is Verdict.DELIVERED


def test_a_second_answer_to_a_call_is_not_taken_for_that_to_the_next(
    server: ScriptedServer,
) -> None:
    chain = a_chain(server.url)
    server.answers.extend([reply(200, "{}") * 2, reply(500)])
    outcomes = [chain.deliver(a_product(), None) for _ in range(2)]
    assert [outcome.attempt.status for outcome in outcomes] == [200, 500]


def test_a_refused_connection_is_a_failure_without_a_status() -> None:
    outcome = a_chain(f"http://127.0.0.1:{refused_port()}").deliver(a_product(), None)
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, None)
    assert outcome.attempt.error == "the connection was refused"


def test_a_name_that_no_one_knows_is_a_failure() -> None:
    outcome = a_chain("http://user:password@nowhere.invalid").deliver(a_product(), None)
    told = "the name nowhere.invalid cannot be resolved"
    assert (outcome.verdict, outcome.attempt.error) == (Verdict.FAILED, told)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://", "http://a:b:c", "ftp://x", f"http://{'x' * 70}.example"]
)
def test_a_url_that_is_none_is_a_failure(url: str) -> None:
    outcome = a_chain(url, timeout=1).deliver(a_product(), None)
    told = "SUPPLY_CHAIN_URL is not a usable address"
    assert (outcome.verdict, outcome.attempt.error) == (Verdict.FAILED, told)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "failed: No route to host"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "timed out"),
        (ConnectionAbortedError("x"), "was closed while the call was sent"),
    ],
)
def test_a_host_that_is_out_of_reach_is_a_failure_with_the_systems_words(
    monkeypatch: pytest.MonkeyPatch, failure: OSError, told: str
) -> None:
    def connect(*_: object) -> None:
        raise failure

    monkeypatch.setattr(socket.socket, "connect", connect)
    outcome = a_chain("http://127.0.0.1:9").deliver(a_product(), None)
    assert outcome.attempt.error == f"the connection {told}"


def test_a_failure_that_nobody_foresaw_shows_no_object_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def connect(*_: object) -> None:
        raise ValueError(object())

    monkeypatch.setattr(socket.socket, "connect", connect)
    outcome = a_chain("http://127.0.0.1:9").deliver(a_product(), None)
    assert outcome.attempt.error == "the answer is not usable"


# ---- odd answers ----


def test_a_success_that_names_another_product_is_a_failure(server: ScriptedServer) -> None:
    outcome = outcome_of(server, reply(200, '{"id": "abc", "version": 0}'))
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, 200)
    assert (outcome.attempt.error or "").startswith("HTTP 200, but it answers with product 'abc': ")


def test_a_success_that_names_an_older_version_is_a_failure(server: ScriptedServer) -> None:
    outcome = outcome_of(server, reply(200, '{"version": 3}'), product=a_product(version=4))
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, 200)


def test_a_success_that_is_longer_than_what_is_read_is_a_delivery(server: ScriptedServer) -> None:
    body = '{"version": 3, "text": "' + "x" * ANSWER_LIMIT + '"}'
    outcome = outcome_of(server, reply(200, body), product=a_product(version=4))
    assert outcome.verdict is Verdict.DELIVERED


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

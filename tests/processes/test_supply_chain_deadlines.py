"""The HTTP client of the supply chain: its deadline, and the connections that it keeps."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.delivery import Verdict
from tests.fakes import FakeClock, a_product
from tests.http import ScriptedServer, reply
from tests.unit.chains import TIMEOUT, a_chain, full_backlog, self_signed, timed_out

if TYPE_CHECKING:
    from pathlib import Path

# ---- deadlines ----


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


def test_a_server_that_does_not_accept_is_given_up_at_the_deadline() -> None:
    with full_backlog() as port:
        timed_out(a_chain(f"http://127.0.0.1:{port}", timeout=TIMEOUT))


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
        chain._pools.connection_pool_kw["ca_certs"] = str(certificate)
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
        told = "the certificate is not valid: self-signed certificate"
        assert (outcome.attempt.error or "").replace("self signed", "self-signed") == told
        assert tls.seen == []


def test_a_certificate_for_another_host_is_named(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ScriptedServer(context) as tls:
        chain = a_chain(tls.url.replace("127.0.0.1", "localhost"))
        chain._pools.connection_pool_kw["ca_certs"] = str(certificate)
        error = chain.deliver(a_product(), None).attempt.error or ""
    assert error.startswith("the certificate is not valid: Hostname mismatch")


@pytest.mark.parametrize(
    ("greeting", "told"),
    [
        (reply(400), "the server does not speak TLS: is its address http://?"),
        (b"", "the connection was closed before TLS was agreed on"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "TLS could not be agreed on: "),
    ],
)
def test_a_server_without_tls_is_a_failure_that_says_so(greeting: bytes, told: str) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            # All of the greeting, since closing with unread data resets the connection.
            connection.recv(65_536)
            connection.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        chain = a_chain(f"https://127.0.0.1:{listener.getsockname()[1]}")
        error = chain.deliver(a_product(), None).attempt.error or ""
        thread.join(5)
    assert error.startswith(told)


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


@pytest.mark.parametrize(("idle", "connections"), [(30, 1), (31, 2)])
def test_a_connection_that_was_idle_for_long_is_not_used_again(
    server: ScriptedServer, idle: int, connections: int
) -> None:
    clock = FakeClock()
    chain = a_chain(server.url, clock=clock)
    chain.deliver(a_product(), None)
    clock.advance(idle)
    assert chain.deliver(a_product(), None).verdict is Verdict.DELIVERED
    assert server.connections == connections


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
    assert set(errors) == {f"no answer within {TIMEOUT:g} s"}

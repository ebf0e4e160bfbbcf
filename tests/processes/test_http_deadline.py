"""One deadline for a whole call, over real sockets and real TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from chalicelib.adapters.http_deadline import deadline, deadline_pools
from tests.http import ScriptedServer, hang_up, reply
from tests.unit.chains import TIMEOUT, full_backlog, self_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LARGE = b"x" * 20_000_000
"""More than the buffers of both ends hold."""

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def pools() -> PoolManager:
    return deadline_pools(connections=8)


def call(pools: PoolManager, url: str, seconds: float = 5.0, body: bytes = b"{}") -> int:
    """Make a call, read its answer whole, give its status."""
    with deadline(seconds):
        return pools.urlopen("POST", url, body=body, timeout=seconds).status


def cut_off(pools: PoolManager, url: str, seconds: float = TIMEOUT, body: bytes = b"{}") -> None:
    """See that a call ends at its deadline."""
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^cut off after "):
        call(pools, url, seconds, body)
    assert seconds * 0.9 <= time.monotonic() - started < seconds + 1


# ---- answers ----


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Slow: x\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    ],
    ids=["headers", "body"],
)
def test_an_answer_that_trickles_is_cut_off(
    pools: PoolManager, server: ScriptedServer, head: bytes, drop: bytes
) -> None:
    server.answers.append(server.trickle(head, drop, every=0.02))
    cut_off(pools, server.url)
    server.wait_until_left(5)


def test_an_answer_without_end_is_cut_off_however_fast_it_comes(
    pools: PoolManager, server: ScriptedServer
) -> None:
    server.answers.append(server.trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000, every=0.001))
    cut_off(pools, server.url)
    server.wait_until_left(5)


# ---- requests ----


class Unread:
    """A server that accepts and does not read, until it is asked what has come."""

    def __enter__(self) -> Unread:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def received(self) -> int:
        """Bytes that can be read after the client has left."""
        self._listener.settimeout(5)
        connection, _ = self._listener.accept()
        connection.settimeout(5)
        count = 0
        with connection:
            try:
                while part := connection.recv(65_536):
                    count += len(part)
            except ConnectionResetError:
                return count
        raise AssertionError(f"no reset after {count} bytes")


def test_a_request_that_nobody_reads_is_cut_off(pools: PoolManager) -> None:
    with Unread() as server:
        cut_off(pools, server.url, body=LARGE)


def test_what_is_not_sent_by_the_deadline_is_never_sent(pools: PoolManager) -> None:
    # The kernel still has some of the request when the call ends.
    with Unread() as server:
        cut_off(pools, server.url, body=LARGE)
        assert server.received() < len(LARGE)


def test_nothing_is_sent_outside_of_a_deadline(pools: PoolManager, server: ScriptedServer) -> None:
    call(pools, server.url)
    with pytest.raises(HTTPError):
        pools.urlopen("POST", server.url, body=b"{}", timeout=5)
    assert len(server.seen) == 1


# ---- connecting ----


def answered_by(monkeypatch: pytest.MonkeyPatch, *ports: int, after: float = 0.0) -> None:
    """Let every host have these ports of 127.0.0.1 as its addresses."""

    def addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
        time.sleep(after)
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*stream, ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)


def test_two_silent_addresses_share_one_deadline(
    pools: PoolManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_backlog() as first, full_backlog() as second:
        answered_by(monkeypatch, first, second)
        cut_off(pools, "http://two.example")


def test_a_silent_address_leaves_time_for_the_next(
    pools: PoolManager, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_backlog() as silent:
        answered_by(monkeypatch, silent, server.port)
        assert call(pools, "http://two.example", 1.0) == 200


def test_after_a_look_up_that_took_too_long_nobody_is_connected_to(
    pools: PoolManager, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered_by(monkeypatch, server.port, after=TIMEOUT * 1.2)
    cut_off(pools, "http://slow.example")
    assert server.connections == 0


# ---- TLS ----


class Way:
    """A way to a server; once `dripping` is set, its answers come a byte at a time."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.dripping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket()
            server.connect(("127.0.0.1", self.server.port))
            self._sockets += [client, server]
            self._start(self._pass_on, client, server, lambda: False)
            self._start(self._pass_on, server, client, self.dripping.is_set)

    def _pass_on(
        self, source: socket.socket, target: socket.socket, slow: Callable[[], bool]
    ) -> None:
        # An OSError: one of the ends has left.
        with suppress(OSError):
            while part := source.recv(4096):
                for byte in part if slow() else ():
                    target.sendall(bytes([byte]))
                    time.sleep(0.02)
                target.sendall(b"" if slow() else part)
        self._shut(target)

    @staticmethod
    def _shut(sock: socket.socket) -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for sock in self._sockets:
            self._shut(sock)
        for thread in self._threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in self._threads)
        for sock in self._sockets:
            sock.close()


@pytest.fixture
def tls(pools: PoolManager, tmp_path: Path) -> ssl.SSLContext:
    """A server's context, which the pools trust."""
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    pools.connection_pool_kw["ca_certs"] = str(certificate)
    return context


@pytest.fixture
def way(tls: ssl.SSLContext) -> Iterator[Way]:
    """A way to a TLS server."""
    with ScriptedServer(tls) as server:
        server.default = reply(200, b"x" * 10_000)
        made = Way(server)
        yield made
        made.close()


def test_a_tls_handshake_that_trickles_is_cut_off(pools: PoolManager, way: Way) -> None:
    way.dripping.set()
    cut_off(pools, way.url)


def test_a_tls_handshake_has_all_the_time_that_is_left(
    pools: PoolManager, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    # And not only its address's share of the time for connecting.
    answered_by(monkeypatch, way.port, way.port)
    way.dripping.set()
    cut_off(pools, "https://two.example")


def test_a_tls_record_that_trickles_is_cut_off(pools: PoolManager, way: Way) -> None:
    # The record is whole only after minutes: all of them within one operation of the socket.
    assert call(pools, way.url) == 200
    way.dripping.set()
    cut_off(pools, way.url)
    assert [seen.connection for seen in way.server.seen] == [0, 0]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_that_is_read_a_bit_at_a_time_is_cut_off(
    pools: PoolManager, tls: ssl.SSLContext, scheme: str
) -> None:
    def read_slowly() -> None:
        stream, _ = listener.accept()
        if scheme == "https":
            stream = tls.wrap_socket(stream, server_side=True)
        with stream, suppress(OSError):
            while stream.recv(16_384):
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_slowly)
        cut_off(pools, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", body=LARGE)
        reading.result()


# ---- connections that are kept ----


def test_a_connection_that_was_cut_off_is_not_used_again(
    pools: PoolManager, server: ScriptedServer
) -> None:
    server.answers.append(server.silent)
    cut_off(pools, server.url)
    call(pools, server.url)
    call(pools, server.url)
    assert [seen.connection for seen in server.seen] == [0, 1, 1]


def test_a_kept_connection_serves_another_thread_under_its_own_deadline(
    pools: PoolManager, server: ScriptedServer
) -> None:
    call(pools, server.url, TIMEOUT)
    time.sleep(TIMEOUT)
    server.answers.append(server.silent)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(cut_off, pools, server.url, TIMEOUT * 2).result()
    assert [seen.connection for seen in server.seen] == [0, 0]


def test_a_kept_connection_that_ends_without_an_answer_is_replaced(
    pools: PoolManager, server: ScriptedServer
) -> None:
    call(pools, server.url)
    server.answers.append(hang_up)
    assert call(pools, server.url) == 200
    assert [seen.connection for seen in server.seen] == [0, 0, 1]


def test_a_kept_tls_connection_that_ends_without_an_answer_is_replaced(
    pools: PoolManager, way: Way
) -> None:
    call(pools, way.url)
    way.server.answers.append(hang_up)
    assert call(pools, way.url) == 200
    assert [seen.connection for seen in way.server.seen] == [0, 0, 1]


def test_a_new_connection_that_ends_without_an_answer_is_a_failure(
    pools: PoolManager, server: ScriptedServer
) -> None:
    server.answers.append(hang_up)
    with pytest.raises(HTTPError):
        call(pools, server.url)
    assert len(server.seen) == 1


def test_a_connection_opened_anew_is_not_taken_for_a_kept_one(
    pools: PoolManager, server: ScriptedServer
) -> None:
    server.answers.extend([reply(200, Connection="close"), hang_up])
    call(pools, server.url)
    with pytest.raises(HTTPError):
        call(pools, server.url)
    assert len(server.seen) == 2


def test_a_replaced_connection_does_not_get_more_time(
    pools: PoolManager, server: ScriptedServer
) -> None:
    def end_late(connection: socket.socket) -> None:
        time.sleep(TIMEOUT * 0.6)
        hang_up(connection)

    call(pools, server.url)
    server.answers.extend([end_late, server.silent])
    cut_off(pools, server.url)


# ---- threads ----


def test_parallel_calls_end_at_their_own_deadlines(
    pools: PoolManager, server: ScriptedServer
) -> None:
    server.default = server.silent
    with ThreadPoolExecutor(6) as pool:
        for cut in [
            pool.submit(cut_off, pools, server.url, seconds)
            for seconds in (0.3, 1.5, 0.6, 1.2, 0.9, 0.3)
        ]:
            cut.result()


def test_a_call_starts_no_thread(
    pools: PoolManager, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, starters = threading.Thread.start, []

    def note(thread: threading.Thread) -> None:
        starters.append(threading.current_thread())
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note)
    server.answers.extend([reply(200), server.silent])
    call(pools, server.url)
    cut_off(pools, server.url)
    # The server starts one for its connection, in a thread of its own.
    assert starters
    assert threading.current_thread() not in starters

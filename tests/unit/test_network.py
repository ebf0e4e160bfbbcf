"""Each fault of a proxy, as a client and a server on real sockets see it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from embedded.network import (
    BYTES_PER_SECOND,
    DELAY_SECONDS,
    PAIRS,
    Fault,
    Links,
    Network,
    Proxy,
    host_and_port,
)
from embedded.processes import free_port
from embedded.services import ROLES, SERVERS, endpoints
from tests.http import reset
from tests.support import eventually

WHOLE = (Fault.DELAY, Fault.BANDWIDTH, Fault.BLACK_HOLE)
"""The faults that established connections survive."""


class Echo:
    """A server that answers what it was sent."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        """How connections ended: "closed" in order, or "reset"."""
        self.got = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    self.got += data
                    connection.sendall(data)
            except OSError:
                self.ends.append("reset")
            else:
                self.ends.append("closed")


@pytest.fixture
def server() -> Iterator[Echo]:
    with contextlib.closing(Echo()) as echo:
        yield echo


@pytest.fixture
def network() -> Iterator[Network]:
    with contextlib.closing(Network()) as made:
        yield made


@pytest.fixture
def proxy(network: Network, server: Echo) -> Proxy:
    return network.proxy(server.address)


@contextlib.contextmanager
def connected(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(host_and_port(proxy.address), timeout=5) as client:
        yield client


def ask(client: socket.socket, text: bytes, seconds: float = 5) -> bytes:
    """Send, and read an answer of the same length."""
    client.settimeout(seconds)
    client.sendall(text)
    answer = b""
    while len(answer) < len(text) and (part := client.recv(65_536)):
        answer += part
    return answer


def test_without_a_fault_everything_passes_and_the_end_too(proxy: Proxy, server: Echo) -> None:
    text = bytes(range(256)) * 4000
    with connected(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(text,))
        sender.start()
        assert ask(client, b"") == b""
        answer = b""
        while len(answer) < len(text):
            answer += client.recv(65_536)
        sender.join()
    assert answer == text
    assert proxy.answered == len(text)
    eventually(lambda: server.ends == ["closed"], 5, "the server did not see the end")


def test_an_end_that_the_server_makes_reaches_the_client(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = network.proxy(f"127.0.0.1:{listener.getsockname()[1]}")
        with connected(proxy) as client:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"last words")
            assert [client.recv(100), client.recv(100)] == [b"last words", b""]


def test_a_server_that_is_away_resets_the_client(network: Network) -> None:
    proxy = network.proxy(f"127.0.0.1:{free_port()}")
    with pytest.raises(ConnectionResetError), connected(proxy) as client:
        ask(client, b"anyone?")


def test_a_reset_of_the_client_reaches_the_server(proxy: Proxy, server: Echo) -> None:
    with connected(proxy) as client:
        ask(client, b"one")
        reset(client)
    eventually(lambda: server.ends == ["reset"], 5, "the server did not see the reset")


def test_a_delay_comes_before_the_question_and_before_the_answer(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.begin(Fault.DELAY)
        began = time.monotonic()
        assert ask(client, b"one") == b"one"
        assert time.monotonic() - began >= 2 * DELAY_SECONDS


def test_a_narrow_link_passes_so_many_bytes_per_second(proxy: Proxy) -> None:
    proxy.begin(Fault.BANDWIDTH)
    with connected(proxy) as client:
        began = time.monotonic()
        text = b"x" * (BYTES_PER_SECOND // 4)
        assert ask(client, text) == text
        assert time.monotonic() - began >= 0.2


def test_a_black_hole_takes_connections_and_passes_nothing_on(proxy: Proxy, server: Echo) -> None:
    proxy.begin(Fault.BLACK_HOLE)
    with connected(proxy) as client, pytest.raises(TimeoutError):
        ask(client, b"one", seconds=0.2)
    assert server.got == b""


def test_a_black_hole_swallows_on_established_connections_too(proxy: Proxy, server: Echo) -> None:
    with connected(proxy) as client:
        ask(client, b"one")
        proxy.begin(Fault.BLACK_HOLE)
        with pytest.raises(TimeoutError):
            ask(client, b"two", seconds=0.2)
        assert server.got == b"one"


def test_what_a_black_hole_has_held_arrives_after_its_end(proxy: Proxy) -> None:
    proxy.begin(Fault.BLACK_HOLE)
    with connected(proxy) as client:
        client.sendall(b"held")
        proxy.end()
        assert client.recv(100) == b"held"


def test_what_a_client_has_not_got_through_when_it_resets_is_dropped(
    proxy: Proxy, server: Echo
) -> None:
    with connected(proxy) as client:
        ask(client, b"one")
        proxy.begin(Fault.BLACK_HOLE)
        client.sendall(b"never sent")
        reset(client)
    eventually(lambda: server.ends == ["reset"], 5, "the server did not see the reset")
    proxy.end()
    with connected(proxy) as client:
        ask(client, b"two")
    assert server.got == b"onetwo"


def test_a_reset_breaks_both_ends_and_new_connections_work(proxy: Proxy, server: Echo) -> None:
    with connected(proxy) as client:
        ask(client, b"one")
        proxy.begin(Fault.RESET)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    eventually(lambda: server.ends == ["reset"], 5, "the server did not see the reset")
    with connected(proxy) as client:
        assert ask(client, b"two") == b"two"


def test_a_half_open_connection_ends_at_the_server_and_the_client_is_not_told(
    proxy: Proxy, server: Echo
) -> None:
    with connected(proxy) as client:
        ask(client, b"one")
        proxy.begin(Fault.HALF_OPEN)
        eventually(lambda: server.ends == ["reset"], 5, "the server did not see the reset")
        with pytest.raises(TimeoutError):
            ask(client, b"two", seconds=0.2)


def test_an_orphaned_connection_ends_at_the_client_and_the_server_is_not_told(
    proxy: Proxy, server: Echo
) -> None:
    with connected(proxy) as client:
        ask(client, b"one")
        proxy.begin(Fault.ORPHAN)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with connected(proxy) as client:
        ask(client, b"two")
    eventually(lambda: server.ends == ["closed"], 5, "the second connection has not ended")


def test_a_refused_connection_is_refused_and_the_others_are_reset(proxy: Proxy) -> None:
    with connected(proxy) as client:
        ask(client, b"one")
        proxy.begin(Fault.REFUSE)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        with pytest.raises(ConnectionRefusedError), connected(proxy):
            pass


@pytest.mark.parametrize("fault", Fault)
def test_new_connections_work_after_each_fault(proxy: Proxy, fault: Fault) -> None:
    proxy.begin(fault)
    proxy.end()
    with connected(proxy) as client:
        assert ask(client, b"again", seconds=DELAY_SECONDS) == b"again"


@pytest.mark.parametrize("fault", Fault)
def test_a_connection_survives_a_fault_that_breaks_none(proxy: Proxy, fault: Fault) -> None:
    with connected(proxy) as client:
        ask(client, b"one")
        proxy.begin(fault)
        proxy.end()
        try:
            survived = ask(client, b"two", seconds=1) == b"two"
        except (ConnectionError, TimeoutError):
            survived = False
        assert survived == (fault in WHOLE)


def test_a_proxy_leads_to_the_servers_new_address(proxy: Proxy) -> None:
    with contextlib.closing(Echo()) as other:
        proxy.target = other.address
        with connected(proxy) as client:
            ask(client, b"one")
        assert other.got == b"one"


WHERE = endpoints({}, {name: 20_000 + n for n, name in enumerate((*SERVERS, "api"))})


@pytest.fixture
def links() -> Iterator[Links]:
    with contextlib.closing(Links()) as made:
        yield made


def test_each_role_reaches_each_of_its_servers_by_a_link_of_its_own(links: Links) -> None:
    for role in ROLES:
        links.route(role, WHERE)
    assert set(links.proxies) == set(PAIRS)
    assert len({proxy.address for proxy in links.proxies.values()}) == len(PAIRS)


def test_all_addresses_of_a_server_lead_through_its_link(links: Links) -> None:
    seen = links.route("sync", WHERE)
    sqs = f"http://{links.proxies['sync', 'sqs'].address}"
    assert seen.sqs == sqs
    queues = (seen.queue, seen.dlq, seen.bulk_queue)
    assert [it.removeprefix(sqs) for it in queues] == [
        it.removeprefix(WHERE.sqs) for it in (WHERE.queue, WHERE.dlq, WHERE.bulk_queue)
    ]
    assert seen.mongodb == WHERE.mongodb.replace(
        links.proxies["sync", "mongodb"].target, links.proxies["sync", "mongodb"].address
    )


def test_a_server_that_a_role_does_not_use_keeps_its_address(links: Links) -> None:
    assert links.route("bridge", WHERE).mongodb == WHERE.mongodb


def test_a_link_keeps_its_address_when_the_server_moves(links: Links) -> None:
    before = links.route("sync", WHERE)
    moved = endpoints({}, {name: 21_000 + n for n, name in enumerate((*SERVERS, "api"))})
    assert links.route("sync", moved) == replace(before, api=moved.api)
    assert links.proxies["sync", "nats"].target == moved.nats.removeprefix("nats://")

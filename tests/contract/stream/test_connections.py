"""The adapter alone: servers that are away, silent, killed and frozen."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from chalicelib.domain.errors import StreamUnavailableError
from tests.contract.conftest import NOWHERE
from tests.contract.stream.steps import SHORT, USES, an_event, event_ids, timed, works
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chalicelib.adapters.jetstream import JetStream
    from tests.contract.conftest import Servers
    from tests.contract.services import Streams

pytestmark = pytest.mark.embedded("nats", "a server that is away, silent, killed or frozen")


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"nats://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("use", USES)
def test_a_server_that_is_not_there_is_noticed_at_once(
    open_stream: Callable[..., JetStream], use: str
) -> None:
    stream = open_stream(f"nats://{NOWHERE}")

    # A refused connection needs no waiting: each write of the API would wait with it.
    assert timed(lambda: USES[use](stream)) < 2


@pytest.mark.parametrize("use", USES)
def test_a_server_that_never_answers_does_not_hang_its_callers(
    open_stream: Callable[..., JetStream], silent_server: str, use: str
) -> None:
    stream = open_stream(silent_server)

    assert timed(lambda: USES[use](stream)) < 7
    # Nobody waits for it a second time at once.
    assert timed(lambda: USES[use](stream)) < 0.5


@pytest.mark.parametrize("silent", [False, True])
def test_the_second_server_is_used_where_the_first_is_away(
    open_stream: Streams, silent_server: str, monkeypatch: pytest.MonkeyPatch, *, silent: bool
) -> None:
    monkeypatch.setattr("chalicelib.adapters.jetstream.random.randrange", lambda _: 0)
    first = silent_server if silent else f"nats://{NOWHERE}"
    stream, event = open_stream(f"{first}, {open_stream.server.url}"), an_event()

    assert stream.publish([event]) == [event]


def test_a_killed_server_is_noticed_and_used_again_when_it_is_back(
    own_nats: Servers, open_stream: Callable[..., JetStream]
) -> None:
    stream = open_stream(own_nats.where.nats)
    before = an_event()
    stream.publish([before])
    assert event_ids(stream.pull(1, 2.0)) == [before.id]

    own_nats.kill("nats")
    assert timed(lambda: stream.publish([an_event()])) < 5
    assert timed(lambda: stream.pull(1, SHORT)) < 5
    own_nats.start()

    after = an_event()

    eventually(lambda: works(lambda: stream.publish([after])), timeout=20)
    assert after.id in event_ids(stream.pull(10, 2.0))


def test_a_server_that_freezes_does_not_hang_its_callers_and_is_used_again(
    own_nats: Servers, open_stream: Callable[..., JetStream]
) -> None:
    stream = open_stream(own_nats.where.nats)
    stream.publish([an_event()])

    with own_nats.frozen("nats"):
        # Each gives up after 6 s; the rest is for a machine that runs other tests, too.
        assert timed(lambda: stream.publish([an_event()])) < 10
        assert timed(lambda: stream.pull(1, SHORT)) < 10

    eventually(lambda: works(lambda: stream.publish([an_event()])), timeout=20)


def test_a_pull_works_again_after_the_server_was_killed(
    own_nats: Servers, open_stream: Callable[..., JetStream]
) -> None:
    stream = open_stream(own_nats.where.nats)
    event = an_event()
    stream.publish([event])
    own_nats.kill("nats")
    own_nats.start()

    again = eventually(lambda: works(lambda: stream.pull(10, 1.0)), timeout=20)
    assert event_ids(again) == [event.id]


def test_a_pull_that_waits_notices_that_its_server_has_died(
    own_nats: Servers, open_stream: Callable[..., JetStream]
) -> None:
    stream = open_stream(own_nats.where.nats)
    assert not stream.pull(1, SHORT)
    killing = threading.Timer(SHORT, lambda: own_nats.kill("nats"))
    killing.start()

    assert timed(lambda: stream.pull(1, 60.0)) < 20
    killing.join()


def test_a_message_of_a_connection_that_is_gone_cannot_be_acknowledged_unnoticed(
    own_nats: Servers, open_stream: Callable[..., JetStream]
) -> None:
    stream = open_stream(own_nats.where.nats)
    stream.publish([an_event()])
    messages = stream.pull(1, 2.0)
    own_nats.kill("nats")

    with pytest.raises(StreamUnavailableError):
        stream.ack(messages)


class Proxy:
    """Passes connections on to a server, until those that are open now go dead unnoticed."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self._dead = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def forget_connections(self) -> None:
        """From now on, nothing passes on the connections that there are."""
        self._dead.set()
        self._dead = threading.Event()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection((self._server.hostname, self._server.port))
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._pump, args=(*pair, self._dead)).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, dead: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not dead.is_set():
                    target.sendall(data)
        target.close()


@pytest.fixture
def proxy(own_nats: Servers) -> Iterator[Proxy]:
    made = Proxy(own_nats.where.nats)
    yield made
    made.close()


def test_a_connection_that_went_dead_while_it_was_idle_is_replaced_before_it_is_used(
    open_stream: Callable[..., JetStream], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream(proxy.url)
    stream.publish([an_event()])
    monkeypatch.setattr("chalicelib.adapters.jetstream.TRUST_SECONDS", 0.0)

    proxy.forget_connections()

    event = an_event()
    assert stream.publish([event]) == [event]

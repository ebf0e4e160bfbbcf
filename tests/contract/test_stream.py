"""The stream's contract, on the fake and on the adapter with its server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import nats
import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from chalicelib.adapters.jetstream import STREAM
from chalicelib.domain.errors import StreamUnavailableError
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.times import now_utc
from embedded.processes import free_port, port_is_free
from embedded.services import tool
from tests.contract.conftest import NOWHERE
from tests.contract.guarded_nats import guarded
from tests.fakes import a_product
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from chalicelib.adapters.jetstream import JetStream
    from chalicelib.usecases.ports import StreamMessage
    from embedded.services import Endpoints
    from tests.contract.conftest import Servers, Stream, StreamKit

NO_JWT = "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------"
SHORT = 0.2
"""Long enough for a pull that is to find nothing."""


def an_event(event_type: EventType = EventType.CREATED, **changes: str) -> Event:
    product = a_product()
    event = Event(event_type, product.id, 0, now_utc(), '{"id":"x","price":12.50}')
    return replace(event, **changes)  # type: ignore[arg-type]  # the texts of an event


def pulled(stream: Stream, number: int) -> list[StreamMessage]:
    """Pull until so many messages have come."""
    messages: list[StreamMessage] = []

    def enough() -> bool:
        messages.extend(stream.pull(number - len(messages), SHORT))
        return len(messages) >= number

    eventually(enough, message=f"{number} messages")
    return messages


def event_ids(messages: Sequence[StreamMessage]) -> list[str]:
    return [json.loads(message.data)["id"] for message in messages]


# ---- publishing ----


def test_published_events_are_given_back_and_can_be_pulled(kit: StreamKit) -> None:
    events = [an_event() for _ in range(3)]

    assert kit.stream.publish(events) == events
    assert event_ids(pulled(kit.stream, 3)) == [event.id for event in events]


def test_a_message_is_the_event_byte_by_byte(kit: StreamKit) -> None:
    event = an_event(data='{"name":"Amboß\\u0000","price":12.5000}')
    kit.stream.publish([event])

    (message,) = pulled(kit.stream, 1)

    assert message.data == event.to_cloudevent().encode()
    assert message.subject == "product.created"


def test_messages_are_numbered_in_the_order_of_the_stream(kit: StreamKit) -> None:
    for _ in range(3):
        kit.stream.publish([an_event()])

    assert [message.sequence for message in pulled(kit.stream, 3)] == [1, 2, 3]


@pytest.mark.parametrize("trace", ["Root=1-65f0c1a2-0123456789abcdef01234567", None])
def test_the_trace_is_carried_along(kit: StreamKit, trace: str | None) -> None:
    kit.stream.publish([replace(an_event(), trace=trace)])

    assert pulled(kit.stream, 1)[0].trace == trace


def test_an_event_that_is_published_twice_is_stored_once(kit: StreamKit) -> None:
    event = an_event()

    assert kit.stream.publish([event]) == [event]
    assert kit.stream.publish([event]) == [event]

    assert len(pulled(kit.stream, 1)) == 1
    assert not kit.stream.pull(10, SHORT)


def test_publishing_nothing_is_fine(kit: StreamKit) -> None:
    assert kit.stream.publish([]) == []


def test_many_events_are_published_at_once(kit: StreamKit) -> None:
    events = [an_event() for _ in range(250)]

    assert kit.stream.publish(events) == events
    assert sorted(event_ids(pulled(kit.stream, 250))) == sorted(event.id for event in events)


def test_a_stream_that_answers_can_be_pinged(kit: StreamKit) -> None:
    kit.stream.ping()


# ---- pulling ----


def test_a_pull_of_an_empty_stream_gives_nothing(kit: StreamKit) -> None:
    assert not kit.stream.pull(10, SHORT)


def test_a_pull_gives_no_more_than_its_limit(kit: StreamKit) -> None:
    kit.stream.publish([an_event() for _ in range(5)])

    assert len(pulled(kit.stream, 2)) == 2
    assert len(pulled(kit.stream, 3)) == 3


def test_what_the_bridge_has_in_hand_is_not_pulled_again(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    pulled(kit.stream, 1)

    assert not kit.stream.pull(10, SHORT)


def test_an_event_that_was_refused_comes_back_after_its_delay(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    (message,) = pulled(kit.stream, 1)
    refused_at = time.monotonic()

    kit.stream.nak([message], 0.4)

    (again,) = pulled(kit.stream, 1)
    assert time.monotonic() - refused_at >= 0.4
    assert again.sequence == message.sequence


@pytest.mark.parametrize("settle", ["ack", "terminate"])
def test_an_event_that_is_done_with_never_comes_back(kit: StreamKit, settle: str) -> None:
    kit.stream.publish([an_event(), an_event()])
    done, refused = pulled(kit.stream, 2)

    getattr(kit.stream, settle)([done])
    kit.stream.nak([refused], 0.1)

    # Whatever comes back was there to come back: the other one did.
    assert [message.sequence for message in pulled(kit.stream, 1)] == [refused.sequence]
    assert not kit.stream.pull(10, SHORT)


def test_settling_nothing_is_fine(kit: StreamKit) -> None:
    kit.stream.ack([])
    kit.stream.nak([], 1.0)
    kit.stream.terminate([])


def test_another_consumer_gets_every_event_too(kit: StreamKit) -> None:
    events = [an_event(EventType.CREATED), an_event(EventType.UPDATED), an_event(EventType.DELETED)]
    kit.stream.publish(events)
    kit.stream.ack(pulled(kit.stream, 3))

    assert event_ids(pulled(kit.another(), 3)) == [event.id for event in events]


def test_the_bridge_is_not_bothered_with_completed_syncs(kit: StreamKit) -> None:
    complete, created = an_event(EventType.SYNC_COMPLETE), an_event()
    kit.stream.publish([complete, created])

    (message,) = pulled(kit.stream, 1)

    assert event_ids([message]) == [created.id]
    # It is in the stream all the same: the one that was pulled is the second there.
    assert message.sequence == 2
    assert not kit.stream.pull(10, SHORT)


def test_what_others_publish_is_pulled_as_it_is(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    kit.add("product.updated", b"\xff not JSON")

    first, second = pulled(kit.stream, 2)

    assert (second.data, second.subject) == (b"\xff not JSON", "product.updated")
    assert second.trace is None
    assert second.sequence > first.sequence


def test_an_event_that_waits_is_pulled_by_a_consumer_that_comes_later(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    kit.stream.pull(1, SHORT)

    assert len(pulled(kit.another(), 1)) == 1


# ---- the adapter alone ----


def timed(call: Callable[[], object]) -> float:
    """How long it takes to say that the stream is away."""
    started = time.monotonic()
    with pytest.raises(StreamUnavailableError):
        call()
    return time.monotonic() - started


def works(call: Callable[[], list[Any]]) -> list[Any]:
    """What the stream gives; nothing while it is away."""
    try:
        return call()
    except StreamUnavailableError:
        return []


USES: dict[str, Callable[[JetStream], object]] = {
    "publish": lambda stream: stream.publish([an_event()]),
    "pull": lambda stream: stream.pull(1, SHORT),
    "ping": lambda stream: stream.ping(),
}


def test_what_was_pulled_is_given_though_the_client_gives_up_on_more(
    open_stream: Callable[..., JetStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream()
    stream.pull(1, 0.1)
    stream.publish([an_event()])
    assert stream._pulling is not None
    fetch = stream._pulling.fetch

    async def impatient(batch: int, **limits: float) -> list[Any]:
        # nats-py raises the plain one where its time is up between two requests.
        if batch > 1:
            raise TimeoutError
        return await fetch(batch, **limits)

    monkeypatch.setattr(stream._pulling, "fetch", impatient)
    assert len(stream.pull(10, 2)) == 1


def test_stream_and_consumer_are_made_where_they_are_missing_and_used_where_not(
    open_stream: Callable[..., JetStream],
) -> None:
    first, second = open_stream(), open_stream()
    event = an_event()
    first.publish([event])
    assert len(first.pull(1, 2.0)) == 1

    assert second.publish([event]) == [event]
    # The consumer is the same one, which has that event in hand already.
    assert not second.pull(1, SHORT)


@pytest.mark.parametrize("use", USES)
def test_a_server_that_is_not_there_is_noticed_at_once(
    open_stream: Callable[..., JetStream], use: str
) -> None:
    stream = open_stream(f"nats://{NOWHERE}")

    # A refused connection needs no waiting: each write of the API would wait with it.
    assert timed(lambda: USES[use](stream)) < 2


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"nats://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("use", USES)
def test_a_server_that_never_answers_does_not_hang_its_callers(
    open_stream: Callable[..., JetStream], silent_server: str, use: str
) -> None:
    stream = open_stream(silent_server)

    assert timed(lambda: USES[use](stream)) < 7
    # Nobody waits for it a second time at once.
    assert timed(lambda: USES[use](stream)) < 0.5


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
        assert timed(lambda: stream.publish([an_event()])) < 7
        assert timed(lambda: stream.pull(1, SHORT)) < 7

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


def test_a_message_of_a_connection_that_is_gone_cannot_be_acknowledged_unnoticed(
    own_nats: Servers, open_stream: Callable[..., JetStream]
) -> None:
    stream = open_stream(own_nats.where.nats)
    stream.publish([an_event()])
    messages = stream.pull(1, 2.0)
    own_nats.kill("nats")

    with pytest.raises(StreamUnavailableError):
        stream.ack(messages)


@pytest.mark.parametrize(("max_bytes", "limit"), [(None, -1), (10_000_000, 10_000_000)])
def test_the_stream_refuses_what_it_has_no_room_for_and_keeps_the_rest_for_14_days(
    open_stream: Callable[..., JetStream], servers: Endpoints, max_bytes: int | None, limit: int
) -> None:
    open_stream(max_bytes=max_bytes).publish([an_event()])

    async def look() -> StreamConfig:
        client = await nats.connect(servers.nats)
        try:
            return (await client.jetstream().stream_info(STREAM)).config
        finally:
            await client.close()

    config = asyncio.run(look())
    assert config.discard == DiscardPolicy.NEW
    assert (config.max_age, config.max_bytes) == (14 * 24 * 3600, limit)
    assert (config.storage, config.retention) == (StorageType.FILE, RetentionPolicy.LIMITS)


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
def proxy(servers: Endpoints) -> Iterator[Proxy]:
    made = Proxy(servers.nats)
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


# ---- a server that asks for credentials ----


@pytest.fixture
def guarded_server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a server that asks for credentials, and the text of a `.creds` file."""
    port = free_port()
    config, credentials = guarded(tmp_path, port)
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([tool("nats-server"), "-c", str(config)], stderr=log)
        try:
            eventually(lambda: not port_is_free(port), message="the server listens")
            yield f"nats://127.0.0.1:{port}", credentials
        finally:
            server.terminate()
            server.wait(10)


@pytest.mark.parametrize("as_file", [False, True])
def test_credentials_open_a_guarded_server(
    open_stream: Callable[..., JetStream],
    guarded_server: tuple[str, str],
    tmp_path: Path,
    *,
    as_file: bool,
) -> None:
    url, credentials = guarded_server
    if as_file:
        (tmp_path / "user.creds").write_text(credentials)
        credentials = str(tmp_path / "user.creds")
    stream, event = open_stream(url, credentials=credentials), an_event()

    assert stream.publish([event]) == [event]
    assert event_ids(stream.pull(1, 2.0)) == [event.id]


def test_a_guarded_server_is_away_for_who_has_no_credentials(
    open_stream: Callable[..., JetStream], guarded_server: tuple[str, str]
) -> None:
    with pytest.raises(StreamUnavailableError, match="Authorization"):
        open_stream(guarded_server[0]).publish([an_event()])


@pytest.mark.parametrize(
    "credentials",
    [
        "/nowhere/user.creds",
        "-----BEGIN SOMETHING ELSE-----",
        NO_JWT,
        f"{NO_JWT}\n-----BEGIN USER NKEY SEED-----\nno seed\n------END USER NKEY SEED------",
    ],
)
def test_with_credentials_that_are_none_the_stream_is_away_at_once(
    open_stream: Callable[..., JetStream], guarded_server: tuple[str, str], credentials: str
) -> None:
    stream = open_stream(guarded_server[0], credentials=credentials)

    assert timed(lambda: stream.publish([an_event()])) < 7
    assert timed(lambda: stream.publish([an_event()])) < 0.5

"""The adapter alone: the stream and the consumer that it makes and uses."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from chalicelib.adapters.jetstream import BRIDGE, STREAM
from chalicelib.bootstrap import Container
from chalicelib.domain.errors import StreamUnavailableError
from chalicelib.settings import read_settings
from embedded.services import role_settings
from tests.contract.stream.steps import SHORT, an_event, event_ids, pulled, works
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chalicelib.adapters.jetstream import JetStream
    from chalicelib.domain.events import Event
    from embedded.services import Endpoints
    from tests.contract.conftest import Servers


Answer = TypeVar("Answer")


def on_nats(url: str, use: Callable[[Client], Awaitable[Answer]]) -> Answer:
    """Use the server past the adapter."""

    async def connected() -> Answer:
        client = await nats.connect(url)
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(connected())


def received_ahead(stream: JetStream) -> Event:
    """An event that has come to the adapter after a pull, and that no pull has given yet."""
    first, ahead = an_event(), an_event()
    stream.publish([first])
    assert event_ids(stream.pull(10, 5.0)) == [first.id]
    stream.publish([ahead])
    eventually(lambda: stream._inbox is not None and stream._inbox.arrived)
    return ahead


def test_what_comes_after_a_pull_is_given_by_the_next_without_asking(
    own_nats: Servers, open_stream: Callable[..., JetStream]
) -> None:
    stream = open_stream(own_nats.where.nats)
    ahead = received_ahead(stream)

    with own_nats.frozen("nats"):
        assert event_ids(stream.pull(10, SHORT)) == [ahead.id]


def test_what_was_received_ahead_is_given_back_for_another_to_pull_at_once(
    open_stream: Callable[..., JetStream],
) -> None:
    first, second = open_stream(), open_stream()
    ahead = received_ahead(first)

    first.release()

    assert event_ids(pulled(second, 1)) == [ahead.id]


def test_who_has_given_back_takes_nothing_until_the_next_pull(
    open_stream: Callable[..., JetStream],
) -> None:
    first, second = open_stream(), open_stream()
    first.publish([an_event()])
    pulled(first, 1)
    first.release()
    event, later = an_event(), an_event()

    first.publish([event])
    assert event_ids(pulled(second, 1)) == [event.id]
    second.release()
    first.publish([later])
    assert event_ids(pulled(first, 1)) == [later.id]


def test_what_a_bridge_had_received_ahead_when_it_died_comes_again(
    open_stream: Callable[..., JetStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.adapters.jetstream.ACK_WAIT_SECONDS", 0.5)
    first, second = open_stream(), open_stream()
    ahead = received_ahead(first)

    first.close()

    eventually(lambda: ahead.id in event_ids(second.pull(10, SHORT)))


def test_a_consumer_that_refuses_the_request_is_an_error(
    open_stream: Callable[..., JetStream], servers: Endpoints
) -> None:
    stream = open_stream()
    stream.ping()
    config = {"durable_name": BRIDGE, "ack_policy": "explicit", "max_batch": 5}
    request = json.dumps({"stream_name": STREAM, "config": config}).encode()
    make = f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{BRIDGE}"
    answer = on_nats(servers.nats, lambda client: client.request(make, request))
    assert "error" not in json.loads(answer.data)

    with pytest.raises(StreamUnavailableError, match="APIError"):
        stream.pull(10, 5.0)


def test_callers_that_come_first_at_the_same_time_share_one_connection(
    open_stream: Callable[..., JetStream],
) -> None:
    stream, events = open_stream(), [an_event() for _ in range(8)]

    with ThreadPoolExecutor(len(events)) as threads:
        answers = list(threads.map(lambda event: stream.publish([event]), events))

    assert answers == [[event] for event in events]


def test_a_consumer_that_was_deleted_is_made_anew(
    open_stream: Callable[..., JetStream], servers: Endpoints
) -> None:
    stream = open_stream()
    stream.pull(1, SHORT)

    on_nats(servers.nats, lambda client: client.jetstream().delete_consumer(STREAM, BRIDGE))

    event = an_event()
    stream.publish([event])
    assert event_ids(eventually(lambda: works(lambda: stream.pull(1, SHORT)))) == [event.id]


@pytest.mark.parametrize("status", ["404", "503", "anything"])
def test_an_event_with_a_header_that_only_the_server_uses_is_pulled_too(
    open_stream: Callable[..., JetStream], servers: Endpoints, status: str
) -> None:
    stream = open_stream()
    before, after = an_event(), an_event()
    stream.publish([before])
    on_nats(
        servers.nats,
        lambda client: client.publish(
            "product.created", b"ours", headers={"Status": status, "Description": "No Messages"}
        ),
    )
    stream.publish([after])

    messages = pulled(stream, 3)

    assert sorted(message.data == b"ours" for message in messages) == [False, False, True]
    stream.terminate(messages)
    assert not stream.pull(1, SHORT)


def test_stream_and_consumer_are_made_where_they_are_missing_and_used_where_not(
    open_stream: Callable[..., JetStream],
) -> None:
    first, second = open_stream(), open_stream()
    event = an_event()
    first.publish([event])
    assert len(first.pull(1, 2.0)) == 1

    assert second.publish([event]) == [event]
    # The consumer is the same one, which has received that event already.
    assert not second.pull(1, SHORT)


def stream_config(servers: Endpoints) -> dict[str, Any]:
    """The stream's settings, as the server gives them."""

    async def look(client: Client) -> Msg:
        return await client.request(f"$JS.API.STREAM.INFO.{STREAM}")

    config: dict[str, Any] = json.loads(on_nats(servers.nats, look).data)["config"]
    return config


SECOND = 10**9
"""What the server counts in."""


@pytest.mark.parametrize(("max_bytes", "limit"), [(None, -1), (10_000_000, 10_000_000)])
def test_the_stream_refuses_what_it_has_no_room_for_and_keeps_the_rest_for_14_days(
    open_stream: Callable[..., JetStream], servers: Endpoints, max_bytes: int | None, limit: int
) -> None:
    open_stream(max_bytes=max_bytes).publish([an_event()])

    config = stream_config(servers)
    assert config["discard"] == "new"
    assert (config["max_age"], config["max_bytes"]) == (14 * 24 * 3600 * SECOND, limit)
    assert (config["storage"], config["retention"]) == ("file", "limits")


# ---- the duplicate window ----


def make_stream(servers: Endpoints, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - the server's
    """Make the stream as an earlier release or a person did; its settings."""
    config = {"name": STREAM, "subjects": ["product.*"], **settings}

    async def make(client: Client) -> Msg:
        return await client.request(f"$JS.API.STREAM.CREATE.{STREAM}", json.dumps(config).encode())

    assert "error" not in json.loads(on_nats(servers.nats, make).data)
    return stream_config(servers)


def test_the_stream_knows_an_event_again_for_as_long_as_it_is_told(
    open_stream: Callable[..., JetStream], servers: Endpoints
) -> None:
    open_stream(duplicate_window=1234.0).publish([an_event()])

    assert stream_config(servers)["duplicate_window"] == 1234 * SECOND


@pytest.mark.parametrize(
    ("grace", "seconds"), [("20", 1200), ("3600", 3780), (str(14 * 24 * 3600), 14 * 24 * 3600)]
)
def test_the_catalogs_stream_knows_an_event_again_for_longer_than_reconcile_may_publish_it(
    open_stream: Callable[..., JetStream], servers: Endpoints, grace: str, seconds: int
) -> None:
    # Only for a server without a stream.
    assert open_stream is not None
    secret = "a secret of at least thirty-two characters"
    settings = role_settings({"RECONCILE_GRACE_SECONDS": grace}, servers, secret)
    catalog = Container(read_settings(settings))

    catalog.stream.publish([an_event()])
    catalog.close()

    assert stream_config(servers)["duplicate_window"] == seconds * SECOND


def test_a_stream_that_forgets_events_too_soon_is_changed_in_that_alone(
    open_stream: Callable[..., JetStream], servers: Endpoints
) -> None:
    before = make_stream(
        servers,
        duplicate_window=120 * SECOND,
        max_age=3600 * SECOND,
        description="a person's",
        metadata={"owner": "a person"},
        compression="s2",
        max_msgs_per_subject=1000,
    )

    open_stream(duplicate_window=1200.0).publish([an_event()])

    assert stream_config(servers) == before | {"duplicate_window": 1200 * SECOND}


def test_a_stream_that_knows_events_for_longer_is_left_alone(
    open_stream: Callable[..., JetStream], servers: Endpoints
) -> None:
    before = make_stream(servers, duplicate_window=1300 * SECOND)

    open_stream(duplicate_window=1200.0).publish([an_event()])

    assert stream_config(servers) == before


def test_a_stream_that_cannot_know_events_for_so_long_is_used_as_it_is(
    open_stream: Callable[..., JetStream], servers: Endpoints
) -> None:
    # The window cannot exceed the time for which the stream keeps events.
    before = make_stream(servers, duplicate_window=120 * SECOND, max_age=600 * SECOND)
    event = an_event()

    assert open_stream(duplicate_window=1200.0).publish([event]) == [event]
    assert stream_config(servers) == before

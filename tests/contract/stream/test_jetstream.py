"""The adapter alone: the stream and the consumer that it makes and uses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.adapters.jetstream import BRIDGE, PulledMessage
from chalicelib.bootstrap import Container
from chalicelib.domain.errors import StreamUnavailableError
from chalicelib.domain.events import STREAM
from chalicelib.settings import read_settings
from embedded.services import role_settings
from tests.contract.services import Nats, Streams
from tests.contract.stream.steps import SHORT, an_event, event_ids, pulled, works
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from chalicelib.adapters.jetstream import JetStream
    from chalicelib.domain.events import Event
    from tests.contract.conftest import Servers


def received_ahead(stream: JetStream) -> Event:
    """An event that has come to the adapter after a pull, and that no pull has given yet."""
    first, ahead = an_event(), an_event()
    stream.publish([first])
    assert event_ids(stream.pull(10, 5.0)) == [first.id]
    stream.publish([ahead])
    eventually(lambda: stream._inbox is not None and stream._inbox.arrived)
    return ahead


@pytest.mark.parametrize("trace", ["Root=1-0-0", ""])
def test_a_message_has_the_headers_of_its_event(
    open_stream: Callable[..., JetStream], trace: str
) -> None:
    stream, event = open_stream(), an_event(trace=trace)
    stream.publish([event])

    (message,) = pulled(stream, 1)

    assert isinstance(message, PulledMessage)
    assert message.raw.headers == event.headers


@pytest.mark.embedded("nats", "a server that is frozen")
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
    open_stream: Streams,
) -> None:
    stream = open_stream()
    stream.ping()
    config = {"durable_name": BRIDGE, "ack_policy": "explicit", "max_batch": 5}
    request = json.dumps({"stream_name": open_stream.name, "config": config}).encode()
    make = f"$JS.API.CONSUMER.DURABLE.CREATE.{open_stream.name}.{BRIDGE}"
    answer = open_stream.server.ask(lambda client: client.request(make, request))
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


def test_a_consumer_that_was_deleted_is_made_anew(open_stream: Streams) -> None:
    stream = open_stream()
    stream.pull(1, SHORT)

    name = open_stream.name
    open_stream.server.ask(lambda client: client.jetstream().delete_consumer(name, BRIDGE))

    event = an_event()
    stream.publish([event])
    assert event_ids(eventually(lambda: works(lambda: stream.pull(1, SHORT)))) == [event.id]


@pytest.mark.parametrize("status", ["404", "503", "anything"])
def test_an_event_with_a_header_that_only_the_server_uses_is_pulled_too(
    open_stream: Streams, status: str
) -> None:
    stream = open_stream()
    before, after = an_event(), an_event()
    stream.publish([before])
    subject = f"{open_stream.prefix}product.created"
    headers = {"Status": status, "Description": "No Messages"}
    open_stream.server.ask(lambda client: client.publish(subject, b"ours", headers=headers))
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


def stream_config(server: Nats, name: str) -> dict[str, Any]:
    """The stream's settings, as the server gives them."""

    async def look(client: Client) -> Msg:
        return await client.request(f"$JS.API.STREAM.INFO.{name}")

    config: dict[str, Any] = json.loads(server.ask(look).data)["config"]
    return config


def settings_of(streams: Streams) -> dict[str, Any]:
    return stream_config(streams.server, streams.name)


SECOND = 10**9
"""What the server counts in."""


NO_LIMIT = pytest.param(
    None, -1, marks=pytest.mark.embedded("nats", "a stream without a limit, which some refuse")
)


@pytest.mark.parametrize(("max_bytes", "limit"), [NO_LIMIT, (10_000_000, 10_000_000)])
def test_the_stream_refuses_what_it_has_no_room_for_and_keeps_the_rest_for_14_days(
    open_stream: Streams, max_bytes: int | None, limit: int
) -> None:
    open_stream(max_bytes=max_bytes).publish([an_event()])

    config = settings_of(open_stream)
    assert config["discard"] == "new"
    assert (config["max_age"], config["max_bytes"]) == (14 * 24 * 3600 * SECOND, limit)
    assert (config["storage"], config["retention"]) == ("file", "limits")


@pytest.mark.parametrize(("max_bytes", "limit"), [(None, None), (10_000_000, 10_000_000)])
@pytest.mark.embedded("nats", "a stream without a limit, which some refuse")
def test_the_stream_says_its_limit_if_it_has_one(
    open_stream: Streams, max_bytes: int | None, limit: int | None
) -> None:
    assert open_stream(max_bytes=max_bytes).usage().limit == limit


def test_a_stream_that_was_deleted_is_away_once_and_made_anew(open_stream: Streams) -> None:
    stream, name = open_stream(), open_stream.name
    stream.ping()
    open_stream.server.ask(lambda client: client.jetstream().delete_stream(name))

    with pytest.raises(StreamUnavailableError):
        stream.usage()

    assert stream.usage().bytes == 0


def test_streams_of_other_names_and_subjects_share_an_account(nats_server: Nats) -> None:
    with nats_server.names.one() as name, nats_server.names.one() as another:
        both = [Streams(nats_server, name), Streams(nats_server, another)]
        events = [an_event(), an_event()]
        opened = [streams() for streams in both]

        for stream, event in zip(opened, events, strict=True):
            stream.publish([event])

        assert [event_ids(stream.pull(10, 5.0)) for stream in opened] == [[e.id] for e in events]
        for stream in opened:
            stream.close()


# ---- the duplicate window ----


def make_stream(streams: Streams, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - the server's
    """Make the stream as an earlier release or a person did; its settings."""
    config = {"name": streams.name, "subjects": [f"{streams.prefix}product.*"], **settings}
    if streams.server.max_bytes is not None:
        config["max_bytes"] = streams.server.max_bytes
    subject = f"$JS.API.STREAM.CREATE.{streams.name}"

    async def make(client: Client) -> Msg:
        return await client.request(subject, json.dumps(config).encode())

    assert "error" not in json.loads(streams.server.ask(make).data)
    return settings_of(streams)


def test_the_stream_knows_an_event_again_for_as_long_as_it_is_told(
    open_stream: Streams,
) -> None:
    open_stream(duplicate_window=1234.0).publish([an_event()])

    assert settings_of(open_stream)["duplicate_window"] == 1234 * SECOND


@pytest.mark.embedded("nats", "the stream of the name PRODUCTS")
@pytest.mark.parametrize(
    ("grace", "seconds"), [("20", 1200), ("3600", 3780), (str(14 * 24 * 3600), 14 * 24 * 3600)]
)
def test_the_catalogs_stream_knows_an_event_again_for_longer_than_reconcile_may_publish_it(
    own_nats: Servers, grace: str, seconds: int
) -> None:
    where = own_nats.where
    secret = "a secret of at least thirty-two characters"
    settings = role_settings({"RECONCILE_GRACE_SECONDS": grace}, where, secret)
    catalog = Container(read_settings(settings))

    catalog.stream.publish([an_event()])
    catalog.close()

    config = stream_config(Nats(where.nats), STREAM)
    assert config["duplicate_window"] == seconds * SECOND


def test_a_stream_that_forgets_events_too_soon_is_changed_in_that_alone(
    open_stream: Streams,
) -> None:
    before = make_stream(
        open_stream,
        duplicate_window=120 * SECOND,
        max_age=3600 * SECOND,
        description="a person's",
        metadata={"owner": "a person"},
        compression="s2",
        max_msgs_per_subject=1000,
    )

    open_stream(duplicate_window=1200.0).publish([an_event()])

    assert settings_of(open_stream) == before | {"duplicate_window": 1200 * SECOND}


def test_a_stream_that_knows_events_for_longer_is_left_alone(
    open_stream: Streams,
) -> None:
    before = make_stream(open_stream, duplicate_window=1300 * SECOND)

    open_stream(duplicate_window=1200.0).publish([an_event()])

    assert settings_of(open_stream) == before


def test_a_stream_that_cannot_know_events_for_so_long_is_used_as_it_is(
    open_stream: Streams,
) -> None:
    # The window cannot exceed the time for which the stream keeps events.
    before = make_stream(open_stream, duplicate_window=120 * SECOND, max_age=600 * SECOND)
    event = an_event()

    assert open_stream(duplicate_window=1200.0).publish([event]) == [event]
    assert settings_of(open_stream) == before

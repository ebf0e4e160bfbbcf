"""The adapter alone: the stream and the consumer that it makes and uses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from nats.js.api import DeliverPolicy

from chalicelib.adapters.jetstream import JetStream, PulledMessage
from chalicelib.adapters.stream_setup import StreamPlan
from chalicelib.bootstrap import Container
from chalicelib.domain.errors import StreamNotMigratedError, StreamUnavailableError
from chalicelib.domain.events import StreamNames
from chalicelib.settings import read_settings
from embedded.services import role_settings
from tests.contract.services import Nats, Streams
from tests.contract.stream.steps import SHORT, an_event, event_ids, pulled, works
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from chalicelib.domain.events import Event
    from tests.contract.conftest import Servers


NAMES = StreamNames()


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
    monkeypatch.setattr("chalicelib.adapters.stream_setup.ACK_WAIT_SECONDS", 0.5)
    first, second = open_stream(), open_stream()
    ahead = received_ahead(first)

    first.close()

    eventually(lambda: ahead.id in event_ids(second.pull(10, SHORT)))


def test_a_consumer_that_refuses_the_request_is_an_error(
    open_stream: Streams,
) -> None:
    make_stream(open_stream)
    make_consumer(open_stream, ack_policy="explicit", max_batch=5)
    stream = open_stream()

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
    open_stream.server.ask(lambda client: client.jetstream().delete_consumer(name, NAMES.consumer))

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


def test_several_who_make_the_stream_at_the_same_time_agree(open_stream: Streams) -> None:
    streams = [open_stream() for _ in range(4)]

    with ThreadPoolExecutor(len(streams)) as threads:
        list(threads.map(lambda stream: stream.ping(), streams))

    assert not open_stream.reported


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


@contextmanager
def catalog_on(server: Servers, **settings: str) -> Iterator[Container]:
    """The catalog with these settings, on this NATS server."""
    secret = "a secret of at least thirty-two characters"
    catalog = Container(read_settings(role_settings(settings, server.where, secret)))
    with closing(catalog):
        yield catalog


@pytest.mark.embedded("nats", "the stream of the name staging-PRODUCTS")
def test_a_catalog_has_the_stream_of_its_settings_and_logs_what_is_wrong_with_it(
    own_nats: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    staging = {"NATS_PREFIX": "staging", "NATS_STREAM_MAX_BYTES": "1000000"}
    with catalog_on(own_nats, NATS_CONSUMER_START="new", **staging) as catalog:
        made = list(catalog.migrate_stream())
    server = Nats(own_nats.where.nats)
    consumer = server.ask(
        lambda client: client.jetstream().consumer_info("staging-PRODUCTS", "staging-sync-bridge")
    )
    assert made[0] == "made the stream staging-PRODUCTS"
    assert stream_config(server, "staging-PRODUCTS")["max_bytes"] == 1_000_000
    assert consumer.config.deliver_policy == DeliverPolicy.NEW

    with catalog_on(own_nats, NATS_STREAM_REPLICAS="3", **staging) as catalog:
        catalog.stream.publish([an_event()])
        with pytest.raises(StreamNotMigratedError, match="num_replicas is 1"):
            list(catalog.migrate_stream())

    (line,) = [line for line in capsys.readouterr().out.splitlines() if "num_replicas" in line]
    logged = json.loads(line)
    assert (logged["level"], logged["message"]) == (
        "ERROR",
        "the stream is not as the catalog needs it",
    )


@pytest.mark.embedded("nats", "the stream of the name PRODUCTS")
@pytest.mark.parametrize(
    ("grace", "seconds"), [("20", 1200), ("3600", 3780), (str(14 * 24 * 3600), 14 * 24 * 3600)]
)
def test_the_catalogs_stream_knows_an_event_again_for_longer_than_reconcile_may_publish_it(
    own_nats: Servers, grace: str, seconds: int
) -> None:
    with catalog_on(own_nats, RECONCILE_GRACE_SECONDS=grace) as catalog:
        catalog.stream.publish([an_event()])

    config = stream_config(Nats(own_nats.where.nats), NAMES.stream)
    assert config["duplicate_window"] == seconds * SECOND


def make_consumer(streams: Streams, **settings: Any) -> None:  # noqa: ANN401 - the server's
    """Make the bridge's consumer as a person did."""
    config = {"durable_name": NAMES.consumer, **settings}
    request = json.dumps({"stream_name": streams.name, "config": config}).encode()
    subject = f"$JS.API.CONSUMER.DURABLE.CREATE.{streams.name}.{NAMES.consumer}"

    async def make(client: Client) -> Msg:
        return await client.request(subject, request)

    assert "error" not in json.loads(streams.server.ask(make).data)


# ---- a stream or consumer that is not as the catalog needs it ----


def test_a_wrong_stream_is_used_as_it_is_and_reported_once(open_stream: Streams) -> None:
    before = make_stream(open_stream, duplicate_window=120 * SECOND, discard="old")
    stream, event = open_stream(), an_event()

    assert stream.publish([event]) == [event]
    stream.close()
    assert stream.publish([event]) == [event]

    assert settings_of(open_stream) == before
    of, remedy = f"stream {open_stream.name}", "python -m functions.migrate changes it"
    discard = "discard is old, must be new, else a full stream drops its oldest events"
    window = "duplicate_window is 120 s, must be 1200 s or more"
    assert open_stream.reported == [f"{of}: {discard}; {remedy}", f"{of}: {window}; {remedy}"]


def test_a_wrong_stream_is_not_ready_until_it_is_migrated(open_stream: Streams) -> None:
    make_stream(open_stream, duplicate_window=120 * SECOND)
    stream = open_stream()
    with pytest.raises(StreamNotMigratedError, match=r"discard is old.*duplicate_window is 120 s"):
        stream.ping()

    open_stream().migrate()

    stream.ping()


def test_the_migration_changes_what_is_wrong_and_nothing_else(open_stream: Streams) -> None:
    before = make_stream(
        open_stream,
        duplicate_window=120 * SECOND,
        max_age=3600 * SECOND,
        description="a person's",
        metadata={"owner": "a person"},
        compression="s2",
        max_msgs_per_subject=1000,
    )
    make_consumer(open_stream, ack_policy="explicit", ack_wait=90 * SECOND, max_deliver=5)

    done, left = open_stream().migrate()

    assert not left
    assert [line.split(" of ")[0] for line in done] == [
        "changed discard",
        "changed max_msgs_per_subject",
        "changed max_age",
        "changed duplicate_window",
        "changed max_deliver",
        "changed filter_subjects",
    ]
    assert settings_of(open_stream) == before | {
        "discard": "new",
        "max_msgs_per_subject": -1,
        "max_age": 14 * 24 * 3600 * SECOND,
        "duplicate_window": 1200 * SECOND,
    }
    assert open_stream().migrate() == ([], [])


def test_the_migration_makes_what_is_missing(open_stream: Streams) -> None:
    name = open_stream.name
    made = [f"made the stream {name}", f"made the consumer {NAMES.consumer}"]

    assert open_stream().migrate() == (made, [])
    assert open_stream().migrate() == ([], [])


def test_what_nobody_may_change_is_left_to_a_person_by_name(open_stream: Streams) -> None:
    make_stream(open_stream, storage="memory", discard="new", duplicate_window=1200 * SECOND)
    make_consumer(open_stream, ack_policy="none", filter_subjects=[])

    done, left = open_stream().migrate()

    assert [line.split(" is ")[0] for line in left] == [
        f"stream {open_stream.name}: storage",
        f"consumer {NAMES.consumer}: ack_policy",
    ]
    assert [line.split(" of ")[0] for line in done] == ["changed filter_subjects"]


@pytest.mark.embedded("nats", "a server that is in no cluster")
def test_a_change_that_nats_refuses_is_left_with_its_reason(open_stream: Streams) -> None:
    open_stream().migrate()

    done, (left,) = open_stream(replicas=3).migrate()

    assert not done
    assert "num_replicas is 1, must be 3 or more (NATS_STREAM_REPLICAS)" in left
    assert "was refused: NATS: " in left


@pytest.mark.embedded("nats", "a server that is in no cluster")
def test_a_stream_that_nats_does_not_make_is_no_server_that_is_away(open_stream: Streams) -> None:
    wanted = f"the stream {open_stream.name} is missing, and cannot be made: NATS: .*replicas"
    with pytest.raises(StreamNotMigratedError, match=wanted):
        open_stream(replicas=3).migrate()


def test_subjects_that_are_another_streams_are_told(open_stream: Streams) -> None:
    with open_stream.server.names.one() as name:
        another = Streams(open_stream.server, name)
        another.names = replace(open_stream.names, stream=name)
        another().migrate()
        with pytest.raises(StreamNotMigratedError, match=r"cannot be made: NATS: .*overlap"):
            open_stream().migrate()
        for stream in another.opened:
            stream.close()


def test_a_stream_that_knows_events_for_longer_is_left_alone(open_stream: Streams) -> None:
    before = make_stream(open_stream, duplicate_window=1300 * SECOND, discard="new")

    assert open_stream().migrate()[1] == []

    assert settings_of(open_stream) == before


# ---- where a consumer that is made anew begins ----


@pytest.mark.parametrize("start", ["all", "new", "2000-01-01T00:00:00.000Z"])
def test_a_consumer_that_was_deleted_begins_where_it_is_told(
    open_stream: Streams, start: str
) -> None:
    stream, before, after = open_stream(consumer_start=start), an_event(), an_event()
    stream.publish([before])
    name = open_stream.name
    open_stream.server.ask(lambda client: client.jetstream().delete_consumer(name, NAMES.consumer))
    eventually(lambda: not stream_problems_of(stream), message="it is made anew")

    stream.publish([after])

    expected = [after.id] if start == "new" else [before.id, after.id]
    assert event_ids(pulled(stream, len(expected))) == expected
    assert not stream.pull(1, SHORT)


def stream_problems_of(stream: JetStream) -> str:
    """What the adapter finds wrong; nothing if all is well."""
    try:
        stream.ping()
    except StreamUnavailableError as error:
        return str(error)
    return ""


# ---- environments ----


@pytest.mark.embedded("nats", "the streams of the names PRODUCTS and staging-PRODUCTS")
def test_two_environments_on_one_server_get_nothing_of_each_other(own_nats: Servers) -> None:
    url = own_nats.where.nats
    production = JetStream(url, plan=StreamPlan(StreamNames.of(None)))
    staging = JetStream(url, plan=StreamPlan(StreamNames.of("staging")))
    ours, theirs = an_event(), an_event()
    production.publish([ours])
    staging.publish([theirs])

    (message,) = pulled(production, 1)
    (other,) = pulled(staging, 1)

    assert (message.subject, event_ids([message])) == ("product.created", [ours.id])
    assert (other.subject, event_ids([other])) == ("staging.product.created", [theirs.id])
    assert not production.pull(1, SHORT)
    assert not staging.pull(1, SHORT)
    for stream in (production, staging):
        stream.close()

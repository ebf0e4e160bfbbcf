"""A server that asks for credentials, and lets each user do what it needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from catalogctl import events
from chalicelib.domain.errors import StreamNotMigratedError, StreamUnavailableError
from embedded.processes import free_port
from tests.contract.guarded_nats import guarded, running
from tests.contract.stream.steps import SHORT, an_event, event_ids, timed, works
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nats.aio.client import Client

    from chalicelib.adapters.jetstream import JetStream
    from tests.contract.guarded_nats import Permitted

pytestmark = pytest.mark.embedded("nats", "a server whose users the test has made")

NO_JWT = "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------"


@pytest.fixture
def guarded_server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a server that asks for credentials, and the text of a `.creds` file."""
    port = free_port()
    config, credentials = guarded(tmp_path, port)
    with running(config, port):
        yield f"nats://127.0.0.1:{port}", credentials


# ---- users with the permissions of docs/nats-permissions.conf ----


@pytest.mark.parametrize("user", ["catalog", "listener"])
@pytest.mark.parametrize(
    "request_", ["STREAM.DELETE", "STREAM.PURGE", "STREAM.UPDATE", "STREAM.CREATE"]
)
def test_who_uses_the_stream_may_neither_delete_purge_nor_change_it(
    permitted: Permitted, user: str, request_: str
) -> None:
    assert permitted.refuses(user, f"$JS.API.{request_}.PRODUCTS")


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("catalog", "$JS.API.CONSUMER.DELETE.PRODUCTS.sync-bridge"),
        ("catalog", "$JS.API.STREAM.MSG.DELETE.PRODUCTS"),
        ("catalog", "staging.product.created"),
        ("listener", "product.created"),
        ("listener", "$JS.API.CONSUMER.MSG.NEXT.PRODUCTS.sync-bridge"),
        ("migration", "$JS.API.STREAM.DELETE.PRODUCTS"),
        ("migration", "$JS.API.STREAM.PURGE.PRODUCTS"),
        ("migration", "product.created"),
        ("operator", "product.created"),
        ("operator", "$JS.API.STREAM.UPDATE.PRODUCTS"),
        ("operator", "$JS.API.CONSUMER.DELETE.PRODUCTS.sync-bridge"),
    ],
)
def test_nobody_may_do_what_is_somebody_elses(
    permitted: Permitted, user: str, subject: str
) -> None:
    assert permitted.refuses(user, subject)


def test_an_operator_hears_the_events(permitted: Permitted) -> None:
    event, heard = an_event(), list[object]()
    permitted.open("catalog").publish([event])

    wanted = events.Wanted(everything=True, follow=False)
    events.listen(
        events.Source(permitted.url("operator")), wanted, lambda it: heard.append(it["id"])
    )

    assert heard == [event.id]


def test_a_wrong_stream_is_reported_to_who_may_not_change_it(permitted: Permitted) -> None:
    permitted.update(discard="old")
    stream, event = permitted.open("catalog"), an_event()

    assert stream.publish([event]) == [event]
    done, (left,) = stream.migrate()

    assert not done
    assert "discard is old" in left
    assert "permissions violation" in left
    assert permitted.open("migration").migrate()[1] == []
    assert stream.migrate() == ([], [])


def test_a_missing_stream_is_named_to_who_may_not_make_it(permitted: Permitted) -> None:
    permitted.remove()
    wanted = (
        "the stream PRODUCTS is missing, and cannot be made: NATS: .*permissions.*functions.migrate"
    )
    with pytest.raises(StreamNotMigratedError, match=wanted):
        permitted.open("catalog").publish([an_event()])


def test_without_its_consumer_the_catalog_publishes_all_the_same(permitted: Permitted) -> None:
    permitted.remove_consumer()
    reported: list[str] = []
    stream, event = permitted.open("catalog", reported.append), an_event()

    assert stream.publish([event]) == [event]
    with pytest.raises(StreamUnavailableError):
        stream.pull(1, SHORT)
    with pytest.raises(StreamNotMigratedError, match="there is no sync-bridge: run python -m"):
        stream.ping()

    (missing,) = stream.migrate()[1]
    assert missing.startswith("there is no sync-bridge: run python -m functions.migrate with a")
    (problem,) = reported
    assert (
        "the consumer sync-bridge is missing, and cannot be made: NATS: nats: permissions"
        in problem
    )
    permitted.make()
    assert event_ids(eventually(lambda: works(lambda: list(stream.pull(1, SHORT))))) == [event.id]


def test_the_listener_of_the_documentation_needs_no_more(permitted: Permitted) -> None:
    event = an_event()
    permitted.open("catalog").publish([event])

    async def listen(client: Client) -> str:
        stream = client.jetstream()
        consumer = await stream.pull_subscribe("product.*", durable="my-copy", stream="PRODUCTS")
        (message,) = await consumer.fetch(1, timeout=5)
        await message.ack_sync()
        return str(json.loads(message.data)["id"])

    assert permitted.server("listener").ask(listen) == event.id


# ---- credentials ----


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

"""A server that asks for credentials."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import StreamUnavailableError
from embedded.processes import free_port, port_is_free
from embedded.servers import ServerProcesses
from embedded.services import Service, tool
from tests.contract.guarded_nats import guarded
from tests.contract.stream.steps import an_event, event_ids, pulled, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from chalicelib.adapters.jetstream import JetStream

pytestmark = pytest.mark.embedded("nats", "a server whose users the test has made")

NO_JWT = "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------"


@contextmanager
def running(config: Path, port: int) -> Iterator[None]:
    """A server of this configuration, which has it listen there."""

    def missing() -> str | None:
        return "it does not listen" if port_is_free(port) else None

    command = (tool("nats-server"), "-c", str(config))
    services = {"nats": Service(command, dict(os.environ), missing)}
    servers = ServerProcesses(config.parent / "server")
    try:
        servers.start(services)
        yield
    finally:
        servers.stop(services)


@pytest.fixture
def guarded_server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a server that asks for credentials, and the text of a `.creds` file."""
    port = free_port()
    config, credentials = guarded(tmp_path, port)
    with running(config, port):
        yield f"nats://127.0.0.1:{port}", credentials


@pytest.fixture
def frugal_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The addresses of a server, by user: `anyone` may do all, `worker` may change no stream."""
    port, config = free_port(), tmp_path / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f"jetstream {{ store_dir: {json.dumps(str(tmp_path / 'data'))} }}\n"
        "authorization { users: [\n"
        "  { user: anyone, password: p }\n"
        "  { user: worker, password: p, permissions: {\n"
        '    publish: { deny: ["$JS.API.STREAM.UPDATE.>"] }, subscribe: { allow: [">"] } } }\n'
        "] }\n"
    )
    with running(config, port):
        yield {user: f"nats://{user}:p@127.0.0.1:{port}" for user in ("anyone", "worker")}


def test_who_may_not_change_the_stream_uses_it_as_it_is(
    open_stream: Callable[..., JetStream], frugal_server: dict[str, str]
) -> None:
    open_stream(frugal_server["anyone"], duplicate_window=120.0).publish([an_event()])
    stream, event = open_stream(frugal_server["worker"], duplicate_window=1200.0), an_event()

    assert stream.publish([event]) == [event]
    assert event.id in event_ids(pulled(stream, 2))


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

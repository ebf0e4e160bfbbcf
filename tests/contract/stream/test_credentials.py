"""A server that asks for credentials."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import StreamUnavailableError
from embedded.processes import free_port, port_is_free
from embedded.services import tool
from tests.contract.guarded_nats import guarded
from tests.contract.stream.steps import an_event, event_ids, timed
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from chalicelib.adapters.jetstream import JetStream


NO_JWT = "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------"


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

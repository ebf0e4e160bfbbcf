"""`catalogctl events`: which events it wants, and how it fails. With a real NATS: tests/e2e."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import simplejson
from nats.js.api import DeliverPolicy

from catalogctl import events, output
from catalogctl.events import Source, Wanted
from tests.http import refused_port
from tests.unit.catalogctl.conftest import ID, NOON
from tests.unit.catalogctl.documents import EVENT

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.catalogctl.conftest import Run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Wanted]:
    """What the command asks of the stream, which gives one event."""
    seen: list[Wanted] = []

    def listen(source: Source, wanted: Wanted, emit: Callable[[Json], None]) -> None:
        assert source == Source("nats://127.0.0.1:1")
        seen.append(wanted)
        emit(EVENT)

    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setattr(events, "listen", listen)
    return seen


# ---- what is asked ----


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], Wanted()),
        (["--from-beginning"], Wanted(everything=True)),
        (["--no-follow"], Wanted(everything=True, follow=False)),
        (["--no-follow", "--since", "2h"], Wanted(since=NOON - timedelta(hours=2), follow=False)),
        (
            ["--type", "product:updated", "--id", ID, "--limit", "3"],
            Wanted(frozenset({"product:updated"}), ID, limit=3),
        ),
    ],
)
def test_options_say_which_events(
    run: Run, asked: list[Wanted], options: list[str], wanted: Wanted
) -> None:
    assert run("events", *options).exit_code == 0
    assert asked == [wanted]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--from-beginning", "--since", "1h"], "exclude each other"),
        (["--type", "updated"], "'updated' is not one of 'product:created'"),
    ],
)
def test_wrong_usage_ends_with_2(
    run: Run, asked: list[Wanted], options: list[str], text: str
) -> None:
    ended = run("events", *options)
    assert ended.exit_code == 2
    assert text in ended.stderr
    assert asked == []


@pytest.mark.parametrize(
    ("wanted", "policy"),
    [
        (Wanted(), DeliverPolicy.NEW),
        (Wanted(everything=True), DeliverPolicy.ALL),
        (Wanted(since=NOON), DeliverPolicy.BY_START_TIME),
    ],
)
def test_a_consumer_begins_where_it_was_told(wanted: Wanted, policy: DeliverPolicy) -> None:
    assert wanted.config.deliver_policy is policy
    assert wanted.config.opt_start_time == wanted.since


def test_events_are_chosen_by_type_and_product() -> None:
    assert Wanted().matches(EVENT)
    assert Wanted(frozenset({"product:updated"}), ID).matches(EVENT)
    assert not Wanted(frozenset({"product:created"})).matches(EVENT)
    assert not Wanted(product_id="another").matches(EVENT)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"id": 1}', b"\xff"])
def test_what_is_no_event_is_none(data: bytes) -> None:
    assert events.event_of(data) is None


# ---- what is shown ----


@pytest.mark.usefixtures("asked")
def test_an_event_is_a_line_of_80_columns(run: Run) -> None:
    assert run("events").stdout == f"11:59:00  updated         {ID}  v3  Desk lamp\n"


@pytest.mark.usefixtures("asked")
def test_json_is_the_event_with_its_exact_price(run: Run) -> None:
    shown = run("events", "--json").stdout
    assert '"price":19.90' in shown
    assert simplejson.loads(shown, use_decimal=True) == EVENT


def test_an_event_of_a_type_to_come_is_shown_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    output.event({"specversion": "1.0", "type": "product:sync-exhausted"})
    assert capsys.readouterr().out.split() == ["-", "sync-exhausted", "v?"]


# ---- how it fails ----


@contextmanager
def nats_that_says(*lines: str) -> Iterator[str]:
    """A server that greets as NATS does, and answers each line of a client with one of these."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            connection.sendall(b'INFO {"server_id": "x", "version": "2.10.0", "headers": true}\r\n')
            for text in lines:
                stream.readline()
                connection.sendall(f"{text}\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"nats://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


def test_a_nats_that_is_not_there_ends_with_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{refused_port()}")
    ended = run("events")
    assert ended.exit_code == 4
    assert "does not answer" in ended.stderr


def test_a_nats_that_goes_away_ends_with_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with nats_that_says() as url:
        monkeypatch.setenv("NATS_URL", url)
        ended = run("events")
    assert ended.exit_code == 4


def test_a_password_in_the_address_is_not_shown() -> None:
    shown = events.address("nats://user:secret@one:4222,tls://token@two:4222")
    assert shown == "nats://one:4222,tls://two:4222"


def test_credentials_that_nats_refuses_end_with_3(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nats_that_says("-ERR 'Authorization Violation'") as url:
        monkeypatch.setenv("NATS_URL", url)
        ended = run("events")
    assert ended.exit_code == 3
    assert "set NATS_CREDENTIALS" in ended.stderr


@pytest.mark.parametrize(
    ("credentials", "text"),
    [
        ("none.creds", "NATS_CREDENTIALS: the file of credentials cannot be read: No such file"),
        ("-----BEGIN NOTHING-----", "NATS_CREDENTIALS: the credentials have no BEGIN NATS USER"),
    ],
)
def test_credentials_that_are_none_end_with_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, credentials: str, text: str
) -> None:
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setenv("NATS_CREDENTIALS", credentials)
    ended = run("events")
    assert ended.exit_code == 2
    assert text in ended.stderr

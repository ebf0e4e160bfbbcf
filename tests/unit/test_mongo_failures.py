"""What errors of MongoDB are told as, from the errors of the driver on real sockets."""

from __future__ import annotations

import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from pymongo.errors import (
    AutoReconnect,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from chalicelib.adapters.mongo.client import Pool, make_client
from chalicelib.adapters.mongo.failures import NOT_USABLE, REFUSED, told
from chalicelib.bootstrap import Container
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.settings import read_settings
from tests.http import refused_port
from tests.unit.conftest import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "hunter2"


def failure(uri: str) -> str:
    """What is told of an address, after a short wait."""
    with pytest.raises(PyMongoError) as caught, make_client(uri, 0.2, 1, Pool(1, 60)) as client:
        client.admin.command("ping")
    return told(caught.value)


@pytest.fixture
def website() -> Iterator[int]:
    """The port of a server that is no MongoDB."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_port_on_which_nobody_listens_is_told_by_its_number() -> None:
    port = refused_port()
    address = f"127.0.0.1:{port}"
    assert failure(f"mongodb://user:{CANARY}@{address}") == f"{address}: Connection refused"


def test_each_server_of_a_cluster_is_told() -> None:
    ports = sorted((refused_port(), refused_port()))
    hosts = [f"127.0.0.1:{port}" for port in ports]
    text = failure(f"mongodb://{','.join(hosts)}/?replicaSet=x")
    assert sorted(text.split(", ")) == [f"{host}: Connection refused" for host in hosts]


def test_a_name_that_cannot_be_resolved_is_told() -> None:
    text = failure(f"mongodb://user:{CANARY}@nowhere.invalid")
    assert re.fullmatch(r"nowhere\.invalid:27017: [\w ]*[nN]ame[\w ]*", text)


def test_a_name_without_a_cluster_is_told() -> None:
    assert "_mongodb._tcp.nowhere.invalid" in failure("mongodb+srv://nowhere.invalid")


def test_a_server_that_says_nothing_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert failure(f"mongodb://{address}") == f"{address}: timed out"


def test_another_server_is_told_to_be_no_mongodb(website: int) -> None:
    assert failure(f"mongodb://127.0.0.1:{website}") == "what answers there is no MongoDB"


@pytest.mark.parametrize("code", [18, 8000])
def test_a_refused_log_in_is_told(code: int) -> None:
    assert told(OperationFailure("Authentication failed.", code)) == REFUSED


def test_another_error_is_told_with_its_name() -> None:
    assert told(AutoReconnect("broken")) == "AutoReconnect: broken"
    assert told(ServerSelectionTimeoutError("No primary, Timeout: 3.0s, x")) == "No primary"


@pytest.mark.parametrize("error", [InvalidURI(CANARY)])
def test_an_address_that_is_none_is_told_without_its_parts(error: PyMongoError) -> None:
    assert told(error) == NOT_USABLE


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        (f"mongodb://user:{CANARY}/x@host", NOT_USABLE),
        (f"mongodb://user:{CANARY}@x@host", NOT_USABLE),
        ("mongodb://host:99999", NOT_USABLE),
        (
            "mongodb://host/?tls=true&tlsCAFile=/nowhere",
            "a file that MONGODB_URI names cannot be read: No such file or directory",
        ),
    ],
)
def test_an_address_that_is_not_usable_is_an_error_of_the_store(uri: str, text: str) -> None:
    parts = Container(read_settings({**ENVIRONMENT, "MONGODB_URI": uri}))
    with pytest.raises(StoreUnavailableError) as in_store:
        parts.store.ping()
    with pytest.raises(StoreUnavailableError) as in_migration:
        list(parts.migrate())
    parts.close()
    assert {str(in_store.value), str(in_migration.value)} == {f"MongoDB: {text}"}

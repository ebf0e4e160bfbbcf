"""What the roles say to their servers is counted."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import bson
import pytest

from embedded.network import Network, host_and_port
from embedded.traffic import ROUND_TRIPS, Commands, Counts, counting, table


def message(body: dict[str, object], **sequences: list[dict[str, object]]) -> bytes:
    """An OP_MSG: a body, and documents in sequences of their own."""
    sections = b"\0" + bson.encode(body)
    for name, documents in sequences.items():
        content = name.encode() + b"\0" + b"".join(map(bson.encode, documents))
        sections += b"\1" + (4 + len(content)).to_bytes(4, "little") + content
    head = (20 + len(sections)).to_bytes(4, "little") + bytes(8) + (2013).to_bytes(4, "little")
    return head + bytes(4) + sections


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that answers what it was sent, to one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            # It may be reset at the end.
            with connection, contextlib.suppress(OSError):
                while data := connection.recv(1000):
                    connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def ask(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(1000)


def test_what_was_asked_and_answered_is_counted(echo: str) -> None:
    counts: Counts = Counter()
    with contextlib.closing(Network()) as network:
        proxy = network.proxy(echo, counting(counts, "sync", "sqs"))
        with socket.create_connection(host_and_port(proxy.address), timeout=10) as client:
            assert [ask(client, b"one"), ask(client, b"two")] == [b"one", b"two"]
    assert counts == {("sync", "sqs", ROUND_TRIPS): 2}


def test_a_command_is_read_with_its_documents_in_sequences() -> None:
    sent = message({"update": "products"}, updates=[{"q": 1}, {"q": 2}, {"q": 3}])
    assert list(Commands().read(sent)) == [("update", 3)]


def test_a_command_is_read_with_its_documents_in_the_body() -> None:
    sent = message({"insert": "products", "documents": [{"_id": 1}, {"_id": 2}]})
    assert list(Commands().read(sent)) == [("insert", 2)]


def test_namespaces_are_no_statements() -> None:
    sent = message({"bulkWrite": 1}, ops=[{"update": 0}], nsInfo=[{"ns": "a.b"}, {"ns": "a.c"}])
    assert list(Commands().read(sent)) == [("bulkWrite", 1)]


def test_commands_are_read_however_their_bytes_are_cut() -> None:
    sent = message({"find": "products"}) + message({"delete": "x"}, deletes=[{"q": 1}])
    commands = Commands()
    found = [it for byte in sent for it in commands.read(bytes([byte]))]
    assert found == [("find", 0), ("delete", 1)]


def test_the_table_gives_writes_and_round_trips_per_product() -> None:
    counts: Counts = Counter(
        {
            ("api", "mongodb", "insert commands"): 10,
            ("api", "mongodb", "insert statements"): 10,
            ("sync", "mongodb", "update commands"): 2,
            ("sync", "mongodb", "update statements"): 20,
            ("sync", "mongodb", "find commands"): 1,
            ("sync", "mongodb", ROUND_TRIPS): 3,
        }
    )
    lines = [line.split() for line in table({"burst": (counts, 10)})]
    assert [line[-1] for line in lines[1:4]] == ["1.20", "3.00", "0.30"]
    assert lines[3][:-1] == ["round", "trips,", "sync", "to", "mongodb"]

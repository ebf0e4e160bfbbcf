"""Counts what our roles say to their servers: each role is started with a relay before each server.

Only here: the relays cost time, so nothing else is measured with them.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import bson

from embedded.servers import ServerProcesses
from embedded.services import HOST, ROLES, Endpoints, role_service, role_settings
from embedded.stack import Stack, StackInfo

WRITES = ("insert", "update", "delete", "findAndModify", "bulkWrite")
ROUND_TRIPS = "round trips"
OP_MSG = 2013
Counts = Counter[tuple[str, str, str]]
"""By role, server and what is counted: `ROUND_TRIPS`, or of MongoDB "update commands" and such."""
_counting = threading.Lock()


class Relay:
    """Forwards connections to an address, `host:port`, and counts the round trips.

    A round trip: the client has sent something, and the server has sent something after it.
    """

    def __init__(self, address: str, counts: Counts, role: str, server: str) -> None:
        self._target = urlsplit(f"//{address}")
        self._counts, self._role, self._server = counts, role, server
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections. Those that are open end with their clients."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        server = socket.create_connection((self._target.hostname or HOST, self._target.port or 0))
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked, commands = threading.Event(), Commands()

        def request(data: bytes) -> None:
            asked.set()
            if self._server == "mongodb":
                for name, statements in commands.read(data):
                    self._count(f"{name} commands")
                    self._count(f"{name} statements", statements)

        def answer(_: bytes) -> None:
            if asked.is_set():
                asked.clear()
                self._count(ROUND_TRIPS)

        threading.Thread(target=_copy, args=(client, server, request), daemon=True).start()
        threading.Thread(target=_copy, args=(server, client, answer), daemon=True).start()

    def _count(self, what: str, number: int = 1) -> None:
        with _counting:
            self._counts[self._role, self._server, what] += number


def _copy(source: socket.socket, sink: socket.socket, see: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            see(data)
            sink.sendall(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class Commands:
    """Reads the commands in what a client sends to MongoDB (OP_MSG)."""

    def __init__(self) -> None:
        self._unread = b""

    def read(self, data: bytes) -> Iterator[tuple[str, int]]:
        """Take the next bytes; give each command that is complete, and how many writes it has."""
        self._unread += data
        while len(self._unread) >= 16:
            size = int.from_bytes(self._unread[:4], "little")
            if len(self._unread) < size:
                return
            message, self._unread = self._unread[:size], self._unread[size:]
            if int.from_bytes(message[12:16], "little") == OP_MSG:
                yield _command(message[20:])


def _command(sections: bytes) -> tuple[str, int]:
    name, statements = "", 0
    while sections:
        size = int.from_bytes(sections[1:5], "little")
        section, kind, sections = sections[1 : 1 + size], sections[0], sections[1 + size :]
        if kind == 0:
            body = bson.decode(section)
            name = next(iter(body))
            statements += sum(len(body.get(key, ())) for key in ("documents", "updates", "deletes"))
        else:
            identifier, _, documents = section[4:].partition(b"\0")
            statements += _number_of(documents) if identifier != b"nsInfo" else 0
    return name, statements


def _number_of(documents: bytes) -> int:
    number = 0
    while documents:
        documents = documents[int.from_bytes(documents[:4], "little") :]
        number += 1
    return number


class CountedRoles:
    """The four roles of a stack, started again with relays. `counts` grows while they run."""

    def __init__(self, stack: Stack, info: StackInfo) -> None:
        self.counts: Counts = Counter()
        self._stack, self._info = stack, info
        self._relays: list[Relay] = []
        self._running = ServerProcesses(stack.run_dir / "counted")

    def __enter__(self) -> CountedRoles:
        for role in ROLES:
            self._stack.stop(role)
        secret = ServerProcesses(self._stack.run_dir).notes["secret"]
        environ, services = self._stack.environ, {}
        for role in ROLES:
            where = self._through_relays(role)
            settings = role_settings(environ, where, secret)
            services[role] = role_service(role, settings, environ, where)
        try:
            self._running.start(services)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.stop(ROLES)
        for relay in self._relays:
            relay.close()

    def _through_relays(self, role: str) -> Endpoints:
        info = self._info

        def relayed(server: str, url: str) -> str:
            address = urlsplit(url).netloc
            relay = Relay(address, self.counts, role, server)
            self._relays.append(relay)
            return url.replace(address, relay.address)

        sqs = relayed("sqs", info["sqs"])
        return Endpoints(
            api=info["api"],
            supply_chain=relayed("supplyChain", info["supplyChain"]),
            mongodb=relayed("mongodb", info["mongodb"]),
            nats=relayed("nats", info["nats"]),
            sqs=sqs,
            queue=info["queueUrl"].replace(info["sqs"], sqs),
            dlq=info["dlqUrl"].replace(info["sqs"], sqs),
            bulk_queue=info["bulkQueueUrl"].replace(info["sqs"], sqs),
        )


def table(columns: dict[str, tuple[Counts, int]]) -> Iterator[str]:
    """Give the lines: per product, what was counted. `columns`: name → counts, products."""
    yield f"{'per product':38}" + "".join(f"{name:>14}" for name in columns)
    for what in ("commands", "statements"):
        shares = [_writes(counts, what) / number for counts, number in columns.values()]
        yield _line(f"  writes of MongoDB, {what}", shares)
    trips = {key for counts, _ in columns.values() for key in counts if key[2] == ROUND_TRIPS}
    for role, server, what in sorted(trips, key=lambda key: (ROLES.index(key[0]), key[1])):
        shares = [counts[role, server, what] / number for counts, number in columns.values()]
        yield _line(f"  round trips, {role} to {server}", shares)
    yield ""


def _line(label: str, shares: list[float]) -> str:
    return f"{label:38}" + "".join(f"{share:>14.2f}" for share in shares)


def _writes(counts: Counts, what: str) -> int:
    return sum(counts[key] for key in counts if key[2] in {f"{name} {what}" for name in WRITES})

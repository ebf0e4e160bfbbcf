"""Counts the round trips from our roles to their servers, by a proxy between each two of them.

Only here: the proxies cost time, so nothing else is measured with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import bson

from embedded.network import Links, See, Watch
from embedded.services import ROLES
from embedded.stack import Stack

WRITES = ("insert", "update", "delete", "findAndModify", "bulkWrite")
ROUND_TRIPS = "round trips"
OP_MSG = 2013
Counts = Counter[tuple[str, str, str]]
"""By role, server and what is counted: `ROUND_TRIPS`, or of MongoDB "update commands" and such."""


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
    """The roles of a running stack, started again with proxies. `counts` grows while they run."""

    def __init__(self, stack: Stack) -> None:
        self.counts: Counts = Counter()
        self._links = Links(lambda role, server: counting(self.counts, role, server))
        self._stack = Stack(stack.run_dir, stack.environ, lambda _: None, self._links.route)

    def __enter__(self) -> CountedRoles:
        try:
            self._stack.up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for role in ROLES:
            self._stack.stop(role)
        self._links.close()


def counting(counts: Counts, role: str, server: str) -> Watch:
    """Count the round trips of a pair, and the commands if the server is MongoDB.

    A round trip: the client has sent something, and the server has sent something after it.
    """

    def watch() -> tuple[See, See]:
        # They are called on one thread.
        asked, commands = Counter[str](), Commands()

        def request(data: bytes) -> None:
            asked[ROUND_TRIPS] = 1
            if server == "mongodb":
                for name, statements in commands.read(data):
                    counts[role, server, f"{name} commands"] += 1
                    counts[role, server, f"{name} statements"] += statements

        def answer(_: bytes) -> None:
            counts[role, server, ROUND_TRIPS] += asked.pop(ROUND_TRIPS, 0)

        return request, answer

    return watch


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
